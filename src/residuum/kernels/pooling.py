"""Largest and mean of windows, compiled (pooling.cpp): torch's take several times as long on a processor."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.kernels.batch_norm import LANES, PRECISIONS
from residuum.kernels.build import call, library

MOST = 64
"""Pixels a window may have."""


def applies(layer: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> bool:
    """Say whether the compiled operation does this: square windows, a processor, channels last, C a multiple of 16."""
    is_plain = (
        layer.dilation == 1 and not layer.return_indices
        if isinstance(layer, nn.MaxPool2d)
        else layer.divisor_override is None and not (layer.count_include_pad and layer.padding)
    )
    return (
        is_plain
        and x.dim() == 4
        and isinstance(layer.kernel_size, int)
        and isinstance(layer.stride, int)
        and isinstance(layer.padding, int)
        and layer.kernel_size**2 <= MOST
        and windows(min(x.shape[2:]), layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode) > 0
        and x.device.type == "cpu"
        and x.dtype in PRECISIONS
        and x.numel() > 0
        and x.shape[1] % LANES == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and library() is not None
    )


def pool(layer: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> Tensor:
    """Return layer(x), (N, C, H, W) to (N, C, H', W'); only what computes it differs. Means agree to rounding."""
    window = (layer.kernel_size, layer.stride, layer.padding)
    return _Pool.apply(x, *window, layer.ceil_mode, isinstance(layer, nn.MaxPool2d))  # type: ignore[no-any-return]


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, k: int, stride: int, padding: int, ceil_mode: bool, largest: bool) -> Tensor:
        batch, channels, *sides = x.shape
        out = [windows(side, k, stride, padding, ceil_mode) for side in sides]
        y = torch.empty((batch, channels, *out), dtype=x.dtype, memory_format=torch.channels_last)
        places = torch.empty_like(y, dtype=torch.uint8) if largest else None
        ctx.sizes = (batch, *sides, channels, *out, k, stride, padding)
        ctx.save_for_backward(places)
        is_half = x.dtype == torch.bfloat16
        call("pool_forward", x, y, places, *ctx.sizes, is_half, torch.get_num_threads())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        batch, height, width, channels, *_ = ctx.sizes
        dx = torch.empty((batch, channels, height, width), dtype=dy.dtype, memory_format=torch.channels_last)
        is_half = dy.dtype == torch.bfloat16
        call("pool_backward", dy, places, dx, *ctx.sizes, is_half, torch.get_num_threads())
        return dx, None, None, None, None, None


def windows(side: int, k: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Return how many windows begin along a side; as torch has it, none begins beyond the picture."""
    room = side + 2 * padding - k
    count = (room + stride - 1 if ceil_mode else room) // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= side + padding else count
