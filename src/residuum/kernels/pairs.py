"""Where a processor's products of bfloat16 pairs can be used: for which tensors, and what there is.

Matrix units (AMX) add up 16 × 16 × 32 of them at a time, AVX-512 BF16 without such units 16 × 2.
"""

from functools import cache

import torch
from torch import Tensor, nn

from residuum import machine
from residuum.kernels.build import library

BLOCK = 16
"""Channels are worked on so many at a time."""
LONGEST_RUN = 32
"""A stem's row of taps reads at most so many numbers: a row of a tile."""
WIDE = 64
"""From so many channels on the gradients of 1×1 convolutions and of stems are faster by us; of 16 they were slower."""


def applies(x: Tensor, weight: Tensor) -> bool:
    """Say whether a convolution of x by the weight is for products of pairs: bfloat16, channels last, whole blocks."""
    return (
        trains(x, weight)
        and x.shape[1] % BLOCK == 0
        and x.dtype == torch.bfloat16
        and x.is_contiguous(memory_format=torch.channels_last)
        and has_pairs()
    )


def trains(x: Tensor, weight: Tensor) -> bool:
    """Say whether a gradient is asked for of a weight that our functions read, under bfloat16 autocast."""
    return (
        weight.requires_grad
        and weight.dtype == torch.float32
        and weight.is_contiguous(memory_format=torch.channels_last)
        and weight.shape[0] % BLOCK == 0
        and x.dim() == 4
        and x.numel() > 0
        and computes_in_bfloat16(x)
    )


def square_shape(conv: nn.Conv2d, x: Tensor) -> tuple[int, int, int] | None:
    """Return (taps, stride, padding), each the same both ways, of a convolution that is nothing else: no bias, groups,
    dilation or other padding than zeros, no picture smaller than the filter, and no stride that leaves one column:
    torch's part of it would be wrong (models/layers.py, Strided). None for any other."""
    is_plain = conv.bias is None and conv.groups == 1 and conv.dilation == (1, 1)
    if not (is_plain and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple)):
        return None
    (size, *_), (stride, *_), (padding, *_) = conv.kernel_size, conv.stride, conv.padding
    if (conv.kernel_size, conv.stride, conv.padding) != ((size, size), (stride, stride), (padding, padding)):
        return None
    room = 2 * padding - size
    is_large = min(x.shape[2:]) + room >= 0 and (stride == 1 or x.shape[3] + room >= stride)
    return (size, stride, padding) if is_large else None


def computes_in_bfloat16(x: Tensor) -> bool:
    """Say whether autocast has what is done with x computed in bfloat16, on a processor."""
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def has_matrix_units() -> bool:
    """Say whether the compiled convolutions can run on matrix units here, and torch's library is not kept from these
    units either."""
    return machine.may_use_matrix_units() and _has_room("convolution_room")


def has_pairs() -> bool:
    """Say whether pairs can be multiplied at all, on matrix units or without."""
    return machine.may_use_bfloat16_pairs() and _has_room("weight_gradient_room")


@cache
def _has_room(name: str) -> bool:
    """Say whether a compiled function is there, and the system lets it work."""
    room = getattr(library(), name, None)
    return room is not None and bool(room(1, 1, 1, BLOCK, BLOCK, 1) > 0)
