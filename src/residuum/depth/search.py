"""In which order blocks are taken out: the least harmful first, or, to compare with, at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from residuum.depth.measure import (
    Bench,
    Score,
    batch_statistics,
    identity,
    recalibrated,
    score,
    scores_without,
)
from residuum.depth.remove import still_removable
from residuum.models.spec import NetSpec


@dataclass(frozen=True)
class Cut:
    """One block gone, after all before it; of the first, the whole net, `deleted` is None.

    `searched` is the loss that the search goes by, in nats: BN by each batch's own statistics. `score` is with BN as
    trained.
    """

    deleted: str | None
    searched: float
    score: Score


def least_harmful_first(bench: Bench) -> Iterator[Cut]:
    """Yield the whole net, then each next block to go.

    In every round each block that may still go is left out in turn, and the one whose absence gives the lowest loss
    goes; of equals the first. Meanwhile BN normalises by each batch's own statistics, as it does after recalibration:
    with BN as trained the search hardly beats chance (docs/log.md).
    """
    gone: list[str] = []
    whole, _ = _searched(bench, gone, ())
    yield Cut(None, whole, score(bench.net, bench.validation, bench.compute))
    while candidates := still_removable(bench.net.spec, gone):
        _, losses = _searched(bench, gone, candidates)
        least = min(candidates, key=lambda name: losses[name])
        gone.append(least)
        yield Cut(least, losses[least], score(bench.net, bench.validation, bench.compute, gone))


def _searched(bench: Bench, gone: Sequence[str], candidates: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return the loss less the blocks that are `gone`, and then less each candidate too."""
    several = (batch for batch in bench.validation if len(batch.labels) > 1)  # one picture has no statistics
    with batch_statistics(bench.net):
        intact, scores = scores_without(
            bench.net, gone, dict.fromkeys(candidates, identity), several, bench.compute
        )
    return intact.loss, {name: found.loss for name, found in scores.items()}


def random_order(spec: NetSpec, generator: np.random.Generator) -> list[str]:
    """Draw an order in which to take blocks out until none may go, each time one of those that may."""
    gone: list[str] = []
    while candidates := still_removable(spec, gone):
        gone.append(candidates[int(generator.integers(len(candidates)))])
    return gone


def accuracies(bench: Bench, order: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the accuracies without the first 1, 2, … blocks of `order`: BN as trained, and recalibrated."""
    counts = range(1, len(order) + 1)
    as_trained = [score(bench.net, bench.validation, bench.compute, order[:k]).accuracy for k in counts]
    return as_trained, [accuracy_recalibrated(bench, order[:k]) for k in counts]


def accuracy_recalibrated(bench: Bench, gone: Sequence[str]) -> float:
    """Return the accuracy without those blocks, BN statistics measured anew."""
    return score(recalibrated(bench, gone), bench.validation, bench.compute).accuracy
