"""Probabilities and labels in, named figures with 95 % intervals out: plain arithmetic, no model.

Letters: N images, K classes.

Sources and intervals are in shares.py; of several labels a picture, several_labels.py judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.data.labels import CALLED, Labels, is_several
from residuum.errors import UserError
from residuum.evaluation.several_labels import binary_cross_entropy, judge_several
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
from residuum.records.evaluation import ClassFigures, Evaluation, Measure, chance_ece

AT_ONCE = 1 << 13
"""Images that are drawn, for several resamples of a few, before they are counted: more are slower in memory."""
SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class _Rows:
    """What is left of each image once its K probabilities are read; all arrays are (N,)."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    rank: NDArray[np.int64]  # how many classes come before the label; 0 is a hit
    confidence: Probabilities  # of the predicted class
    own: Probabilities  # probability of the label

    @property
    def correct(self) -> NDArray[np.bool_]:
        hits: NDArray[np.bool_] = self.rank == 0
        return hits


def judge(
    probabilities: Probabilities,
    labels: Labels,
    classes: Sequence[str],
    *,
    split: str,
    protocol: str,
    seed: int = 0,
    call_from: float = CALLED,
) -> Evaluation:
    """Judge (N, K) probabilities against (N,) labels; the order of the images changes nothing.

    Of several labels a picture, (N, K): see judge_several; `call_from` is for those alone.

    top1, top5, precision and recall carry Wilson's interval. F1 is 2J / (1 + J), J being the share of hits
    among the images that are of a class or are called so: a proportion, so its Wilson interval carries over.
    macro_f1 and ece carry a bootstrap of 1000 resamples of the images, drawn with Philox(`seed`).

    - top-k: a hit if fewer than k classes are strictly likelier than the label, or as likely with a lower
      number. So a predictor that calls all classes equal gains nothing by it. top5 is None when K <= 5.
    - macro_f1: the mean over the classes that have images, as scikit-learn's with those as `labels`.
    - The precision of a class never predicted, and recall and F1 of one without images, are None: unknown.
    - loss: mean negative log-likelihood in nats; a probability below 1.2e-38 counts as that, so an image
      costs at most 87.3 and the loss stays finite.
    - confusion: rows are the truth, columns the prediction. calibration: 15 bins of the confidence.

    Raises:
        UserError: there are no images, a label is not among the classes, a probability is not finite.
    """
    if is_several(labels):
        return judge_several(probabilities, labels, classes, split, protocol, seed, call_from)
    _check(probabilities, labels, classes)
    rows = _read_rows(probabilities, labels)
    confusion = confusion_matrix(rows.labels, rows.predicted, len(classes))
    bins = calibration(rows.confidence, rows.correct)
    macro_f1, ece = _bootstrapped(rows, len(classes), seed, chance_ece(bins))
    return Evaluation(
        split=split,
        protocol=protocol,
        images=len(rows.labels),
        top1=proportion(np.count_nonzero(rows.rank < 1), len(rows.rank)),
        top5=proportion(np.count_nonzero(rows.rank < 5), len(rows.rank)) if len(classes) > 5 else None,
        macro_f1=macro_f1,
        ece=ece,
        loss=float(np.log(1 / np.clip(rows.own.astype(np.float64), SMALLEST, 1)).mean()),
        per_class=tuple(_of_class(name, k, confusion) for k, name in enumerate(classes)),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=bins,
    )


def mean_loss(probabilities: Probabilities, labels: Labels, weights: Probabilities | None = None) -> float:
    """Return the mean negative log-likelihood of what the pictures show, in nats, by (N, K) probabilities.

    `weights`, (K,), say what a picture of each class counts, of one label a picture alone.
    """
    if is_several(labels):
        return binary_cross_entropy(probabilities, labels)
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST))
    return float(np.average(losses, weights=None if weights is None else weights[labels]))


# --- the small pieces --------------------------------------------------------------------------


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], K: int) -> NDArray[np.int64]:
    """Count the images by truth (row) and prediction (column): (N,) and (N,) to (K, K)."""
    return np.bincount(labels * K + predicted, minlength=K * K).reshape(K, K)


def _ece(bins: NDArray[np.int64], gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean distance between confidence and accuracy (Guo et al. 2017, eq. 3); a bin counts by its images.

    From each image's bin, and what is right less what is claimed, (R, N) both, for each of R resamples: (R,).
    """
    found: NDArray[np.float64] = np.abs(_counted(bins, BINS, gaps)).sum(1) / bins.shape[1]
    return found


# --- reading the probabilities -----------------------------------------------------------------


def _check(probabilities: Probabilities, labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    N, K = len(labels), len(classes)
    assert probabilities.shape == (N, K), f"probabilities are {probabilities.shape}, not {(N, K)}"
    assert labels.shape == (N,), f"labels are {labels.shape}, not {(N,)}"
    if N == 0:
        raise UserError("there are no images to judge", "the split is empty", "choose another split or add images")
    if labels.min() < 0 or labels.max() >= K:
        raise UserError(
            f"the labels go from {labels.min()} to {labels.max()}, but there are {K} classes (0 to {K - 1})",
            "the data and the model do not have the same classes",
            "judge the model on data with the classes it was trained on",
        )
    refuse_not_finite(probabilities)
    sums = probabilities.sum(axis=1)
    assert probabilities.min() >= 0, "these are not probabilities: some are negative"
    assert np.abs(sums - 1).max() < 0.01, "these are not probabilities: a row does not add up to 1"


def _read_rows(probabilities: Probabilities, labels: NDArray[np.int64]) -> _Rows:
    """Reduce (N, K) to (N,), sorted, so that sums and resamples do not hang on the order of the images."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    every = np.arange(len(labels))
    confidence, own = np.minimum(probabilities[every, predicted], 1), probabilities[every, labels]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    rank = np.count_nonzero(probabilities > own[:, None], axis=1)
    rank += np.count_nonzero((probabilities == own[:, None]) & before, axis=1)
    order = np.lexsort((rank, own, confidence, predicted, labels))
    return _Rows(labels[order], predicted[order], rank[order], confidence[order], own[order])


# --- figures with their intervals --------------------------------------------------------------


def _of_class(name: str, k: int, confusion: NDArray[np.int64]) -> ClassFigures:
    return judge_class(name, int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum()))


def _macro_f1(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], hit: NDArray[np.int64], K: int
) -> NDArray[np.float64]:
    """Average F1 over the classes that occur; `hit` is the class of a hit, K of a miss.

    All are (R, N), R resamples of N images; returned is (R,).
    """
    images, hits = _counted(labels, K), _counted(hit, K + 1)[:, :K]
    both = images + _counted(predicted, K)
    found: NDArray[np.float64] = (2 * hits / np.maximum(both, 1)).sum(1) / np.count_nonzero(images, axis=1)
    return found


def _counted(numbers: NDArray[np.int64], K: int, weights: NDArray[np.float64] | None = None) -> NDArray[Any]:
    """Count each of 0 to K - 1, or add up its weights, in each row of (R, N): (R, K)."""
    R = len(numbers)
    rows = numbers if R == 1 else numbers + K * np.arange(R)[:, None]
    return np.bincount(rows.ravel(), None if weights is None else weights.ravel(), R * K).reshape(R, K)


def _bootstrapped(rows: _Rows, K: int, seed: int, by_chance: float) -> tuple[Measure, Measure]:
    """Return macro F1 and ECE with intervals from the same resamples of the rows; luck adds `by_chance` to the ECE."""
    N, labels, predicted = len(rows.labels), rows.labels, rows.predicted
    hit = np.where(rows.correct, labels, K)
    bins = bin_of(rows.confidence)
    gaps: NDArray[np.float64] = rows.correct - rows.confidence.astype(np.float64)

    def figures(drawn: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        return [_macro_f1(labels[drawn], predicted[drawn], hit[drawn], K), _ece(bins[drawn], gaps[drawn])]

    generator = np.random.Generator(np.random.Philox(seed))
    most = max(1, AT_ONCE // N)
    parts = [min(most, RESAMPLES - start) for start in range(0, RESAMPLES, most)]
    resampled = np.concatenate([figures(generator.integers(N, size=(part, N))) for part in parts], axis=1)
    macro_f1, ece = np.concatenate(figures(np.arange(N)[None]))
    return effective(float(macro_f1), resampled[0], N), reflected(float(ece), resampled[1], by_chance)
