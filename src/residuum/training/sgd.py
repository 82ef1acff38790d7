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
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._move(parameters, group["lr"], group["weight_decay"])

    def _move(self, parameters: list[Tensor], rate: float, weight_decay: float) -> None:
        """v = momentum · v + g; w = w − rate · v, or by Nesterov (g + momentum · v); g has the decay in it."""
        gradients = [gradient(p) for p in parameters]
        if weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
        averages = [average for p in parameters for average in self.slots_of(p, "momentum_buffer")]
        torch._foreach_mul_(averages, self.momentum)
        torch._foreach_add_(averages, gradients)
        moves = torch._foreach_add(gradients, averages, alpha=self.momentum) if self.nesterov else averages
        torch._foreach_add_(parameters, moves, alpha=-rate)
