"""The page about what depth is worth: lesion.json or trim.json in, one HTML file out that needs nothing else."""

from pathlib import Path

from residuum import runs
from residuum.errors import UserError
from residuum.records.codec import read_record
from residuum.records.depth import Lesion, Trim
from residuum.reporting.lesion_view import view_lesion
from residuum.reporting.template import filled, write_page
from residuum.reporting.trim_view import view_trim


def write_depth_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about the lesion or trim in `folder`, by default as report.html in it; return where it is.

    Raises:
        UserError: there is neither, it cannot be read, or the page cannot be written.
    """
    if (folder / runs.TRIM).is_file():
        view = view_trim(read_record(folder / runs.TRIM, Trim))
    elif (folder / runs.LESION).is_file():
        view = view_lesion(read_record(folder / runs.LESION, Lesion))
    else:
        raise UserError(
            f"{folder} holds neither {runs.LESION} nor {runs.TRIM}",
            "the page is made from one of them",
            "give the folder that `residuum lesion` or `residuum trim` printed",
        )
    return write_page(out or folder / runs.REPORT, filled("depth.html", view=view, name=folder.resolve().name))
