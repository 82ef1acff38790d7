"""Pictures to try: a few of a run's own, of those it was not trained on where there are such."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from residuum.data.class_names import numbered_as
from residuum.data.contract import ColumnNames
from residuum.data.decode import decode
from residuum.data.open import open_data
from residuum.errors import UserError
from residuum.prediction.predictor import Predictor

SIDE = 512
"""Longest side, in pixels."""


class Picture(NamedTuple):
    """A picture as a file: what a person calls it, its content, and its type."""

    name: str
    content: bytes
    kind: str


def examples_of(predictor: Predictor, count: int) -> tuple[Picture, ...]:
    """Return up to `count` pictures, of as many classes as there are; none where the run's data are not at hand."""
    trained_with = predictor.about.data
    if not count or trained_with is None:
        return ()
    columns = ColumnNames.of(predictor.about.settings)
    try:
        data = numbered_as(open_data(trained_with.source, False, columns=columns, recorded=True), predictor.classes)
        split = data.test or data.validation or data.train
        turns = np.empty(len(split), np.int64)
        for label in np.unique(split.labels):
            rows = np.flatnonzero(split.labels == label)
            turns[rows] = np.arange(len(rows))
        rows = np.lexsort((split.labels, turns))[:count]  # the first of each class, then the second
        greys = predictor.model.view.greys
        return tuple(_file(split.pictures.encoded(i), data.classes[split.labels[i]], greys) for i in rows.tolist())
    except UserError:
        return ()


def _file(encoded: bytes | np.ndarray, name: str, greys: tuple[int, int] | None) -> Picture:
    image = Image.fromarray(decode(encoded, name, span=greys))
    image.thumbnail((SIDE, SIDE))
    file, small = io.BytesIO(), max(image.size) <= 128
    image.save(file, "PNG" if small else "JPEG", quality=90)
    return Picture(name, file.getvalue(), "image/png" if small else "image/jpeg")
