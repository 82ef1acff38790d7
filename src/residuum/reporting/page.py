"""The report: run folders in, one HTML file out that needs nothing else, not even a network."""

from collections.abc import Sequence
from pathlib import Path

from residuum import runs as run_folders
from residuum.errors import UserError
from residuum.reporting import comparison, depth_page, study_page
from residuum.reporting.one_run import OneRun, read_one
from residuum.reporting.template import filled, write_page


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one run, or of several compared, and return where it is.

    It goes to `out`; by default into the run folder, or for several runs to report.html here. The folder may also be
    one that `lesion`, `trim` or `study` left.

    Raises:
        UserError: no run was given, one is not a run folder or cannot be read, or `out` cannot be written.
    """
    if not runs:
        raise UserError("no run was given", "a report needs one run folder or several", "name a run folder")
    if len(runs) == 1 and depth_page.holds_depth_figures(Path(runs[0])):
        return depth_page.write_depth_report(Path(runs[0]), out)
    if len(runs) == 1 and study_page.holds_study(Path(runs[0])):
        return study_page.write_study_report(Path(runs[0]), out)
    records = [run_folders.read_run(Path(run)) for run in runs]
    several = len(records) > 1
    letters = [comparison.letters(i) if several else "" for i in range(len(records))]
    views = [read_one(record, f"r{i}", letters[i], i) for i, record in enumerate(records)]
    place = out or (Path(run_folders.REPORT) if several else Path(runs[0]) / run_folders.REPORT)
    return write_page(place, render(views))


def render(views: Sequence[OneRun]) -> str:
    """Return the whole page."""
    return filled("page.html", runs=views, compared=comparison.compare(views) if len(views) > 1 else None)
