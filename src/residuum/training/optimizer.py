"""The update: which parameters decay, and the learning rate at each step."""

from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import nn

from residuum.recipe import OneCycle, Recipe, Steps
from residuum.training.muon import Muon


class Optimizer(Protocol):
    """What the loop and the checkpoint need of an optimiser: torch's have it, and Muon."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Move every parameter that has a gradient."""
        ...

    def zero_grad(self) -> None:
        """Forget all gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take back what `state_dict` gave."""
        ...


def make_optimizer(net: nn.Module, recipe: Recipe, matrix_dtype: torch.dtype = torch.float32) -> Optimizer:
    """SGD with momentum, or Muon for the convolutions that a BN follows and SGD for the rest, as the recipe says.

    Only where a BN follows does a convolution's norm not matter, which Muon holds fixed. Norms and biases decay only
    if the recipe says so; grouped by module type, never by name.
    """
    convolutions: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    norms_and_biases: list[nn.Parameter] = []
    normalised = _normalised_convolutions(net) if recipe.optimizer == "muon" else set()
    for module in net.modules():
        is_weighted = isinstance(module, nn.Conv2d | nn.Linear)
        for name, parameter in module.named_parameters(recurse=False):
            if module in normalised:
                convolutions.append(parameter)
            elif recipe.decay_norms_and_biases or (is_weighted and name == "weight"):
                weights.append(parameter)
            else:
                norms_and_biases.append(parameter)
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": norms_and_biases, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "muon":
        return Muon(
            convolutions, groups, recipe.momentum, recipe.matrix_momentum, recipe.others_rate, matrix_dtype
        )
    # the rate is set anew at every step
    return torch.optim.SGD(groups, lr=0.1, momentum=recipe.momentum, nesterov=recipe.nesterov, foreach=True)


def _normalised_convolutions(net: nn.Module) -> set[nn.Module]:
    """Convolutions whose very next layer is a BN; grouped ones are not one matrix, and left out."""
    return {
        layer
        for module in net.modules()
        if isinstance(module, nn.Sequential)
        for layer, following in pairwise(module)
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and isinstance(following, nn.BatchNorm2d)
    }


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(recipe: Recipe, step: int, warmed_up: bool) -> float:
    """Return the rate of step `step` (from 0); `warmed_up` says the training error has fallen far enough."""
    if isinstance(recipe.schedule, OneCycle):
        return _one_cycle(recipe.schedule, step, recipe.iterations)
    return _steps(recipe.schedule, step, warmed_up)


def _one_cycle(schedule: OneCycle, step: int, iterations: int) -> float:
    top = schedule.climb * iterations
    if step < top:
        return schedule.peak * (step + 1) / (top + 1)
    return schedule.peak * (iterations - step) / max(iterations - top, 1)


def _steps(schedule: Steps, step: int, warmed_up: bool) -> float:
    if schedule.warm_rate is not None and not warmed_up:
        return schedule.warm_rate
    return schedule.base * 0.1 ** sum(step >= milestone for milestone in schedule.milestones)
