"""The pages about studies: study.json in, one HTML file out that needs nothing else; and the table of them all."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from residuum import runs
from residuum.chinese import is_wanted
from residuum.errors import UserError
from residuum.records.codec import read_record
from residuum.records.study import StudyRecord
from residuum.reporting.study_chinese import in_chinese
from residuum.reporting.study_limits import with_limits
from residuum.reporting.study_view import IndexRow, counts, view_study
from residuum.reporting.template import filled, write_page

INDEX = "index.html"


def write_study_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about the study in `folder`, by default as report.html in it; return where it is.

    Raises:
        UserError: there is no study.json, it is not a study's, or the page cannot be written.
    """
    path = folder / runs.STUDY
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {runs.STUDY}",
            "the page is made from it",
            "give the folder that `residuum study` made for the study",
        )
    page = filled("study.html", view=view_study(_read(path)), name=folder.resolve().name)
    return write_page(out or folder / runs.REPORT, page)


def _read(path: Path) -> StudyRecord:
    """Read a study, in Chinese where that is asked for."""
    study = with_limits(read_record(path, StudyRecord))
    return in_chinese(study) if is_wanted() else study


def write_study_index(folder: Path) -> Path:
    """Write the table of all studies directly below `folder` as index.html in it; return where it is.

    A study that cannot be read has a row that says so.

    Raises:
        UserError: the page cannot be written.
    """
    rows = [_row(path.parent) for path in sorted(folder.glob(f"*/{runs.STUDY}"))]
    return write_page(folder / INDEX, filled("studies.html", rows=rows, counts=counts(rows)))


def write_study_pages(folders: Iterable[Path], out: Path) -> list[Path]:
    """Write the page of each study, and the index of `out` anew, as soon as it is done; return the folders.

    Raises:
        UserError: a page cannot be written; and whatever `folders` raises while it makes them.
    """
    done = []
    for folder in folders:
        write_study_report(folder)
        write_study_index(out)
        done.append(folder)
    return done


def _row(folder: Path) -> IndexRow:
    has_page = (folder / runs.REPORT).is_file()
    link = f"{quote(os.fsencode(folder.name))}/{runs.REPORT}" if has_page else ""
    try:
        return IndexRow(folder.name, link, _read(folder / runs.STUDY))
    except UserError as error:
        return IndexRow(folder.name, link, None, fault=f"{runs.STUDY} cannot be read: {error.why}")
