"""The page about explained pictures: explained.json in, one HTML file out that needs nothing else."""

from pathlib import Path

from residuum import runs
from residuum.records.codec import read_record
from residuum.records.explained import Explained
from residuum.reporting.explained_view import view_explained
from residuum.reporting.template import filled, write_page


def write_explained_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about the pictures explained in `folder`, by default as report.html in it; return where it is.

    Raises:
        UserError: there is no explained.json, it cannot be read, or the page cannot be written.
    """
    view = view_explained(read_record(folder / runs.EXPLAINED, Explained))
    return write_page(out or folder / runs.REPORT, filled("explained.html", view=view))
