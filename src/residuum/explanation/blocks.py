"""What a net would answer after each of its blocks, and with blocks switched off: only shortcuts are left of those.

A residual net is a sum that each block adds to (Veit et al. 2016, arXiv 1605.06431, sec. 3); its last layer is put to
every partial sum (the logit lens; in residual nets Greff et al. 2017, arXiv 1612.07771). A block that is off, and every
block behind the one after which is asked, stands as a lesion leaves it (depth/lesion.py): y = after(h(x)). Within the
last stage the last layer so reads what the block gave; before it, what the later stages' shortcuts make of that, which
halve the map and widen or project it. In a plain net the identity stands in such a block's place.

Letters: B pictures, C channels, H and W a map's height and width, K classes.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from residuum.choices import Views
from residuum.data.preprocess import weighted
from residuum.depth.measure import shortcut_alone
from residuum.depth.remove import keeps_shape
from residuum.errors import UserError, nearest
from residuum.models.answers import answered
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet
from residuum.models.shortcuts import SHORTCUTS
from residuum.models.spec import NetSpec


@torch.inference_mode()
def answers_with_blocks_off(
    net: ResNet, images: Tensor, off: Collection[str] = (), views: Views = "single", *, several: bool = False
) -> list[tuple[str, Tensor]]:
    """Return each block's name with (B, K) probabilities of (B, 3, S, S) pictures, as if the net ended behind it: those
    of the mean logits of the `views`, and of `several` labels a picture of each class for itself.

    The last are the net's own with those blocks `off`. Of a plain net blocks are left out which have one behind them
    that changes the shape. Every block is computed once: the answers after all of them go on together.

    Raises:
        UserError: there is no such block, or it changes the shape.
    """
    check_off(net.spec, off)
    shown = [(weight, _logits_behind(net, view, off)) for weight, view in weighted(images, views)]
    mean = [sum((weight * of[i][1] for weight, of in shown), torch.zeros(())) for i in range(len(shown[0][1]))]
    return [(name, answered(logits, several=several)) for (name, _), logits in zip(shown[0][1], mean, strict=True)]


def _logits_behind(net: ResNet, images: Tensor, off: Collection[str]) -> list[tuple[str, Tensor]]:
    """Return each block's name with the (B, K) logits behind it."""
    behind: list[tuple[str, Tensor]] = []
    x = net.stem(images)
    for name, block in net.blocks():
        passes = keeps_shape(net.spec, name)
        if block.shortcut is None and not passes:
            behind = []
        elif behind and not (passes and hands_on(net.spec)):
            names, maps = zip(*behind, strict=True)
            behind = list(zip(names, _passed(block, torch.cat(maps)).chunk(len(names)), strict=True))
        x = _passed(block, x) if name in off else block(x)
        behind.append((name, x))
    logits = net.head(torch.cat([maps for _, maps in behind])).float()
    return list(zip((name for name, _ in behind), logits.chunk(len(behind)), strict=True))


def _passed(block: ResidualBlock, x: Tensor) -> Tensor:
    return x if block.shortcut is None else shortcut_alone(block, x)


def hands_on(spec: NetSpec) -> bool:
    """Say whether a block that keeps the shape hands its input on, bit for bit, once its branch is left out.

    Where a ReLU follows the addition, what comes from one passes it unchanged; a GELU, a BN or a scale would not.
    """
    passes = spec.shortcut == "none" or SHORTCUTS[spec.shortcut].passes
    same_after = spec.order == "original" and spec.activation == "relu"
    return passes and (spec.shortcut == "none" or same_after or spec.order not in {"original", "bn-after-addition"})


def can_be_off(spec: NetSpec) -> list[str]:
    """Return the blocks, in order, that can be switched off: those whose output has the shape of their input."""
    return [name for name in block_names(spec) if keeps_shape(spec, name)]


def block_names(spec: NetSpec) -> list[str]:
    """Return all blocks, in order: "stage1.block1"."""
    counted = enumerate(spec.blocks, start=1)
    return [f"stage{stage}.block{block}" for stage, count in counted for block in range(1, count + 1)]


def check_off(spec: NetSpec, off: Collection[str]) -> None:
    """Refuse blocks that cannot be switched off (UserError)."""
    names, free = block_names(spec), set(can_be_off(spec))
    for name in off:
        if name not in names:
            raise UserError(f"the net has no block {name!r}", nearest(name, names), "blocks are called stage1.block2")
        if name not in free:
            raise UserError(
                f"{name} cannot be off",
                "its output has another shape than its input, so nothing can stand in its place",
                f"these can: {', '.join(sorted(free))}" if free else "no block of this net can",
            )


def going_off(spec: NetSpec) -> list[str]:
    """Return the blocks that can be off in the order in which they go as the net is made shallower.

    Growth undone: of the stages with most blocks left the last loses its last block.
    """
    left: dict[str, list[str]] = {}
    for name in can_be_off(spec):
        left.setdefault(name.split(".")[0], []).append(name)
    kept = {f"stage{number}": count for number, count in enumerate(spec.blocks, start=1)}
    going = []
    while any(left.values()):
        stage = max((stage for stage in left if left[stage]), key=lambda stage: (kept[stage], stage))
        going.append(left[stage].pop())
        kept[stage] -= 1
    return going


def off_at_depth(spec: NetSpec, depth: int) -> list[str]:
    """Return the fewest blocks to switch off, in the order of `going_off`, so that at most `depth` layers are left.

    Raises:
        UserError: the net is shallower, or cannot be made as shallow.
    """
    going, layers = going_off(spec), layers_in_block(spec)
    least = spec.depth - layers * len(going)
    if not least <= depth <= spec.depth:
        raise UserError(
            f"this net cannot be {depth} layers deep",
            f"it has {spec.depth}, and {least} with all blocks off that can be",
            f"give a depth from {least} to {spec.depth}",
        )
    return going[: -(-(spec.depth - depth) // layers)]


def layers_in_block(spec: NetSpec) -> int:
    """Return how many weighted layers a block has on its longest path."""
    return 3 if spec.block == "bottleneck" else 2
