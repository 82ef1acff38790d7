"""LAMB: Adam's direction for each tensor, as long as the tensor's own norm says (You et al. 2019, arXiv 1904.00962).

As ResNet strikes back trained with it: gradients shortened to a norm of 1 first, and tensors without weight decay moved
by Adam's direction as it is.
"""

from typing import Any

import torch
from torch import Tensor

from residuum.training.slots import Slots, first_rate, gradient

BETAS = (0.9, 0.999)
EPSILON = 1e-6
LONGEST = 1.0
"""Norm of all gradients together from which on they are shortened to it."""


class Lamb(Slots):
    """LAMB for param groups, each with its weight_decay. Nothing is read back from the device."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        rate = first_rate(parameter for group in groups for parameter in group["params"])
        own = rate.clone if isinstance(rate, Tensor) else lambda: rate  # one that is filled belongs to one group
        super().__init__({"lr": own(), **group} for group in groups)
        self.steps = torch.zeros((), device=self._parameters()[0].device)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        moved = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        gradients = [gradient(p) for parameters in moved for p in parameters]
        shortened = (torch.nn.utils.get_total_norm(gradients, foreach=True) / LONGEST).clamp(min=1.0)
        for group, parameters in zip(self.param_groups, moved, strict=True):
            together = 1 if self.steps.device.type == "cpu" else len(parameters)  # alone it stays in a core's cache
            for start in range(0, len(parameters), together or 1):
                self._move(parameters[start : start + together], shortened, group["lr"], group["weight_decay"])

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, and the steps taken as if they were the first parameter's."""
        kept = super().state_dict()
        kept["state"][0] = {**kept["state"].get(0, {}), "step": self.steps}
        return kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        first = dict(state["state"][0])
        self.steps.copy_(first.pop("step"))
        super().load_state_dict({"state": {**state["state"], 0: first}})

    def _move(self, parameters: list[Tensor], shortened: Tensor, rate: float | Tensor, weight_decay: float) -> None:
        """w = w − rate · |w|/|u| · u, with u = m̂ / (√v̂ + ε) + decay · w; without decay the norms are left out."""
        averages, squares = zip(*(self.slots_of(p, "exp_avg", "exp_avg_sq") for p in parameters), strict=True)
        gradients = torch._foreach_div([gradient(p) for p in parameters], shortened)
        torch._foreach_lerp_(averages, gradients, 1 - BETAS[0])
        torch._foreach_mul_(squares, BETAS[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETAS[1])
        begun, begun_squares = (1 - beta**self.steps for beta in BETAS)
        spreads = torch._foreach_sqrt(squares)
        torch._foreach_div_(spreads, begun_squares.sqrt())
        torch._foreach_add_(spreads, EPSILON)
        moves = list(torch._foreach_div(averages, spreads))
        torch._foreach_div_(moves, begun)
        if weight_decay:
            torch._foreach_add_(moves, parameters, alpha=weight_decay)
            norms, lengths = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, moves))
            ratios = torch.where((norms > 0) & (lengths > 0), norms / lengths, 1.0)
            torch._foreach_mul_(moves, list(ratios.unbind()))
        torch._foreach_mul_(moves, rate)
        torch._foreach_sub_(parameters, moves)
