"""Some pictures of a data set, as a folder that an ordinary run reads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.data.decode import as_file
from residuum.data.rng import order
from residuum.files import replacing

ROWS = 1000
"""In each row group, which is what a reader holds at a time."""


@dataclass(frozen=True)
class Rows:
    """Rows of the training pictures of the other half; `few` are among `many`, and none of them is `held` out."""

    few: NDArray[np.int64]
    many: NDArray[np.int64]
    held: NDArray[np.int64]


def rows_of(data: ImageData, classes: Sequence[str], amounts: tuple[int, int, int], seed: int) -> Rows:
    """Draw training pictures of each class by chance: few, many (the few among them), and others held out.

    A class with fewer pictures than asked for gives a third of them to be held out, and all others to the many.
    """
    few, many, held = (list[NDArray[np.int64]]() for _ in range(3))
    for name in classes:
        number = list(data.classes).index(name)
        present = np.flatnonzero(data.train.labels == number)
        drawn = present[order(seed, number, len(present))]
        aside = min(amounts[2], len(drawn) // 3)
        held.append(drawn[:aside])
        many.append(drawn[aside : aside + amounts[1]])
        few.append(many[-1][: amounts[0]])
    return Rows(*(np.sort(np.concatenate(parts)) for parts in (few, many, held)))


def folder_of_classes(data: ImageData, classes: Sequence[str], below: Path) -> Path:
    """Return a folder below `below` with the training pictures of these classes, written unless it is there.

    It holds train.parquet with each picture's file as it was (pixels without a file: as PNG, which loses nothing) and
    its class by name. The folder is named by data set and classes, so that each is written once.
    """
    deciding = "\n".join([fingerprint(data), *classes])
    numbers = [list(data.classes).index(name) for name in classes]
    rows = np.flatnonzero(np.isin(data.train.labels, numbers))
    return _folder_of(data, {"train": rows}, below, deciding.encode())


def folder_of_rows(data: ImageData, splits: Mapping[SplitName, NDArray[np.int64]], below: Path) -> Path:
    """Return a folder below `below` with these rows of the training pictures as its splits, as `folder_of_classes`."""
    deciding = [fingerprint(data).encode(), *(name.encode() + rows.tobytes() for name, rows in splits.items())]
    return _folder_of(data, splits, below, b"\n".join(deciding))


def _folder_of(data: ImageData, splits: Mapping[SplitName, NDArray[np.int64]], below: Path, deciding: bytes) -> Path:
    folder = below / f"{data.name}-{hashlib.sha256(deciding).hexdigest()[:12]}"
    for name, rows in splits.items():
        if not (folder / f"{name}.parquet").is_file():
            _write(data, rows, folder / f"{name}.parquet")
    return folder


def _write(data: ImageData, rows: NDArray[np.int64], file: Path) -> None:
    schema = pa.schema({"image": pa.binary(), "label": pa.string()})
    with replacing(file) as whole, pq.ParquetWriter(whole, schema) as writer:
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            pictures = [as_file(data.train.pictures.encoded(int(row))) for row in some]
            names = [data.classes[number] for number in data.train.labels[some]]
            writer.write_table(pa.table({"image": pictures, "label": names}, schema))
