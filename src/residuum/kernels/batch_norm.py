"""act(BN(x) + h), the operation that a residual net repeats, in two sweeps over memory each way.

BN, addition and activation are cheap to compute and dear to fetch: on a processor whose convolutions are fast they
take most of a step. What stands in the docstring of batch_norm.cpp is not said again here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.choices import Activation
from residuum.kernels.activation import number
from residuum.kernels.build import call, library

PRECISIONS = (torch.float32, torch.bfloat16)
LANES = 16
FOLD = 64
"""Rows narrower than this are taken several at a time: batch_norm.cpp, `folded`."""


def applies(x: Tensor, norm: nn.BatchNorm2d, h: Tensor | None = None) -> bool:
    """Say whether the compiled operation does this: on a processor, channels last, C a multiple of 16; in training,
    unless it is one over several processes, or where no gradient is asked for."""
    others = [] if h is None else [h]
    return (
        (type(norm) is nn.BatchNorm2d if norm.training else not torch.is_grad_enabled())
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.device.type == "cpu"
        and x.dtype in PRECISIONS
        and x.shape[1] % LANES == 0
        and x.numel() > x.shape[1]
        and all(t.dtype == x.dtype and t.shape == x.shape for t in others)
        and all(t.is_contiguous(memory_format=torch.channels_last) for t in (x, *others))
        and library() is not None
    )


def batch_norm(
    x: Tensor, norm: nn.BatchNorm2d, h: Tensor | None = None, act: Activation | None = None
) -> tuple[Tensor, Tensor]:
    """Return BN(x), plus `h` if given, then the activation if there is one: with the batch's statistics, moving the
    running ones, or, in evaluation, with those.

    x and h: (N, C, H, W). The result comes twice, in the same memory: for the next branch, and for the shortcut past
    it. Their gradients then arrive apart, and are added in the sweep that reads them anyway.
    """
    if norm.training:
        running = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        state = (norm.weight, norm.bias, *running, norm.momentum, norm.eps)
        return _BatchNorm.apply(x, h, *state, act)  # type: ignore[no-any-return]
    y = torch.empty_like(x)
    _call("bn_apply", x, act, x, h, y, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
    return y, y


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        batches: Tensor,
        momentum: float,
        eps: float,
        act: Activation | None,
    ) -> tuple[Tensor, Tensor]:
        y, statistics = torch.empty_like(x), torch.empty(2, x.shape[1])
        running = (running_mean, running_var, batches, momentum, eps)
        _call("bn_forward", x, act, x, h, y, gamma, beta, *running, statistics)
        # without h, x tells what the activation was given; else y says where the ReLU let through, or h what others saw
        saved = None if h is None or act is None else y if act == "relu" else h
        ctx.save_for_backward(x, saved, gamma, beta, statistics)
        ctx.act, ctx.adds = act, h is not None
        ctx.set_materialize_grads(False)
        return y, y.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        x, saved, gamma, beta, statistics = ctx.saved_tensors
        used = [dy.contiguous(memory_format=torch.channels_last) for dy in gradients if dy is not None]
        if not used:
            return (None,) * 10
        if ctx.adds and ctx.act is None:  # h's gradient is the sum itself, and no sweep writes it
            used = [sum(used[1:], used[0])]
        dy, dy2 = used[0], used[1] if len(used) > 1 else None
        dx, dgamma, dbeta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(beta)
        dh = torch.empty_like(x) if saved is not None else None
        _call("bn_backward", x, ctx.act, dy, dy2, x, saved, dx, dh, gamma, beta, statistics, dgamma, dbeta)
        if ctx.adds and dh is None:
            dh = dy
        return dx, dh, dgamma, dbeta, None, None, None, None, None, None


def _call(name: str, x: Tensor, act: Activation | None, *values: Tensor | float | None) -> None:
    """Call the compiled function, with room to work in: two sums a thread and five factors for each of the folded
    channels."""
    channels, threads = x.shape[1], torch.get_num_threads()
    work = torch.empty((2 * threads + 5) * max(channels, FOLD), dtype=torch.float64)
    sizes = (x.numel() // channels, channels)
    call(name, *values, *sizes, number(act, x.dtype), x.dtype == torch.bfloat16, threads, work)
