"""The update: which parameters decay, and at what rate each moves."""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from residuum.models.resnet import ResNet
from residuum.recipe import ParameterGroup, Recipe
from residuum.training.lamb import Lamb
from residuum.training.muon import Muon
from residuum.training.sgd import Sgd
from residuum.training.slots import first_rate

Optimizer = torch.optim.SGD | Sgd | Muon | Lamb
"""What the loop and the checkpoint drive."""


def make_optimizer(net: nn.Module, recipe: Recipe, matrix_dtype: torch.dtype = torch.float32) -> Optimizer:
    """SGD with momentum, LAMB, or Muon for the convolutions that a BN follows and SGD for the rest, as the recipe says.

    Only where a BN follows does a convolution's norm not matter, which Muon holds fixed. Norms and biases decay only
    if the recipe says so; grouped by module type, never by name.
    """
    if recipe.optimizer == "muon":
        return _muon(net, recipe, matrix_dtype)
    groups, rate = _falling(_decaying(net, recipe, set()), net, recipe), first_rate(net.parameters())
    if recipe.optimizer == "lamb":
        return Lamb(groups)
    momentum, nesterov = recipe.momentum, recipe.nesterov
    if not isinstance(rate, Tensor):
        return Sgd(groups, rate, momentum, nesterov=nesterov)
    groups = [{**group, "lr": rate.clone()} for group in groups]  # one that is filled belongs to one group
    return torch.optim.SGD(groups, rate, momentum, nesterov=nesterov, fused=True)


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


def _falling(groups: list[dict[str, Any]], net: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Cut the groups by the parts of the net, where their rates differ; `share` is what each takes of the rate."""
    if not isinstance(net, ResNet) or (recipe.rate_decay == 1 and recipe.head is None):
        return groups
    *parts, last_layer = net.parts()
    of_parts = [recipe.rate_decay ** (len(parts) - 1 - place) for place in range(len(parts))]
    of_parts.append(recipe.head.rate if recipe.head else 1.0)
    shares = {
        parameter: share
        for part, share in zip([*parts, last_layer], of_parts, strict=True)
        for module in part
        for parameter in module.parameters()
    }
    return [
        {**group, "params": [p for p in group["params"] if shares[p] == share], "share": share}
        for group in groups
        for share in sorted({shares[parameter] for parameter in group["params"]})
    ]


def _normalised_convolutions(net: nn.Module) -> list[nn.Conv2d]:
    """Convolutions whose next layer is a BN, max-pooling aside; grouped ones are not one matrix, and left out."""
    return [
        layer
        for module in net.modules()
        if isinstance(module, nn.Sequential)
        for layer, following in pairwise(one for one in module if not isinstance(one, nn.MaxPool2d))
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and isinstance(following, nn.BatchNorm2d)
    ]


def frozen_part(net: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """Return what the recipe leaves as it is: the stem and the first stages, if any."""
    if not isinstance(net, ResNet) or recipe.frozen_stages == 0:
        return []
    return [module for part in net.parts()[: recipe.frozen_stages + 1] for module in part]


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group this learning rate, or its share of it."""
    for group in optimizer.param_groups:
        its = rate * group.get("share", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(its)
        else:
            group["lr"] = its
