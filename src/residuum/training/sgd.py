"""Stochastic gradient descent with momentum: torch's to the bit, without loading torch's compiler as its class does."""

from typing import Any

import torch
from torch import Tensor

from residuum.training.slots import Slots, gradient


class Sgd(Slots):
    """SGD for param groups, each with its weight_decay; `nesterov` as Sutskever et al. 2013 ("On the importance of
    initialization and momentum in deep learning", eq. 3 and 4)."""

    def __init__(self, groups: list[dict[str, Any]], rate: float, momentum: float, *, nesterov: bool) -> None:
        super().__init__({"lr": rate, **group} for group in groups)
        self.momentum, self.nesterov = momentum, nesterov

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            how = group["lr"], self.momentum, group["weight_decay"]
            move_by_momentum(self, group["params"], *how, nesterov=self.nesterov)


def move_by_momentum(
    remembered: Slots,
    parameters: list[Tensor],
    rate: float | Tensor,
    momentum: float,
    weight_decay: float,
    *,
    nesterov: bool,
) -> None:
    """v = momentum · v + g; w = w − rate · v, or by Nesterov (g + momentum · v); g has the decay in it.

    Parameters without a gradient stay. A rate that is a tensor is not read back.
    """
    parameters = [p for p in parameters if p.grad is not None]
    if not parameters:
        return
    gradients = [gradient(p) for p in parameters]
    if weight_decay:
        gradients = list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
    averages = [average for p in parameters for average in remembered.slots_of(p, "momentum_buffer")]
    torch._foreach_mul_(averages, momentum)
    torch._foreach_add_(averages, gradients)
    moves = torch._foreach_add(gradients, averages, alpha=momentum) if nesterov else averages
    if isinstance(rate, Tensor):
        moves, rate = torch._foreach_mul(moves, rate), 1.0
    torch._foreach_add_(parameters, moves, alpha=-rate)
