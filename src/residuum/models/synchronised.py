"""BN over all pictures of a step, though several processes share them: the numbers of one process, to rounding.

torch has SyncBatchNorm for GPUs alone. Statistics are those of Ioffe and Szegedy 2015 (arXiv 1502.03167, algorithm 1)
over the ranks' pictures together, joined as Chan, Golub and LeVeque 1983 (The American Statistician 37, eq. 2.1) say.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

_PLANES = (0, 2, 3)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """BN whose statistics in training are those of all ranks' pictures; in evaluation it is BN."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(N, C, H, W) to the same shape; N may differ between the ranks."""
        if not self.training:
            return super().forward(input)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = (self.running_mean, self.running_var, self.momentum)
        return _Synchronised.apply(input, self.weight, self.bias, *running, self.eps)  # type: ignore[no-any-return]


def synchronise(net: nn.Module) -> None:
    """Let the net's BNs normalise over all ranks; parameters, names and running statistics stay what they are."""
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm


class _Synchronised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        count, mean, var = _statistics(x)
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var), momentum)
        mean, var = mean.to(gamma), var.to(gamma)
        ctx.save_for_backward(x, gamma, mean, torch.rsqrt(var + eps))
        ctx.count = count
        return batch_norm(x, mean, var, gamma, beta, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, scale = ctx.saved_tensors
        dy = gradients[0]
        normal = (x - _planes(mean)) * _planes(scale)  # float32, whatever x is
        dbeta, dgamma = dy.sum(_PLANES, dtype=torch.float64), (dy * normal).sum(_PLANES, dtype=torch.float64)
        sums = torch.stack([dbeta, dgamma])
        distributed.all_reduce(sums)
        of_all, with_normal = (sums / ctx.count).to(gamma)
        dx = (dy - _planes(of_all) - normal * _planes(with_normal)) * _planes(gamma * scale)
        return dx.to(x.dtype), dgamma.to(gamma), dbeta.to(gamma), None, None, None, None


def _planes(channels: Tensor) -> Tensor:
    return channels[None, :, None, None]


def _statistics(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return how many values a channel has on all ranks, and their means and variances, (C,) float64."""
    var, mean = torch.var_mean(x.float(), _PLANES, correction=0)
    count = x.numel() // x.shape[1]
    own = torch.stack([torch.full_like(mean, count, dtype=torch.float64), mean.double(), var.double()])
    each = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(each, own)
    counts, means, variances = torch.stack(each, 1)  # (ranks, C) each
    total = counts.sum(0)
    whole = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - whole).square())).sum(0) / total
    return float(total[0]), whole, spread
