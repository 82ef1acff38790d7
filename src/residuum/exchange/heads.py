"""The last layer: where it stands, whether it is one layer, and what is done where it is not.

Letters: K classes, D features.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from residuum.exchange.fit import Renamed
from residuum.exchange.groups import Group
from residuum.models.assumption import Assumption

HEADS = ("fc", "linear", "classifier", "head", "heads", "last_linear", "output", "out", "logits", "cls")
"""What a last layer is called, itself or the nn.Sequential that holds it."""


@dataclass(frozen=True)
class Head:
    """Where a last layer stands among a net's tensors ("" where no single layer does), and what belongs to it."""

    module: str
    names: tuple[str, ...]


_AFTER = re.compile(r"\w*(?:proj|predict|prototype|head|classifier|embed|mlp)\w*\.")
"""What stands behind a self-supervised net, beside its own modules."""


def head_of(tensors: Mapping[str, Tensor]) -> Head:
    """Find the last layer among a net's tensors: one linear layer under one of the usual names."""
    for root in HEADS:
        names = tuple(name for name in tensors if name.startswith(f"{root}."))
        if names:
            return Head(_only_layer(names, tensors), names)
    after = tuple(name for name in tensors if _AFTER.match(name) and "embedder." not in name)
    return Head("", after if all(tensors[name].ndim < 3 for name in after) else ())


def _only_layer(names: tuple[str, ...], tensors: Mapping[str, Tensor]) -> str:
    """The module that all of the names belong to, if it is a linear layer or a 1×1 convolution."""
    modules = {name.rpartition(".")[0] for name in names}
    leaves = {name.rpartition(".")[2] for name in names}
    if len(modules) != 1 or not leaves <= {"weight", "bias"} or "weight" not in leaves:
        return ""
    (module,) = modules
    shape = tensors[f"{module}.weight"].shape
    return module if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) else ""


def without_head(group: Group, head: Head, why: str) -> Group:
    """Leave a head out that gives no classes, and say why."""
    kept = {name: tensor for name, tensor in group.tensors.items() if name not in head.names}
    keys = tuple(group.spelled(name) for name in head.names)
    return replace(group, tensors=kept, left_out=(*keys, *group.left_out), said=(*group.said, Assumption(why)))


def with_head_beside(group: Group, features: int) -> Group:
    """Take a last layer that stands beside the net: one under a usual name that reads `features` numbers.

    None is taken where something else there reads or gives as many: it may stand between the net and the layer.
    """
    found: dict[str, str] = {}
    for key, tensor in group.beside.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "weight" and tensor.ndim == 2 and tensor.shape[1] == features and _is_called_head(module):
            found[module] = key
    between = [
        key
        for key, tensor in group.beside.items()
        if features in tensor.shape and key not in found.values() and not key.endswith(tuple(_OPTIMIZER))
    ]
    if len(found) != 1 or between:
        return group
    ((module, _),) = found.items()
    names = {f"fc.{leaf}": f"{module}.{leaf}" for leaf in ("weight", "bias") if f"{module}.{leaf}" in group.beside}
    return replace(
        group,
        tensors={**group.tensors, **{name: group.beside[key] for name, key in names.items()}},
        keys={**group.keys, **names},
        left_out=tuple(one for one in group.left_out if not _stands_for(one, names.values())),
        said=(*group.said, Assumption(f"its last layer is {module}, which stands beside the net")),
    )


def _stands_for(left_out: str, keys: Collection[str]) -> bool:
    """Say whether what was to be left out is these keys and no others."""
    module, _, rest = left_out.partition(".* (")
    return left_out in keys or (rest == f"{len(keys)} tensors)" and all(one.startswith(f"{module}.") for one in keys))


_OPTIMIZER = ("exp_avg", "exp_avg_sq", "momentum_buffer", "max_exp_avg_sq", "square_avg")


def _is_called_head(module: str) -> bool:
    *_, last = (part for part in module.split(".") if not part.isdecimal())
    return last in HEADS


def as_two_classes(found: Renamed) -> tuple[Renamed, list[str]]:
    """Give a net of one output two, whose softmax is the sigmoid of the one; and say so.

    softmax(0, z) = (1 − σ(z), σ(z)): the first class, no, gets weights and bias 0; the second, yes, what is there.
    """
    weight, bias = found.tensors.get("fc.weight"), found.tensors.get("fc.bias")
    if weight is None or bias is None or weight.shape[0] != 1 or bias.shape != (1,):
        return found, []
    both = {"fc.weight": torch.cat([0 * weight, weight]), "fc.bias": torch.cat([0 * bias, bias])}
    said = "its one output is taken as two classes by the sigmoid, first no, then yes: is it a yes-or-no question?"
    return replace(found, tensors={**found.tensors, **both}), [said]


def with_bias(found: Renamed) -> tuple[Renamed, list[str]]:
    """Give a last layer without a bias one of 0, and say so."""
    weight = found.tensors.get("fc.weight")
    if weight is None or weight.ndim != 2 or "fc.bias" in found.tensors:
        return found, []
    bias = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device)
    return replace(found, tensors={**found.tensors, "fc.bias": bias}), [
        "its last layer has no bias, which is taken as 0"
    ]
