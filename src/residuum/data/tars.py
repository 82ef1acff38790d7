"""Tar shards in webdataset's layout: 000017.jpg and beside it 000017.cls, or 000017.json with the label.

A shard is read through once for the list of what lies where, which is remembered. Letters: N pictures.
"""

import hashlib
import json
import re
import tarfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from residuum import machine
from residuum.console import say, show_progress
from residuum.data.cache import SETTLED_NS, keep_bytes, kept_bytes
from residuum.data.class_names import refuse_nothing_to_learn
from residuum.data.contract import ImageData, Split, Subset
from residuum.data.packed import PackedPictures, state_of
from residuum.data.picture_files import SUFFIXES, is_hidden, label_of, printable
from residuum.data.remote import address_of, opened_there, state_there
from residuum.data.shard_files import by_split, data_root, data_set_files, place_of, read_each, say_gaps
from residuum.data.table_labels import check_present, classes_in, numbers
from residuum.data.table_labels import is_hidden as is_withheld
from residuum.errors import UserError

CLASSES = "classes.txt"
"""Beside the shards, one a line: what the classes 0, 1, 2, … are called."""
_LABELS = ("label", "cls", "class", "class_name")
"""Where a .json says it."""
_LONGEST = 1 << 20
"""Bytes of a .cls or .json that are read."""
_PADDING = 1 << 20
"""Zeros that may follow the last file."""


class Listed(msgspec.Struct, frozen=True):
    """What one shard holds: for each picture its name, where its bytes are, and its label; "" where there is none."""

    names: list[str]
    offsets: list[int]
    sizes: list[int]
    labels: list[str]


def open_tars(path: str | Path, *, judging: bool = False) -> ImageData:
    """Open tar shards, train-000000.tar or train/….tar, validation and test likewise.

    A label is a number, or the class's name; numbers have their names in `classes.txt`, if there is one. `judging`
    as in open_parquet.

    Raises:
        UserError: there is no such folder, or its shards are not such a data set; all that are broken are named.
    """
    root = data_root(path)
    files = data_set_files(root, ".tar")
    say_gaps(files)
    progress, done = show_progress("reading what lies where in the shards, once"), iter(range(1, len(files) + 1))

    def read(file: Path) -> tuple[str, Listed]:
        found = _listed(place_of(file))
        progress(next(done), len(files))
        return found

    lists = dict(zip(files, read_each(files, read), strict=True))
    splits = {split: _split(those, lists) for split, those in by_split(root, files).items()}
    if "train" not in splits and not judging:
        raise UserError(f"{place_of(root)} has no training split", "", "call its files train-….tar")
    for withheld in [split for split, (_, labels) in splits.items() if split != "train" and is_withheld(labels)]:
        say(f"note: the {withheld} split of {place_of(root)} has no labels: it is passed over")
        del splits[withheld]
    if not splits:
        raise UserError(f"{place_of(root)} has no labels to judge by", "", "residuum predict answers pictures without")
    return _numbered(root, label_of(path), splits, judging=judging)


class _Rows(NamedTuple):
    pictures: PackedPictures
    labels: Any


def _numbered(root: Path, name: str, splits: dict[Any, _Rows], *, judging: bool) -> ImageData:
    for split, (pictures, labels) in splits.items():
        check_present(root, split, ".cls", labels, pictures.name)
    named = _class_names(root)
    known = [labels for split, (_, labels) in splits.items() if judging or split == "train"]
    classes = named or classes_in(root, ".cls", known)
    found = {
        split: Split(pictures, numbers(root, split, labels, classes, named=bool(named)))
        for split, (pictures, labels) in splits.items()
    }
    if not judging:
        refuse_nothing_to_learn(root, classes, found["train"].labels)
    nothing = Split(Subset(next(iter(found.values())).pictures, np.empty(0, np.int64)), np.empty(0, np.int64))
    return ImageData.of(name, place_of(root), list(classes), {"train": nothing, **found})


def _split(files: Sequence[Path], lists: dict[Path, tuple[str, Listed]]) -> _Rows:
    those = [lists[file][1] for file in files]
    counts = [len(one.names) for one in those]
    labels = [label or None for one in those for label in one.labels]
    if all(label is None or label.isdecimal() for label in labels):
        column = pa.chunked_array([pa.array([None if one is None else int(one) for one in labels], pa.int64())])
    else:
        column = pa.chunked_array([pa.array(labels, pa.large_string())])
    pictures = PackedPictures(
        [place_of(file) for file in files],
        [lists[file][0] for file in files],
        np.repeat(np.arange(len(files)), counts),
        _joined([one.offsets for one in those]),
        _joined([one.sizes for one in those]),
        [name for one in those for name in one.names],
        in_windows=True,
    )
    return _Rows(pictures, column)


def _joined(each: Sequence[list[int]]) -> NDArray[np.int64]:
    return np.concatenate([np.array(one, np.int64) for one in each])


def _class_names(root: Path) -> tuple[str, ...] | None:
    try:
        if address := address_of(root / CLASSES):
            with opened_there(address) as file:
                text = file.read(_LONGEST).decode()
        else:
            text = (root / CLASSES).read_text(encoding="utf-8")
    except (OSError, UserError):  # most have none
        return None
    except ValueError as error:
        raise UserError(f"{root / CLASSES} is no text in UTF-8", str(error), "one class's name a line") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip()) or None


# --- one shard -----------------------------------------------------------------------------------


def _listed(place: str) -> tuple[str, Listed]:
    """Return a shard's state and what it holds, remembered while it stays as it is (UserError: it is broken)."""
    is_there = address_of(place) is not None
    state = state_there(place) if is_there else state_of(place)
    key = hashlib.sha256(f"1 {place}\0{state}".encode(errors="surrogateescape")).hexdigest()
    memo = machine.cache_folder() / "shards" / f"{key}.msgpack"
    try:
        return state, msgspec.msgpack.decode(kept_bytes(memo), type=Listed)
    except (OSError, ValueError):  # not there, or damaged
        found = _read(place)
        if is_there or time.time_ns() - Path(place).stat().st_mtime_ns > SETTLED_NS:
            keep_bytes(memo, msgspec.msgpack.encode(found))
        return state, found


def _read(place: str) -> Listed:
    found = Listed([], [], [], [])
    try:
        with opened_there(place) if address_of(place) else Path(place).open("rb") as file:
            with tarfile.open(fileobj=file, mode="r:") as shard:
                for key, members in groupby(_files(shard), key=lambda one: one[0]):
                    _add(found, place, key, {kind: member for _, kind, member in members}, shard)
                end = shard.offset
            _check_end(file, end)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise _broken(place, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return found


def _files(shard: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yield a shard's files: what its sample is called, the kind of file, and where it is."""
    for member in shard:
        match = re.fullmatch(r"((?:.*/)?[^./][^/.]*)\.([^/]*)", member.name)
        if member.isdir() or match is None or is_hidden(match[1].rpartition("/")[2]):
            continue
        if not member.isreg():
            raise tarfile.ReadError(f"{member.name} is a link, not the file itself")
        yield match[1], match[2].lower(), member
        shard.members.clear()  # type: ignore[attr-defined]  # they would fill memory


def _add(found: Listed, place: str, key: str, members: dict[str, tarfile.TarInfo], shard: tarfile.TarFile) -> None:
    pictures = [kind for kind in members if f".{kind}" in SUFFIXES]
    if len(pictures) > 1:
        raise tarfile.ReadError(f"the sample {key} has several pictures: {', '.join(pictures)}")
    if not pictures:
        return
    picture = members[pictures[0]]
    found.names.append(printable(picture.name))
    found.offsets.append(picture.offset_data)
    found.sizes.append(picture.size)
    found.labels.append(_label(place, members, shard))


def _label(place: str, members: dict[str, tarfile.TarInfo], shard: tarfile.TarFile) -> str:
    kind = next((kind for kind in ("cls", "json") if kind in members), None)
    if kind is None:
        return ""
    content = shard.extractfile(members[kind])
    assert content is not None
    text = content.read(_LONGEST).decode().strip()
    if kind == "cls":
        return text
    said = json.loads(text)
    label = next((said[name] for name in _LABELS if isinstance(said, dict) and name in said), "")
    if isinstance(label, list):
        raise UserError(
            f"the shard {place} holds several labels a picture",
            f"the first is {members[kind].name}",
            "in tar shards one is read; several are read from Parquet files, or a CSV table beside the pictures",
        )
    return str(label)


def _check_end(file: Any, end: int) -> None:
    """Refuse a shard that was not written to its end, or of which a header in the middle is damaged: tarfile says
    nothing of either."""
    file.seek(end)
    rest = file.read(1024)
    if any(rest[:512]):
        raise tarfile.ReadError(f"what follows byte {end:,} is damaged")
    if file.seek(0, 2) - end > _PADDING:
        raise tarfile.ReadError(f"zeros at byte {end:,} end it, long before the file does")
    if len(rest) < 512:
        raise tarfile.ReadError("its end is missing: it was not written whole")


def _broken(place: str, why: str) -> UserError:
    return UserError(f"the shard {place} is broken", why, "fetch or write it again; an archive of folders: unpack it")
