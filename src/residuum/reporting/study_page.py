"""The pages about studies: study.json in, one HTML file out that needs nothing else; and the table of them all."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from residuum import runs
from residuum.errors import UserError
from residuum.records.codec import read_record
from residuum.records.study import StudyRecord
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
    study = read_record(path, StudyRecord)
    page = filled("study.html", own=_in_chinese(study), view=view_study(study), name=folder.resolve().name)
    return write_page(out or folder / runs.REPORT, page)


def _in_chinese(study: StudyRecord) -> dict[str, str]:
    """Return what the study says of itself in both languages."""
    head = {f"{study.title.en} – residuum report": f"{study.title.zh} – residuum 报告"}
    return head | {words.en: words.zh for words in (study.title, study.question, study.claim, study.measured)}


def write_study_index(folder: Path) -> Path:
    """Write the table of all studies directly below `folder` as index.html in it; return where it is.

    A study that cannot be read has a row that says so.

    Raises:
        UserError: the page cannot be written.
    """
    rows = [_row(path.parent) for path in sorted(folder.glob(f"*/{runs.STUDY}"))]
    own = {text: said for row in rows if row.study for text, said in _in_chinese(row.study).items()}
    return write_page(folder / INDEX, filled("studies.html", own=own, rows=rows, counts=counts(rows)))


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
        return IndexRow(folder.name, link, read_record(folder / runs.STUDY, StudyRecord))
    except UserError as error:
        return IndexRow(folder.name, link, None, fault=f"{runs.STUDY} cannot be read: {error.why}")
