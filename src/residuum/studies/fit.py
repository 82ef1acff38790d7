"""Fitting a small module to tensors: for what is no run of a net on pictures (a probe, a curve, an MLP, a U-Net)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def fit(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int,
    rate: float = 1e-3,
    batch: int | None = None,
    seed: int = 0,
    watch: Callable[[int, float], None] | None = None,
) -> float:
    """Train with Adam, its rate falling to zero by a cosine; return the last step's loss.

    `x` and `y` hold all N examples; each step takes `batch` of them by chance, or all. `watch` is told every step's
    number, from 1, and loss.
    """
    chance = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=rate)
    module.train()
    value = math.nan
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        rows = slice(None) if batch is None else torch.randint(len(x), (batch,), generator=chance)
        found = loss(module(x[rows]), y[rows])
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value = float(found.detach())
        if watch is not None:
            watch(step, value)
    return value
