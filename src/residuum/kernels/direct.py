"""Convolutions and the gradients of their inputs without matrix units, by products of bfloat16 pairs: see direct.cpp.

At most shapes torch's library is as fast; ours are for those at which it was slower.
"""

import torch
from torch import Tensor

from residuum.kernels.build import call_with_room

TINY_MAP, MANY, FEW = 4, 256, 16
"""On maps up to this side, in pixels, with more channels than these torch took a quarter longer; with so few, on any
map, a tenth."""


def is_faster(c_in: int, c_out: int, side: tuple[int, ...]) -> bool:
    """Say whether a convolution that gives maps of this side is faster by us."""
    return c_in == c_out == FEW or (max(side) <= TINY_MAP and max(c_in, c_out) > MANY)


def convolution(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return x, (N, C, H, W) bfloat16, channels last, convolved with a float32 weight (C', C, k, k), C' a multiple of
    16."""
    size = weight.shape[2]
    side = [(length + 2 * padding - size) // stride + 1 for length in x.shape[2:]]
    return _run(x, weight, weight.shape[0], side, stride, padding, turned=False)


def input_gradient(dy: Tensor, weight: Tensor, side: torch.Size, stride: int, padding: int) -> Tensor:
    """Return the gradient of such a convolution's input, which has this side, from its output's; C a multiple of 16."""
    return _run(dy, weight, weight.shape[1], list(side), stride, padding, turned=True)


def _run(
    x: Tensor, weight: Tensor, channels: int, side: list[int], stride: int, padding: int, *, turned: bool
) -> Tensor:
    y = torch.empty((x.shape[0], channels, *side), dtype=x.dtype, memory_format=torch.channels_last)
    batch, c_in, height, width = x.shape
    sizes = (batch, height, width, c_in, *side, channels, weight.shape[2], stride, padding, int(turned))
    call_with_room("direct", x, weight, y, sizes)
    return y
