"""LAMB: Adam's direction for each tensor, as long as the tensor's own norm says (You et al. 2019, arXiv 1904.00962).

As ResNet strikes back trained with it: gradients shortened to a norm of 1 first, and tensors without weight decay moved
by Adam's direction as it is.
"""

from typing import Any

import torch
from torch import Tensor

from residuum.kernels.update import lamb_direction
from residuum.training.slots import Slots, first_rate, gradient, laid_out

BETAS = (0.9, 0.999)
EPSILON = 1e-6
LONGEST = 1.0
"""Norm of all gradients together from which on they are shortened to it."""


class Lamb(Slots):
    """LAMB for param groups, each with its weight_decay. Away from the processor nothing is read back."""

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
            how = group["lr"], group["weight_decay"]
            if self.steps.device.type == "cpu":
                for parameter in parameters:  # one after another each stays in a core's cache
                    self._move_here(parameter, shortened.item(), *how)
            elif parameters:
                self._move(parameters, shortened, *how)

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

    def _move_here(self, parameter: Tensor, shortened: float, rate: float, weight_decay: float) -> None:
        """Do what `_move` does, in few sweeps; the gradient is lost."""
        average, square = self.slots_of(parameter, "exp_avg", "exp_avg_sq")
        move, step = laid_out(gradient(parameter), parameter), int(self.steps)
        how = {"shortened": shortened, "epsilon": EPSILON, "decay": weight_decay}
        lamb_direction(parameter, move, (average, square), BETAS, step, **how)
        if weight_decay:
            norm, length = (float(torch.linalg.vector_norm(tensor)) for tensor in (parameter, move))
            rate *= norm / length if norm > 0 and length > 0 else 1.0
        parameter.sub_(move, alpha=rate)

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
