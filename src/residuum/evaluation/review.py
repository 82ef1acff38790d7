"""Is it the pictures? Labels that the answers speak against, copies, pictures like no other, classes that look alike.

Plain arithmetic on answers, features and pixels; what is found is to be looked at, never to be believed.

Letters: N pictures, D features, K classes, n nearest.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residuum.data.labels import Labels, is_several
from residuum.evaluation.metrics import confusion_matrix
from residuum.evaluation.shares import Probabilities
from residuum.records.numbers import NORMAL_95

VOTERS = 10
"""Nearest pictures that are asked for their label."""
NEAREST = 5
"""Nearest pictures that may be copies, and whose mean distance says how lonely a picture is."""
SIDE = 16
"""Of the small grey pictures that copies are compared by, in pixels."""
ALIKE = 1 / 16
"""Copies: their pixels differ by at most this part of what a picture and its nearest differ by, in the median."""
CROPPED = 0.4
"""Copies of another crop: features and pixels both differ by at most this part."""
FENCE = 1.5
"""Outside is what lies beyond the upper quartile by so many interquartile ranges (Tukey 1977, "Exploratory data
analysis", ch. 2)."""
FEWEST = 5
"""Pictures of each of two classes that it takes to say that they cannot be told apart; and of one of several labels
that it takes to miss it elsewhere: what a net gives such pictures in the mean says little where they are fewer."""
LEAST = 0.05
"""No label is missed that was given less: a net that cannot tell a class gives all pictures about its share."""
ROWS = 512
"""Compared in one step, so that memory suffices for many pictures."""

Ints = NDArray[np.int64]
Numbers = NDArray[np.floating[Any]]


class Nearest(NamedTuple):
    """The n nearest others of each picture, nearest first, (N, n), and their cosine distances."""

    rows: Ints
    apart: NDArray[np.float32]


def nearest_others(x: NDArray[np.float32], count: int = VOTERS) -> Nearest:
    """Return the nearest others of N pictures by their (N, D) directions; equals in the order of the pictures."""
    count = min(count, len(x) - 1)
    rows, apart = np.empty((len(x), count), np.int64), np.empty((len(x), count), np.float32)
    for start in range(0, len(x), ROWS):
        some = slice(start, start + ROWS)
        far = 1 - x[some] @ x.T
        far[np.arange(len(far)), np.arange(start, start + len(far))] = np.inf
        rows[some] = np.argsort(far, axis=1, kind="stable")[:, :count]
        apart[some] = np.take_along_axis(far, rows[some], axis=1)
    return Nearest(rows, np.clip(apart, 0, 2))


# --- labels -------------------------------------------------------------------------------------


class Doubted(NamedTuple):
    """A label that may be wrong."""

    row: int
    score: float
    """The mean of the two below, 0 to 1."""
    own: float
    """What its label was given by a net that has not seen the picture."""
    agreeing: float
    """The share of the nearest pictures that agree with its label, of as many as there are of its class."""
    suggested: int


def doubted_labels(
    answers: Probabilities, labels: Ints, nearest: Nearest, asked: Ints, all_labels: Ints
) -> list[Doubted]:
    """Return the labels that answers and nearest pictures speak against, the likeliest wrong first.

    Each answer names another class, and the nearest pictures do not outweigh it. (N, K) `answers` and (N,) `labels` are
    of the pictures at `asked` among all that are near; no answer has seen its picture. The probability of the given
    label is self-confidence of Northcutt et al. 2021, "Confident learning" (arXiv 1911.00068), sec. 3. The only picture
    of its class is left out: nothing is known of that class without it.
    """
    rows = np.arange(len(labels))
    own = answers[rows, labels]
    same = (all_labels[nearest.rows[asked]] == labels[:, None]).sum(axis=1)
    others = np.bincount(all_labels, minlength=answers.shape[1])[labels] - 1
    agreeing = same / np.clip(others, 1, nearest.rows.shape[1])
    score = (own + np.minimum(agreeing, 1)) / 2
    rest = answers.copy()
    rest[rows, labels] = -1
    suggested = rest.argmax(axis=1)
    order = np.argsort(score, kind="stable")
    return [
        Doubted(int(asked[i]), float(score[i]), float(own[i]), float(agreeing[i]), int(suggested[i]))
        for i in order.tolist()
        if score[i] < 0.5 and others[i] > 0 and own[i] < rest[i, suggested[i]]
    ]


class DoubtedAnswer(NamedTuple):
    """Of several labels a picture: one that may be wrong, or missing."""

    row: int
    score: float
    """What speaks for what is said, 0 to 1."""
    class_number: int
    is_said: bool
    """Whether the picture is said to show it."""
    given: float
    """What the class was given by a net that has not seen the picture."""


def doubted_of_several(answers: Probabilities, labels: Labels, asked: Ints, all_labels: Labels) -> list[DoubtedAnswer]:
    """Return the labels, and those missing, that answers speak against, the likeliest wrong first.

    (N, K) `answers` and `labels`, 0 or 1, are of the pictures at `asked`; no answer has seen its picture. A label is
    doubted that was given no more than its share of all pictures, and one is missed that was given one half, or as much
    as pictures with it are in the mean, where that is less: the threshold of Northcutt et al. 2021 (arXiv 1911.00068),
    eq. 2, so that labels that are seldom called are missed, too. None is missed that was given less than one in twenty,
    or that fewer than five pictures show, as a misspelt one: one hundredth would otherwise call it missing wherever the
    label is that was meant. All are in the order of the odds that they are wrong,
    by Bayes, were errors as frequent in each class: what a label was given counts against how many pictures have it, of
    which few have a rare one.
    """
    p, is_said = answers.astype(np.float64), labels.astype(bool)
    share = all_labels.mean(axis=0, dtype=np.float64)
    spoken = np.where(is_said, _balanced(p, share), 1 - p)
    wrong, missing = _listed(p, is_said, all_labels)
    rows, classes = np.nonzero(np.where(is_said, wrong, missing) & _are_asked(all_labels))
    order = np.argsort(spoken[rows, classes], kind="stable")
    return [
        DoubtedAnswer(int(asked[i]), float(spoken[i, k]), int(k), bool(is_said[i, k]), float(p[i, k]))
        for i, k in zip(rows[order].tolist(), classes[order].tolist(), strict=True)
    ]


def _balanced(p: Numbers, share: Numbers) -> Numbers:
    """Return what (N, K) probabilities would be, were half of the pictures of each class, by their share now, (K,)."""
    ours, others = p * (1 - share), (1 - p) * share
    found: Numbers = ours / np.maximum(ours + others, np.finfo(np.float64).tiny)
    return found


def _listed(p: Numbers, labels: NDArray[np.bool_], all_labels: Labels) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of (N, K) answers where a label would be doubted, and where one would be missed."""
    given = np.where(labels, p, 0).sum(axis=0) / np.maximum(labels.sum(axis=0), 1)
    least = np.clip(np.where(labels.any(axis=0), given, 0.5), LEAST, 0.5)
    is_known = all_labels.sum(axis=0, dtype=np.int64) >= FEWEST
    return p <= all_labels.mean(axis=0, dtype=np.float64), (p >= least) & is_known


def _are_asked(all_labels: Labels) -> NDArray[np.bool_]:
    """Say which classes are known from more than one picture, as is what lacks them, (K,)."""
    shown = all_labels.sum(axis=0, dtype=np.int64)
    found: NDArray[np.bool_] = (shown > 1) & (len(all_labels) - shown > 1)
    return found


def doubted_by_luck(answers: Probabilities, labels: Labels, nearest: Nearest, asked: Ints, all_labels: Labels) -> float:
    """Return how many labels would be expected among the doubted were none wrong, for what `doubted_labels` is told.

    It takes the answers to be as right as they are sure: a picture is of each class with the probability answered, and
    counts by the probability of those classes under which it would be doubted. Labels that are wrong make a net less
    sure, and this larger. Of several labels a picture it is the sum over all questions.
    """
    if is_several(labels):
        return _by_luck_of_several(answers.astype(np.float64), labels.astype(bool), all_labels)
    count = np.bincount(all_labels, minlength=answers.shape[1])
    total = 0.0
    for start in range(0, len(labels), ROWS):
        p, its = answers[start : start + ROWS], labels[start : start + ROWS]
        rows = np.arange(len(p))
        votes = np.zeros(p.shape, np.int64)
        np.add.at(votes, (rows[:, None], all_labels[nearest.rows[asked[start : start + ROWS]]]), 1)
        others = np.tile(count, (len(p), 1))
        others[rows, its] -= 1
        agreeing = np.minimum(votes / np.clip(others, 1, nearest.rows.shape[1]), 1)
        is_doubted = ((p + agreeing) / 2 < 0.5) & (others > 0) & (p < p.max(axis=1, keepdims=True))
        total += float(p[is_doubted].sum())
    return total


def _by_luck_of_several(p: Numbers, is_said: NDArray[np.bool_], all_labels: Labels) -> float:
    wrong, missing = _listed(p, is_said, all_labels)
    listed = np.where(wrong, p, 0) + np.where(missing, 1 - p, 0)
    return float(listed[:, _are_asked(all_labels)].sum())


# --- copies -------------------------------------------------------------------------------------


class Copies(NamedTuple):
    """Pictures that are one, or nearly, in their order; `score` is 0 for the same file, 1 for the least alike."""

    rows: tuple[int, ...]
    score: float


def copies(nearest: Nearest, same: Ints, greys: NDArray[np.float32]) -> list[Copies]:
    """Return the groups of pictures that are the same or nearly, the surest first.

    Pictures with equal numbers in `same`, (N,), are the same file. `greys` are (N, 16, 16): see small_grey. Only the
    nearest by features are compared by pixels, as they are and mirrored. What counts as alike is measured against what
    a picture and its nearest other differ by in these data.
    """
    _, first, number = np.unique(same, return_index=True, return_inverse=True)
    found = {(int(first[n]), row): 0.0 for row, n in enumerate(number.tolist()) if first[n] != row}
    near = {
        (min(i, j), max(i, j)): (apart, _pixels_apart(greys[i], greys[j]))
        for i, rows in enumerate(nearest.rows[:, :NEAREST].tolist())
        for j, apart in zip(rows, nearest.apart[i].tolist(), strict=False)
        if same[i] != same[j]
    }
    usual = np.median(list(near.values()), axis=0) if near else np.ones(2)
    for pair, apart in near.items():
        features, pixels = apart / np.where(usual > 0, usual, 1.0)
        if pixels <= ALIKE or max(pixels, features) <= CROPPED:
            found[pair] = float(np.clip(pixels, 1e-6, 1.0))
    return _grouped(found)


def small_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (H, W, 3) pixels as a grey picture of 16×16, mean 0 and length 1; zeros where it is of one colour."""
    image = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(image, np.float32)
    grey = grey - grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > SIDE else np.zeros_like(grey)  # less than one grey level of spread: nothing to see


def _pixels_apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return 1 less the correlation of two small grey pictures, the second mirrored where that is more alike."""
    return 1 - max(float((one * other).sum()), float((one * other[:, ::-1]).sum()))


def _grouped(pairs: dict[tuple[int, int], float]) -> list[Copies]:
    """Join pairs that share a picture."""
    home: dict[int, int] = {}

    def root(row: int) -> int:
        while home.setdefault(row, row) != row:
            row = home[row]
        return row

    for i, j in pairs:
        home[max(root(i), root(j))] = min(root(i), root(j))
    groups: dict[int, list[int]] = {}
    for row in sorted(home):
        groups.setdefault(root(row), []).append(row)
    scores = {base: max(score for (i, _), score in pairs.items() if root(i) == base) for base in groups}
    return sorted((Copies(tuple(rows), scores[base]) for base, rows in groups.items()), key=lambda one: one.score)


# --- pictures like no other, and classes that look alike ----------------------------------------


def unlike_all_others(nearest: Nearest) -> list[tuple[int, float, float]]:
    """Return (row, mean distance to its nearest few, the fence it lies beyond), the loneliest first."""
    apart = nearest.apart[:, :NEAREST].mean(axis=1, dtype=np.float64)
    low, high = np.quantile(apart, [0.25, 0.75])
    fence = float(high + FENCE * (high - low))
    return [(int(row), float(apart[row]), fence) for row in np.argsort(-apart, kind="stable") if apart[row] > fence]


class Alike(NamedTuple):
    """Two classes that the answers cannot tell apart: `right` is the mean of both recalls, where only they may be
    chosen.
    """

    first: int
    second: int
    right: float
    pictures: int


def alike_classes(answers: Probabilities, labels: Ints) -> list[Alike]:
    """Return pairs of classes that (N, K) answers to unseen pictures do not tell apart better than chance.

    That is so where half, what chance gives, lies within the 95 % interval of the mean of the two recalls (normal
    approximation), as far as one of the two is ever taken for the other.
    """
    return sorted(_alike(answers, labels), key=lambda one: one.right)


def _alike(answers: Probabilities, labels: Ints) -> Iterator[Alike]:
    taken = confusion_matrix(labels, answers.argmax(axis=1), answers.shape[1])
    for i, j in combinations(range(answers.shape[1]), 2):
        if not taken[i, j] + taken[j, i]:
            continue
        hits = [answers[labels == one][:, one] > answers[labels == one][:, other] for one, other in ((i, j), (j, i))]
        if min(map(len, hits)) < FEWEST:
            continue
        recalls = np.array([hit.mean() for hit in hits])
        error = np.sqrt(sum(r * (1 - r) / len(hit) for r, hit in zip(recalls, hits, strict=True))) / 2
        if recalls.mean() - NORMAL_95 * error <= 0.5:
            yield Alike(i, j, float(recalls.mean()), sum(map(len, hits)))
