"""The difference between two values of a setting, all others alike, and whether it is more than the luck of seeds.

Where both have the same seeds, the differences are taken seed by seed (Student's t), else Welch's t (1947) has both
spreads. Of many comparisons some look clear by luck: Holm (1979) keeps the chance that any is called so at 5 %.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, stdev, variance
from typing import NamedTuple

from msgspec.structs import replace

from residuum.records.sweep import Difference

SURE = 0.95


class Seen(NamedTuple):
    """A combination's figures in per cent, by seed."""

    values: Mapping[str, str]
    by_seed: Mapping[int, float]


def differences(over: Mapping[str, Sequence[str]], found: Sequence[Seen]) -> tuple[Difference, ...]:
    """Return that of each two values of each setting: the later less the earlier, in points."""
    made = []
    for setting, values in over.items():
        by_rest: dict[tuple[tuple[str, str], ...], dict[str, Seen]] = {}
        for one in found:
            if one.by_seed:
                rest = tuple((name, value) for name, value in one.values.items() if name != setting)
                by_rest.setdefault(rest, {})[one.values[setting]] = one
        for rest, there in by_rest.items():
            for earlier, later in combinations([value for value in values if value in there], 2):
                made.append(_difference(setting, there[later], there[earlier], dict(rest)))
    corrected = holm([one.p for one in made])
    return tuple(replace(one, holm=p) for one, p in zip(made, corrected, strict=True))


def _difference(setting: str, one: Seen, other: Seen, alike: dict[str, str]) -> Difference:
    paired = one.by_seed.keys() == other.by_seed.keys()
    gap, error, freedom = (_paired if paired else _welch)(one.by_seed, other.by_seed)
    interval, p = _judged(gap, error, freedom)
    return Difference(
        setting=setting,
        one=one.values[setting],
        other=other.values[setting],
        alike=alike,
        points=gap,
        interval=interval,
        paired=paired,
        p=p,
    )


def _paired(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float, float]:
    """Return the mean difference, its standard error (0 where there is none) and the degrees of freedom."""
    gaps = [one[seed] - other[seed] for seed in one]
    return fmean(gaps), stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0, len(gaps) - 1


def _welch(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float, float]:
    gap = fmean(one.values()) - fmean(other.values())
    if min(len(one), len(other)) < 2:
        return gap, 0.0, 0
    a, b = (variance(each.values()) / len(each) for each in (one, other))
    freedom = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1)) if a + b else 0
    return gap, math.sqrt(a + b), freedom


def _judged(gap: float, error: float, freedom: float) -> tuple[tuple[float, float] | None, float | None]:
    """Return the 95 % interval and p of no difference; None of seeds that show no spread, which say nothing of luck."""
    from scipy.special import stdtr, stdtrit  # only here: it takes a moment

    if error <= 1e-9 * max(1.0, abs(gap)):  # but for rounding
        return None, None
    half = float(stdtrit(freedom, (1 + SURE) / 2)) * error
    return (gap - half, gap + half), 2 * float(stdtr(freedom, -abs(gap) / error))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return each p as Holm's step-down method corrects it for all that were tried; None stays None."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    reached = 0.0
    for rank, (p, place) in enumerate(order):
        reached = max(reached, min(1.0, p * (len(order) - rank)))
        corrected[place] = reached
    return corrected
