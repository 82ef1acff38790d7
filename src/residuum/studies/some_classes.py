"""The pictures of some classes of a data set, as a folder that an ordinary run reads."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.files import replacing

ROWS = 1000
"""In each row group, which is what a reader holds at a time."""


def folder_of_classes(data: ImageData, classes: Sequence[str], below: Path) -> Path:
    """Return a folder below `below` with the training pictures of these classes, written unless it is there.

    It holds train.parquet with each picture's file as it was (pixels without a file: as PNG, which loses nothing) and
    its class by name. The folder is named by data set and classes, so that each is written once.
    """
    deciding = "\n".join([fingerprint(data), *classes])
    folder = below / f"{data.name}-{hashlib.sha256(deciding.encode()).hexdigest()[:12]}"
    file = folder / "train.parquet"
    if file.is_file():
        return folder
    numbers = [list(data.classes).index(name) for name in classes]
    rows = np.flatnonzero(np.isin(data.train.labels, numbers))
    schema = pa.schema({"image": pa.binary(), "label": pa.string()})
    with replacing(file) as whole, pq.ParquetWriter(whole, schema) as writer:
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            pictures = [_file_of(data.train.pictures.encoded(int(row))) for row in some]
            names = [data.classes[number] for number in data.train.labels[some]]
            writer.write_table(pa.table({"image": pictures, "label": names}, schema))
    return folder


def _file_of(encoded: bytes | NDArray[np.uint8]) -> bytes:
    if isinstance(encoded, bytes):
        return encoded
    file = io.BytesIO()
    Image.fromarray(encoded).save(file, "PNG")
    return file.getvalue()
