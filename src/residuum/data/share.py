"""Which pictures each step of a run sees, and which of them each of several processes reads: plain arithmetic.

What a step sees is decided once, for all of them: the epoch's order, cut into batches of B. A rank reads one stretch of
the batch, so that any number of ranks sees the same pictures in each step, and twice as many read halves of those.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from residuum.data.rng import repeated, whole

Plan = Sequence[tuple[int, NDArray[np.int64]]]
"""For each step, the epoch it belongs to and the rows of its pictures."""


EpochOrder = Callable[[int, int, int], NDArray[np.int64]]
"""Seed, epoch and N to the order in which that epoch sees the N pictures, whatever the rank; hashable."""


def share(count: int, rank: int, ranks: int) -> slice:
    """Return the stretch of `count` things that is rank `rank`'s, from 0: together all, once; none is longer by two."""
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def in_pairs(count: int, rank: int, ranks: int) -> slice:
    """Return a rank's stretch of a step of `count` pictures: as `share`, but it begins at an even place, for neighbours
    may be mixed with each other (mixing.py)."""
    pairs = share((count + 1) // 2, rank, ranks)
    return slice(2 * pairs.start, min(2 * pairs.stop, count))


def one_pass(num_pictures: int, batch_size: int, rank: int = 0, ranks: int = 1) -> Plan:
    """Return every row once, in order; the last batch may be short. Of several ranks, each has some whole batches."""
    batches = [
        (0, np.arange(start, min(start + batch_size, num_pictures))) for start in range(0, num_pictures, batch_size)
    ]
    return batches[share(len(batches), rank, ranks)]


@dataclass(frozen=True)
class TrainingPlan(Sequence[tuple[int, NDArray[np.int64]]]):
    """Steps `start` to `stop` of a run, of each what one rank reads; the last, short batch of an epoch is dropped."""

    seed: int
    num_pictures: int
    batch_size: int
    """Pictures in a step, of all ranks together."""
    start: int
    stop: int
    rank: int = 0
    ranks: int = 1
    shuffle: EpochOrder = whole
    repeats: int = 1
    """How often each picture is in a step."""

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of full batches in one pass."""
        return self.num_pictures // self.batch_size

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[int, NDArray[np.int64]]:  # type: ignore[override]
        epoch, rows = self.whole(index)
        return epoch, rows[in_pairs(len(rows), self.rank, self.ranks)]

    def whole(self, index: int) -> tuple[int, NDArray[np.int64]]:
        """Return a step's epoch and the rows of all ranks, in their order."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        epoch, place = divmod(self.start + index, self.steps_per_epoch)
        rows = _order(self.shuffle, self.seed, epoch, self.num_pictures)
        pictures = distinct(self.batch_size, self.repeats)
        once = rows[place * pictures : (place + 1) * pictures]
        return epoch, repeated(once, self.repeats, self.num_pictures)[: self.batch_size]


@lru_cache(maxsize=2)  # steps served and steps prepared may lie in two epochs
def _order(shuffle: EpochOrder, seed: int, epoch: int, num_pictures: int) -> NDArray[np.int64]:
    return shuffle(seed, epoch, num_pictures)


def distinct(batch_size: int, repeats: int) -> int:
    """Return how many different pictures are in a batch where each is `repeats` times."""
    return -(-batch_size // repeats)
