"""Chance that can be looked up: every draw is a function of (seed, epoch, sample), of nothing else.

So workers, device count, interruptions and library versions cannot change what a run sees.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor  # which takes over a second to load: a process that reads pictures needs none of it

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniform(seed: int, epoch: int, samples: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
    """Return (B, draws) numbers in [0, 1) for the B `samples`.

    SplitMix64 (Steele et al. 2014, OOPSLA, Fig. 15) as a hash of the four counters.
    """
    with np.errstate(over="ignore"):  # wrapping round is what a hash does
        each = _mix(_key(seed, epoch) ^ _mix(samples.astype(np.uint64) + _GOLDEN))
        bits = _mix(each[:, None] + _GOLDEN * np.arange(1, draws + 1, dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Return a permutation of range(num_samples): the samples by their first draws.

    What takes these draws for something else too must not meet samples in this order: augmentation does, see `whole`.
    """
    return np.argsort(uniform(seed, epoch, np.arange(num_samples), 1)[:, 0], kind="stable")


def whole(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Return the permutation of range(num_samples) in which an epoch sees the samples, by draws of its own.

    By the first draw of n itself, as version 0.1 had it, neighbours would be augmented alike.
    """
    return np.argsort(of_order(seed, epoch, num_samples), kind="stable")


def of_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.float64]:
    """Return (N,) numbers in [0, 1) to order the samples by, which nothing else takes: those of sample -1 - n."""
    return uniform(seed, epoch, -1 - np.arange(num_samples), 1)[:, 0]


def repeated(rows: NDArray[np.int64], times: int, num_samples: int) -> NDArray[np.int64]:
    """Return the rows of N samples `times` times, one after another: row r + kN is sample r with chance of its own."""
    return (rows + num_samples * np.arange(times)[:, None]).reshape(-1)


def uniform_there(seed: int, epoch: int, samples: "Tensor", draws: int) -> "Tensor":
    """Return what `uniform` does, to the bit, computed where the (B,) `samples`, int64, lie: (B, draws) float64.

    Torch has few operations on uint64; int64 wraps round to the same bits.
    """
    import torch

    golden, key = _signed(int(_GOLDEN)), int(_key(seed, epoch).view(np.int64)[0])
    each = _mix_there(_mix_there(samples + golden) ^ key)
    bits = _mix_there(each[:, None] + torch.arange(1, draws + 1, device=samples.device) * golden)
    return _right(bits, 11).double() * 2.0**-53


def _key(seed: int, epoch: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return _mix(_mix(np.array([seed], np.uint64) + _GOLDEN) + np.array([epoch], np.uint64) + _GOLDEN)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def _mix_there(z: "Tensor") -> "Tensor":
    z = (z ^ _right(z, 30)) * _signed(int(_FIRST))
    z = (z ^ _right(z, 27)) * _signed(int(_SECOND))
    return z ^ _right(z, 31)


def _right(z: "Tensor", places: int) -> "Tensor":
    """Shift as unsigned numbers are."""
    return (z >> places).bitwise_and(2 ** (64 - places) - 1)


def _signed(number: int) -> int:
    """Return the int64 of the same bits."""
    return number - 2**64 if number >= 2**63 else number
