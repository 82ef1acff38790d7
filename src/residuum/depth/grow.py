"""A trained net made deeper: every new block begins as exactly the identity, so the net's answers stay the same.

He et al. 2015 (arXiv 1512.03385), sec. 1: a deeper net can do what a shallower one does, if its added layers are the
identity; with an identity shortcut that is a branch of zero. Chen et al. 2015 (arXiv 1511.05641) grow nets so that
the function stays.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from msgspec import structs
from torch import nn

from residuum import machine, runs
from residuum.console import say
from residuum.errors import UserError
from residuum.loading import load_for, save_classifier
from residuum.models.block import ResidualBlock
from residuum.models.named import NAMED_NETS
from residuum.models.resnet import ResNet, last_bn
from residuum.models.shortcuts import SHORTCUTS
from residuum.models.spec import NetSpec
from residuum.records.model import Grown
from residuum.settings import GrowSettings


def grow(settings: GrowSettings) -> Path:
    """Write a deeper model that gives the same answers, ready to be trained on; return its path.

    Raises:
        UserError: no such model; it cannot be grown, and why; or it has those blocks already.
    """
    classifier = load_for("grow", settings.model)
    spec = classifier.spec
    if why := why_not_grown(spec):
        raise UserError("this net cannot be grown without changing its answers", why)
    blocks = _wanted(settings, spec)
    deeper = grown(classifier.net, blocks, settings.seed)
    path = runs.new_file(settings.out, f"{classifier.name}-grown-{deeper.spec.depth}.safetensors", classifier.source)
    now = machine.environment()
    step = Grown(date=now.date, from_=classifier.digest, blocks_before=spec.blocks, blocks=blocks, seed=settings.seed)
    about = structs.replace(classifier.about, lineage=(*classifier.about.lineage, step), versions=now)
    save_classifier(path, deeper, deeper.spec, classifier.classes, classifier.preprocessing, about, classifier.kept)
    say(f"grown from {spec.depth} to {deeper.spec.depth} layers, {_written(blocks)} blocks; same answers")
    return path


def grown(net: ResNet, blocks: tuple[int, ...], seed: int = 0) -> ResNet:
    """Return the net with so many `blocks` in each stage, the new ones at the stages' ends; `net` stays as it is.

    New blocks are the identity, in evaluation and in training: the last BN of their branch begins at scale and shift
    zero or, where no BN ends it (pre-activation), its last convolution at zero. Their other weights are those of a
    net new under `seed`. In the original order the identity is relu(x) = x, since x comes out of a ReLU.

    Raises:
        UserError: the net cannot be grown, or `blocks` are not more than it has.
    """
    if why := why_not_grown(net.spec):
        raise UserError("this net cannot be grown without changing its answers", why)
    _check_blocks(net.spec, blocks)
    deeper = inserted(net, blocks, seed)
    old = {name for name, _ in net.blocks()}
    for name, block in deeper.blocks():
        if name not in old:
            _make_identity(block)
    return deeper


def inserted(net: ResNet, blocks: tuple[int, ...], seed: int) -> ResNet:
    """Return the net with so many blocks in each stage, the new ones with ordinary initial weights, as training has.

    The new BN statistics are still those of no picture at all.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        deeper = ResNet(replace(net.spec, blocks=blocks))
    deeper.load_state_dict({**deeper.state_dict(), **net.state_dict()})
    like = net.fc.weight
    return deeper.to(like.device, like.dtype).train(net.training)


def _make_identity(block: ResidualBlock) -> None:
    """Set the branch to zero in its last layer that has weights; that layer's own gradient is not zero."""
    layers = [layer for layer in block.branch.children() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    if isinstance(layers[-1], nn.BatchNorm2d):
        nn.init.zeros_(last_bn(block).weight)
        nn.init.zeros_(last_bn(block).bias)
    else:
        nn.init.zeros_(layers[-1].weight)


def why_not_grown(spec: NetSpec) -> str | None:
    """Return why a block with a branch of zero would not be the identity in this net, or None if it would be."""
    if spec.order == "bn-after-addition":
        return "a BN follows the addition and rescales the sum, so a branch of zero is not the identity"
    if spec.order == "original" and spec.activation != "relu":
        return "a GELU follows the addition and changes the sum, so a branch of zero is not the identity"
    if spec.order == "relu-before-addition" and spec.activation == "relu":
        return (
            "its branches end in a ReLU, which passes no gradient at zero: "
            "a branch that begins at zero could never learn"
        )
    return SHORTCUTS[spec.shortcut].changes


# --- how many blocks ----------------------------------------------------------------------------


def blocks_to_reach(spec: NetSpec, depth: int) -> tuple[int, ...]:
    """Return the blocks in each stage of the net of this kind that is `depth` layers deep.

    As a named net of that depth has them, or else equally many in each stage, where the net has so now.

    Raises:
        UserError: `depth` is not more than now, falls between two blocks, or leaves open which stages grow.
    """
    if depth <= spec.depth:
        raise _no_deeper(f"{depth} layers are not more than the {spec.depth} it has")
    a_block = _layers(spec)
    more, between = divmod(depth - spec.depth, a_block)
    if between:
        above = depth - between + a_block
        nearest = [f"--to {near}" for near in (above - a_block, above) if near > spec.depth]
        raise UserError(f"this net cannot have {depth} layers", f"a block has {a_block}", " or ".join(nearest))
    fitting = [blocks for blocks in _shapes(spec, depth) if _holds(blocks, spec.blocks)]
    if not fitting:
        raise UserError(
            f"which stages should grow to reach {depth} layers?",
            f"{_written(spec.blocks)} blocks would become {sum(spec.blocks) + more} in all, and no net of this kind "
            "is known at that depth",
            "give the blocks in each stage with --blocks",
        )
    return fitting[0]


def _shapes(spec: NetSpec, depth: int) -> Iterator[tuple[int, ...]]:
    """Yield the blocks in each stage that may be meant by `depth`."""
    for known in NAMED_NETS.values():
        alike = (known.stem, known.block, known.widths, known.order)
        if known.depth == depth and alike == (spec.stem, spec.block, spec.widths, spec.order):
            yield known.blocks
    each, over = divmod(sum(spec.blocks) + (depth - spec.depth) // _layers(spec), len(spec.blocks))
    if not over and len(set(spec.blocks)) == 1:
        yield (each,) * len(spec.blocks)


def _layers(spec: NetSpec) -> int:
    """Layers in a block."""
    return 3 if spec.block == "bottleneck" else 2


def _wanted(settings: GrowSettings, spec: NetSpec) -> tuple[int, ...]:
    if (settings.to is None) == (settings.blocks is None):
        raise UserError("how deep?", "either a depth or the blocks in each stage say it", "give --to or --blocks")
    if settings.blocks == spec.blocks:
        raise _no_deeper(f"it has {_written(spec.blocks)} blocks already")
    return blocks_to_reach(spec, settings.to) if settings.to is not None else settings.blocks or ()


def _check_blocks(spec: NetSpec, blocks: tuple[int, ...]) -> None:
    """Refuse other stages, and fewer blocks than the net has (UserError)."""
    if len(blocks) != len(spec.blocks):
        given = f"{len(blocks)} block counts were given"
        raise UserError(given, f"the net has {len(spec.blocks)} stages", "give one for each")
    if not _holds(blocks, spec.blocks):
        raise _no_deeper(
            f"{_written(blocks)} blocks are not as many in each stage as the {_written(spec.blocks)} it has"
        )


def _holds(blocks: tuple[int, ...], fewer: tuple[int, ...]) -> bool:
    return len(blocks) == len(fewer) and all(many >= few for many, few in zip(blocks, fewer, strict=True))


def _no_deeper(why: str) -> UserError:
    return UserError("growing makes a net deeper", why, "to make it shallower: residuum trim MODEL")


def _written(blocks: tuple[int, ...]) -> str:
    return "+".join(str(count) for count in blocks)
