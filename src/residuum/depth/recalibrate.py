"""BN statistics measured anew, after the blocks before them have changed. No weight is touched."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace every BN's running mean and variance by their plain averages over (B, C, H, W) `batches`.

    BN normalises by each batch's own statistics meanwhile, as in training; all else (dropout, stochastic depth) is as
    in evaluation. Batches count alike, whatever their length.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with _measuring(net, norms):
        for images in batches:
            net(images)


@contextmanager
def _measuring(net: nn.Module, norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Reset and average the statistics; afterwards mode and momenta are as they were."""
    modes = [(module, module.training) for module in net.modules()]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages all batches alike
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
