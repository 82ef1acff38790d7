"""Rows kept aside where a picture shows any number of classes, in the same share of each class as far as can be.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, ECML PKDD, Fig. 1): the rarest class is dealt out
first, each of its pictures to the side that lacks most of that class; what else the picture shows is counted too.
Letters: N pictures, K classes; a picture that shows none counts as of a class of its own.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MOVES = 2_000
Counts = NDArray[np.int64]


def stratified_rows(labels: NDArray[np.uint8], wanted: Callable[[Counts], Counts], seed: int) -> NDArray[np.int64]:
    """Draw rows of (N, K) labels, sorted, so that of each class nearly as many are drawn as `wanted` makes of its
    count.

    A class that a picture shows is always left with one; a class of two or more gives one, where that can be without
    taking the last of another. Chance is Philox's raw output, as in split.draw_rows.
    """
    shown = np.concatenate([labels, labels.max(1, initial=0)[:, None] == 0], 1).astype(np.int64)
    chance = np.random.Philox(key=seed).random_raw(len(labels))
    by_chance = np.argsort(chance, kind="stable")
    drawn = _dealt(shown, wanted(shown.sum(0)), by_chance, chance)
    _bring_nearer(shown, drawn, wanted(shown.sum(0)), by_chance)
    _leave_one(shown, drawn, by_chance)
    return np.flatnonzero(drawn)


def _dealt(
    shown: NDArray[np.int64], wanted: Counts, by_chance: NDArray[np.int64], chance: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Deal out the rows of (N, K) classes: say of each, (N,), whether it is drawn."""
    drawn, dealt = np.zeros(len(shown), bool), np.zeros(len(shown), bool)
    left = shown.sum(0)
    lacks = np.stack([left - wanted, wanted])  # of those left, and of those drawn
    while left.any():
        rarest = int(np.where(left > 0, left, left.max() + 1).argmin())
        rows = by_chance[(shown[by_chance, rarest] > 0) & ~dealt[by_chance]]
        for row in rows.tolist():
            classes = shown[row]
            ours, theirs = (int(side[rarest]) for side in lacks)
            if ours == theirs:
                ours, theirs = (int(side.sum()) for side in lacks)
            side = int(chance[row] & 1) if ours == theirs else int(theirs > ours)
            drawn[row] = side
            lacks[side] -= classes
        dealt[rows] = True
        left -= shown[rows].sum(0)
    return drawn


def _bring_nearer(
    shown: NDArray[np.int64], drawn: NDArray[np.bool_], wanted: Counts, by_chance: NDArray[np.int64]
) -> None:
    """Move one row at a time to the other side, while the sum of squares of what classes have too much gets less.

    Dealing comes to frequent classes last, when rarer ones have placed most of their pictures.
    """
    rows = shown[by_chance].astype(np.float32)
    sizes = (rows**2).sum(1)
    for _ in range(_MOVES):
        excess = (shown[drawn].sum(0) - wanted).astype(np.float32)
        ours = drawn[by_chance]
        change = sizes + np.where(ours, -2, 2) * (rows @ excess)
        best = int(change.argmin())
        if change[best] >= 0:
            return
        drawn[by_chance[best]] ^= True


def _leave_one(shown: NDArray[np.int64], drawn: NDArray[np.bool_], by_chance: NDArray[np.int64]) -> None:
    """Put rows back so that each class is left with one, then draw some so that each of two or more gives one."""
    for number in np.flatnonzero(shown.any(0)):
        rows = by_chance[shown[by_chance, number] > 0]
        if drawn[rows].all():
            drawn[rows[np.argmin(shown[rows].sum(1))]] = False
    for number in np.flatnonzero(shown.sum(0) > 1):
        rows = by_chance[shown[by_chance, number] > 0]
        if not drawn[rows].any():
            left = shown[~drawn].sum(0)
            spare = rows[(left - shown[rows] >= (shown[rows] > 0)).all(1)]
            drawn[spare[np.argsort(shown[spare].sum(1), kind="stable")[:1]]] = True
