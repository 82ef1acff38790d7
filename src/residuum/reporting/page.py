"""The report: run folders in, one HTML file out that needs nothing else, not even a network."""

from collections.abc import Sequence
from pathlib import Path

from residuum.errors import UserError
from residuum.reporting import comparison
from residuum.reporting.depth_page import write_depth_report
from residuum.reporting.explained_page import write_explained_report
from residuum.reporting.one_run import read_one
from residuum.reporting.study_page import write_study_report
from residuum.reporting.sweep_page import write_sweep_report
from residuum.reporting.template import filled, write_page
from residuum.runs import EXPLAINED, LESION, REPORT, STUDY, SWEEP, TRIM, RunRecord, is_run, read_run


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one run, or of several compared, and return where it is.

    It goes to `out`; by default into the run folder, or for several runs to report.html here. The folder may also be
    one that `lesion`, `trim`, `study`, `sweep` or `explain` left.

    Raises:
        UserError: no run was given, one is not a run folder or cannot be read, or `out` cannot be written.
    """
    if not runs:
        raise UserError("no run was given", "a report needs one run folder or several", "name a run folder")
    pages = {
        TRIM: write_depth_report,
        LESION: write_depth_report,
        STUDY: write_study_report,
        SWEEP: write_sweep_report,
        EXPLAINED: write_explained_report,
    }
    for name, write in pages.items() if len(runs) == 1 else ():
        if (Path(runs[0]) / name).is_file():
            return write(Path(runs[0]), out)
    records = [_read(Path(run)) for run in runs]
    several = len(records) > 1
    letters = [comparison.letters(i) if several else "" for i in range(len(records))]
    views = [read_one(record, f"r{i}", letters[i], i) for i, record in enumerate(records)]
    place = out or (Path(REPORT) if several else Path(runs[0]) / REPORT)
    compared = comparison.compare(views) if several else None
    return write_page(place, filled("page.html", runs=views, compared=compared))


def _read(path: Path) -> RunRecord:
    """Read a run folder (UserError as read_run, or for a model file that no run left, with what takes one)."""
    if path.suffix == ".safetensors" and path.is_file() and not is_run(path.parent):
        raise UserError(
            f"{path} is not a run folder",
            "a report is of what training wrote, and a model file holds the net alone",
            "residuum evaluate judges the file, with --with beside others; residuum lesion writes a page on its "
            "blocks, residuum explain one on its answers, and residuum card what is known of it",
        )
    return read_run(path)
