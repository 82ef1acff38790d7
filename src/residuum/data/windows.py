"""The order of an epoch where pictures lie in shards: each stretch of a shard is read once, and chance stays chance.

A whole shuffle reads every shard all the time. Here *blocks*, stretches of a few megabytes that are read as a whole,
are shuffled; the rows, in the order of their blocks, are cut into lanes; each lane is shuffled within windows of
bounded size; and every batch takes its share of each lane, at the same place of the batch. So the order is a function
of seed, epoch, batch size and the shards alone, and a rank, which reads a stretch of every batch, reads lanes of its
own.
Letters: N pictures, B of them in a batch, L lanes.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from residuum.choices import Shuffle
from residuum.data.contract import Pictures, Subset
from residuum.data.rng import of_order, uniform
from residuum.errors import UserError

LANES = (24, 12, 8, 6, 4, 3, 2, 1)
"""How many lanes there may be: 24 ranks, or any number that divides 24, share no block but at the ends of lanes."""
WINDOW_BYTES = 256 << 20
"""Encoded pictures that are mixed at a time, in all lanes together."""
BLOCK_BYTES = 8 << 20
"""Encoded pictures in a block, where nothing else says what is read as a whole."""


@dataclass(frozen=True)
class Blocks:
    """How N rows lie: the block of each, and how many bytes a block has."""

    of_rows: NDArray[np.int64]  # (N,)
    sizes: NDArray[np.int64]
    by_default: bool
    """Whether training takes windows where nothing was said."""


def blocks_of(pictures: Pictures) -> Blocks | None:
    """Return how the pictures lie in shards; None where they do not."""
    if isinstance(pictures, Subset):
        whole = blocks_of(pictures.whole)
        return whole and Blocks(whole.of_rows[pictures.indices], whole.sizes, whole.by_default)
    found: Blocks | None = getattr(pictures, "blocks", lambda: None)()
    return found


def stretches(sizes: NDArray[np.int64], shards: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows of `sizes` bytes, (N,), that lie one after another in their `shards`, (N,), into blocks of BLOCK_BYTES.

    Returns:
        The block of each row, (N,), and the bytes of each block.
    """
    before = np.cumsum(sizes) - sizes
    firsts = np.searchsorted(shards, shards)  # the first row of each one's shard
    keys = np.stack([shards, (before - before[firsts]) // BLOCK_BYTES], 1)
    starts = np.r_[True, (keys[1:] != keys[:-1]).any(1)]
    of_rows = np.cumsum(starts) - 1
    return of_rows, np.bincount(of_rows, sizes).astype(np.int64)


def chosen_shuffle(asked: Shuffle | None, pictures: Pictures, *, streamed: bool) -> Shuffle:
    """Return how training pictures are shuffled: as was asked, or by windows where shards are streamed.

    Raises:
        UserError: windows were asked for, and the pictures do not lie in shards.
    """
    blocks = blocks_of(pictures)
    if asked == "windows" and blocks is None:
        what = "these pictures cannot be shuffled by windows"
        raise UserError(what, "they do not lie in shards", "leave --shuffle out, or see residuum data pack")
    return asked or ("windows" if blocks is not None and blocks.by_default and streamed else "whole")


@dataclass(frozen=True, eq=False)
class Windows:
    """A shuffle of N pictures in shards by windows."""

    of_rows: NDArray[np.int64]  # (N,): the block of each
    lanes: int
    window: int
    """Rows of a lane that are mixed at a time."""
    batch_size: int

    @staticmethod
    def of(pictures: Pictures, batch_size: int) -> "Windows":
        """Return the shuffle of pictures in shards: as many lanes as have room for a block in a window."""
        blocks = blocks_of(pictures)
        assert blocks is not None
        there, counts = np.unique(blocks.of_rows, return_counts=True)
        largest = max(1, int(blocks.sizes[there].max()))
        lanes = next((one for one in LANES if one * largest <= WINDOW_BYTES), 1)
        mean = max(1, int(blocks.sizes[there].sum() // counts.sum()))
        return Windows(blocks.of_rows, lanes, max(1, WINDOW_BYTES // (lanes * mean)), batch_size)

    @property
    def digest(self) -> str:
        """Return a SHA-256 of all that the order depends on besides seed, epoch and batch size."""
        whole = hashlib.sha256(f"2 {self.lanes} {self.window}\n".encode())
        whole.update(self.of_rows.astype("<i8").tobytes())
        return whole.hexdigest()

    def __call__(self, seed: int, epoch: int, num_pictures: int) -> NDArray[np.int64]:
        """Return the permutation of range(N) in which an epoch sees the pictures; the batches' rest comes last."""
        assert num_pictures == len(self.of_rows)
        chance = of_order(seed, epoch, num_pictures)
        blocks = uniform(seed, epoch, self.of_rows, 2)[:, 1]
        rows = np.lexsort((self.of_rows, blocks))  # stable: within a block as they lie
        whole, places = num_pictures // self.batch_size, np.arange(self.lanes + 1) * self.batch_size // self.lanes
        served = np.empty((whole, self.batch_size), np.int64)
        for first, last in pairwise(places.tolist()):  # a lane's places in each batch
            lane = rows[whole * first : whole * last]
            lane = lane[np.lexsort((chance[lane], np.arange(len(lane)) // self.window))]
            served[:, first:last] = lane.reshape(whole, last - first)
        return np.concatenate([served.reshape(-1), rows[whole * self.batch_size :]])
