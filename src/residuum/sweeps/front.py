"""The Pareto front of accuracy against cost, and what is near it.

A combination is dominated where another is at least as accurate at no higher cost, and better in one of the two
(Koopmans 1951 calls what is not "efficient"). Means alone would call luck dominance: what is dominated only within two
standard errors of the difference is near the front, not behind it.
"""

import math
from collections.abc import Sequence

from residuum.records.study import Quantity
from residuum.records.sweep import Standing

Point = tuple[float, Quantity]
"""Cost, and accuracy with its spread."""


def standings(points: Sequence[Point]) -> list[Standing]:
    """Return where each point stands, in order."""
    return [_standing(point, points) for point in points]


def _standing(point: Point, points: Sequence[Point]) -> Standing:
    better = [other for other in points if _dominates(other, point)]
    if not better:
        return "front"
    return "behind" if any(_is_beyond_luck(other[1], point[1]) for other in better) else "near"


def _dominates(one: Point, other: Point) -> bool:
    (cost, accuracy), (other_cost, other_accuracy) = one, other
    at_least = cost <= other_cost and accuracy.mean >= other_accuracy.mean
    return at_least and (cost < other_cost or accuracy.mean > other_accuracy.mean)


def _is_beyond_luck(one: Quantity, other: Quantity) -> bool:
    """Say whether the difference is above two standard errors; of a single seed nothing is known."""
    return one.mean - other.mean > 2 * math.hypot(one.standard_error, other.standard_error)
