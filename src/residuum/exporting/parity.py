"""Do the answers stay? An engine's answers to real pictures, held against the run's own.

Letters: N pictures, B of them in a batch, K classes.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from residuum.choices import EnginePrecision
from residuum.data.labels import CALLED, Labels, is_right
from residuum.evaluation.shares import Probabilities, proportion
from residuum.records.engines import Agreement
from residuum.records.evaluation import Measure

Answering = Callable[[NDArray[np.uint8]], Probabilities]
"""Takes pictures or views (B, H, W, 3) to probabilities (B, K)."""

LEAST_SAME: dict[EnginePrecision, float] = {"float32": 0.995, "bfloat16": 0.98, "int8": 0.97}
"""The share of answers that stay, at the least; one answer in any case may go."""
MOST_LOST = 0.005
"""So much accuracy may go at the most, where labels say what is right; one answer in any case may."""


def answers(batches: Iterable[NDArray[np.uint8]], answering: Answering) -> NDArray[np.float32]:
    """Return (N, K) probabilities of pictures that come in batches (B, H, W, 3)."""
    return np.concatenate([answering(batch) for batch in batches]).astype(np.float32)


def agreement(
    precision: EnginePrecision,
    own: Probabilities,
    found: Probabilities,
    labels: Labels | None,
    *,
    several: bool = False,
) -> Agreement:
    """Hold (N, K) answers against the run's own, and both against what the pictures show where that is known.

    `several`: of several labels a picture, an answer is a label that is called.
    """
    return Agreement(
        precision=precision,
        pictures=len(own),
        same=_same(own, found, several),
        largest=float(np.abs(own - found).max()),
        accuracy=_accuracy(found, labels),
        own_accuracy=_accuracy(own, labels),
        several=several,
    )


def _same(own: Probabilities, found: Probabilities, several: bool) -> float:
    """Return the share of answers that stay: of several labels a picture Dice's, of the labels called by the one and by
    the other, since most of the N·K answers are no either way."""
    if not several:
        return float((own.argmax(1) == found.argmax(1)).mean())
    one, other = own >= CALLED, found >= CALLED
    called = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / called if called else 1.0


def _accuracy(found: Probabilities, labels: Labels | None) -> Measure | None:
    return None if labels is None else proportion(int(is_right(found, labels).sum()), len(labels))


def refused(found: Agreement, least: float | None = None) -> str | None:
    """Return why the answers do not agree enough, in words; None if they do."""
    least = LEAST_SAME[found.precision] if least is None else least
    one = 1 / found.pictures
    if found.same < 1 - max(1 - least, one) - 1e-9:
        what = f"the labels called of {found.pictures:,} pictures" if found.several else f"{found.pictures:,} answers"
        return f"{found.same:.2%} of {what} stay, {least:.2%} is the least"
    if found.accuracy and found.own_accuracy:
        lost = found.own_accuracy.value - found.accuracy.value
        if lost > max(MOST_LOST, one) + 1e-9:
            of = "the likeliest labels that are right" if found.several else "accuracy"
            return f"{100 * lost:.2f} points of {of} are lost, {100 * MOST_LOST:g} are the most"
    return None
