"""Answers as text: a line for people, a row of CSV, or a line of JSON."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from residuum.choices import AnswerFormat
from residuum.console import one_line, visible
from residuum.data.labels import joined
from residuum.data.picture_files import printable
from residuum.data.text_table import no_formula
from residuum.errors import UserError
from residuum.files import cannot_write
from residuum.prediction.answer import Answer, Unanswered

SUFFIXES: dict[str, AnswerFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}


def format_of(out: str | Path | None, told: AnswerFormat | None) -> AnswerFormat:
    """Return the form that was told, or that the file's suffix says (UserError if it says none)."""
    if told is not None or out is None:
        return told or "text"
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"in which form are the answers to be written to {out}?",
            f"its name ends in none of {' '.join(SUFFIXES)}",
            "call it .csv, which spreadsheets open, .jsonl or .txt; or say --format csv, jsonl or text",
        )
    return SUFFIXES[suffix]


@contextmanager
def new_file(path: Path) -> Iterator[IO[str]]:
    """Open a file for answers as they come (UserError if there is one already, or it cannot be written)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", buffering=1, encoding="utf-8", newline="") as file:
            yield file
    except FileExistsError as error:
        raise UserError(f"{path} exists", "answers never write over a file", "choose another --out") from error
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def heading(form: AnswerFormat, top: int, *, several: bool = False) -> str:
    """Return what stands above all answers: the names of CSV's columns, with a line's end; `several`: labels a picture,
    which have a column of those called."""
    if form != "csv":
        return ""
    ranks = [name for rank in range(2, top + 1) for name in (f"class {rank}", f"probability {rank}")]
    labels = ["labels"] * several
    return _row(
        ["picture", "class", "probability", *ranks, *labels, "unsure", "reason", "engine", "precision", "error"]
    )


def line(one: Answer | Unanswered, form: AnswerFormat, top: int, *, several: bool = False) -> str:
    """Return an answer, or why there is none, in this form, with a line's end; `several` as above."""
    if form == "jsonl":
        return _text(json.dumps(one.as_json(), ensure_ascii=False)) + "\n"
    if form == "csv":
        return _row(_cells(one, top, several))
    name = printable(one.picture)
    if isinstance(one, Unanswered):
        return one_line(_text(f"{name}  not answered: {one.why}")) + "\n"
    doubt = f"unsure ({one.reason})  " if one.unsure else ""
    return one_line(_text(f"{name}  {doubt}{_said(one)}")) + "\n"


def _said(one: Answer) -> str:
    """Say the likeliest classes, or of several labels those called: "–" where none is."""
    each = [f"{name} {p:.1%}" for name, p in zip(one.classes, one.probabilities, strict=True)]
    return "  ".join(each) if one.labels is None else joined(each[: len(one.labels)])


def _cells(one: Answer | Unanswered, top: int, several: bool) -> list[str]:
    if isinstance(one, Unanswered):
        return [one.picture, *[""] * (2 * top + several + 4), one.why]
    pairs = list(zip(one.classes, one.probabilities, strict=True))[:top]
    ranked = [cell for name, p in pairs for cell in (name, f"{p:.6f}")]
    ranked += [""] * (2 * top - len(ranked))
    labels = [] if one.labels is None else [one.separator.join(one.labels)]
    unsure = "" if one.unsure is None else str(one.unsure).lower()
    return [one.picture, *ranked, *labels, unsure, one.reason, one.engine, one.precision, ""]


def _row(cells: list[str]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(_text(no_formula(cell)) for cell in cells)
    return row.getvalue()


def _text(text: str) -> str:
    """Bytes of a file's name that are no text become escapes, and so does what steers a terminal."""
    return visible(text.encode("utf-8", "backslashreplace").decode())
