"""Convolutions that share little between their taps: 1×1, strided, and stems; gathered_gradient.cpp says how.

The gradient of the weights is ours, in float32; the rest is torch's, but for the gradient of a strided convolution's
input without matrix units (direct.cpp). With matrix units a 1×1 convolution of channels that are last in memory is a
product of matrices, (pixels, C_in) by (C_in, C_out), there and back.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from residuum.kernels import direct, pairs
from residuum.kernels.build import call_with_room
from residuum.kernels.pairs import BLOCK, LONGEST_RUN, WIDE, has_matrix_units, square_shape, trains
from residuum.kernels.shortcut import every

NARROW = 64
"""From more channels than these a product of matrices is faster than torch's convolution."""


def pointwise_applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether this is a 1×1 convolution, of any stride, that is faster by us than by torch."""
    shape = square_shape(conv, x)
    is_wide = min(conv.weight.shape[:2]) >= WIDE
    return shape is not None and shape[::2] == (1, 0) and is_wide and pairs.applies(x, conv.weight)


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x) of a 1×1 convolution; the pixels that its stride skips are dropped first."""
    return _Pointwise.apply(every(x, conv.stride[0], compiled=True), conv.weight)  # type: ignore[no-any-return]


def strided_applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether this is a 3×3 convolution of any stride and padding for products of pairs."""
    shape = square_shape(conv, x)
    return shape is not None and shape[0] == 3 and pairs.applies(x, conv.weight)


def strided(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x), with as many taps, strides and padding down as across."""
    return _Strided.apply(x, conv.weight, conv.stride[0], conv.padding[0], False)  # type: ignore[no-any-return]


def stem_applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether this is a stem that is for the matrix units: few channels, and pictures that need no gradient."""
    shape = square_shape(conv, x)
    return (
        shape is not None
        and shape[0] >= shape[1]  # a stride skips no pixel
        and trains(x, conv.weight)
        and not x.requires_grad
        and x.dtype in (torch.bfloat16, torch.float32)
        and conv.in_channels < BLOCK
        and conv.in_channels * conv.kernel_size[1] <= LONGEST_RUN
        and conv.out_channels >= WIDE
        and has_matrix_units()
    )


def stem(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x) of pictures x of few channels, which need no gradient, in bfloat16."""
    bordered = _bordered(x, int(conv.padding[0]))
    return _Strided.apply(bordered, conv.weight, conv.stride[0], 0, True)  # type: ignore[no-any-return]


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rounded = weight.to(x.dtype).flatten(1)
        ctx.save_for_backward(x, weight, rounded)
        return _product(x, rounded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight, rounded = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = None
        if ctx.needs_input_grad[0]:
            own = has_matrix_units()
            dx = _product(dy, rounded.T) if own else input_gradient(x, dy, rounded[:, :, None, None], 1, 0)
        return dx, gathered_gradient(x, dy, weight, 1, 0) if ctx.needs_input_grad[1] else None


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """(N, C, H, W) by (C', C) to (N, C', H, W), channels last."""
    batch, channels, height, width = x.shape
    if channels <= NARROW or not has_matrix_units():
        return conv2d(x, matrix[:, :, None, None])
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    return (pixels @ matrix.T).view(batch, height, width, -1).permute(0, 3, 1, 2)


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, by_rows: bool) -> Tensor:
        rounded = weight.to(x.dtype)
        ctx.save_for_backward(x, weight, rounded)
        ctx.stride, ctx.padding, ctx.by_rows = stride, padding, by_rows
        return conv2d(x, rounded, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight, rounded = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        how = (ctx.stride, ctx.padding)
        dx = None
        if ctx.needs_input_grad[0]:
            own = not has_matrix_units()
            dx = direct.input_gradient(dy, weight, x.shape[2:], *how) if own else input_gradient(x, dy, rounded, *how)
        dw = gathered_gradient(x, dy, weight, *how, by_rows=ctx.by_rows) if ctx.needs_input_grad[1] else None
        return dx, dw, None, None, None


def input_gradient(x: Tensor, dy: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the gradient of a convolution's input, by torch; the weight is in dy's precision."""
    how = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
    return torch.ops.aten.convolution_backward(dy, x, weight, *how)[0]  # type: ignore[no-any-return]


def gathered_gradient(
    x: Tensor, dy: Tensor, weight: Tensor, stride: int, padding: int, *, by_rows: bool = False
) -> Tensor:
    """Return the gradient of a weight (C_out, C_in, k, k), gathered tap by tap, or a row of taps at a time."""
    batch, channels, height, width = x.shape
    size, dw = weight.shape[2], torch.empty_like(weight)
    taps = (size, 1, size * channels) if by_rows else (size, size, channels)
    sizes = (batch, height, width, channels, *dy.shape[2:], dy.shape[1], stride, padding, *taps)
    call_with_room("gathered_gradient", x, dy, dw, sizes)
    return dw


def _bordered(x: Tensor, padding: int) -> Tensor:
    """Return x in bfloat16, channels last, with zeros around each picture, and some behind the last: what is read at
    a time may be longer than a row of taps."""
    batch, channels, height, width = x.shape
    shape = (batch, height + 2 * padding, width + 2 * padding, channels)
    numbers = torch.zeros(math.prod(shape) + LONGEST_RUN, dtype=torch.bfloat16)
    bordered = numbers[:-LONGEST_RUN].view(shape).permute(0, 3, 1, 2)
    bordered[:, :, padding : padding + height, padding : padding + width].copy_(x)
    return bordered
