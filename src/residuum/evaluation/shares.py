"""Figures with their 95 % intervals, and the bins of calibration, from counts: plain arithmetic.

Sources: the interval of a proportion is Wilson's (1927, "Probable inference, the law of succession,
and statistical inference", JASA 22). Calibration is Guo et al. 2017, "On calibration of modern neural
networks" (arXiv 1706.04599), eq. 3. The bootstrap is Efron's (1979, Annals of Statistics 7): its
spread gives a mean of shares an interval like a proportion's (see `effective`); for ECE it is reflected (see
`reflected`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.errors import UserError
from residuum.records.evaluation import Bin, ClassFigures, Measure
from residuum.records.numbers import wilson

Probabilities = NDArray[np.floating[Any]]  # float32 or float64

BINS = 15
EDGES = np.arange(BINS + 1) / BINS
RESAMPLES = 1000


def refuse_not_finite(probabilities: Probabilities) -> None:
    """Raise UserError where an answer of (N, K) is not a finite number."""
    if broken := np.count_nonzero(~np.isfinite(probabilities).all(axis=1)):
        raise UserError(
            f"the model's answer is not a finite number for {broken} of {len(probabilities)} images",
            "its weights are damaged, or training has diverged",
            "train with a lower learning rate, or take an earlier checkpoint",
        )


def proportion(successes: Any, trials: int) -> Measure:
    """Return successes / trials with Wilson's 95 % interval; of no trials 0, within 0 to 1."""
    successes = int(successes)
    low, high = wilson(successes, trials)
    return Measure(value=successes / trials if trials else 0.0, low=low, high=high)


def judge_class(name: str, hits: int, images: int, called: int) -> ClassFigures:
    """Return the figures of a class of so many `images`, that was `called` so often, `hits` of these rightly."""
    either = images + called - hits if images else 0  # of the class or called so; that nobody asked is no miss
    J = proportion(hits, either)
    f1, low, high = (2 * bound / (1 + bound) for bound in (J.value, J.low, J.high))
    return ClassFigures(
        name=name,
        images=images,
        precision=proportion(hits, called) if called else None,
        recall=proportion(hits, images) if images else None,
        f1=Measure(value=f1, low=low, high=high) if images else None,
    )


# --- calibration ---------------------------------------------------------------------------------


def bin_of(confidence: Probabilities) -> NDArray[np.int64]:
    """Number each confidence's bin, which holds its upper edge; a float32 0.2 is 3/15, not a hair above it."""
    inner = EDGES[1:-1].astype(confidence.dtype)
    return np.searchsorted(inner, confidence, side="left").astype(np.int64)


def calibration(confidence: Probabilities, correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return the bins of (N,) answers, and how often those in each were right."""
    bins = bin_of(confidence)
    counts = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, weights=confidence, minlength=BINS)
    hits = np.bincount(bins, weights=correct, minlength=BINS)
    return tuple(
        Bin(
            low=float(EDGES[b]),
            high=float(EDGES[b + 1]),
            count=int(counts[b]),
            confidence=float(sums[b] / counts[b]) if counts[b] else None,
            accuracy=float(hits[b] / counts[b]) if counts[b] else None,
        )
        for b in range(BINS)
    )


# --- intervals of means --------------------------------------------------------------------------


def effective(value: float, resampled: NDArray[np.float64], N: int) -> Measure:
    """Return Wilson's interval of a share of as many images, N at most, as spread as the resamples do.

    The effective number of a complex survey (Korn and Graubard 1998, Survey Methodology 24; with Wilson's interval
    Franco et al. 2019, J. Survey Statistics and Methodology 7). Near 1, where few images are wrong, plain and reflected
    percentiles hold the truth two times in three (tests/test_metrics.py); of a perfect score they are a point.
    """
    spread = float(resampled.var())
    trials = min(N, value * (1 - value) / spread) if spread else N
    low, high = wilson(value * trials, trials)
    return Measure(value=value, low=low, high=high)


def reflected(value: float, resampled: NDArray[np.float64], by_chance: float = 0.0) -> Measure:
    """Return the 95 % interval whose ends lie as far from `value` as the percentiles do, on the other side.

    Resampling adds its own bias: it raises ECE. The plain percentiles take that bias twice and hardly ever hold the
    true ECE of a well-calibrated model; reflecting takes it away. The ECE itself is raised too, by what luck alone
    makes of a calibrated model's, `by_chance` at most, so the lower end is that much lower (tests/test_metrics.py).
    """
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Measure(
        value=value,
        low=float(max(0, min(value, 2 * value - high) - by_chance)),
        high=float(min(1, max(value, 2 * value - low))),
    )
