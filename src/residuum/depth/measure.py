"""How good a net is with blocks left out: each batch is walked once, and what nets have in common is computed once.

Letters: N pictures, B of them in a batch, n blocks.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from residuum.choices import Views
from residuum.compute import Compute
from residuum.data.batches import Batch
from residuum.data.labels import Labels, is_several
from residuum.data.preprocess import weighted
from residuum.depth.progress import Told, untold
from residuum.depth.recalibrate import recalibrate
from residuum.depth.remove import without
from residuum.evaluation.metrics import SMALLEST
from residuum.evaluation.several_labels import mean_average_precision
from residuum.models.answers import answered, several_right
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet
from residuum.records.depth import Score

MOST_LOSS = -math.log(SMALLEST)
"""What one picture costs at most, in nats, as in `evaluation.metrics.judge`: the mean stays finite."""

StandIn = Callable[[ResidualBlock, Tensor], Tensor]
"""What a block's input (N, C_in, H, W) becomes when something else stands in the block's place."""
Tally = tuple[Tensor, Tensor, Tensor]
"""A batch's summed losses, its hits and, of several labels a picture, its answers (B, K), or else none: left on the
device until all batches are done."""
WHOLE = ""
"""The name of nothing replaced, among those of replaced blocks."""


def identity(block: ResidualBlock, x: Tensor) -> Tensor:
    """The block is gone."""
    return x


def shortcut_alone(block: ResidualBlock, x: Tensor) -> Tensor:
    """The branch is gone: y = after(h(x)), h scaled or gated as the addition does (Veit et al. 2016, 1605.06431)."""
    assert block.shortcut is not None
    h = block.shortcut(block.before(x) if block.shared else x)
    return block.after(block.add(torch.zeros_like(h), h, x))  # type: ignore[no-any-return]


# --- scores -------------------------------------------------------------------------------------


@torch.inference_mode()
def scores_without(
    net: ResNet,
    gone: Collection[str],
    stand_ins: Mapping[str, StandIn],
    batches: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    told: Told = untold,
) -> tuple[Score, dict[str, Score]]:
    """Score the net less the blocks that are `gone`; and then with each stand-in, alone, in its block's place.

    An answer is the mean logits of each picture's `views`. The net is in the mode it comes in: evaluation, for figures.
    """
    blocks = blocks_left(net, gone)
    labels, tallies = list[Tensor](), {name: list[Tally]() for name in (WHOLE, *stand_ins)}
    for batch in batches:
        with compute.autocast():
            shown = weighted(batch.images, views)
            answers = [(weight, _walked(net, blocks, stand_ins, view, told, len(shown))) for weight, view in shown]
            for name, tally in tallies.items():
                logits = torch.stack([weight * found[name].float() for weight, found in answers]).sum(0)
                tally.append(_tally(logits, batch.labels))
        labels.append(batch.labels)
    truths = torch.cat(labels).cpu().numpy()
    found = {name: _score(tally, truths) for name, tally in tallies.items()}
    return found.pop(WHOLE), found


def _walked(
    net: ResNet,
    blocks: Sequence[tuple[str, ResidualBlock]],
    stand_ins: Mapping[str, StandIn],
    images: Tensor,
    told: Told,
    views: int,
) -> dict[str, Tensor]:
    """Return (B, K) logits of one view of so many, of the net and with each block replaced.

    At each block the walk goes on to the end with its stand-in, then takes the block itself: about n²/2 blocks, where
    n + 1 whole nets would cost n².
    """
    logits, x = dict[str, Tensor](), net.stem(images)
    for place, (name, block) in enumerate(blocks):
        if name in stand_ins:
            logits[name] = finish(net, blocks[place + 1 :], stand_ins[name](block, x))
        x = block(x)
        rest = len(blocks) - place - 1 if name in stand_ins else 0
        told(len(images) * (1 + rest) / views)
    return logits | {WHOLE: net.head(x)}


def _tally(logits: Tensor, labels: Tensor) -> Tally:
    if labels.ndim == 2:  # several a picture
        losses = binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none").mean(1)
        hits, kept = several_right(logits, labels), answered(logits, several=True)
    else:
        losses = cross_entropy(logits, labels, reduction="none")
        hits, kept = (logits.argmax(1) == labels).sum(), logits[:0]
    return losses.nan_to_num(nan=MOST_LOSS).clamp(max=MOST_LOSS).sum(), hits, kept


def _score(tallies: Sequence[Tally], labels: Labels) -> Score:
    """Divide the sums over the batches by the count of their pictures, whose (N,) or (N, K) `labels` are given."""
    *sums, answers = zip(*tallies, strict=True)
    loss, hits = (float(torch.stack(parts).cpu().double().sum()) for parts in sums)
    precise = mean_average_precision(torch.cat(answers).cpu().numpy(), labels) if is_several(labels) else None
    return Score(loss=loss / len(labels), accuracy=hits / len(labels), mean_ap=precise)


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Let every BN normalise by each batch's own statistics and leave the running ones alone."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def score(
    net: ResNet,
    batches: Iterable[Batch],
    compute: Compute,
    gone: Collection[str] = (),
    views: Views = "single",
    told: Told = untold,
) -> Score:
    """Score the net less the blocks that are `gone`."""
    net.eval()
    return scores_without(net, gone, {}, batches, compute, views, told)[0]


def recalibrated(
    net: ResNet,
    gone: Collection[str],
    training: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    told: Told = untold,
) -> ResNet:
    """Return the net without those blocks, its BN statistics measured anew on the `views` of training pictures.

    None may be folded (`unfold`): without a batch's mean and variance to go back to, weights and shifts fit no others.
    """
    smaller = without(net, gone)
    blocks = sum(smaller.spec.blocks)

    def shown() -> Iterator[Tensor]:
        for batch in training:
            yield from (view for _, view in weighted(batch.images, views))
            told(blocks * len(batch.labels))

    with compute.autocast():
        recalibrate(smaller, shown())
    return smaller


def blocks_left(net: ResNet, gone: Collection[str]) -> list[tuple[str, ResidualBlock]]:
    """Return the net's blocks, in order, but for those `gone`."""
    return [(name, block) for name, block in net.blocks() if name not in gone]


def finish(net: ResNet, blocks: Sequence[tuple[str, ResidualBlock]], x: Tensor) -> Tensor:
    """Take x, the input of the first of `blocks`, through them to the end: (B, K) logits."""
    for _, block in blocks:
        x = block(x)
    return net.head(x)
