"""Several labels a picture: (N, K) probabilities, each for itself, against (N, K) truths, in named figures.

Letters: N images, K classes, R resamples.

Sources: average precision is that of Everingham et al. 2010 ("The Pascal Visual Object Classes challenge", IJCV 88), at
every threshold, as scikit-learn has it; one-error and its kind are Schapire and Singer's (2000, Machine Learning 39).
Intervals are as in shares.py.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from residuum.data.labels import CALLED, Labels, counts, is_right
from residuum.errors import UserError
from residuum.evaluation.shares import (
    BINS,
    RESAMPLES,
    Probabilities,
    bin_of,
    calibration,
    effective,
    judge_class,
    proportion,
    reflected,
    refuse_not_finite,
)
from residuum.records.evaluation import ClassFigures, Evaluation, Measure, Threshold, chance_ece

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""From where on labels might be called: closer where rare classes, of which nets are less sure, are decided."""
NEARLY_SURE = 1 - float(np.finfo(np.float32).epsneg) / 2
"""An answer beyond this counts as this in the loss: a float32 of 1 may have been so."""
DRAWN = 200_000_000
"""Answers looked at in all resamples together, at most: of many pictures fewer resamples are drawn."""
FEWEST = 100
AT_ONCE = 4_000_000
"""Weights of resamples that lie in memory at once."""

Counts = NDArray[np.float64]


def judge_several(
    probabilities: Probabilities,
    labels: Labels,
    classes: Sequence[str],
    split: str,
    protocol: str,
    seed: int = 0,
    call_from: float = CALLED,
) -> Evaluation:
    """Judge (N, K) probabilities against (N, K) truths, 0 or 1; the order of the images changes nothing.

    - A class is called from a probability of `call_from` on; precision, recall, F1 and `confusion` are of that.
    - by_threshold: what would be called from others on.
    - top1: the share of images whose likeliest class is one they show, or that show none and none is called.
    - mean_ap: average precision, its mean over the classes that some image shows; an interval as macro_f1's.
    - loss: mean binary cross-entropy, in nats, over images and classes.
    - calibration and ece: of all N·K answers.

    Raises:
        UserError: there are no images, or no image shows any class.
    """
    assert probabilities.shape == labels.shape == (len(labels), len(classes)), (probabilities.shape, labels.shape)
    if not labels.any():
        why = "no image shows any class" if len(labels) else "the split is empty"
        raise UserError("there are no labels to judge by", why, "choose another split, or add images")
    p, y = _in_order(probabilities, labels)
    called, bins = _from(p, call_from), calibration(p.ravel(), y.ravel())
    ap = _average_precisions(p, y, np.ones((1, len(y))))[0]
    mean_ap, macro_f1, ece = _with_intervals(p, y, called, ap, seed, chance_ece(bins))
    return Evaluation(
        split=split,
        protocol=protocol,
        images=len(y),
        top1=proportion(is_right(p, y.astype(np.uint8), call_from).sum(), len(y)),
        top5=None,
        mean_ap=mean_ap,
        macro_f1=macro_f1,
        ece=ece,
        loss=binary_cross_entropy(p, y),
        per_class=tuple(_per_class(p, y, called, classes)),
        confusion=tuple(map(tuple, _taken_for(called, y).tolist())),
        calibration=bins,
        call_from=call_from,
        by_threshold=tuple(_by_threshold(p, y)),
    )


def _per_class(
    p: Probabilities, y: NDArray[np.bool_], called: NDArray[np.bool_], classes: Sequence[str]
) -> Iterator[ClassFigures]:
    """Yield the figures of each class."""
    hits, images, so_often = (counts(each.astype(np.uint8), len(classes)) for each in (called & y, y, called))
    ap = _average_precisions(p, y, np.ones((1, len(y))))[0]
    of_each = zip(classes, hits.tolist(), images.tolist(), so_often.tolist(), strict=True)
    for each, its in zip(of_each, ap.tolist(), strict=True):
        yield structs.replace(judge_class(*each), average_precision=None if np.isnan(its) else float(its))


def _from(p: Probabilities, threshold: float) -> NDArray[np.bool_]:
    """Say which of (N, K) answers reach a threshold, as near as their numbers can hold it."""
    return p >= p.dtype.type(threshold)


def _by_threshold(p: Probabilities, y: NDArray[np.bool_]) -> Iterator[Threshold]:
    """Yield how often each class would be called from some thresholds on, and how often rightly."""
    for threshold in THRESHOLDS:
        called = _from(p, threshold)
        hits = (called & y).sum(axis=0)
        yield Threshold(call_from=threshold, called=tuple(called.sum(axis=0).tolist()), hits=tuple(hits.tolist()))


def binary_cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean of −log of what each of (N, K) truths was given, in nats."""
    p = probabilities.astype(np.float64)
    given = np.clip(np.where(labels, p, 1 - p), 1 - NEARLY_SURE, None)
    return float(-np.log(given).mean())


def mean_average_precision(probabilities: Probabilities, labels: Labels) -> float | None:
    """Return average precision, its mean over the classes that some of N images shows, (N, K) both; None of none."""
    if not labels.any():
        return None
    return float(
        _mean_over_shown(_average_precisions(probabilities, labels.astype(bool), np.ones((1, len(labels)))))[0]
    )


def _in_order(probabilities: Probabilities, labels: Labels) -> tuple[Probabilities, NDArray[np.bool_]]:
    """Return both in an order that depends on what they hold alone (UserError if an answer is not finite)."""
    refuse_not_finite(probabilities)
    assert probabilities.min() >= 0, "these are not probabilities: some are negative"
    assert probabilities.max() <= 1 + 1e-6, "these are not probabilities: some are above 1"
    order = np.lexsort([*labels.T, *probabilities.T])
    return np.minimum(probabilities[order], 1), labels[order].astype(bool)


def _taken_for(called: NDArray[np.bool_], y: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (K, K): of the images that show k, for how many k was called, and l that they do not show."""
    found = y.T.astype(np.float64) @ (called & ~y)
    np.fill_diagonal(found, (called & y).sum(axis=0))
    return found.round().astype(np.int64)


# --- means over the classes, and their intervals ---------------------------------------------------


def _average_precisions(p: Probabilities, y: NDArray[np.bool_], weights: Counts) -> Counts:
    """Return (R, K) average precisions of images that count by (R, N) weights; NaN where no image shows a class.

    AP = Σ (Rₙ − Rₙ₋₁) Pₙ over the thresholds n, from the greatest probability down; equal ones are one threshold.
    """
    found = np.full((len(weights), p.shape[1]), np.nan)
    for k in np.flatnonzero(y.any(axis=0)):
        order = np.argsort(-p[:, k], kind="stable")
        ends = np.flatnonzero(np.append(np.diff(p[order, k]) != 0, True))
        counted = weights[:, order]
        so_far = counted.cumsum(axis=1)[:, ends]
        hits = (counted * y[order, k]).cumsum(axis=1)[:, ends]
        precision = hits / np.maximum(so_far, 1)
        gained = np.diff(hits, axis=1, prepend=0.0)
        total = hits[:, -1]
        found[:, k] = np.where(total > 0, (gained * precision).sum(axis=1) / np.maximum(total, 1), np.nan)
    return found


def _macro_f1(y: NDArray[np.bool_], called: NDArray[np.bool_], weights: Counts) -> Counts:
    """Return (R,): F1 = 2·hits / (images + called), its mean over the classes that some image shows."""
    hits, images, so_often = (weights @ each.astype(np.float64) for each in (called & y, y, called))
    of_each = 2 * hits / np.maximum(images + so_often, 1)
    shown = images > 0
    mean: Counts = (of_each * shown).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    return mean


def _gaps(p: Probabilities, y: NDArray[np.bool_]) -> Counts:
    """Return (N, BINS): what is true less what is claimed, of each image's answers in each bin."""
    N, K = p.shape
    places = bin_of(p) + BINS * np.arange(N)[:, None]
    found: Counts = np.bincount(places.ravel(), (y - p.astype(np.float64)).ravel(), N * BINS).reshape(N, BINS) / K
    return found


def _with_intervals(
    p: Probabilities, y: NDArray[np.bool_], called: NDArray[np.bool_], ap: Counts, seed: int, by_chance: float
) -> tuple[Measure, Measure, Measure]:
    """Return mean AP, macro F1 and ECE with intervals from the same resamples of the images; `ap` (K,): of them all."""
    N, gaps = len(y), _gaps(p, y)

    def figures(weights: Counts, ap: Counts) -> Counts:
        ece = np.abs(weights @ gaps).sum(axis=1) / N
        return np.stack([_mean_over_shown(ap), _macro_f1(y, called, weights), ece])

    parts = (figures(weights, _average_precisions(p, y, weights)) for weights in _resamples(N, p.shape[1], seed))
    resampled = np.concatenate(list(parts), axis=1)
    mean_ap, macro_f1, ece = figures(np.ones((1, N)), ap[None])[:, 0].tolist()
    return (
        effective(mean_ap, resampled[0], N),
        effective(macro_f1, resampled[1], N),
        reflected(ece, resampled[2], by_chance),
    )


def _mean_over_shown(each: Counts) -> Counts:
    """Return the mean over the classes that some image shows, (R,); 0 of a resample where none does."""
    shown = ~np.isnan(each)
    mean: Counts = np.where(shown, each, 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    return mean


def resamples_of(N: int, K: int) -> int:
    """Return how many resamples intervals of N images of K classes are made of."""
    return max(FEWEST, min(RESAMPLES, DRAWN // (N * K)))


def _resamples(N: int, K: int, seed: int) -> Iterator[Counts]:
    """Yield how often each of N images is drawn, (some of R, N): Philox(`seed`)."""
    R = resamples_of(N, K)
    generator, most = np.random.Generator(np.random.Philox(seed)), max(1, AT_ONCE // N)
    for start in range(0, R, most):
        part = min(most, R - start)
        drawn = generator.integers(N, size=(part, N)) + N * np.arange(part)[:, None]
        yield np.bincount(drawn.ravel(), None, part * N).reshape(part, N).astype(np.float64)
