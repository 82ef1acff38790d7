"""What the page says of thresholds: what would be called of several labels a picture from others than one half on."""

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.records.evaluation import Evaluation, Threshold
from residuum.reporting import charts, svg
from residuum.reporting.charts import Picture, Series, XAxis, YAxis
from residuum.reporting.sentences import pictures_of
from residuum.reporting.wording import percent
from residuum.runs import RunRecord

MOST_CLASSES = 50
"""Classes up to which each has a row of its own."""
SHARE = YAxis("share", svg.percent_tick, percent, is_share=True)
FROM = XAxis("called from this probability on", lambda x: f"from {x:g} on")


@dataclass(frozen=True)
class Called:
    """How labels fare that are called from one threshold on: of one class, or of all together. None: not known."""

    recall: float | None
    precision: float | None
    f1: float | None
    is_best: bool = False
    """Whether no other threshold has a higher F1."""


@dataclass(frozen=True)
class Thresholds:
    """Recall, precision and F1 from each threshold on."""

    of: str
    """Which pictures, in words."""
    places: Sequence[float]
    together: Sequence[tuple[float, Called]]
    """Labels called a picture; recall and precision of all labels, F1 as the mean over the classes."""
    classes: Sequence[tuple[str, Sequence[Called]]]
    words: str
    chart: Picture


def thresholds(record: RunRecord) -> Thresholds | None:
    """Return what each threshold would call of pictures that the net has not learnt; None where none says that."""
    found = record.out_of_fold or record.evaluation
    if found is None or not found.by_threshold or found.split == "train":
        return None
    classes = [(one.name, _best(_of_class(found, k))) for k, one in enumerate(found.per_class)]
    whole = _best([_together(found, one) for one in found.by_threshold])
    a_picture = [sum(one.called) / max(found.images, 1) for one in found.by_threshold]
    places = [one.call_from for one in found.by_threshold]
    return Thresholds(
        of=pictures_of(found.images, found.split),
        places=places,
        together=list(zip(a_picture, whole, strict=True)),
        classes=classes if len(classes) <= MOST_CLASSES else [],
        words=_words(found, whole, places),
        chart=_chart(places, whole),
    )


def _of_class(found: Evaluation, k: int) -> list[Called]:
    images = found.per_class[k].images
    return [_called(one.hits[k], one.called[k], images) for one in found.by_threshold]


def _called(hits: int, called: int, images: int) -> Called:
    f1 = 2 * hits / (images + called) if images else None
    return Called(hits / images if images else None, hits / called if called else None, f1)


def _together(found: Evaluation, one: Threshold) -> Called:
    """Return recall and precision of all labels together, and macro F1."""
    shown = [(k, each.images) for k, each in enumerate(found.per_class) if each.images]
    whole = _called(sum(one.hits), sum(one.called), sum(images for _, images in shown))
    each = [2 * one.hits[k] / (images + one.called[k]) for k, images in shown]
    return Called(whole.recall, whole.precision, sum(each) / len(each) if each else None)


def _best(each: Sequence[Called]) -> list[Called]:
    most = max((one.f1 for one in each if one.f1 is not None), default=0.0)
    return [Called(one.recall, one.precision, one.f1, is_best=most > 0 and one.f1 == most) for one in each]


def _words(found: Evaluation, whole: Sequence[Called], places: Sequence[float]) -> str:
    """Say from where on macro F1 would be highest, and what that is worth."""
    best = next((at for at, one in zip(places, whole, strict=True) if one.is_best), None)
    if best is None:
        return "No class is called rightly from any of these probabilities on."
    highest, now = max(one.f1 or 0.0 for one in whole), found.macro_f1.value
    said = f"Macro-F1 would be highest were labels called from {best:g} on: {percent(highest)}."
    if best == found.call_from:
        said = f"Macro-F1 is highest where labels are called from {best:g} on, as they are: {percent(highest)}."
    else:
        said += f" From {found.call_from:g} on it is {percent(now)}."
    flattered = "What is chosen by these pictures is flattered by them a little; judge it by others."
    if found.split == "test":
        flattered = "If a threshold is chosen by these, they are no test of it any more: judge it by others."
    return f"{said} {flattered}"


def _chart(places: Sequence[float], whole: Sequence[Called]) -> Picture:
    names = (("recall", "recall"), ("precision", "precision"), ("macro F1", "f1"))
    series = [
        Series(words, points, style, words)
        for style, (words, name) in enumerate(names)
        if (
            points := [
                (at, value) for at, one in zip(places, whole, strict=True) if (value := getattr(one, name)) is not None
            ]
        )
    ]
    return Picture("What each threshold calls", charts.curves(series, SHARE, x=FROM), series)
