"""What our own optimisers have in common: groups of parameters, and what is remembered of each parameter."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Slots:
    """Groups of parameters, each with its rate and weight decay, and tensors that are remembered of each parameter.

    Not a subclass of torch's Optimizer, which loads torch's compiler when it is made: two seconds.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        self.param_groups = list(groups)
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def slots_of(self, parameter: Tensor, *names: str) -> list[Tensor]:
        """Return what is remembered of a parameter under these names, which begins at zero.

        It lies in memory as the parameter does, after a restart too.
        """
        if parameter not in self.state:
            self.state[parameter] = {name: torch.zeros_like(parameter) for name in names}
        return [self.state[parameter][name] for name in names]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered by the parameters' places in the groups, as torch's optimisers do."""
        kept = {place: self.state[p] for place, p in enumerate(self._parameters()) if p in self.state}
        return {"state": kept, "param_groups": []}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; the groups are this object's own."""
        parameters = self._parameters()
        for place, slots in state["state"].items():
            parameter = parameters[place]
            self.state[parameter] = {name: laid_out(value.to(parameter), parameter) for name, value in slots.items()}

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def first_rate(parameters: Iterable[Tensor]) -> float | Tensor:
    """Return a learning rate to begin with: on an NVIDIA GPU a tensor there, which a recorded step reads anew."""
    device = next(iter(parameters)).device
    return torch.tensor(0.1, device=device) if device.type == "cuda" else 0.1


def laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return the tensor in the parameter's memory layout, copied only if it has another."""
    alike = tensor.stride() == parameter.stride()
    return tensor if alike else torch.empty_like(parameter).copy_(tensor)


def gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient, which it has."""
    assert parameter.grad is not None
    return parameter.grad
