"""What the pictures show: one class each, or any number of classes each.

Letters: N pictures, K classes. `Labels` are (N,) int64 class numbers; or, of several classes a picture, (N, K) uint8,
1 where picture n shows class k. A picture of several may show none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]

CALLED = 0.5
"""Of several classes a picture those are answered whose probability is at least this."""


def is_several(labels: Labels) -> bool:
    """Say whether each picture shows any number of classes."""
    return labels.ndim == 2


def counts(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return how many pictures show each class, (K,)."""
    each: NDArray[np.int64] = labels.sum(0, np.int64) if is_several(labels) else np.bincount(labels, None, num_classes)
    return each


def as_bytes(labels: Labels) -> bytes:
    """Return labels as the same bytes on every machine."""
    return labels.tobytes() if is_several(labels) else labels.astype("<i8").tobytes()


def shown_by(labels: Labels, row: int) -> list[int]:
    """Return the numbers of the classes that a picture shows."""
    return np.flatnonzero(labels[row]).tolist() if is_several(labels) else [int(labels[row])]


def told(labels: Labels, row: int, classes: Sequence[str]) -> str:
    """Say which classes a picture shows: "ants", or "ants, flower"; "–" where it shows none."""
    return joined(classes[k] for k in shown_by(labels, row))


def joined(names: Any) -> str:
    """Say several classes as one text."""
    return ", ".join(names) or "–"


def is_right(answers: NDArray[np.floating[Any]], labels: Labels) -> NDArray[np.bool_]:
    """Say of each picture, (N,), whether its likeliest class is what it shows, or one of those it shows."""
    likeliest = answers.argmax(axis=1)
    right: NDArray[np.bool_] = (
        likeliest == labels if labels.ndim == 1 else labels[np.arange(len(labels)), likeliest] > 0
    )
    return right
