"""How good a classifier is: evaluation.json, evaluations/*.json and mistakes.json."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from residuum.choices import EngineName, EnginePrecision
from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.explained import Heat
from residuum.records.numbers import NORMAL_95, Amount, Count, Share


class Measure(Record, frozen=True, kw_only=True):
    """A share and its 95 % interval."""

    value: Share
    low: Share
    high: Share

    @property
    def is_known(self) -> bool:
        """Say whether anything was tried: the interval of nothing is 0 to 1."""
        return (self.low, self.high) != (0.0, 1.0)


class ClassFigures(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How one class of so many images fared."""

    name: str
    images: Count
    """Those that are of it, or show it where they may show several."""
    precision: Measure | None
    """None where no picture was called so; in files of 0.1.0 it is 0 then, within 0 to 1, as are the others."""
    recall: Measure | None
    """None where there are no pictures; so is F1."""
    f1: Measure | None
    average_precision: Share | None = None
    """Of several labels a picture; None where no picture shows it, and of one label a picture."""

    def known(self, name: Literal["precision", "recall", "f1"]) -> Measure | None:
        """Return a figure, None where the pictures tell nothing of it; of files of 0.1.0 too."""
        found: Measure | None = getattr(self, name)
        return found if found and found.is_known and (self.images or name == "precision") else None


class Bin(Record, frozen=True, kw_only=True):
    """The pictures whose confidence lies in (low, high]."""

    low: Share
    high: Share
    count: Count
    confidence: Share | None
    """The mean of theirs; None if there are none, as below."""
    accuracy: Share | None
    """The share of them called right."""

    def __post_init__(self) -> None:
        """Refuse means of nothing, and pictures without means (ValueError)."""
        if {self.confidence is None, self.accuracy is None} != {self.count == 0}:
            raise ValueError("a bin has means if and only if it has pictures")


def chance_ece(bins: tuple[Bin, ...]) -> float:
    """Return the mean ECE, of so many pictures, of a net that is exactly as right as it is sure: what luck adds.

    The mean distance of a binomial share from its chance, De Moivre's (Diaconis and Zabell 1991, Statistical Science
    6), over the bins: the mean of the consistency resampling of Vaicenavicius et al. 2019 (arXiv 1902.06977).
    """
    total = 0.0
    for n, p in ((one.count, one.confidence or 0.0) for one in bins):
        if n and 0 < p < 1:
            m = min(math.floor(n * p), n - 1)
            ways = math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m)
            total += 2 * math.exp(ways + (m + 1) * math.log(p) + (n - m) * math.log1p(-p))
    return total / (sum(one.count for one in bins) or 1)


SUMMED = 1000
"""Terms of a harmonic number that are added up; the rest is an integral."""

OUT_OF_FOLD = "out-of-fold"
"""What a judgement of training pictures is called in place of a split, each answered by a net that had not seen it."""
ALL = "all"
"""What one is called of data that are not the run's own and have no splits: all their pictures."""

MeasureName = Literal["mean_ap", "top1", "top5", "macro_f1", "ece"]


class Figures(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A judgement in short, as model files carry it."""

    split: str
    """Which pictures: train, validation or test; out-of-fold; or all, of data of others that have no splits."""
    protocol: str
    """How each was shown to the net."""
    images: Count
    top1: Measure
    """The share whose likeliest class is theirs; of several labels a picture, one of theirs, or that have none
    and none is called."""
    top5: Measure | None
    """The share whose class is among the five likeliest; None for up to five classes, and of several labels."""
    macro_f1: Measure
    """The mean over the classes that have pictures; in files of 0.1.0 also over those that were only answered."""
    ece: Measure
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
    loss: Amount
    """Mean negative log-likelihood, in nats; of several labels a picture, the mean over its classes."""
    mean_ap: Measure | None = None
    """Average precision, its mean over the classes that some picture shows: of several labels a picture alone."""
    seen: Count = 0
    """Of the pictures, so many are the same files as training pictures, or were learnt by the weights that training
    started from, whatever labels they have; 0.1.0 did not count them. 0 where the run's own training pictures were
    judged by the labels that they had; out of fold only what was learnt before counts."""

    @property
    def is_several(self) -> bool:
        """Say whether the pictures were judged by several labels each."""
        return self.mean_ap is not None

    def named(self, words: Mapping[MeasureName, str]) -> dict[str, Measure]:
        """Return what was measured, by what the words call it, in their order."""
        return {called: one for name, called in words.items() if (one := getattr(self, name)) is not None}


def headline(found: Figures) -> Measure:
    """Return what nets are compared by: accuracy, or of several labels a picture the mean average precision."""
    return found.mean_ap or found.top1


def too_good(found: Figures) -> str:
    """Say how many of the pictures judged were trained on; "" where none was."""
    kind = "" if found.split == ALL else f"{found.split} "
    which = f"The {found.images:,} {kind}pictures include {found.seen:,} that it was trained on"
    if found.seen == found.images:
        which = f"It was trained on all of the {found.images:,} pictures"
    if found.split == OUT_OF_FOLD:
        which = f"The weights that training started from had learnt {found.seen:,} of the {found.images:,} pictures"
    what = "the figures are" if found.is_several else "the accuracy is"
    return f"{which}, so {what} too high to quote." if found.seen else ""


def which_to_quote(found: Figures, out_of_fold: Figures) -> str:
    """Say which of two headline figures to quote, and whether they differ by more than luck: by two proportions at
    95 %, or for means of average precisions by what their intervals make of a difference."""
    if found.seen:
        return ""
    one, other = headline(found), headline(out_of_fold)
    first, second = (f"{each.value:.1%}".replace("%", " %") for each in (one, other))
    said = (
        f"Quote the {first} of the {found.split} pictures: by the {second} of the training pictures, out of fold, the "
        "fit was chosen."
    )
    luck = _joint(one, other) if found.is_several else _of_proportions(one, found.images, other, out_of_fold.images)
    gap = f" The gap is more than luck: the {found.split} pictures differ from those trained on, as new ones may."
    return said + gap if abs(one.value - other.value) > luck else said


def _of_proportions(one: Measure, n: int, other: Measure, m: int) -> float:
    """Return how far two proportions of n and m pictures differ by luck, were they one."""
    mean = (n * one.value + m * other.value) / (n + m)
    return NORMAL_95 * math.sqrt(mean * (1 - mean) * (1 / n + 1 / m))


def _joint(one: Measure, other: Measure) -> float:
    """Return half the 95 % interval of the difference of two independent figures, from theirs."""
    return math.hypot(one.high - one.low, other.high - other.low) / 2


def _harmonic(n: int) -> float:
    """Return 1 + 1/2 + … + 1/n, to seven figures at least."""
    first = min(n, SUMMED)
    return sum(1 / i for i in range(1, first + 1)) + math.log((n + 0.5) / (first + 0.5))


class Threshold(Record, frozen=True, kw_only=True):
    """What would be called of several labels a picture, were a class called from this probability on. K classes."""

    call_from: Share
    called: tuple[Count, ...]
    """For how many pictures each class would be, (K,)."""
    hits: tuple[Count, ...]
    """For how many of them rightly, (K,)."""


class Evaluation(Figures, frozen=True, kw_only=True, omit_defaults=True):
    """evaluation.json: a judgement with its long tables. Letter: K classes."""

    per_class: tuple[ClassFigures, ...]
    """By class number."""
    confusion: tuple[tuple[Count, ...], ...]
    """K×K pictures: rows are the truth, columns the answer. Of several labels a picture, of those that show the row's
    class: for how many it was called, and beside it, for how many another was called that they do not show."""
    calibration: tuple[Bin, ...]
    """Bins of the confidence, from 0 to 1; of several labels a picture, of each of its K answers."""

    call_from: Share = 0.5
    """Of several labels a picture: the probability from which on a class was called."""
    by_threshold: tuple[Threshold, ...] = ()
    """The same of other thresholds; files of 0.1.0 have none."""

    def __post_init__(self) -> None:
        """Refuse a matrix that does not fit the classes (ValueError)."""
        if {len(self.per_class)} != {len(self.confusion), *map(len, self.confusion)}:
            raise ValueError(f"`confusion` is not {len(self.per_class)}×{len(self.per_class)}, as `per_class` is")
        if {len(self.per_class)} != {
            len(self.per_class),
            *(len(x) for t in self.by_threshold for x in (t.called, t.hits)),
        }:
            raise ValueError("`by_threshold` has not as many classes as `per_class`")

    @property
    def commonest(self) -> tuple[str, float] | None:
        """Return the most frequent class and its share of the pictures: what always answering it would score."""
        most = max(self.per_class, key=lambda one: one.images, default=None)
        total = self.images if self.mean_ap else sum(one.images for one in self.per_class)
        return (most.name, most.images / total) if most and total else None

    @property
    def labels_a_picture(self) -> float:
        """Return how many classes a picture shows in the mean."""
        return sum(one.images for one in self.per_class) / self.images if self.images else 0.0

    @property
    def has_one_commonest(self) -> bool:
        """Say whether no other class has as many pictures as the most frequent one."""
        counts = [one.images for one in self.per_class]
        return counts.count(max(counts, default=0)) == 1

    @property
    def unasked(self) -> tuple[str, ...]:
        """Return the classes of which no picture was judged."""
        return tuple(one.name for one in self.per_class if not one.images)

    @property
    def asked(self) -> str:
        """Say over how many classes means are: "2 of 3 classes"; "" where over all."""
        every = len(self.per_class)
        return f"{every - len(self.unasked)} of {every} classes" if self.unasked else ""

    @property
    def ece_by_chance(self) -> float:
        """Return what of the ECE luck alone would make; see chance_ece."""
        return chance_ece(self.calibration)

    @property
    def mean_ap_by_chance(self) -> float:
        """Return the mean average precision to be expected of pictures in an order by chance, over the same classes.

        That of R of N pictures is exactly H/N + (1 - H/N) (R - 1)/(N - 1), H being the N-th harmonic number: each place
        i of a picture that shows the class is as likely as another, and of those before it (R - 1)/(N - 1) show it.
        """
        N = max(self.images, 1)
        h = _harmonic(N) / N
        each = [h + (1 - h) * (one.images - 1) / max(N - 1, 1) for one in self.per_class if one.images]
        return sum(each) / len(each) if each else 0.0

    @property
    def is_lazy(self) -> bool:
        """Say whether, for all these pictures tell, always answering the most frequent class would do as well."""
        return self.commonest is not None and self.top1.low <= self.commonest[1]

    def figures(self) -> Figures:
        """Return the same without the long tables."""
        return Figures(**{name: getattr(self, name) for name in Figures.__struct_fields__})


class Together(Figures, frozen=True, kw_only=True):
    """What one net, or several whose probabilities are averaged, give by one protocol."""

    models: tuple[str, ...]
    """The nets' names."""


class DataEvaluation(Evaluation, frozen=True, kw_only=True, omit_defaults=True):
    """What `residuum evaluate` finds: a judgement with the data it was made on."""

    data: str
    """Where the pictures lie."""
    fingerprint: str
    same_data_as_training: bool | None
    """None for a model that was not trained here, and for an export, which does not say."""
    models: tuple[str, ...] = ()
    """The nets that answer, their probabilities averaged; files of 0.1.0 do not name the one."""
    beside: tuple[Together, ...] = ()
    """The same pictures by the other protocols that were asked for, and by each net alone."""
    not_kept: str | None = None
    """Why the figures could not be kept in the run's folder, where they could not."""
    engine: EngineName | None = None
    """What computed the answers of an export; None for a net, which torch does."""
    precision: EnginePrecision | None = None
    """In what numbers it did."""


class KeptEvaluation(DataEvaluation, frozen=True, kw_only=True, omit_defaults=True):
    """evaluations/SPLIT-FINGERPRINT.json: the same, kept beside the run."""

    model: str
    """The name of the file that was judged."""
    settings: dict[str, Any]
    """What `residuum evaluate` was told."""
    environment: Environment


class Mistake(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One wrong answer; mistakes.json is a list of them, the most confident first."""

    name: str
    """What a person calls the picture."""
    truth: str
    """Of several labels a picture all, and below all that are called, with commas between."""
    predicted: str
    confidence: Amount
    """The probability of the predicted class; rounding may put it a hair above 1. Of several labels, that of the wrong
    answer it is surest of."""
    thumbnail: str
    """The picture made small, as a PNG data URI."""
    about: str | None = None
    """Of several labels a picture the one whose answer is wrong: what `confidence` and `heat` are of."""
    missed: bool = False
    """Whether the picture shows that one, and it was not called."""
    heat: Heat | None = None
    """Where in it lies what speaks for the predicted class, to the finished net; files of 0.1.0 have none."""
