"""A 3×3 convolution that is ours where a processor has matrix units: convolution.cpp, weight_gradient.cpp say how."""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from residuum.kernels.build import library

BLOCK = 16
"""Channels are worked on so many at a time."""
NARROW, MEDIUM, SMALL_MAP = 64 * 64, 128 * 128, 8
"""Up to so many pairs of channels, or on maps up to this side in pixels, torch is slower forward and back to the input
too; up to the medium number on maps of twice that side, or where rows are made of whole tiles."""


def convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x), (N, C_in, H, W) to (N, C_out, H, W), as autocast would; only what computes it differs.

    The weights' gradient comes in float32, where torch's is rounded to bfloat16.
    """
    if has_own_gradient(conv, x):
        result: Tensor = _Convolution.apply(x, conv.weight)
        return result
    return conv(x)  # type: ignore[no-any-return]


def has_own_gradient(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether the compiled weight gradient does this: bfloat16 on matrix units, 3×3 of stride 1.

    It was the faster at every shape measured.
    """
    return (
        type(conv) is nn.Conv2d
        and conv.weight.requires_grad
        and conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.bias is None
        and conv.in_channels % BLOCK == conv.out_channels % BLOCK == 0
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.dim() == 4
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and conv.weight.dtype == torch.float32
        and conv.weight.is_contiguous(memory_format=torch.channels_last)
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and has_matrix_units()
    )


def has_own_pass(c_in: int, c_out: int, side: tuple[int, int]) -> bool:
    """Say whether a pass over x (or, from c_out to c_in channels, over dy) is ours, if the weights' gradient is."""
    fills_blocks = c_out % (2 * BLOCK) == 0 or c_in % (2 * BLOCK) != 0
    is_medium = max(side) <= 2 * SMALL_MAP or side[1] % BLOCK == 0
    narrow = MEDIUM if is_medium else NARROW
    return fills_blocks and (max(side) <= SMALL_MAP or c_in * c_out <= narrow)


def has_matrix_units() -> bool:
    """Say whether the compiled convolutions can run here, and torch's library is not kept from these units either."""
    highest = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if highest not in {"ALL", "DEFAULT"} and "AMX" not in highest:
        return False
    functions = library()
    return functions is not None and functions.convolution_room(1, 1, 1, BLOCK, BLOCK, 1) > 0


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        c_out, c_in = weight.shape[:2]
        if has_own_pass(c_in, c_out, _side(x)):
            return _pass(x, weight, c_out, turned=False)
        return conv2d(x, weight.to(x.dtype), padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = _input_gradient(x, dy, weight) if ctx.needs_input_grad[0] else None
        dw = _weight_gradient(x, dy, weight) if ctx.needs_input_grad[1] else None
        return dx, dw


def _pass(x: Tensor, weight: Tensor, channels: int, *, turned: bool) -> Tensor:
    """Return x convolved with the weights, to so many channels; turned: the gradient of the input from the output's."""
    y = torch.empty((x.shape[0], channels, *_side(x)), dtype=x.dtype, memory_format=torch.channels_last)
    _call("convolution", x, weight, y, _sizes(x, y), turned)
    return y


def _input_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    c_out, c_in = weight.shape[:2]
    if has_own_pass(c_out, c_in, _side(x)):
        return _pass(dy, weight, c_in, turned=True)
    ones, zeros, mask = [1, 1], [0, 0], [True, False, False]
    rounded = weight.to(x.dtype)
    dx: Tensor = torch.ops.aten.convolution_backward(
        dy, x, rounded, None, ones, ones, ones, False, zeros, 1, mask
    )[0]
    return dx


def _weight_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    dw = torch.empty_like(weight)
    _call("weight_gradient", x, dy, dw, _sizes(x, dy))
    return dw


def _side(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _sizes(x: Tensor, y: Tensor) -> tuple[int, ...]:
    batch, c_in, height, width = x.shape
    return batch, height, width, c_in, y.shape[1]


def _call(
    name: str, one: Tensor, other: Tensor, out: Tensor, sizes: tuple[int, ...], *switches: bool
) -> None:
    """Call the compiled function on addresses and numbers, with as much room to work in as it says."""
    functions, threads = library(), torch.get_num_threads()
    work = torch.empty(getattr(functions, f"{name}_room")(*sizes, threads), dtype=torch.uint8)
    addresses = (tensor.data_ptr() for tensor in (one, other, out))
    getattr(functions, name)(*addresses, *sizes, *switches, threads, work.data_ptr())
