"""BN statistics that are folded into the convolutions, taken out again: the net answers as before, and can be measured
anew without some of its blocks.

A folded BN is y = s·x + t. With the mean μ and the variance σ² of its input x over some pictures, BN of that mean and
variance, of scale s·√(σ² + ε) and shift t + s·μ, is the same y.

Letters: B pictures, C channels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from residuum.models.resnet import unfolded


@torch.no_grad()
def unfold(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give every folded BN the statistics of its input over (B, C, H, W) `batches`; return how many BN were folded.

    The net computes in evaluation mode, and stays in it. Of a net with none folded no batch is asked for.
    """
    own = set(unfolded(net))
    folded = [bn for bn in net.modules() if isinstance(bn, nn.BatchNorm2d) and bn not in own]
    if not folded:
        return 0
    seen = {bn: _Sums(bn.num_features) for bn in folded}
    handles = [bn.register_forward_pre_hook(lambda bn, given: seen[bn].add(given[0])) for bn in folded]
    net.eval()
    try:
        for images in batches:
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    for bn, sums in seen.items():
        _normalise_by(bn, *sums.mean_and_variance())
    return len(folded)


@torch.no_grad()
def folded_again(net: nn.Module) -> None:
    """Let every BN of a net be s·x + t again, with mean 0 and variance 1, as training expects of a net that came so."""
    for bn in net.modules():
        if isinstance(bn, nn.BatchNorm2d):
            _normalise_by(
                bn, torch.zeros(bn.num_features).double(), torch.full((bn.num_features,), 1 - bn.eps).double()
            )


class _Sums:
    """Count, sum and sum of squares of a BN's input, by channel."""

    def __init__(self, channels: int) -> None:
        self.count, self.sums = 0, torch.zeros(2, channels, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add (B, C, H, W)."""
        values = x.numel() // x.shape[1]
        variance, mean = (each.cpu().double() for each in torch.var_mean(x.float(), (0, 2, 3), correction=0))
        self.count += values
        self.sums += values * torch.stack([mean, variance + mean.square()])

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Return both, (C,)."""
        mean, square = self.sums / self.count
        return mean, (square - mean.square()).clamp(min=0)


def _normalise_by(bn: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Let BN normalise by these, its output for any input staying the same."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    s = bn.weight.cpu().double() / (bn.running_var.cpu().double() + bn.eps).sqrt()
    t = bn.bias.cpu().double() - s * bn.running_mean.cpu().double()
    bn.running_mean.copy_(mean)
    bn.running_var.copy_(variance)
    bn.weight.copy_(s * (variance + bn.eps).sqrt())
    bn.bias.copy_(t + s * mean)
