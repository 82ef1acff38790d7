"""What a net would answer after each of its blocks: the branches of all later blocks left out, its last layer read.

A residual net is a sum that each block adds to (Veit et al. 2016, arXiv 1605.06431, sec. 3); its last layer is put to
every partial sum (the logit lens; in residual nets Greff et al. 2017, arXiv 1612.07771). Later blocks stand as a lesion
leaves them (depth/lesion.py): y = after(h(x)). Within the last stage the last layer so reads what the block gave;
before it, what the later stages' shortcuts make of that, which halve the map and widen or project it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from residuum.depth.measure import shortcut_alone
from residuum.depth.remove import keeps_shape
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet


@torch.inference_mode()
def after_each_block(net: ResNet, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each block's name with (B, K) probabilities of (B, 3, S, S) pictures, as if the net ended behind it.

    The last are the net's own. In a plain net the identity stands in the later blocks' place, so that blocks are left
    out which have one behind them that changes the shape.
    """
    blocks = list(net.blocks())
    x = net.stem(images)
    for place, (name, block) in enumerate(blocks):
        x = block(x)
        rest = blocks[place + 1 :]
        if net.spec.shortcut != "none" or all(keeps_shape(net.spec, later) for later, _ in rest):
            yield name, torch.softmax(net.head(_passed_by(rest, x)).float(), dim=1)


def _passed_by(blocks: Sequence[tuple[str, ResidualBlock]], x: Tensor) -> Tensor:
    """Take x through the shortcuts of `blocks` alone; a plain net's have none."""
    for _, block in blocks:
        x = x if block.shortcut is None else shortcut_alone(block, x)
    return x
