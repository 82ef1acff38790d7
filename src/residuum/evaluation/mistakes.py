"""The mistakes a model is surest of, with a thumbnail of each: the first thing to look at.

Letters: N images, K classes, H and W an image's height and width.
"""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residuum.data.labels import CALLED, Labels, is_several, told
from residuum.records.evaluation import Mistake
from residuum.records.explained import Heat

LONG_SIDE = 96
MOST = 48
"""Mistakes that are kept."""


def most_confident_mistakes(
    probabilities: NDArray[np.floating[Any]],
    labels: Labels,
    classes: Sequence[str],
    name_of: Callable[[int], str],
    pixels_of: Callable[[int], NDArray[np.uint8]],
    heat_of: Callable[[Sequence[int], NDArray[np.int64]], Sequence[Heat | None]] = lambda rows, _: [None] * len(rows),
    *,
    limit: int = MOST,
) -> list[Mistake]:
    """Return up to `limit` wrong answers, the most confident first, equals in the order of the images.

    `probabilities` are (N, K), float32 or float64, `labels` N pictures' (data/labels.py); of several labels a picture
    the wrong answer it is surest of counts, and is what the map is of. `name_of` says what a person calls
    image i, `pixels_of` gives it as (H, W, 3) uint8, and `heat_of` maps of several for as many class numbers; they are
    asked only for the images returned.
    """
    assert probabilities.shape == (len(labels), len(classes)), probabilities.shape
    assert limit >= 0, limit
    called = probabilities >= CALLED if is_several(labels) else None
    answered, confidence, is_wrong = _answers(probabilities, labels)
    wrong = np.flatnonzero(is_wrong)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    rows = surest.tolist()
    return [
        Mistake(
            name=name_of(i),
            truth=told(labels, i, classes),
            predicted=told(answered if called is None else called, i, classes),
            confidence=float(confidence[i]),
            about=None if called is None else classes[answered[i]],
            missed=called is not None and not called[i, answered[i]],
            thumbnail=thumbnail(pixels_of(i)),
            heat=heat,
        )
        for i, heat in zip(rows, heat_of(rows, answered[surest]), strict=True)
    ]


def _answers(
    probabilities: NDArray[np.floating[Any]], labels: Labels
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Return the class number that each answer, (N,), is looked at for, how sure it is, and whether it is wrong."""
    if not is_several(labels):
        answered = probabilities.argmax(axis=1)
        return answered, probabilities.max(axis=1), answered != labels
    wrong = (probabilities >= CALLED) != labels
    sure = np.where(wrong, np.maximum(probabilities, 1 - probabilities), 0)
    return sure.argmax(axis=1), sure.max(axis=1), wrong.any(axis=1)


def thumbnail(pixels: NDArray[np.uint8], long_side: int = LONG_SIDE) -> str:
    """Return (H, W, 3) pixels as a PNG data URI, at most so many pixels on the long side, never enlarged."""
    assert pixels.dtype == np.uint8, pixels.dtype
    assert pixels.ndim == 3, pixels.shape
    assert pixels.shape[2] == 3, pixels.shape
    image = Image.fromarray(pixels)
    image.thumbnail((long_side, long_side))
    return as_uri(image)


def as_uri(image: Image.Image) -> str:
    """Return a picture as a PNG data URI."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
