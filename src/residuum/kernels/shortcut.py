"""Every stride-th pixel, then zero channels: option A's shortcut (shortcut.cpp), or the same by torch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from residuum.kernels.build import library

CHUNK = 32
"""Bytes that are copied at a time: a pixel is of whole chunks."""


def thinned(x: Tensor, stride: int, zeros: tuple[int, int] = (0, 0)) -> Tensor:
    """Return every `stride`-th pixel of every `stride`-th row, with so many zero channels before and behind its own:
    (N, C, H, W) to (N, zeros[0] + C + zeros[1], ⌈H/stride⌉, ⌈W/stride⌉)."""
    if is_compiled(x, zeros):
        result: Tensor = _Thinned.apply(x, stride, zeros)
        return result
    return pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, *zeros))


def is_compiled(x: Tensor, zeros: tuple[int, int]) -> bool:
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


class _Thinned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, zeros: tuple[int, int]) -> Tensor:
        batch, channels, height, width = x.shape
        shape = (batch, sum(zeros) + channels, -(-height // stride), -(-width // stride))
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        ctx.shape, ctx.stride, ctx.before = x.shape, stride, zeros[0]
        _call("shortcut", x, y, x.shape, y.shape, zeros[0], stride)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty(ctx.shape, dtype=dy.dtype, memory_format=torch.channels_last)
        _call("shortcut_gradient", dy, dx, ctx.shape, dy.shape, ctx.before, ctx.stride)
        return dx, None, None


def _call(
    name: str, one: Tensor, out: Tensor, shape: torch.Size, thin: torch.Size, before: int, stride: int
) -> None:
    """Call the compiled function on addresses and numbers; channels are counted in chunks."""

    def chunks(channels: int) -> int:
        return channels * one.element_size() // CHUNK

    batch, channels, height, width = shape
    sizes = (batch, height, width, chunks(channels), *thin[2:], chunks(thin[1]), chunks(before), stride)
    getattr(library(), name)(one.data_ptr(), out.data_ptr(), *sizes, torch.get_num_threads())
