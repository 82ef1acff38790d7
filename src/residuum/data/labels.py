"""What the pictures show: one class each, or any number of classes each.

Letters: N pictures, K classes. `Labels` are (N,) int64 class numbers; or, of several classes a picture, (N, K) uint8,
1 where picture n shows class k. A picture of several may show none.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]

NONE = "–"
"""What is said of a picture that shows no class."""
CALLED = 0.5
"""Of several classes a picture those are answered whose probability is at least this."""

_SEPARATORS = ";|~¦‖"
"""What may stand between the labels of a picture in one text, the first that fits."""


def is_several(labels: Labels) -> bool:
    """Say whether each picture shows any number of classes."""
    return labels.ndim == 2


def counts(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return how many pictures show each class, (K,)."""
    each: NDArray[np.int64] = labels.sum(0, np.int64) if is_several(labels) else np.bincount(labels, None, num_classes)
    return each


def as_kinds(labels: Labels) -> NDArray[np.int64]:
    """Return one number a picture, (N,), so that those of a kind can be dealt out evenly: its class; of several its
    rarest, or K where it shows none."""
    if not is_several(labels):
        return labels
    rare_first = np.argsort(labels.sum(axis=0, dtype=np.int64), kind="stable")
    rarest = rare_first[labels[:, rare_first].argmax(axis=1)]
    found: NDArray[np.int64] = np.where(labels.any(axis=1), rarest, labels.shape[1])
    return found


def share_a_class(one: Labels, other: Labels) -> NDArray[np.bool_]:
    """Say of each of N pictures and each of M whether both show a class, (N, M); of several, or both none."""
    if not is_several(one):
        alike: NDArray[np.bool_] = one[:, None] == other
        return alike
    together = one.astype(np.float32) @ other.T.astype(np.float32) > 0
    neither: NDArray[np.bool_] = np.logical_not(np.logical_or.outer(one.any(axis=1), other.any(axis=1)))
    return together | neither


def as_bytes(labels: Labels) -> bytes:
    """Return labels as the same bytes on every machine."""
    return labels.tobytes() if is_several(labels) else labels.astype("<i8").tobytes()


def shown_by(labels: Labels, row: int) -> list[int]:
    """Return the numbers of the classes that a picture shows."""
    return np.flatnonzero(labels[row]).tolist() if is_several(labels) else [int(labels[row])]


def told(labels: Labels, row: int, classes: Sequence[str]) -> str:
    """Say which classes a picture shows: "ants", or "ants, flower"; NONE where it shows none."""
    return joined(classes[k] for k in shown_by(labels, row))


def joined(names: Any) -> str:
    """Say several classes as one text."""
    return ", ".join(names) or NONE


def separator_of(classes: Sequence[str], told: str | None) -> str:
    """Return what stands between labels where they are one text: what a table told, else the first mark of some, unless
    a class has it in its name."""
    marks = chain(filter(None, [told]), _SEPARATORS, map(chr, range(0x2500, 0x2600)))
    return next((mark for mark in marks if not any(mark in name for name in classes)), "\n")


def answered(logits: NDArray[np.floating[Any]], *, several: bool = False) -> NDArray[np.float64]:
    """(N, K) logits to (N, K) probabilities, as models/answers.py has it for tensors."""
    if several:
        return 0.5 * (1 + np.tanh(0.5 * logits))  # type: ignore[no-any-return]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def is_right(answers: NDArray[np.floating[Any]], labels: Labels, call_from: float = CALLED) -> NDArray[np.bool_]:
    """Say of each of N pictures whether its likeliest class is what it shows, by (N, K) probabilities.

    Of several labels: one that it shows, or that it shows none and none is called, from `call_from` on. Of one class
    alone: that it is called where it is shown and nowhere else.
    """
    right: NDArray[np.bool_]
    likeliest, rows = answers.argmax(axis=1), np.arange(len(labels))
    if not is_several(labels):
        right = likeliest == labels
        return right
    called = answers[rows, likeliest] >= answers.dtype.type(call_from)
    if labels.shape[1] == 1:
        right = called == (labels[:, 0] > 0)
        return right
    right = np.where(labels.any(axis=1), labels[rows, likeliest] > 0, ~called)
    return right
