"""Parquet files in the layout that Hugging Face gives image data sets: a picture and a label a row."""

import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import refuse_one_class
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData, Pictures, Split, Subset
from residuum.data.parquet_footer import chunks_of
from residuum.data.parquet_values import is_own_pack, where_they_lie
from residuum.data.picture_files import label_of, printable, read_picture
from residuum.data.shard_files import by_split, data_root, data_set_files, is_of_training, place_of, read_each
from residuum.data.split import split_meant
from residuum.data.table_columns import Columns, check_columns, check_rows, find_columns, opened, paths_beside
from residuum.data.table_labels import check_present, classes_in, is_hidden, numbers, read_labels, read_texts
from residuum.data.windows import WINDOW_BYTES, Blocks
from residuum.errors import UserError, listed

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


def open_parquet(path: str | Path, told: ColumnNames = USUAL_COLUMNS, *, judging: bool = False) -> ImageData:
    """Open a folder of Parquet files: train-*.parquet or train/*.parquet, validation and test likewise.

    A row holds the picture's file (binary, or a struct with `bytes`), or its path from the table or the folder; and its
    label: a class number, named in the file's `huggingface` metadata or not, or the class name itself. A column `split`
    of split names goes before the files' names. Of numbers without names those that occur are the classes; that is
    said where they are not 0, 1, 2, ….

    `judging`: there need be no training split, nor more than one class; the classes are those of all splits.

    Raises:
        UserError: there is no such folder, or its files are not such a data set.
    """
    root = data_root(path)
    files = data_set_files(root, ".parquet")
    read_each(files, _refuse_broken)
    training = (file for file in files if is_of_training(root, file))
    columns = find_columns(next(training, files[0]), told)
    splits = (_split_by_column(root, files, columns) if columns.split else None) or _split_by_files(
        root, files, replace(columns, split="")
    )
    if "train" not in splits and not judging:
        mend = f"write train into its column {columns.split!r}" if columns.split else "call its files train-….parquet"
        raise UserError(f"{root} has no training split", "", mend)
    for hidden in [split for split in splits if split != "train" and is_hidden(splits[split].labels)]:
        say(f"note: the {hidden} split of {root} has no labels: it is passed over")
        del splits[hidden]
    if not splits:
        raise UserError(f"{root} has no labels to judge by", "", "residuum predict answers pictures without labels")
    for split, rows in splits.items():
        check_present(root, split, columns.label, rows.labels)
    known = [rows.labels for split, rows in splits.items() if judging or split == "train"]
    classes = columns.names or classes_in(root, columns.label, known)
    found = {
        split: Split(rows.pictures, numbers(root, split, rows.labels, classes, named=bool(columns.names)))
        for split, rows in splits.items()
    }
    if not judging:
        refuse_one_class(root, [classes[number] for number in np.unique(found["train"].labels)])
        _say_unused(classes, found["train"])
    nothing = Split(Subset(next(iter(found.values())).pictures, np.empty(0, np.int64)), np.empty(0, np.int64))
    return ImageData.of(label_of(path), place_of(root), list(classes), {"train": nothing, **found})


def _say_unused(classes: Sequence[str], training: Split) -> None:
    used = set(training.labels.tolist())
    if unused := [name for number, name in enumerate(classes) if number not in used]:
        say(f"note: no training picture shows {listed(unused, 5)}: such will never be answered")


class _Rows(NamedTuple):
    """A split as it is read."""

    pictures: Pictures
    labels: Any


# --- files -------------------------------------------------------------------------------------


def _split_by_files(root: Path, files: list[Path], columns: Columns) -> dict[SplitName, _Rows]:
    """Read each split of the files that are its own."""
    sorted_ = by_split(root, files)
    for split, those in sorted_.items():
        for file in those:
            check_columns(file, columns, labelled=split == "train")
    return {
        split: _Rows(_pictures(root, those, columns, split), read_labels(those, columns.label))
        for split, those in sorted_.items()
    }


def _split_by_column(root: Path, files: list[Path], columns: Columns) -> dict[SplitName, _Rows] | None:
    """Take each row's split from the column that says it; None, which is said, where it names no split at all.

    Raises:
        UserError: it names splits, but not each row's.
    """
    for file in files:
        check_columns(file, columns, labelled=True)
    said = read_texts(files, columns.split)
    meant = [split_meant(one) if one else None for one in said]
    if not any(meant):
        held = listed(dict.fromkeys(map(str, said)), 3)
        say(f"note: the column {columns.split!r} holds {held}, no names of splits: ignored")
        return None
    pictures, labels = _pictures(root, files, columns, "table"), read_labels(files, columns.label)
    if strange := sorted({str(one) for one, split in zip(said, meant, strict=True) if split is None}):
        raise UserError(
            f"the column {columns.split!r} of {root} does not say the split of each row",
            f"it holds {listed(strange, 5)} too",
            "write train, validation or test there, or rename the column",
        )
    found: dict[SplitName, _Rows] = {}
    for split in get_args(SplitName):
        rows = np.array([row for row, one in enumerate(meant) if one == split], np.int64)
        if len(rows):
            found[split] = _Rows(Subset(pictures, rows), labels.take(pa.array(rows)))
    return found


def _pictures(root: Path, files: list[Path], columns: Columns, split: str) -> Pictures:
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


def _refuse_broken(file: Path) -> None:
    """Refuse a file that is not Parquet, or no longer (UserError)."""
    with opened(file):
        pass
