"""Tables as text, CSV and TSV, read as columns of texts: what a cell means, its reader decides.

The header line tells the separator: a comma, a semicolon or a tab; or a line `sep=;` before it, which spreadsheets
write. RFC 4180 says the rest: cells in quotes may hold separators, quotes that are doubled, and ends of lines.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from residuum.data.picture_files import SUFFIXES as OF_PICTURES
from residuum.errors import UserError, listed

_SEPARATORS = (",", ";", "\t")
_BLANK_START = re.compile(rb"\A(?:[ \t\f\v]*[\r\n])+")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TOLD = re.compile(rb'\A"?sep=([,;\t|])"?[ \t,;|]*(?:\r\n?|\n|\Z)', re.IGNORECASE)
"""A first line by which a spreadsheet is told what parts the cells; it names no column."""
_REMEMBERED = 8
"""So many tables stay in memory: each is asked for its columns, then for each of them."""


_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def no_formula(text: str) -> str:
    """Return a text for a cell: what a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


@dataclass(frozen=True)
class TextTable:
    """A table of texts, of which a cell without any is null. It is asked as an opened Parquet file is."""

    table: Any
    numbers: NDArray[np.int64]
    """The number of each row as a spreadsheet shows it: from 1, header and blank rows among them."""
    counted: str
    """The same in words: "the header is row 1"."""

    @property
    def schema_arrow(self) -> Any:
        """Return the columns' names and types."""
        return self.table.schema

    def read(self, columns: Sequence[str], **_: Any) -> Any:
        """Return these columns."""
        return self.table.select(columns)


def text_table(path: str | Path) -> TextTable:
    """Read a table (UserError if it is none, or has no header)."""
    try:
        status = Path(path).stat()
        return _read(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read {path}", error.strerror or str(error), "check the path") from error


@lru_cache(_REMEMBERED)
def _read(path: str, _size: int, _changed: int) -> TextTable:
    whole = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    content = _BLANK_START.sub(b"", whole)
    header = 1 + len(_LINE_END.findall(whole[: len(whole) - len(content)]))
    told = _TOLD.match(content)  # a line that a spreadsheet does not show
    content = content[told.end() :] if told else content
    counted = f"the header is row {header}"
    names, separator = _header(path, _text(path, content), told[1].decode() if told else None)
    unique = [str(number) for number in range(len(names))]
    as_one = max(len(content), 1 << 20)  # a row across two blocks would be an error
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            pyarrow.csv.ReadOptions(column_names=unique, skip_rows_after_names=1, use_threads=False, block_size=as_one),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(unique, pa.large_string())),
        )
    except pa.ArrowException as error:
        why = str(error).splitlines()[0].removeprefix("CSV parse error: ")
        why = re.sub(r"^Row #(\d+)", lambda found: f"row {int(found[1]) + header - 1} ({counted})", why)
        mend = f"put a cell that holds {separator!r} into double quotes"
        raise UserError(f"cannot read {path}", why, mend) from error
    named = [number for number, name in enumerate(names) if name]  # an index of rows, as pandas writes it, has no name
    columns = [_filled(table.column(number)) for number in named]
    says = reduce(pc.or_, [column.is_valid() for column in columns])  # spreadsheets write blank rows behind the last
    numbers = np.flatnonzero(says.to_numpy()) + header + 1
    return TextTable(pa.table(columns, [names[number] for number in named]).filter(says), numbers, counted)


def _filled(column: Any) -> Any:
    """Return the texts without blanks around them, null where nothing is left."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _text(path: str, content: bytes) -> str:
    try:
        text = content.decode()
    except ValueError as error:
        raise UserError(f"{path} is no text in UTF-8", str(error), "save it as CSV in UTF-8") from error
    if "\0" in text:
        raise UserError(f"{path} is no text in UTF-8", "it holds zero bytes", "save it as CSV in UTF-8")
    return text


def _header(path: str, text: str, told: str | None) -> tuple[list[str], str]:
    """Return the columns' names, "" where one has none, and what parts them (UserError: the first line names none)."""
    separator = told or _separator(path, text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = [name.strip() for name in next(rows, [])]
    mend = "begin it with a line that names its columns, as file_name,label"
    if not any(names):
        raise UserError(f"{path} is empty", "", mend)
    if pictures := [name for name in names if Path(name).suffix.lower() in OF_PICTURES]:
        raise UserError(f"{path} has no header", f"its first line names the picture {pictures[0]!r}", mend)
    if not any(rows):
        raise UserError(f"{path} has no rows", f"its only line is {listed(names, 5)}", mend)
    if repeated := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise UserError(f"the header of {path} names {listed(repeated)} twice", "", "give each column its own name")
    return names, separator


def _separator(path: str, text: str) -> str:
    line = re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text), maxsplit=1)[0]
    times = {one: line.count(one) for one in _SEPARATORS}
    most = max(times, key=lambda one: times[one])
    return most if times[most] or not path.lower().endswith(".tsv") else "\t"
