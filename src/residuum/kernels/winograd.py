"""3×3 convolutions of stride 1 in float32 with a quarter of the multiplications; winograd.cpp says how.

The sums are float32's and off by some millionths of their spread, five times a direct convolution's rounding. So plans
compute with it, in training and validating: what a net scores in float32 is its own forward's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.kernels.build import library
from residuum.kernels.convolution import run_gradient, run_pass
from residuum.kernels.pairs import BLOCK, square_shape

LEAST_TILES = 64
"""With fewer tiles of 4×4 pixels the filters' own transform takes what is spared."""
MOST_SUMS = 2**26
"""The threads' sums of the weights' gradient may be so many numbers, 256 MiB, together."""


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether this is a 3×3 convolution of stride 1 that trains in float32, of whole blocks of channels."""
    weight = conv.weight
    return (
        square_shape(conv, x) == (3, 1, 1)
        and weight.requires_grad
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and not (conv.in_channels % BLOCK or conv.out_channels % BLOCK)
        and all(t.is_contiguous(memory_format=torch.channels_last) for t in (x, weight))
        and tiles(x) >= LEAST_TILES
        and 36 * conv.in_channels * conv.out_channels * torch.get_num_threads() <= MOST_SUMS
        and library() is not None
    )


def tiles(x: Tensor) -> int:
    """Count the tiles of 4×4 pixels that cover the pictures x, (N, C, H, W)."""
    batch, _, height, width = x.shape
    return batch * -(-height // 4) * -(-width // 4)


def convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return conv(x), (N, C_in, H, W) to (N, C_out, H, W)."""
    return _Winograd.apply(x, conv.weight)  # type: ignore[no-any-return]


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return run_pass("winograd", x, weight, turned=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = run_pass("winograd", dy, weight, turned=True) if ctx.needs_input_grad[0] else None
        dw = run_gradient("winograd_gradient", x, dy, weight) if ctx.needs_input_grad[1] else None
        return dx, dw
