"""How a study's figures and verdicts are written."""

import math

from residuum.records.study import Quantity
from residuum.reporting.wording import NONE, short

NO_VERDICT, ONE_NET = "no verdict", "one net"
MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?", ONE_NET: NONE, NO_VERDICT: NONE}
HOLDS = {True: ("✓", "yes"), False: ("✗", "no"), None: ("?", "figures do not say")}


def figure(value: float | None) -> str:
    """Write a figure in four digits, a whole number below a million millions in all of its."""
    if value is None:
        return NONE
    if abs(value) < 10_000:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.4g}"


def axis_figure(value: float) -> str:
    """Write a value on an axis, short: "0.25", "1200", "270 k"."""
    if abs(value) < 10_000:
        return f"{value:.4g}"
    return short(value) if abs(value) < 1e15 else f"{value:.3g}"


def spread(mean: float | None, sd: float | None) -> str:
    """Write "73.412 ± 0.955": the mean to as many decimals as three digits of its standard deviation have."""
    if sd is None or mean is None:
        return figure(mean)
    if abs(mean) >= 10_000 or not 0.0001 <= sd < 1000:
        return f"{figure(mean)} ± {f'{sd:.3g}' if abs(sd) < 1000 else figure(sd)}"
    text = f"{sd:#.3g}".removesuffix(".")
    return f"{mean:.{len(text.partition('.')[2])}f} ± {text}"


def quantity_words(one: Quantity) -> str:
    """Write its mean and spread; what leaves nothing to chance has none."""
    return spread(finite(one.mean), None if one.exact else finite(one.sd))


def values_words(one: Quantity) -> str:
    """Write every value: "9.1, 9.2, –"."""
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else "–" for value in one.values) or NONE


def finite(value: float | None) -> float | None:
    """Return the value where it is a finite number."""
    return value if value is not None and math.isfinite(value) else None
