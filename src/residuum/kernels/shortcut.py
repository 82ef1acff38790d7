"""Every stride-th pixel, then zero channels: option A's shortcut, and what a 1×1 convolution with a stride reads.

Compiled (shortcut.cpp) in a plan, or by torch; no number is computed, so the two are the same to the bit. Torch's own
slicing gives a gradient that is no longer channels-last, and slow to add to another.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from residuum.kernels.build import call, library

CHUNK = 32
"""Bytes that are copied at a time: a pixel is of whole chunks."""


def applies(x: Tensor, zeros: tuple[int, int] = (0, 0)) -> bool:
    """Say whether the compiled function does this: on a processor, channels last, channels in whole chunks."""
    return (
        x.device.type == "cpu"
        and x.dim() == 4
        and x.numel() > 0
        and min(zeros) >= 0
        and all(n * x.element_size() % CHUNK == 0 for n in (x.shape[1], *zeros))
        and x.is_contiguous(memory_format=torch.channels_last)
        and library() is not None
    )


def every(x: Tensor, stride: int, zeros: tuple[int, int] = (0, 0), *, compiled: bool = False) -> Tensor:
    """Return every `stride`-th pixel of every `stride`-th row, with so many zero channels before and behind its own:
    (N, C, H, W) to (N, zeros[0] + C + zeros[1], ⌈H/stride⌉, ⌈W/stride⌉). Negative zeros cut channels off."""
    if stride == 1 and zeros == (0, 0):
        return x
    return _Every.apply(x, stride, zeros, compiled)  # type: ignore[no-any-return]


class _Every(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, zeros: tuple[int, int], compiled: bool) -> Tensor:
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        ctx.shape, ctx.layout, ctx.stride, ctx.zeros, ctx.compiled = x.shape, layout, stride, zeros, compiled
        if not compiled:
            kept = pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, *zeros))
            return kept.contiguous(memory_format=layout)
        batch, channels, height, width = x.shape
        shape = (batch, sum(zeros) + channels, -(-height // stride), -(-width // stride))
        y = torch.empty(shape, dtype=x.dtype, memory_format=layout)
        _call("shortcut", x, y, x.shape, y.shape, zeros[0], stride)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        stride, (before, behind) = ctx.stride, ctx.zeros
        dx = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=ctx.layout)
        if ctx.compiled and not torch.is_grad_enabled():
            dy = dy.contiguous(memory_format=ctx.layout)
            _call("shortcut_gradient", dy, dx, ctx.shape, dy.shape, before, stride)
        else:
            dx.zero_()[:, :, ::stride, ::stride] = pad(dy, (0, 0, 0, 0, -before, -behind))
        return dx, None, None, None


def _call(name: str, one: Tensor, out: Tensor, shape: torch.Size, kept: torch.Size, before: int, stride: int) -> None:
    """Call the compiled function; channels are counted in chunks."""
    batch, channels, height, width = shape
    chunk = CHUNK // one.element_size()
    sizes = (batch, height, width, channels // chunk, *kept[2:], kept[1] // chunk, before // chunk, stride)
    call(name, one, out, *sizes, torch.get_num_threads())
