"""A convolution of few channels that is not trained and the activation behind it, as one operation: see frozen.cpp.

A whitening stem is one: nothing is kept for a backward pass, so the activation needs no sweep of its own.
"""

import torch
from torch import Tensor, nn

from residuum.choices import Activation
from residuum.kernels.activation import number
from residuum.kernels.build import call_with_room
from residuum.kernels.pairs import BLOCK, LONGEST_RUN, computes_in_bfloat16, has_matrix_units, square_shape


def applies(x: Tensor, conv: nn.Conv2d, act: Activation | None) -> bool:
    """Say whether `activated` can do this: no gradient through it, few channels, bfloat16 autocast on a processor with
    matrix units."""
    return (
        act is not None
        and not conv.weight.requires_grad
        and not x.requires_grad
        and square_shape(conv, x) is not None
        and conv.in_channels * conv.kernel_size[1] <= LONGEST_RUN
        and conv.out_channels % BLOCK == 0
        and conv.weight.dtype == torch.float32
        and x.dtype in (torch.float32, torch.bfloat16)
        and computes_in_bfloat16(x)
        and has_matrix_units()
    )


@torch.no_grad()
def activated(x: Tensor, conv: nn.Conv2d, act: Activation | None) -> Tensor:
    """Return act(conv(x)), (N, C_in, H, W) to (N, C_out, H', W') bfloat16, to rounding."""
    layout = torch.channels_last
    x, weight = x.contiguous(memory_format=layout), conv.weight.contiguous(memory_format=layout)
    shape = square_shape(conv, x)
    assert shape is not None
    size, stride, padding = shape
    pictures, channels, *sides = x.shape
    high, wide = ((side + 2 * padding - size) // stride + 1 for side in sides)
    y = torch.empty((pictures, len(weight), high, wide), dtype=torch.bfloat16, memory_format=layout)
    sizes = (pictures, *sides, channels, high, wide, len(weight), size, stride, padding)
    call_with_room("frozen", x, weight, y, sizes, x.dtype == torch.float32, number(act, torch.bfloat16))
    return y
