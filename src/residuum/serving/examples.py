"""Pictures to try: a few of a run's own, of those it was not trained on where there are such."""

import io
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import NamedTuple

import numpy as np
from PIL import Image

from residuum.data.class_names import numbered_as
from residuum.data.contract import ColumnNames
from residuum.data.decode import decode
from residuum.data.labels import Labels, is_several, told
from residuum.data.open import open_data
from residuum.data.resize import resized
from residuum.errors import UserError
from residuum.prediction.predictor import Predictor
from residuum.records.model import View


class Picture(NamedTuple):
    """A picture as a PNG: what a person calls it, and its content."""

    name: str
    content: bytes


def examples_of(predictor: Predictor, count: int) -> tuple[Picture, ...]:
    """Return up to `count` pictures, of as many classes as there are; none where the run's data are not at hand.

    They are as small as the net resizes them, and its answers the same.
    """
    trained_with = predictor.about.data
    if not count or trained_with is None:
        return ()
    columns = ColumnNames.of(predictor.about.settings)
    try:
        data = numbered_as(open_data(trained_with.source, False, columns=columns, recorded=True), predictor.classes)
        split = data.test or data.validation or data.train
        rows = islice(_of_each_class(split.labels), count)
        view = predictor.model.view
        return tuple(_file(split.pictures.encoded(i), told(split.labels, i, data.classes), view) for i in rows)
    except UserError:
        return ()


def _of_each_class(labels: Labels) -> Iterator[int]:
    """Yield the rows that show a class, each once: the first of each class, then the second, and so on."""
    if not is_several(labels):
        turns = np.empty(len(labels), np.int64)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            turns[rows] = np.arange(len(rows))
        yield from np.lexsort((labels, turns)).tolist()
        return
    seen = set[int]()
    for turn in zip_longest(*(np.flatnonzero(of_class).tolist() for of_class in labels.T)):
        fresh = [row for row in dict.fromkeys(turn) if row is not None and row not in seen]
        seen.update(fresh)
        yield from fresh


def _file(encoded: bytes | np.ndarray, name: str, view: View) -> Picture:
    pixels, file = decode(encoded, name, span=view.greys), io.BytesIO()
    Image.fromarray(resized(pixels, view.resize_to, name, view.interpolation)).save(file, "PNG")
    return Picture(name, file.getvalue())
