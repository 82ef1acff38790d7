"""The pictures in a column of Parquet files, as Hugging Face lays out image data sets: one a row."""

import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from residuum.data.contract import Pictures
from residuum.data.parquet_footer import chunks_of
from residuum.data.parquet_values import is_own_pack, where_they_lie
from residuum.data.picture_files import printable, read_picture
from residuum.data.shard_files import place_of
from residuum.data.table_columns import Columns, paths_beside
from residuum.data.table_files import check_rows, opened
from residuum.data.windows import WINDOW_BYTES, Blocks

KEPT_BYTES = 4 << 30
"""A split of no more encoded pictures is kept in memory by each process that reads it."""
KEPT_OF_LARGER = 512 << 20
"""Of a larger one a process keeps so much, and the oldest go."""


@dataclass
class _Kept:
    """What one process has read: row groups by number, the oldest first."""

    groups: dict[int, Any] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)
    process: int = field(default_factory=os.getpid)

    def lock_here(self) -> Any:
        """Return the lock, a fresh one after a fork: the old one's holder may not exist here."""
        if self.process != os.getpid():
            self.lock, self.process = threading.Lock(), os.getpid()
        return self.lock


@dataclass(frozen=True)
class ParquetPictures:
    """The pictures in one column of a split's files, read a row group at a time and kept in Arrow memory."""

    split: str  # or "table" where a column says each row's split
    column: str  # "img.bytes" where the column is a struct
    groups: Sequence[tuple[str, int]]  # the file and number of each piece that is read as a whole
    starts: Sequence[int]  # the first row of each group, and the number of rows at the end
    beside: Sequence[str] = ()  # each row's own file, "" where the picture lies in the table; empty where all do
    group_bytes: Sequence[int] = ()  # of each group's pictures, as they are stored
    _kept: _Kept = field(default_factory=_Kept, repr=False, compare=False)

    def __len__(self) -> int:
        return self.starts[-1]

    def encoded(self, index: int) -> bytes:
        """See Pictures; a row without a picture gives no bytes (UserError if the file cannot be read)."""
        if self.beside and self.beside[index]:
            return read_picture(Path(self.beside[index]))
        if not self.column:
            return b""
        number = bisect_right(self.starts, index) - 1
        column = self._kept.groups.get(number)
        if column is None:
            column = self._read(number)
        encoded: bytes | None = column[index - self.starts[number]].as_py()
        return encoded or b""

    def name(self, index: int) -> str:
        """See Pictures."""
        own = printable(self.beside[index]) if self.beside else ""
        return f"{self.split} row {index}" + (f", {own}" if own else "")

    def files(self) -> list[str]:
        """See Pictures."""
        return list(dict.fromkeys([*(path for path, _ in self.groups), *filter(None, self.beside)]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without the pictures; it reads what it needs."""
        return ParquetPictures, (self.split, self.column, self.groups, self.starts, self.beside, self.group_bytes)

    @property
    def most_kept(self) -> int:
        """Return how many bytes of pictures a process keeps."""
        return KEPT_BYTES if sum(self.group_bytes) <= KEPT_BYTES else min(KEPT_BYTES, KEPT_OF_LARGER)

    def blocks(self) -> Blocks | None:
        """Return how the pictures lie: see windows.blocks_of."""
        if any(self.beside) or not self.column:
            return None
        of_rows = np.repeat(np.arange(len(self.groups)), np.diff(self.starts))
        sizes = np.array(self.group_bytes, np.int64)
        return Blocks(of_rows, sizes, by_default=int(sizes.sum()) > KEPT_BYTES)

    def _read(self, number: int) -> Any:
        with self._kept.lock_here():
            groups = self._kept.groups
            if number not in groups:
                path, place = self.groups[number]
                with opened(path) as file:
                    table = file.read_row_group(place, columns=[self.column], use_threads=False)
                column = table.flatten().column(0)
                check_rows(path, self.column, len(column), self.starts[number + 1] - self.starts[number])
                groups[number] = column.chunk(0) if column.num_chunks == 1 else column
                while sum(kept.nbytes for kept in groups.values()) > self.most_kept and len(groups) > 1:
                    del groups[next(iter(groups))]
            return groups[number]


def own_files(pictures: Pictures) -> list[str]:
    """Return each row's own file, or the row's number where the picture lies in the table; nothing where all do."""
    beside = pictures.beside if isinstance(pictures, ParquetPictures) else ()
    return [path or str(row) for row, path in enumerate(beside)]


def pictures_in(root: Path, files: Sequence[Path], columns: Columns, split: str) -> Pictures:
    """Return the pictures of a split's files, which lie in them or beside (UserError if they are not found)."""
    groups, starts = [], [0]
    for path in files:
        with opened(path) as file:
            for number in range(file.num_row_groups):
                groups.append((place_of(path), number))
                starts.append(starts[-1] + file.metadata.row_group(number).num_rows)
    chunks = {path: chunks_of(path, columns.bytes) for path in files} if columns.bytes else {}
    sizes = [chunk.uncompressed or 0 for path in chunks for chunk in chunks[path]]
    beside = paths_beside(root, files, columns, chunks)
    own = is_own_pack(place_of(files[0]))
    if not beside and columns.bytes and (own or sum(sizes) > WINDOW_BYTES):
        placed = {place_of(path): of_path for path, of_path in chunks.items()}
        in_windows = own or sum(sizes) > KEPT_BYTES
        if (one_by_one := where_they_lie(placed, columns.bytes, split, in_windows=in_windows)) is not None:
            return one_by_one
    return ParquetPictures(split, columns.bytes, groups, starts, beside, sizes)
