"""What a net costs, counted on the net itself without computing anything (meta tensors)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from residuum.models.named import NAMED_NETS, named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.settings import ModelsSettings


def parameters(net: nn.Module) -> int:
    """Count all trainable numbers: convolutions, BN scale and shift, the last layer with its bias."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, in_channels: int, image_size: int) -> int:
    """Count multiply-adds of convolutions and fully connected layers for one picture.

    The papers' "FLOPs" are these; BN, ReLU, pooling and biases are left out. `net` must be on the meta device.
    """
    total = 0

    def count(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        positions = output.numel() // output.shape[1]  # one for a fully connected layer's (1, K)
        total += positions * weight.numel()

    handles = [
        module.register_forward_hook(count)
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        net.eval()(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    for handle in handles:
        handle.remove()
    return total


def cost(spec: NetSpec, image_size: int) -> dict[str, int]:
    """Return depth, parameters and multiply-adds (for one picture of `image_size` px) of a specification.

    All blocks of a stage after its first are alike, so nets of one and two blocks a stage tell the cost of any.
    """
    ones = (1,) * len(spec.blocks)
    shallowest = _counted(replace(spec, blocks=ones), image_size)
    totals = list(shallowest)
    for stage, count in enumerate(spec.blocks):
        deeper = _counted(replace(spec, blocks=(*ones[:stage], 2, *ones[stage + 1 :])), image_size)
        for kind, (more, base) in enumerate(zip(deeper, shallowest, strict=True)):
            totals[kind] += (count - 1) * (more - base)
    return {"depth": spec.depth, "parameters": totals[0], "multiply_adds": totals[1]}


@lru_cache
def _counted(spec: NetSpec, image_size: int) -> tuple[int, int]:
    """Count parameters and multiply-adds on the whole net."""
    with torch.device("meta"):
        net = ResNet(spec)
    return parameters(net), multiply_adds(net, spec.in_channels, image_size)


def table(settings: ModelsSettings, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row a net: name, depth, parameters, multiply-adds, and for what classes and size.

    Raises:
        UserError: a name is unknown.
    """
    return [_row(name, settings) for name in names or NAMED_NETS]


def _row(name: str, settings: ModelsSettings) -> dict[str, Any]:
    spec = named(name, settings.classes)
    image_size = settings.image_size or (32 if spec.stem == "cifar" else 224)
    about = {"model": name, "shortcut": spec.shortcut, "block": spec.block, "blocks": list(spec.blocks)}
    return {**about, "classes": spec.num_classes, "image_size": image_size, **cost(spec, image_size)}
