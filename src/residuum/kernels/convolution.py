"""A 3×3 convolution whose weight gradient is ours where a processor has matrix units: convolution.cpp says why."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from residuum.kernels.build import library

BLOCK = 32
"""Channels are worked on so many at a time."""
SMALL_MAP, WIDE = 8, 128
"""On maps up to this side, in pixels, and from so many channels on, torch's own gradient is the slower."""


def convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x), (N, C_in, H, W) to (N, C_out, H, W), as autocast would; only the weights' gradient differs.

    It comes in float32, where torch's is rounded to bfloat16.
    """
    if has_own_gradient(conv, x):
        result: Tensor = _Convolution.apply(x, conv.weight)
        return result
    return conv(x)  # type: ignore[no-any-return]


def has_own_gradient(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether the compiled gradient does this: bfloat16 on matrix units, 3×3 of stride 1, a small or wide map."""
    return (
        type(conv) is nn.Conv2d
        and conv.weight.requires_grad
        and conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and conv.in_channels % BLOCK == conv.out_channels % BLOCK == 0
        and (max(x.shape[2:]) <= SMALL_MAP or min(conv.in_channels, conv.out_channels) >= WIDE)
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.is_contiguous(memory_format=torch.channels_last)
        and conv.weight.is_contiguous(memory_format=torch.channels_last)
        and torch.is_autocast_enabled("cpu")
        and _room(x, conv.weight) > 0
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rounded = weight.to(torch.bfloat16)
        ctx.save_for_backward(x, rounded)
        return conv2d(x, rounded, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = None
        if ctx.needs_input_grad[0]:
            ones, zeros = [1, 1], [0, 0]
            mask = [True, False, False]
            dx = torch.ops.aten.convolution_backward(
                dy, x, weight, None, ones, ones, ones, False, zeros, 1, mask
            )[0]
        return dx, _weight_gradient(x, dy, weight)


def _weight_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    functions = library()
    assert functions is not None
    dw = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.channels_last)
    work = torch.empty(_room(x, weight), dtype=torch.uint8)
    batch, c_in, height, width = x.shape
    sizes = (batch, height, width, c_in, dy.shape[1], torch.get_num_threads())
    functions.weight_gradient(x.data_ptr(), dy.data_ptr(), dw.data_ptr(), *sizes, work.data_ptr())
    return dw


def _room(x: Tensor, weight: Tensor) -> int:
    """Bytes to work in; 0 where there are no matrix units or nothing is compiled."""
    functions = library()
    if functions is None:
        return 0
    c_out, c_in = weight.shape[:2]
    return int(functions.weight_gradient_room(x.shape[3], c_in, c_out, torch.get_num_threads()))
