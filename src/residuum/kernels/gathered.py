"""Convolutions that share little between their taps: 1×1, strided, and stems; gathered_gradient.cpp says how.

The gradient of the weights is ours, in float32; the rest is torch's. Where channels are last in memory, a 1×1
convolution is a product of matrices, (pixels, C_in) by (C_in, C_out), there and back.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from residuum.kernels.build import call
from residuum.kernels.matrix_units import LONGEST_RUN

NARROW = 64
"""From more channels than these a product of matrices is faster than torch's convolution."""


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """Return the 1×1 convolution of x by the weight (C_out, C_in, 1, 1)."""
    result: Tensor = _Pointwise.apply(x, weight)
    return result


def strided(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the convolution of x by the weight (C_out, C_in, k, k)."""
    result: Tensor = _Strided.apply(x, weight, stride, padding)
    return result


def stem(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the convolution of pictures x of few channels, which need no gradient, in bfloat16."""
    result: Tensor = _Stem.apply(x, weight, stride, padding)
    return result


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
        dx = _product(dy, rounded.T) if ctx.needs_input_grad[0] else None
        return dx, _gathered_gradient(x, dy, weight, 1, 0) if ctx.needs_input_grad[1] else None


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """(N, C, H, W) by (C', C) to (N, C', H, W), channels last."""
    batch, channels, height, width = x.shape
    if channels <= NARROW:
        return conv2d(x, matrix[:, :, None, None])
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    return (pixels @ matrix.T).view(batch, height, width, -1).permute(0, 3, 1, 2)


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        rounded = weight.to(x.dtype)
        ctx.save_for_backward(x, weight, rounded)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, rounded, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, rounded = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = input_gradient(x, dy, rounded, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        dw = _gathered_gradient(x, dy, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return dx, dw, None, None


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        bordered = _bordered(x, padding)
        ctx.save_for_backward(bordered, weight)
        ctx.stride = stride
        return conv2d(bordered, weight.to(bordered.dtype), None, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor, None, None]:
        bordered, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        return None, _gathered_gradient(bordered, dy, weight, ctx.stride, 0, by_rows=True), None, None


def input_gradient(x: Tensor, dy: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the gradient of a convolution's input, by torch; the weight is in dy's precision."""
    strides, paddings, ones, zeros = [stride] * 2, [padding] * 2, [1, 1], [0, 0]
    how = (None, strides, paddings, ones, False, zeros, 1, [True, False, False])
    dx: Tensor = torch.ops.aten.convolution_backward(dy, x, weight, *how)[0]
    return dx


def _gathered_gradient(
    x: Tensor, dy: Tensor, weight: Tensor, stride: int, padding: int, *, by_rows: bool = False
) -> Tensor:
    """Return the gradient of a weight (C_out, C_in, k, k), gathered tap by tap, or a row of taps at a time."""
    batch, channels, height, width = x.shape
    size, dw = weight.shape[2], torch.empty_like(weight)
    taps = (size, 1, size * channels) if by_rows else (size, size, channels)
    sizes = (batch, height, width, channels, *dy.shape[2:], dy.shape[1], stride, padding, *taps)
    call("gathered_gradient", x, dy, dw, sizes)
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
