"""Training in less memory: activation checkpointing. No number changes."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

Block = tuple[nn.Module, Callable[[Any], Any]]
"""A block, and what computes it: the block itself, or its piece of a plan."""


def in_turn(blocks: Sequence[Block], x: Any) -> Any:
    """Run each block on what the one before it gave."""
    for _, compute in blocks:
        x = compute(x)
    return x


def checkpointed(blocks: Sequence[Block], x: Any) -> Any:
    """Return in_turn(blocks, x), keeping the input of about √n of n blocks and computing the rest again.

    Chen et al. 2016 (arXiv 1604.06174, sec. 4). The second computation gives the same numbers, and BN counts it once.
    """
    length = round(math.sqrt(len(blocks)))
    for start in range(0, len(blocks), length):
        segment = blocks[start : start + length]
        contexts = partial(_contexts, [block for block, _ in segment])
        x = checkpoint(in_turn, segment, x, use_reentrant=False, context_fn=contexts)
    return x


def _contexts(blocks: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _running_statistics_kept(blocks)


@contextmanager
def _running_statistics_kept(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """The second computation must not move BN's running statistics a second time, and counts its batches on a copy."""
    modules = (module for block in blocks for module in block.modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, kept, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
