"""Probabilities as sure as they are right: one number that all logits are divided by.

Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599), eq. 9; fitted by likelihood to answers
on pictures that were not seen in fitting. The likeliest class stays the same.

Letters: N pictures, K classes.
"""

import numpy as np
from numpy.typing import NDArray

from residuum.data.labels import Labels, answered, is_several
from residuum.evaluation.metrics import SMALLEST
from residuum.evaluation.several_labels import NEARLY_SURE
from residuum.evaluation.shares import Probabilities

SPREAD = 0.5
"""Standard deviation of log T before any picture was seen: a few pictures that are all right do not make T vanish."""
FURTHEST = 2.0
"""|log T| is at most this: T lies between 1/7 and 7."""


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the T at which (N, K) probabilities are likeliest for N pictures' labels, given that log T is normal.

    In u = −log T the loss falls until its slope is zero, and rises from there: bisected.
    """
    logs = _logits(probabilities) if is_several(labels) else _logs(probabilities)
    truth = labels if is_several(labels) else np.arange(probabilities.shape[1]) == labels[:, None]
    low, high = -FURTHEST, FURTHEST
    for _ in range(30):
        u = (low + high) / 2
        expected = answered(np.exp(u) * logs, several=is_several(labels))
        slope = np.exp(u) * ((expected - truth) * logs).sum() + u / SPREAD**2
        low, high = (low, u) if slope > 0 else (u, high)
    return float(np.exp(-(low + high) / 2))


def tempered(probabilities: Probabilities, temperature: float, *, several: bool = False) -> NDArray[np.float64]:
    """Return (N, K) probabilities with their logits divided by T; those that are zero stay so. `several`: of several
    labels a picture, each for itself."""
    if several:
        return answered(_logits(probabilities) / temperature, several=True)
    found = answered(_logs(probabilities) / temperature) * (probabilities > 0)
    return found / found.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def tempered_across(probabilities: Probabilities, labels: Labels, which: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N, K) probabilities, each fold's at a temperature fitted to the others'; `which` is the fold of each."""
    found = np.array(probabilities, np.float64)
    for fold in np.unique(which):
        its = which == fold
        temperature = fit_temperature(probabilities[~its], labels[~its])
        found[its] = tempered(probabilities[its], temperature, several=is_several(labels))
    return found


def _logs(probabilities: Probabilities) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))


def _logits(probabilities: Probabilities) -> NDArray[np.float64]:
    p = np.clip(probabilities.astype(np.float64), SMALLEST, NEARLY_SURE)
    return np.log(p / (1 - p))
