"""Which pictures of a step each of several processes reads: plain arithmetic, from the rank alone.

What a step sees is decided once, for all of them: the epoch's order, cut into batches of B. A rank reads one stretch of
the batch, so that any number of ranks sees the same pictures in each step, and twice as many read halves of those.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def share(count: int, rank: int, ranks: int) -> slice:
    """Return the stretch of `count` things that is rank `rank`'s, from 0: together all, once; none is longer by two."""
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def rows_of_rank(
    order: NDArray[np.int64], batch_size: int, step: int, rank: int = 0, ranks: int = 1
) -> NDArray[np.int64]:
    """Return the rows that a rank reads in step `step` of an epoch, from 0; `order` (N,) is the whole epoch's.

    Its order is a function of seed and epoch (rng.order; sources in shards have their own), never of the rank.
    """
    batch = order[step * batch_size : (step + 1) * batch_size]
    return batch[share(len(batch), rank, ranks)]


def parts(rows: NDArray[np.int64], count: int) -> Sequence[NDArray[np.int64]]:
    """Cut a rank's rows into `count` parts, none longer than another by two, in their order."""
    return [rows[share(len(rows), part, count)] for part in range(count)]
