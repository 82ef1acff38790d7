"""Parquet files in the layout that Hugging Face gives image data sets: a picture and a label a row."""

import json
import os
import re
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.data.class_names import differences, natural_key, refuse_one_class
from residuum.data.contract import ImageData, Split
from residuum.data.picture_files import existing_folder, label_of, walk
from residuum.data.split import configuration, split_called
from residuum.errors import UserError, listed

KEPT_BYTES = 4 << 30
"""How much of a split's encoded pictures a process keeps in memory; beyond it the oldest go."""

USUAL_PICTURES = ("image", "img")
USUAL_LABELS = ("label", "fine_label")  # where there are coarse labels too, the fine ones are meant

HIDDEN = -1
"""The label that stands for "not published"."""


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

    split: SplitName
    column: str  # "img.bytes" where the column is a struct
    groups: Sequence[tuple[str, int]]  # the file and number of each piece that is read as a whole
    starts: Sequence[int]  # the first row of each group, and the number of rows at the end
    _kept: _Kept = field(default_factory=_Kept, repr=False, compare=False)

    def __len__(self) -> int:
        return self.starts[-1]

    def encoded(self, index: int) -> bytes:
        """See Pictures; a row without a picture gives no bytes (UserError if the file cannot be read)."""
        number = bisect_right(self.starts, index) - 1
        column = self._kept.groups.get(number)
        if column is None:
            column = self._read(number)
        encoded: bytes | None = column[index - self.starts[number]].as_py()
        return encoded or b""

    def name(self, index: int) -> str:
        """See Pictures."""
        return f"{self.split} row {index}"

    def files(self) -> list[str]:
        """See Pictures."""
        return list(dict.fromkeys(path for path, _ in self.groups))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without the pictures; it reads what it needs."""
        return ParquetPictures, (self.split, self.column, self.groups, self.starts)

    def _read(self, number: int) -> Any:
        with self._kept.lock_here():
            groups = self._kept.groups
            if number not in groups:
                path, place = self.groups[number]
                with _opened(path) as file:
                    table = file.read_row_group(place, columns=[self.column], use_threads=False)
                column = table.flatten().column(0)
                groups[number] = column.chunk(0) if column.num_chunks == 1 else column
                while sum(kept.nbytes for kept in groups.values()) > KEPT_BYTES and len(groups) > 1:
                    del groups[next(iter(groups))]
            return groups[number]


@dataclass(frozen=True)
class Columns:
    """Which columns hold picture and label; whether labels are numbers, and the names of these if given."""

    picture: str
    label: str
    numbered: bool
    names: tuple[str, ...] | None


def open_parquet(path: str | Path) -> ImageData:
    """Open a folder of Parquet files: train-*.parquet or train/*.parquet, validation and test likewise.

    A row holds the picture's file (binary, or a struct with `bytes`) and its label: a class number, named in
    the file's `huggingface` metadata or not, or the class name itself.

    Raises:
        UserError: there is no such folder, or its files are not such a data set.
    """
    root = existing_folder(path)
    files = _files_by_split(root)
    columns = _find_columns(files["train"][0])
    for file in (file for split in files.values() for file in split):
        _check_columns(file, columns)
    values = {split: _read_labels(files[split], columns.label) for split in files}
    published = {split: labels for split, labels in values.items() if split == "train" or not _hidden(labels)}
    for split, labels in published.items():
        _check_present(root, split, columns.label, labels)
    classes = columns.names or _classes_in(root, columns.label, published["train"])
    splits = {
        split: Split(_pictures(files[split], columns, split), _numbers(root, split, labels, classes))
        for split, labels in published.items()
    }
    refuse_one_class(root, [classes[number] for number in np.unique(splits["train"].labels)])
    return ImageData.of(label_of(path), str(root), list(classes), splits)


def parquet_files(root: Path) -> Iterator[Path]:
    """Find the Parquet files at any depth below `root`, hidden files and folders aside."""
    for folder, files in walk(root):
        yield from (folder / name for name in files if name.lower().endswith(".parquet"))


# --- files -------------------------------------------------------------------------------------


def _files_by_split(root: Path) -> dict[SplitName, list[Path]]:
    """Sort the files into splits by their names, or else by the folders they are in."""
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
    splits = {file: _split_of(file.relative_to(root)) for file in files}
    if not any(splits.values()):
        splits = dict.fromkeys(files, "train")
    if unknown := [file.name for file, split in splits.items() if split is None]:
        raise UserError(
            f"cannot tell the split of {listed(unknown)} in {root}",
            "a file's name begins with train, validation or test, or it lies in a folder called so",
            "rename these files or move them away",
        )
    if "train" not in splits.values():
        raise UserError(f"{root} has no training split", "", "call its files train-….parquet")
    _check_complete(files)
    return {s: [f for f in files if splits[f] == s] for s in dict.fromkeys(splits.values()) if s}


def _split_of(file: Path) -> SplitName | None:
    words = [re.split(r"[^a-z]", file.name.lower())[0], *reversed(file.parent.parts)]
    return next(filter(None, map(split_called, words)), None)


def _check_complete(files: list[Path]) -> None:
    """Refuse a set that says "00003 of 00005" in its file names and lacks some."""
    for file in files:
        match = re.fullmatch(r"(.*-)(\d+)(-of-(\d+).*)", file.name)
        beside = {other.name for other in files if other.parent == file.parent}
        if match and len([name for name in beside if name.startswith(match[1])]) < int(match[4]):
            what = f"some of the {int(match[4])} files {match[1]}*{match[3]} in {file.parent} are missing"
            raise UserError(what, "", "fetch the data again")


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a Parquet file; what goes wrong with it is the user's to know."""
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}", str(error).splitlines()[0], "fetch the data again") from error


def _pictures(files: list[Path], columns: Columns, split: SplitName) -> ParquetPictures:
    groups, starts = [], [0]
    for path in files:
        with _opened(path) as file:
            for number in range(file.num_row_groups):
                groups.append((str(path), number))
                starts.append(starts[-1] + file.metadata.row_group(number).num_rows)
    return ParquetPictures(split, columns.picture, groups, starts)


# --- columns -----------------------------------------------------------------------------------


def _find_columns(path: Path) -> Columns:
    with _opened(path) as file:
        schema = file.schema_arrow
    features = _features(schema)
    pictures = [column for column in schema if _holds_pictures(column.type)]
    picture = _choose(path, "pictures", pictures, USUAL_PICTURES, schema)
    labels = [column for column in schema if _holds_labels(column.type)]
    named = [column for column in labels if features.get(column.name, {}).get("names")]
    usual = [column for column in labels if column.name in USUAL_LABELS]
    label = _choose(path, "labels", usual or named or labels, USUAL_LABELS, schema)
    names = features.get(label.name, {}).get("names")
    suffix = ".bytes" if pa.types.is_struct(picture.type) else ""
    numbered = pa.types.is_integer(_value_type(label.type))
    return Columns(picture.name + suffix, label.name, numbered, tuple(names) if names else None)


def _choose(path: Path, what: str, fitting: list[Any], preferred: Sequence[str], schema: Any) -> Any:
    """Take the first preferred column that fits, or the only one that does."""
    by_name = {column.name: column for column in fitting}
    chosen = next((name for name in preferred if name in by_name), None)
    if chosen is None and len(by_name) != 1:
        raise UserError(
            f"cannot tell which column of {path} holds the {what}",
            f"{listed(by_name)} could" if by_name else f"none of its columns ({listed(schema.names)}) can",
            f"call the right one {preferred[0]!r}",
        )
    return by_name[chosen or next(iter(by_name))]


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_pictures(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    value = _value_type(kind)
    return bool(pa.types.is_integer(value) or pa.types.is_string(value) or pa.types.is_large_string(value))


def _value_type(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _features(schema: Any) -> dict[str, Any]:
    """Return what the `huggingface` metadata says of each column."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(written)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    columns = features.items() if isinstance(features, dict) else ()
    return {name: feature for name, feature in columns if isinstance(feature, dict)}


def _check_columns(path: Path, columns: Columns) -> None:
    """Refuse a file whose columns or class names are not the first training file's."""
    found = _find_columns(path)
    if (found.names and columns.names) and found.names != columns.names:
        raise UserError(
            f"the class names in {path} are not the training split's",
            differences(columns.names, found.names) or "the names are the same but numbered differently",
            "the splits must come from the same data set",
        )
    if replace(found, names=columns.names) != columns:
        raise UserError(
            f"the columns of {path} are not the training split's",
            f"{_described(found)} instead of {_described(columns)}",
        )


def _described(columns: Columns) -> str:
    kind = "numbers" if columns.numbered else "names"
    return f"pictures in {columns.picture!r} and class {kind} in {columns.label!r}"


# --- labels ------------------------------------------------------------------------------------


def _read_labels(files: list[Path], column: str) -> Any:
    """Return one split's labels as a ChunkedArray of int64 or of strings."""
    chunks = []
    for path in files:
        with _opened(path) as file:
            labels = file.read(columns=[column], use_threads=False).column(0)
            if pa.types.is_integer(_value_type(labels.type)):
                labels = labels.cast(pa.int64())
            else:
                labels = pc.utf8_normalize(labels.cast(pa.large_string()), form="NFC")
        chunks += labels.chunks
    return pa.chunked_array(chunks, None if chunks else pa.int64())


def _hidden(labels: Any) -> bool:
    """Say whether a split's labels are all withheld, as those of many test splits are."""
    if labels.null_count == len(labels):
        return True
    return bool(pa.types.is_integer(labels.type) and pc.all(pc.equal(labels, HIDDEN)).as_py())


def _check_present(root: Path, split: SplitName, column: str, labels: Any) -> None:
    if len(labels) == 0:
        raise UserError(f"the {split} split of {root} has no rows")
    missing = labels.is_null()
    if pa.types.is_integer(labels.type):
        missing = pc.or_kleene(missing, pc.less(labels, 0))
    rows = np.flatnonzero(missing.to_numpy())
    if len(rows):
        raise UserError(
            f"{len(rows)} of {len(labels)} rows of the {split} split of {root} have no label",
            f"the column {column!r} holds nothing or {HIDDEN} there, first in row {rows[0]}",
            "remove these rows",
        )


def _classes_in(root: Path, column: str, labels: Any) -> tuple[str, ...]:
    """Take the classes from the training labels: the names in natural order, or "0" to the highest number."""
    if not pa.types.is_integer(labels.type):
        return tuple(sorted(pc.unique(labels).to_pylist(), key=natural_key))
    highest = pc.max(labels).as_py()
    if highest >= len(labels):
        raise UserError(
            f"the column {column!r} of {root} does not hold class numbers",
            f"it goes up to {highest} in {len(labels)} rows",
            "number the classes from 0, or store their names",
        )
    return tuple(str(number) for number in range(highest + 1))


def _numbers(root: Path, split: SplitName, labels: Any, classes: Sequence[str]) -> NDArray[np.int64]:
    """Turn a split's labels into (N,) class numbers."""
    if not pa.types.is_integer(labels.type):
        if unknown := sorted(set(pc.unique(labels).to_pylist()) - set(classes), key=natural_key):
            raise UserError(
                f"the {split} split of {root} has classes that the training split has not",
                listed(unknown),
                "a class must occur in training",
            )
        labels = pc.index_in(labels, pa.array(classes, pa.large_string()))
    numbers: NDArray[np.int64] = labels.to_numpy().astype(np.int64)
    if numbers.max() >= len(classes):
        raise UserError(
            f"the {split} split of {root} has the label {numbers.max()}",
            f"training has {len(classes)} classes, numbered from 0",
        )
    return numbers
