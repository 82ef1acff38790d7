"""Pictures to try: a few of a run's own, of those it was not trained on where there are such."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from residuum.data.class_names import numbered_as
from residuum.data.contract import ColumnNames
from residuum.data.decode import decode, resized
from residuum.data.labels import as_kinds, told
from residuum.data.open import open_data
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
        turns, kinds = np.empty(len(split), np.int64), as_kinds(split.labels)
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            turns[rows] = np.arange(len(rows))
        rows = np.lexsort((kinds, turns))[:count]  # the first of each class, then the second
        view, labels = predictor.model.view, split.labels
        return tuple(_file(split.pictures.encoded(i), told(labels, i, data.classes), view) for i in rows.tolist())
    except UserError:
        return ()


def _file(encoded: bytes | np.ndarray, name: str, view: View) -> Picture:
    pixels, file = decode(encoded, name, span=view.greys), io.BytesIO()
    Image.fromarray(resized(pixels, view.resize_to, name, view.interpolation)).save(file, "PNG")
    return Picture(name, file.getvalue())
