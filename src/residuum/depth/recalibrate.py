"""BN statistics measured anew, after the blocks before them have changed. No weight is touched."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor], norms: Sequence[nn.BatchNorm2d] | None = None) -> None:
    """Replace every BN's running mean and variance, or those of `norms`, by plain averages over (B, C, H, W) `batches`.

    Those BN normalise by each batch's own statistics meanwhile, as in training; all else (dropout, stochastic depth) is
    as in evaluation. Batches count alike, whatever their length. Afterwards mode and momenta are as they were.
    """
    modes = [(module, module.training) for module in net.modules()]
    norms = [bn for bn in net.modules() if isinstance(bn, nn.BatchNorm2d)] if norms is None else norms
    momenta = [(norm, norm.momentum) for norm in norms]
    net.eval()
    for norm, _ in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages all batches alike
        norm.train()
    try:
        for images in batches:
            net(images)
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
