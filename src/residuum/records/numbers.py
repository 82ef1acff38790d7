"""The kinds of number that files hold, NaN and infinity being none; the interval of a share; pairs compared."""

import math
import sys
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""How many."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A part of a whole, 0 to 1."""
Amount = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
"""How much: finite, not negative."""
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
"""How long a pass took."""
NORMAL_95 = 1.959963984540054  # the normal quantile at 0.975


def mcnemar(one: int, other: int) -> float:
    """Return the chance of a split at least as uneven where each was a toss-up: McNemar's test (1947), exact.

    Of the same pictures, `one` counts those that the first alone gets wrong, `other` those the second alone does.
    """
    n = one + other
    ways = sum(math.comb(n, k) for k in range(min(one, other) + 1))
    return min(1.0, 2 * ways / (1 << n))


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927); (0, 1) where nothing was tried."""
    assert 0 <= successes <= trials, (successes, trials)
    if trials == 0:
        return 0.0, 1.0
    share, z = successes / trials, NORMAL_95
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At 0 and at 1 the bound is the share itself; rounding must not put it a hair inside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
