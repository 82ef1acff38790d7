"""Files that hold tables, Parquet or text, opened to be asked for columns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from residuum.data.picture_files import is_text_table
from residuum.data.remote import address_of, opened_there
from residuum.data.text_table import TextTable, text_table
from residuum.errors import UserError


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open a table; what goes wrong with it is the user's to know (UserError)."""
    if is_text_table(path):
        yield text_table(path)
        return
    address = address_of(path)
    source = opened_there(address) if address else path
    try:
        with pq.ParquetFile(source, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # text that is none is found as it is read
        raise UserError(f"cannot read {address or path}", str(error).splitlines()[0], "fetch the data again") from error


def rows_of(file: Any) -> int:
    """Return how many rows an opened file's row groups say they hold, which is how they are counted everywhere."""
    if isinstance(file, TextTable):
        return len(file.table)
    return sum(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))


def rows_said(files: Sequence[str | Path], *rows: int) -> str:
    """Name rows of tables that follow each other, counted from 0, as a person finds them: "row 7 (the header is row
    1)", as a spreadsheet has it, and of Parquet as they are; with the file where there are several."""
    found = [_row_of(files, int(row)) for row in rows]
    names = [f"row {row}" + f" of {Path(path).name}" * (len(files) > 1) for path, row, _ in found]
    return f"{' and '.join(names)} ({found[0][2]})"


def _row_of(files: Sequence[str | Path], row: int) -> tuple[str | Path, int, str]:
    """Return the file that a row of several lies in, its number there, and from where that counts."""
    for path in files:
        with opened(path) as file:
            if row < (count := rows_of(file)):
                is_text = isinstance(file, TextTable)
                return (path, file.numbers[row], file.counted) if is_text else (path, row, "counted from 0")
        row -= count
    raise AssertionError(f"there are fewer rows, by {row + 1}")


def whole_column(path: str | Path, file: Any, column: str) -> Any:
    """Read one column of an opened file, as a ChunkedArray (UserError if it has other than the file's rows)."""
    found = file.read(columns=[column], use_threads=False).flatten().column(0)
    check_rows(path, column, len(found), rows_of(file))
    return found


def check_rows(path: str | Path, column: str, found: int, rows: int) -> None:
    """Refuse a column that holds more or fewer rows than there are (UserError)."""
    if found != rows:
        why = f"its column {column!r} holds {found:,} of {rows:,} rows"
        raise UserError(f"{path} is damaged", why, "fetch the data again")
