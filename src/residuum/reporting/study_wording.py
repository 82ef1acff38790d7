"""How a study's figures and verdicts are written."""

import math

from residuum.records.study import Quantity, figure, with_spread
from residuum.reporting.wording import NONE, short

NO_VERDICT, ONE_NET, TINY = "no verdict", "one net", "scale tiny"
MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?", ONE_NET: NONE, TINY: NONE, NO_VERDICT: NONE}
ROUNDING = 1e-12
"""Of the largest of several values: what is smaller is a 0 that was not rounded."""
HOLDS = {True: ("✓", "yes"), False: ("✗", "no"), None: ("?", "figures do not say")}


def axis_figure(value: float) -> str:
    """Write a value on an axis, short: "0.25", "1200", "270 k"."""
    if abs(value) < 10_000:
        return f"{value:.4g}"
    return short(value) if abs(value) < 1e15 else f"{value:.3g}"


def quantity_words(one: Quantity) -> str:
    """Write its mean and spread; what leaves nothing to chance has none."""
    mean = finite(one.mean)
    return NONE if mean is None else one.bound + with_spread(mean, finite(one.spread))


def values_words(one: Quantity) -> str:
    """Write every value: "9.1, 9.2, –"; one alone as the mean, which it is, is written; "> 400" beyond a limit."""
    digits = figure if len(one.values) == 1 else "{:.6g}".format
    end = math.inf if one.limit is None else one.limit
    least = ROUNDING * max((abs(value) for value in one.values if math.isfinite(value)), default=0.0)
    values = [value if abs(value) > least or math.isnan(value) else 0.0 for value in one.values]
    shown = [f"{'> ' if value >= end else ''}{digits(value)}" if math.isfinite(value) else NONE for value in values]
    return ", ".join(shown) or NONE


def finite(value: float | None) -> float | None:
    """Return the value where it is a finite number."""
    return value if value is not None and math.isfinite(value) else None
