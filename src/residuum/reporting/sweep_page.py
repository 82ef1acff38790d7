"""The page about a sweep: sweep.json in, one HTML file out that needs nothing else."""

from pathlib import Path

from residuum import runs
from residuum.records.codec import read_record
from residuum.records.sweep import SweepRecord
from residuum.reporting.sweep_view import view_sweep
from residuum.reporting.template import filled, write_page


def write_sweep_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about the sweep in `folder`, by default as report.html in it; return where it is.

    Raises:
        UserError: there is no sweep.json, it is not a sweep's, or the page cannot be written.
    """
    view = view_sweep(read_record(folder / runs.SWEEP, SweepRecord))
    return write_page(out or folder / runs.REPORT, filled("sweep.html", view=view, name=folder.resolve().name))
