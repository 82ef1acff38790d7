"""Parquet files in the layout that Hugging Face gives image data sets: a picture and a label a row."""

import os
import re
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import natural_key, refuse_one_class
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData, Pictures, Split, Subset
from residuum.data.picture_files import existing_folder, label_of, printable, read_picture, walk
from residuum.data.split import configuration, split_meant
from residuum.data.table_columns import Columns, check_columns, check_rows, find_columns, opened, paths_beside
from residuum.data.table_labels import check_present, classes_in, is_hidden, numbers, read_labels, read_texts
from residuum.errors import UserError, listed

KEPT_BYTES = 4 << 30
"""How much of a split's encoded pictures a process keeps in memory; beyond it the oldest go."""


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
        return ParquetPictures, (self.split, self.column, self.groups, self.starts, self.beside)

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
                while sum(kept.nbytes for kept in groups.values()) > KEPT_BYTES and len(groups) > 1:
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
    root = existing_folder(path)
    files = _parquet_files(root)
    training = (file for file in files if _split_of(file.relative_to(root)) == "train")
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
    return ImageData.of(label_of(path), str(root), list(classes), {"train": nothing, **found})


def _say_unused(classes: Sequence[str], training: Split) -> None:
    used = set(training.labels.tolist())
    if unused := [name for number, name in enumerate(classes) if number not in used]:
        say(f"note: no training picture shows {listed(unused, 5)}: such will never be answered")


class _Rows(NamedTuple):
    """A split as it is read."""

    pictures: Pictures
    labels: Any


def parquet_files(root: Path) -> Iterator[Path]:
    """Find the Parquet files at any depth below `root`, hidden files and folders aside."""
    for folder, files in walk(root):
        yield from (folder / name for name in files if name.lower().endswith(".parquet"))


# --- files -------------------------------------------------------------------------------------


def _parquet_files(root: Path) -> list[Path]:
    """Return the files of the data set, in their order."""
    files = sorted(parquet_files(root), key=lambda file: natural_key(file.relative_to(root).as_posix()))
    if not files:
        raise UserError(f"{root} holds no parquet file")
    folders = {configuration(file.relative_to(root)) for file in files}
    if len(folders) > 1:
        raise UserError(
            f"{root} holds more than one data set",
            f"parquet files lie in {listed(sorted(folders))}",
            "give one of these folders",
        )
    _check_complete(files)
    return files


def _split_by_files(root: Path, files: list[Path], columns: Columns) -> dict[SplitName, _Rows]:
    """Sort the files into splits by their names, or else by the folders they are in."""
    splits = {file: _split_of(file.relative_to(root)) for file in files}
    if not any(splits.values()):
        splits = {file: _split_named_within(file) for file in files}
    if "train" not in splits.values() and not any(map(_split_of, (file.relative_to(root) for file in files))):
        splits = dict.fromkeys(files, "train")
    if unknown := [file.name for file, split in splits.items() if split is None]:
        raise UserError(
            f"cannot tell the split of {listed(unknown)} in {root}",
            "a file's name begins with train, validation or test, or it lies in a folder called so",
            "rename these files or move them away",
        )
    by_split = {s: [f for f in files if splits[f] == s] for s in dict.fromkeys(splits.values()) if s}
    for split, those in by_split.items():
        for file in those:
            check_columns(file, columns, labelled=split == "train")
    return {
        split: _Rows(_pictures(root, those, columns, split), read_labels(those, columns.label))
        for split, those in by_split.items()
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


def _split_of(file: Path) -> SplitName | None:
    words = [re.split(r"[^a-z]", file.name.lower())[0], file.stem, *reversed(file.parent.parts)]
    return next(filter(None, map(split_meant, words)), None)


def _split_named_within(file: Path) -> SplitName | None:
    """Return the only split that a word of the file's name means: cifar_test.parquet."""
    meant = {split for word in re.split(r"[\W_\d]+", file.stem) if (split := split_meant(word))}
    return meant.pop() if len(meant) == 1 else None


def _check_complete(files: list[Path]) -> None:
    """Refuse a set that says "00003 of 00005" in its file names and lacks some."""
    for file in files:
        match = re.fullmatch(r"(.*-)(\d+)(-of-(\d+).*)", file.name)
        beside = {other.name for other in files if other.parent == file.parent}
        if match and len([name for name in beside if name.startswith(match[1])]) < int(match[4]):
            what = f"some of the {int(match[4])} files {match[1]}*{match[3]} in {file.parent} are missing"
            raise UserError(what, "", "fetch the data again")


def _pictures(root: Path, files: list[Path], columns: Columns, split: str) -> ParquetPictures:
    groups, starts = [], [0]
    for path in files:
        with opened(path) as file:
            for number in range(file.num_row_groups):
                groups.append((str(path), number))
                starts.append(starts[-1] + file.metadata.row_group(number).num_rows)
    return ParquetPictures(split, columns.bytes, groups, starts, paths_beside(root, files, columns))
