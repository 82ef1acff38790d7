"""Blocks taken out of a trained net, so that a smaller net of the family is left.

A net without a block gives what the whole net gives with the identity in that block's place.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from residuum.errors import UserError
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec


def still_removable(spec: NetSpec, gone: Collection[str] = ()) -> list[str]:
    """Return the blocks ("stage1.block2") that may be taken out next, in order, once those `gone` are out.

    A block may go if its output has the shape of its input and its stage keeps another. But the very first block of
    an order-preactivation net stays where the stem's BN and ReLU stand in for its own: the next block would bring a
    second BN and ReLU.
    """
    names = []
    for stage in _stages(spec):
        left = [name for name in stage if name not in gone]
        if len(left) > 1:
            names += [name for name in left if _may_go(spec, name)]
    return names


def block_names(spec: NetSpec, gone: Collection[str] = ()) -> list[str]:
    """Return the net's blocks, in order, but for those `gone`."""
    return [name for stage in _stages(spec) for name in stage if name not in gone]


def most_removable(spec: NetSpec) -> int:
    """Return how many blocks can be taken out in all."""
    free = [sum(_may_go(spec, name) for name in stage) for stage in _stages(spec)]
    return sum(min(may_go, count - 1) for may_go, count in zip(free, spec.blocks, strict=True))


def keeps_shape(spec: NetSpec, name: str) -> bool:
    """Say whether the block's output has the shape of its input."""
    if not name.endswith(".block1"):
        return True
    return name == "stage1.block1" and spec.stem_channels == spec.out_channels[0]


def _may_go(spec: NetSpec, name: str) -> bool:
    in_stem = name == "stage1.block1" and spec.order == "preactivation" and spec.first_activation == "stem"
    return keeps_shape(spec, name) and not in_stem  # whose activation is there


def _stages(spec: NetSpec) -> Iterator[list[str]]:
    """Yield the names of the blocks in each stage."""
    for number, count in enumerate(spec.blocks, start=1):
        yield [f"stage{number}.block{index}" for index in range(1, count + 1)]


# --- taking out ---------------------------------------------------------------------------------


def without(net: ResNet, names: Collection[str]) -> ResNet:
    """Return a smaller net without the named blocks; weights and BN statistics are copies, `net` stays as it is.

    Raises:
        UserError: there is no such block, or it cannot be taken out.
    """
    _check(net.spec, names)
    new_names: dict[str, str] = {}
    for stage in _stages(net.spec):
        new_names |= zip((name for name in stage if name not in names), stage, strict=False)
    with torch.device("meta"):
        smaller = ResNet(spec_without(net.spec, names))
    weights = {}
    for key, tensor in net.state_dict().items():
        part, *path = key.split(".")
        block = ".".join(path[:2])
        if part != "stages":
            weights[key] = tensor.clone()
        elif block in new_names:
            weights[".".join([part, new_names[block], *path[2:]])] = tensor.clone()
    smaller.load_state_dict(weights, assign=True)
    return smaller.train(net.training)


def spec_without(spec: NetSpec, names: Collection[str]) -> NetSpec:
    """Return the specification of the net without the named blocks."""
    blocks = tuple(sum(name not in names for name in stage) for stage in _stages(spec))
    return replace(spec, blocks=blocks)


def _check(spec: NetSpec, names: Collection[str]) -> None:
    """Refuse blocks that cannot be taken out together (UserError)."""
    stages = list(_stages(spec))
    if unknown := set(names) - {name for stage in stages for name in stage}:
        raise UserError(f"the net has no block {min(unknown)}", "blocks are called like stage1.block2")
    for name in names:
        if not keeps_shape(spec, name):
            raise UserError(f"{name} cannot be taken out", "its output has another shape than its input")
        if not _may_go(spec, name):
            raise UserError(
                f"{name} cannot be taken out",
                "the stem's BN and ReLU stand in for its own, and the next block would bring a second BN and ReLU",
            )
    for number, stage in enumerate(stages, start=1):
        if set(stage) <= set(names):
            raise UserError(f"stage {number} would have no block left", "", f"keep one of {', '.join(stage)}")
