"""BN statistics measured anew, after the blocks before them have changed. No weight is touched."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace every BN's running mean and variance by plain averages over (B, C, H, W) `batches`.

    BN normalises by each batch's own statistics meanwhile, as in training; all else (dropout, stochastic depth) is as
    in evaluation. Batches count alike, whatever their length. Afterwards mode and momenta are as they were.
    """
    modes = [(module, module.training) for module in net.modules()]
    momenta = [(norm, norm.momentum) for norm in net.modules() if isinstance(norm, nn.BatchNorm2d)]
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
