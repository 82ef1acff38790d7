"""The update: which parameters decay, and at what rate each moves."""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from residuum.recipe import ParameterGroup, Recipe
from residuum.training.muon import Muon, first_rate

Optimizer = torch.optim.SGD | Muon
"""What the loop and the checkpoint drive."""


def make_optimizer(net: nn.Module, recipe: Recipe, matrix_dtype: torch.dtype = torch.float32) -> Optimizer:
    """SGD with momentum, or Muon for the convolutions that a BN follows and SGD for the rest, as the recipe says.

    Only where a BN follows does a convolution's norm not matter, which Muon holds fixed. Norms and biases decay only
    if the recipe says so; grouped by module type, never by name.
    """
    if recipe.optimizer == "muon":
        return _muon(net, recipe, matrix_dtype)
    groups, rate = _decaying(net, recipe, set()), first_rate(net.parameters())
    is_there = isinstance(rate, Tensor)
    momentum, nesterov = recipe.momentum, recipe.nesterov
    return torch.optim.SGD(groups, rate, momentum, nesterov=nesterov, foreach=not is_there, fused=is_there)


def _muon(net: nn.Module, recipe: Recipe, dtype: torch.dtype) -> Muon:
    normalised = _normalised_convolutions(net)
    apart: dict[nn.Parameter, ParameterGroup] = {}
    for module in net.modules():
        for kind, moves in ((nn.BatchNorm2d, recipe.norms), (nn.Linear, recipe.head)):
            if moves is not None and isinstance(module, kind):
                apart |= dict.fromkeys(module.parameters(), moves)
    matrices = [cast(nn.Parameter, layer.weight) for layer in normalised]
    others = [{**group, "times": recipe.others_rate} for group in _decaying(net, recipe, {*matrices, *apart})]
    for moves in dict.fromkeys(apart.values()):
        alike = [parameter for parameter, its in apart.items() if its == moves and parameter.requires_grad]
        others.append({"params": alike, "weight_decay": moves.weight_decay, "times": moves.rate})
    return Muon(matrices, others, recipe.momentum, recipe.matrix_momentum, dtype)


def _decaying(net: nn.Module, recipe: Recipe, left_out: set[nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups of all trained parameters but `left_out`: those that decay, and those that do not."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}  # by whether they decay
    for module in net.modules():
        is_weighted = isinstance(module, nn.Conv2d | nn.Linear)
        for name, parameter in module.named_parameters(recurse=False):
            decays = recipe.decay_norms_and_biases or (is_weighted and name == "weight")
            if parameter.requires_grad and parameter not in left_out:
                groups[decays].append(parameter)
    return [{"params": alike, "weight_decay": recipe.weight_decay * decay} for decay, alike in groups.items() if alike]


def _normalised_convolutions(net: nn.Module) -> list[nn.Conv2d]:
    """Convolutions whose next layer is a BN, max-pooling aside; grouped ones are not one matrix, and left out."""
    return [
        layer
        for module in net.modules()
        if isinstance(module, nn.Sequential)
        for layer, following in pairwise(one for one in module if not isinstance(one, nn.MaxPool2d))
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and isinstance(following, nn.BatchNorm2d)
    ]


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
