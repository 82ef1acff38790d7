"""Chance that can be looked up: every draw is a function of (seed, epoch, sample), of nothing else.

So workers, device count, interruptions and library versions cannot change what a run sees.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, epoch: int, samples: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
    """Return (B, draws) numbers in [0, 1) for the B `samples`.

    SplitMix64 (Steele et al. 2014, OOPSLA, Fig. 15) as a hash of the four counters.
    """
    with np.errstate(over="ignore"):  # wrapping round is what a hash does
        key = _mix(_mix(np.array([seed], np.uint64) + _GOLDEN) + np.array([epoch], np.uint64) + _GOLDEN)
        each = _mix(key ^ _mix(samples.astype(np.uint64) + _GOLDEN))
        bits = _mix(each[:, None] + _GOLDEN * np.arange(1, draws + 1, dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Return the permutation of range(num_samples) in which epoch `epoch` sees the samples."""
    numbers = uniform(seed, epoch, np.arange(num_samples), 1)[:, 0]
    return np.argsort(numbers, kind="stable")


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
