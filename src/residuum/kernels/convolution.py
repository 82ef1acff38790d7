"""3×3 convolutions in bfloat16 where ours are faster than torch's: with matrix units, forward and the input's gradient
in convolution.cpp; without, those of tiny maps in direct.cpp; the weights' gradient in weight_gradient.cpp."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from residuum.kernels import direct, pairs
from residuum.kernels.build import call_with_room
from residuum.kernels.gathered import gathered_gradient, input_gradient
from residuum.kernels.pairs import BLOCK, has_matrix_units, square_shape

NARROW, MEDIUM, SMALL_MAP = 64 * 64, 128 * 128, 8
"""Up to so many pairs of channels, or on maps up to this side in pixels, torch is slower forward and back to the input
too; up to the medium number on maps of twice that side, or where rows are made of whole tiles."""
MOST_SUMS = 160 * 160
"""Without matrix units: of more pairs of channels the weights' gradient is gathered, which fetches fewer sums."""


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether this is a 3×3 convolution of stride 1 for products of pairs: its weights' gradient was the faster at
    every shape measured."""
    return square_shape(conv, x) == (3, 1, 1) and pairs.applies(x, conv.weight)


def convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x), (N, C_in, H, W) to (N, C_out, H, W), as autocast would; only what computes it differs.

    The weights' gradient comes in float32, where torch's is rounded to bfloat16.
    """
    return _Convolution.apply(x, conv.weight)  # type: ignore[no-any-return]


def has_own_pass(c_in: int, c_out: int, side: tuple[int, ...]) -> bool:
    """Say whether a pass over x (or, from c_out to c_in channels, over dy) is ours, if the weights' gradient is."""
    if not has_matrix_units():
        return direct.is_faster(c_in, c_out, side)
    fills_blocks = c_out % (2 * BLOCK) == 0 or c_in % (2 * BLOCK) != 0
    is_medium = max(side) <= 2 * SMALL_MAP or side[1] % BLOCK == 0
    narrow = MEDIUM if is_medium else NARROW
    return fills_blocks and (max(side) <= SMALL_MAP or c_in * c_out <= narrow)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        c_out, c_in = weight.shape[:2]
        if has_own_pass(c_in, c_out, x.shape[2:]):
            return _own_pass(x, weight, turned=False)
        return conv2d(x, weight.to(x.dtype), padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = _input_gradient(x, dy, weight) if ctx.needs_input_grad[0] else None
        dw = _weight_gradient(x, dy, weight) if ctx.needs_input_grad[1] else None
        return dx, dw


def _own_pass(x: Tensor, weight: Tensor, *, turned: bool) -> Tensor:
    if has_matrix_units():
        return run_pass("convolution", x, weight, turned=turned)
    return direct.input_gradient(x, weight, x.shape[2:], 1, 1) if turned else direct.convolution(x, weight, 1, 1)


def run_pass(kernel: str, x: Tensor, weight: Tensor, *, turned: bool) -> Tensor:
    """Return x convolved with the weights by this kernel; turned: the gradient of the input from the output's."""
    channels = weight.shape[1 if turned else 0]
    y = torch.empty((x.shape[0], channels, *x.shape[2:]), dtype=x.dtype, memory_format=torch.channels_last)
    call_with_room(kernel, x, weight, y, _sizes(x, y), turned)
    return y


def _input_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    c_out, c_in = weight.shape[:2]
    if has_own_pass(c_out, c_in, x.shape[2:]):
        return _own_pass(dy, weight, turned=True)
    return input_gradient(x, dy, weight.to(x.dtype), 1, 1)


def _weight_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    if not has_matrix_units() and weight.shape[0] * weight.shape[1] > MOST_SUMS:
        return gathered_gradient(x, dy, weight, 1, 1)
    return run_gradient("weight_gradient", x, dy, weight)


def run_gradient(kernel: str, x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    """Return the weights' gradient by this kernel."""
    dw = torch.empty_like(weight)
    call_with_room(kernel, x, dy, dw, _sizes(x, dy))
    return dw


def _sizes(x: Tensor, y: Tensor) -> tuple[int, ...]:
    batch, c_in, height, width = x.shape
    return batch, height, width, c_in, y.shape[1]
