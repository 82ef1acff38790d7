"""Is a picture like those trained on? How far its features lie from the nearest of theirs.

The mean cosine distance to the nearest few, after Sun et al. 2022, "Out-of-distribution detection with deep nearest
neighbors" (arXiv 2204.06507), sec. 3, who take the distance to the k-th. Labels play no part in it.

Letters: N pictures, D features, M of the training pictures that are kept to compare with.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.data.labels import Labels, as_kinds, is_right, share_a_class
from residuum.evaluation.shares import Probabilities, proportion
from residuum.records.review import Doubt, DoubtPoint, Likeness

NEIGHBOURS = 5
KEPT = 1000
"""So many training pictures are kept: 2 MB of a ResNet-18's features."""
UNSURE = 0.05
"""The share of pictures like those trained on that may be called unsure; a sample's own share differs from it."""
SHARES = tuple(step / 100 for step in range(21))
"""Where the curve of what it costs and gains has its points."""
ROWS = 1024
"""Compared in one step, so that memory suffices for many pictures."""

Numbers = NDArray[np.floating[Any]]


def directions(features: Numbers) -> NDArray[np.float32]:
    """Return (N, D) features with length 1, or 0 where there are none."""
    x = features.astype(np.float32)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1), np.float32)


def kept_rows(labels: Labels, seed: int) -> NDArray[np.int64]:
    """Return the rows of the N training pictures kept to compare with: all, or KEPT by chance, as many a class."""
    from residuum.data.rng import order  # imports torch, which answers need not wait for

    kinds, shuffled = as_kinds(labels), order(seed, 0, len(labels))
    by_class = shuffled[np.argsort(kinds[shuffled], kind="stable")]
    _, first = np.unique(kinds[by_class], return_index=True)
    place = np.arange(len(labels)) - np.repeat(first, np.diff(np.append(first, len(labels))))
    return np.sort(by_class[np.argsort(place, kind="stable")][:KEPT])


def distances(x: Numbers, kept: Numbers, neighbours: int, barred: NDArray[np.bool_] | None = None) -> Numbers:
    """Return the mean cosine distance, (N,), of (N, D) directions to their nearest `neighbours` among (M, D).

    `barred`, (N, M), are not compared; where fewer are left all of them count, and where none is it is 2, the largest.
    """
    found = np.empty(len(x))
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        apart = 1 - x[rows] @ kept.T.astype(np.float32)
        if barred is not None:
            apart[barred[rows]] = np.inf
        nearest = np.sort(np.partition(apart, min(neighbours, apart.shape[1]) - 1, axis=1)[:, :neighbours], axis=1)
        there = np.isfinite(nearest)
        total = np.where(there, nearest, 0.0).sum(axis=1, dtype=np.float64)
        found[rows] = np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), 2.0)
    return np.clip(found, 0.0, 2.0)


def threshold(apart: Numbers, share: float) -> float:
    """Return the distance beyond which about `share` of new pictures like these would lie.

    Of N distances it is the ⌈(N + 1)(1 − share)⌉-th, for which that holds of exchangeable pictures (Vovk et al. 2005,
    "Algorithmic learning in a random world", sec. 2.2); with too few pictures for that, the largest.
    """
    place = min(int(np.ceil((len(apart) + 1) * (1 - share) - 1e-9)), len(apart))
    return float(np.sort(apart)[place - 1])


def measure_doubt(
    x: Numbers, kept: NDArray[np.int64], which: NDArray[np.int64], answers: Probabilities, labels: Labels
) -> tuple[Doubt, Numbers]:
    """Return what saying "unsure" costs and gains, and each picture's distance, (N,), to those of other folds.

    `x` are (N, D) directions of the training pictures, `kept` the rows compared with, `which` the fold of each, and
    `answers` (N, K) those out of fold. Strangers are the same pictures, had their classes been missing: compared with
    those of other classes alone, which show none of theirs, at the same threshold.
    """
    apart = distances(x, x[kept], NEIGHBOURS, which[:, None] == which[kept])
    strange = distances(x, x[kept], NEIGHBOURS, share_a_class(labels, labels[kept]))
    limit = threshold(apart, UNSURE)
    limits = [threshold(apart, share) for share in SHARES]
    points = {(float((apart > at).mean()), float((strange > at).mean())) for at in limits}
    like = apart <= limit
    right = is_right(answers, labels)[like]
    doubt = Doubt(
        likeness=Likeness(neighbours=NEIGHBOURS, threshold=limit, known=float((~like).mean())),
        curve=tuple(DoubtPoint(known=known, strangers=strangers) for known, strangers in sorted(points)),
        strangers=float((strange > limit).mean()),
        sure=proportion(int(right.sum()), len(right)) if len(right) else None,
    )
    return doubt, apart
