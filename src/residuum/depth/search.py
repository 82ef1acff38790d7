"""In which order blocks are taken out: the least harmful first, or, to compare with, at random."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from residuum.choices import Views
from residuum.compute import Compute
from residuum.data.batches import Batch
from residuum.depth.measure import batch_statistics, identity, recalibrated, score, scores_without
from residuum.depth.progress import Told, untold
from residuum.depth.remove import still_removable
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.depth import Score


@dataclass(frozen=True)
class Cut:
    """One block gone, after all before it; of the first, the whole net, `deleted` is None.

    `searched` is the loss that the search goes by, in nats: BN by each batch's own statistics.
    `score` is with BN as trained.
    """

    deleted: str | None
    searched: float
    score: Score


def least_harmful_first(
    net: ResNet,
    validation: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    searching: Compute | None = None,
    gone: Sequence[str] | None = None,
    told: Told = untold,
) -> Iterator[Cut]:
    """Yield the whole net, then each next block to go; the pictures are walked again and again.

    Where it is said which blocks are `gone` already, only the next ones are yielded.

    In every round each block that may still go is left out in turn, and the one whose absence gives the lowest loss
    goes; of equals the first. Meanwhile BN normalises by each batch's own statistics, as it does after recalibration:
    with BN as trained the search hardly beats chance (docs/log.md). No BN may be folded (`unfold`). The search computes
    in `searching`, by default as the scores do, in `compute`.
    """

    def searched(candidates: Sequence[str]) -> tuple[float, dict[str, float]]:
        """Return the loss less the blocks that are gone, and then less each candidate too."""
        several = (batch for batch in validation if len(batch.labels) > 1)  # one picture has no statistics
        with batch_statistics(net):
            intact, scores = scores_without(
                net, out, dict.fromkeys(candidates, identity), several, searching or compute, views, told
            )
        return intact.loss, {name: found.loss for name, found in scores.items()}

    out = list(gone or ())
    if gone is None:
        whole, _ = searched(())
        yield Cut(None, whole, score(net, validation, compute, (), views, told))
    while candidates := still_removable(net.spec, out):
        _, losses = searched(candidates)
        least = min(candidates, key=lambda name: losses[name])
        out.append(least)
        yield Cut(least, losses[least], score(net, validation, compute, out, views, told))


def random_order(spec: NetSpec, generator: np.random.Generator) -> list[str]:
    """Draw an order in which to take blocks out until none may go, each time one of those that may."""
    gone: list[str] = []
    while candidates := still_removable(spec, gone):
        gone.append(candidates[int(generator.integers(len(candidates)))])
    return gone


def accuracies(
    net: ResNet,
    order: Sequence[str],
    validation: Iterable[Batch],
    training: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    told: Told = untold,
) -> tuple[list[float], list[float]]:
    """Return the accuracies without the first 1, 2, … blocks of `order`: BN as trained, and recalibrated."""
    firsts = [order[:k] for k in range(1, len(order) + 1)]
    as_trained = [score(net, validation, compute, gone, views, told).accuracy for gone in firsts]
    again = (recalibrated(net, gone, training, compute, views, told) for gone in firsts)
    return as_trained, [score(smaller, validation, compute, (), views, told).accuracy for smaller in again]
