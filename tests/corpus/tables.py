"""Parquet files in the forms in which people publish and write them, and damaged ones.

Each row's picture is of one colour and its label says which, so that a right reading is answered all right.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.case import ONE_CLASS, Case, Make, Must, done, refused
from corpus.things import COLOURS, DAMAGES, png, spoiled, text

ALL = tuple(COLOURS)
ALL_RIGHT = done('"value": 1.0')
TAKEN = {"data check": done(), "evaluate": ALL_RIGHT, "train": done()}

Change = Callable[[dict[str, Any], Path], dict[str, Any]]
"""Columns of a table, and the folder that it will lie in, to other columns."""


def columns(per_class: int = 3, start: int = 0) -> dict[str, Any]:
    """A picture and its colour's name in each row."""
    rows = [(name, start + i) for i in range(per_class) for name in ALL]
    pictures = [{"bytes": png(name, 16 + i, 17 + ALL.index(name)), "path": f"{name}-{i}.png"} for name, i in rows]
    return {"image": pictures, "label": [name for name, _ in rows]}


def written(path: Path, content: dict[str, Any], names: Sequence[str] = (), **how: Any) -> Path:
    """Write a table; class names go into the metadata as the hub writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(content)
    if names:
        features = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, **how)
    return path.parent


def changed(change: Change, names: Sequence[str] = (), **how: Any) -> Make:
    """One file of training rows, its columns changed."""

    def make(folder: Path, _: Random) -> Path:
        root = folder / "table"
        return written(root / "train-00000-of-00001.parquet", change(columns(), root), names, **how)

    return make


def _numbered(columns: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**columns, "label": [ALL.index(name) for name in columns["label"]]}


def _plain_bytes(columns: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**columns, "image": [picture["bytes"] for picture in columns["image"]]}


def _of_type(kind: Any) -> Change:
    return lambda columns, _: {**_numbered(columns, _), "label": pa.array(_numbered(columns, _)["label"], kind)}


def _renamed(**names: str) -> Change:
    return lambda columns, _: {names.get(name, name): values for name, values in columns.items()}


def _with(**more: Any) -> Change:
    return lambda columns, _: {**columns, **{name: make(len(columns["label"])) for name, make in more.items()}}


def _dictionary(columns: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**columns, "label": pa.array(columns["label"]).dictionary_encode()}


def _paths_only(nested: bool) -> Change:
    """Pictures beside the table, which has their paths alone."""

    def change(columns: dict[str, Any], root: Path) -> dict[str, Any]:
        for picture in columns["image"]:
            text(root / "images" / picture["path"], picture["bytes"])
        paths = ["images/" + picture["path"] for picture in columns["image"]]
        return {**columns, "image": [{"bytes": None, "path": path} for path in paths] if nested else paths}

    return change


def _no_text(count: int) -> Any:
    """Said to be texts, but not in UTF-8: found by fuzzing."""
    return pa.array([b"\x9c%d.png" % i for i in range(count)], pa.binary()).cast(pa.string(), safe=False)


def _split_column(columns: dict[str, Any], _: Path) -> dict[str, Any]:
    """The last third is for testing, and its pictures are unlike the rest's in size."""
    count = len(columns["label"])
    return {**columns, "split": ["train" if i < 2 * count / 3 else "test" for i in range(count)]}


def _sparse_numbers(columns: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**columns, "label": [(3, 7, 12, 20, 21, 40)[ALL.index(name)] for name in columns["label"]]}


def _labels(values: Callable[[int], Any]) -> Change:
    return lambda columns, _: {**columns, "label": [values(i) for i in range(len(columns["label"]))]}


def _first_picture(value: Any) -> Change:
    def change(columns: dict[str, Any], _: Path) -> dict[str, Any]:
        return {**columns, "image": [{"bytes": value, "path": None}, *columns["image"][1:]]}

    return change


SOUND: dict[str, Make] = {
    "names": changed(lambda columns, _: columns),
    "numbers and names": changed(_numbered, ALL),
    "bytes alone": changed(_plain_bytes),
    "small numbers": changed(_of_type(pa.int8()), ALL),
    "unsigned numbers": changed(_of_type(pa.uint16()), ALL),
    "a dictionary": changed(_dictionary),
    "img": changed(_renamed(image="img")),
    "fine_label": changed(_renamed(label="fine_label")),
    "more columns": changed(_with(id=lambda n: list(range(n)), caption=lambda n: ["x"] * n, mask=lambda n: [b"x"] * n)),
    "coarse labels too": changed(_with(coarse_label=lambda n: ["x"] * n)),
    "large groups": changed(lambda columns, _: columns, row_group_size=1000),
    "groups of one row": changed(lambda columns, _: columns, row_group_size=1),
    "gzip": changed(lambda columns, _: columns, compression="gzip"),
    "zstd": changed(lambda columns, _: columns, compression="zstd"),
    "version 1": changed(lambda columns, _: columns, version="1.0"),
    "paths beside": changed(_paths_only(nested=True)),
    "a column of paths": changed(_paths_only(nested=False)),
    "a column of splits": changed(_split_column),
}
NO_TABLE: dict[str, tuple[Make, str | tuple[str, ...]]] = {
    "no rows": (changed(lambda columns, _: {name: values[:0] for name, values in columns.items()}), "{}"),
    "no picture column": (changed(lambda columns, _: {"label": columns["label"]}), "image"),
    "no label column": (changed(lambda columns, _: {"image": columns["image"]}), "label"),
    "hidden labels": (changed(_labels(lambda i: -1)), "label"),
    "some labels hidden": (changed(_labels(lambda i: i % 6 if i else -1)), "label"),
    "labels missing": (changed(_labels(lambda i: "red" if i else None)), "label"),
    "fractions": (changed(_labels(lambda i: i / 2)), "label"),
    "not a number": (changed(_labels(lambda i: float("nan"))), "label"),
    "lists": (changed(_labels(lambda i: [i / 2, i])), "label"),
    "one class": (changed(_labels(lambda i: "red")), "class"),
    "paths to nothing": (
        changed(lambda columns, _: {**columns, "image": [{"bytes": None, "path": "gone.png"}] * len(columns["image"])}),
        "gone.png",
    ),
    "paths that are no text": (
        changed(lambda columns, _: {**columns, "image": _no_text(len(columns["image"]))}),
        "train-00000-of-00001.parquet",
    ),
    "labels that are no text": (
        changed(lambda columns, _: {**columns, "label": _no_text(len(columns["label"]))}),
        "train-00000-of-00001.parquet",
    ),
    "paths out of it": (
        changed(lambda columns, _: {**columns, "image": ["../../etc/passwd"] * len(columns["image"])}),
        ("passwd", "image"),
    ),
}


def _in_files(*names: str) -> Make:
    def make(folder: Path, _: Random) -> Path:
        for i, name in enumerate(names):
            written(folder / "table" / name, columns(3, 3 * i))
        return folder / "table"

    return make


FILES = {
    "data/ as on the hub": ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    "folders of splits": ("train/0000.parquet", "validation/0000.parquet", "test/0000.parquet"),
    "several parts": ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
    "any name": ("pictures.parquet",),
    "underscores": ("train_0.parquet", "test_0.parquet"),
}
NO_FILES = {
    "a part is missing": (("train-00000-of-00002.parquet",), "missing"),
    "test alone": (("test-00000-of-00001.parquet",), "training"),
    "two data sets": (("a/train-0.parquet", "b/train-0.parquet"), "more than one"),
    "splits and others": (("train-0.parquet", "more.parquet"), "more.parquet"),
}


def _spoiled(how: str) -> Make:
    def make(folder: Path, luck: Random) -> Path:
        path = folder / "table" / "train.parquet"
        written(path, columns())
        path.write_bytes(spoiled(path.read_bytes(), how, luck))
        return path.parent

    return make


def _content(content: bytes) -> Make:
    return lambda folder, _: text(folder / "table" / "train.parquet", content).parent


def cases() -> Iterator[Case]:
    """All of them, by name."""
    for name, make in SOUND.items():
        yield Case(f"table: {name}", make, TAKEN, ("evaluate",) if name in ("names", "paths beside") else ())
    yield Case("table: numbers with gaps", changed(_sparse_numbers), {"data check": done("40"), "train": done()})
    several = changed(_labels(lambda i: ["red", "big"] if i % 2 else []))
    yield Case("table: several labels a picture", several, {"data check": done("show no class")}, ("data check",))
    huge = changed(_labels(lambda i: 10**12 + i % 2))
    yield Case("table: huge numbers", huge, {"data check": Must((0, 2), ("label",)), "train": Must((0, 2))})
    for name, (make, word) in NO_TABLE.items():
        quick = ("data check",) if name in ("one class", "lists", "paths to nothing") else ()
        must = dict.fromkeys(("data check", "train"), refused(word))
        must |= {"data check": ONE_CLASS} if name == "one class" else {}
        yield Case(f"table: {name}", make, must, quick)
    for name, files in FILES.items():
        yield Case(f"tables: {name}", _in_files(*files), TAKEN)
    for name, (files, word) in NO_FILES.items():
        must = dict.fromkeys(("data check", "train"), refused(word))
        must |= {"data check": Must((0, 2), ("train",))} if name == "test alone" else {}
        yield Case(f"tables: {name}", _in_files(*files), must)
    for name, value in {"empty": b"", "none": None, "text": b"no picture"}.items():
        must = {"data check": Must((2, 3), ("row 0",)), "train": refused("row 0")}
        yield Case(f"a row's picture: {name}", changed(_first_picture(value)), must)
    for name, content in {"empty": b"", "text": b"a,b\n1,2", "magic alone": b"PAR1PAR1"}.items():
        yield Case(f"file: {name}", _content(content), dict.fromkeys(("data check", "train"), refused("train.parquet")))
    for i in range(10):
        how = DAMAGES[1 + i % 4]  # a bit that is flipped in a picture is the picture's matter
        must = dict.fromkeys(("data check", "train"), refused("train.parquet"))
        if how == "inserted":
            must = dict.fromkeys(must, Must((0, 2, 3)))
        yield Case(f"file: {how} {i}", _spoiled(how), must)
