"""What the page says of one run: sentences, tables and charts, made from the run's files alone."""

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from residuum.records.codec import to_json
from residuum.records.evaluation import Evaluation, KeptEvaluation
from residuum.records.review import Finding
from residuum.records.run import Epoch, RunSummary, Step
from residuum.reporting import charts, sentences, trust_view
from residuum.reporting.charts import Picture, Series
from residuum.reporting.points import last, points, thin
from residuum.reporting.thresholds_view import Thresholds, thresholds
from residuum.reporting.wording import shown
from residuum.runs import RunRecord

COUNTS_IN_CELLS = 20  # classes up to which the confusion matrix is a table of counts
MOST_MAPPED = 100  # classes up to which it is drawn in colour
MEANING = "rows are the truth, columns what the model said"
SEVERAL_MEANING = "rows are the pictures that show a class, columns what was called, beside the diagonal wrongly"
SMALL_THUMBNAIL = 64  # pixels up to which a thumbnail is enlarged with hard edges


@dataclass(frozen=True)
class Pair:
    """`count` pictures of `truth` were called `predicted`: `share` of all its pictures. Of several labels a picture:
    that show `truth` and not `predicted`."""

    truth: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """The matrix in the form its size allows: cells (K <= 20), a map (K <= 100) or the pairs alone."""

    pictures: list[int]  # those that each row is of
    levels: list[list[int]]
    map: Markup
    sparse: list[list[int]]  # [column, count, column, count, …] of each row's cells that are not zero
    pairs: list[Pair]
    mistakes: int
    confused: int  # how many pairs of classes are ever confused
    are_turned: bool  # whether a name is too long to stand upright above its column


@dataclass(frozen=True)
class OneRun:
    """All that the page shows of one run. `key` starts its ids; `letter` names it among several."""

    key: str
    letter: str
    place: int
    record: RunRecord
    names: Sequence[str]
    verdict: str
    scale: str
    verdict_line: Markup
    calibration: str
    by_probability: list[str]
    charts: list[Picture]
    events: list[str]
    confusion: Confusion | None
    reliability: Markup
    notes: list[str]

    @property
    def evaluation(self) -> Evaluation | None:
        """Return the final figures, if there are any yet."""
        return self.record.evaluation

    @property
    def several(self) -> bool:
        """Say whether its pictures may show several classes each."""
        return self.record.several

    @property
    def name(self) -> str:
        """Return the run folder's name."""
        return self.record.path.resolve().name

    @property
    def summary(self) -> RunSummary:
        """Return what was decided about the run."""
        return self.record.settings.summary

    @property
    def title(self) -> str:
        """Return "data · model · recipe"."""
        data = self.record.data.name if self.record.data else self.summary.data
        parts = [data, self.record.settings.net, self.summary.recipe]
        return " · ".join(shown(part) for part in parts if part is not None)

    @property
    def decided(self) -> dict[str, Any]:
        """Return what everything was set to; what was not set of the net, the net that was begun with says itself."""
        resolved = self.record.settings.resolved
        net = resolved.get("net")
        own = net if isinstance(net, dict) else {}
        return {key: own.get(key) if value is None else value for key, value in resolved.items()}

    @property
    def judged_on(self) -> str:
        """Return on how many pictures of which split the final figures are."""
        found = self.record.evaluation
        return sentences.pictures_of(found.images, found.split) if found else ""

    @property
    def data_rows(self) -> list[tuple[str, object]]:
        """Return what is known of the data, with the classes counted."""
        data = flat(self.record.data) | {"classes": len(self.names)}
        data = {key: value for key, value in data.items() if not key.startswith("contents")}  # beside `fingerprint`
        return [(key, "–" if value is None else value) for key, value in data.items()]

    @property
    def seconds(self) -> float | None:
        """Return the time spent in the epochs that are done."""
        return sum(line.seconds for line in self.record.epochs) if self.record.epochs else None

    @property
    def no_curves(self) -> str:
        """Return why there are no curves, where there are none."""
        return sentences.no_curves(self.record)

    @property
    def curves_of(self) -> str:
        """Return which pictures the curves are of."""
        return sentences.curves_of(self.record)

    @property
    def trust_sections(self) -> list[tuple[str, str]]:
        """Return the ids and names of the sections on the pictures and on what the net does not know."""
        reviewed, fitted = self.record.review is not None, self.record.head is not None
        said = fitted or bool(self.no_doubt)
        sections = (("pictures", "Pictures", reviewed or fitted), ("doubt", "What it does not know", said))
        return [(key, words) for key, words, there in sections if there]

    @property
    def findings(self) -> list[tuple[str, str, list[Finding]]]:
        """Return what a review found in the pictures: title, what it means, findings."""
        return trust_view.groups(self.record.review)

    @property
    def review_words(self) -> str:
        """Return what was looked at, or how to."""
        return trust_view.review_words(self.record)

    @property
    def thresholds(self) -> Thresholds | None:
        """Return what would be called of several labels a picture from other thresholds on."""
        return thresholds(self.record) if self.several else None

    @property
    def later(self) -> list[KeptEvaluation]:
        """Return how it was judged after training, but for what stands in the sections above."""
        return [one for one in self.record.later if one is not self.record.out_of_fold]

    @property
    def later_sections(self) -> list[tuple[str, str]]:
        """Return the ids and names of the sections on these."""
        sections = (("thresholds", "Thresholds", self.thresholds), ("later", "Judged later", self.later))
        return [(key, words) for key, words, there in sections if there]

    @property
    def no_doubt(self) -> str:
        """Return why the net never says "unsure", where it does not."""
        return trust_view.no_doubt(self.record)

    @property
    def doubt_chart(self) -> list[Picture]:
        """Return the chart of what calling pictures unsure costs and gains."""
        return trust_view.doubt_chart(self.record.head, several=self.record.several) if self.record.head else []

    @property
    def doubt_words(self) -> list[str]:
        """Return what it costs and gains in words."""
        return trust_view.doubt_words(self.record.head, several=self.record.several) if self.record.head else []

    @property
    def speed(self) -> float | None:
        """Return the median of the epochs' pictures a second."""
        return median(line.images_per_s for line in self.record.epochs) if self.record.epochs else None


def flat(record: Any, prefix: str = "") -> dict[str, object]:
    """Turn a record, or nested dicts, into one dict with dotted keys."""
    found: dict[str, object] = {}
    for key, value in to_json(record).items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def read_one(record: RunRecord, key: str, letter: str = "", place: int = 0) -> OneRun:
    """Work out everything the page says of a run."""
    found = record.evaluation
    names = [one.name for one in found.per_class] if found else record.data.classes if record.data else []
    return OneRun(
        key=key,
        letter=letter,
        place=place,
        record=record,
        names=names,
        verdict=sentences.verdict(found) if found else sentences.unfinished(record),
        scale=sentences.scale(found),
        verdict_line=_verdict_line(found) if found else Markup(""),
        calibration=sentences.calibration(found) if found else "",
        by_probability=sentences.by_probability(found) if found else [],
        charts=_charts(record),
        events=_told(record),
        confusion=_confusion(names, found) if found else None,
        reliability=_reliability(found) if found else Markup(""),
        notes=sentences.notes(record),
    )


def _verdict_line(found: Evaluation) -> Markup:
    """Draw the headline figure, beside what chance or always the same answer would score."""
    if found.mean_ap:
        return charts.interval_line(found.mean_ap, found.mean_ap_by_chance, charts.PRECISION.name)
    return charts.interval_line(found.top1, found.commonest[1] if found.commonest else None)


def _reliability(found: Evaluation) -> Markup:
    return charts.reliability(found.calibration, charts.OF_LABELS if found.is_several else charts.OF_PICTURES)


# --- learning curves ----------------------------------------------------------------------------


def _charts(record: RunRecord) -> list[Picture]:
    """Draw what was measured during training; a chart with nothing to show is left out."""
    marks = _events(record)
    loss, accuracy = _pair(record, "loss"), _pair(record, "accuracy")
    if len(record.epochs) < 5:  # so few that the loss between them is worth seeing
        loss.append(Series("training, step by step", thin(points(record.steps, "loss"), 200), 2, faint=True))
    rate = [Series("learning rate", thin(points(record.steps, "lr"), 200), 0)]
    speed_lines = record.epochs if len(record.epochs) > 1 else record.steps
    speed = [Series("pictures a second", thin(points(speed_lines, "images_per_s"), 200), 0)]
    precise = [Series("validation", points(record.epochs, "validation_map"), 1)]
    right = ("Likeliest label right", charts.LIKELIEST) if record.several else ("Accuracy", charts.ACCURACY)
    wanted = [
        ("Loss", loss, charts.LOSS),
        ("Mean average precision", precise, charts.PRECISION),
        (right[0], accuracy, right[1]),
        ("Learning rate", rate, charts.RATE),
        ("Speed", speed, charts.SPEED),
    ]
    return [
        Picture(title, charts.curves(series, quantity, marks), series if len(series) > 1 else [])
        for title, lines, quantity in wanted
        if (series := [one for one in lines if last(one.points)])
    ]


def _pair(record: RunRecord, key: str) -> list[Series]:
    return [
        Series("training", points(record.epochs, f"train_{key}"), 0, "training"),
        Series("validation", points(record.epochs, f"validation_{key}"), 1, "validation"),
    ]


def _events(record: RunRecord) -> list[tuple[float, str]]:
    """Return (epoch, message); an event knows only its step, so its epoch is worked out from the others."""
    lines: list[Epoch | Step] = [*record.epochs, *record.steps]
    step, epoch = max(((line.step, line.epoch) for line in lines), default=(0, 0.0))
    return [(epoch / step * event.step, shown(event.message)) for event in record.events] if step else []


def _told(record: RunRecord) -> list[str]:
    """Return what happened, each with its time; what was said before the first step has none."""
    epochs = [f"epoch {epoch:.4g}" for epoch, _ in _events(record)]
    times = epochs or [f"step {event.step}" for event in record.events]
    return [
        f"{time}: {shown(event.message)}" if event.step else shown(event.message)
        for time, event in zip(times, record.events, strict=True)
    ]


# --- confusion ----------------------------------------------------------------------------------


def _confusion(names: Sequence[str], found: Evaluation) -> Confusion:
    matrix, pictures = found.confusion, _pictures(found)
    pairs = [
        Pair(names[i], names[j], cell, cell / max(pictures[i], 1))
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell > 0
    ]
    pairs.sort(key=lambda pair: -pair.count)
    small, mapped = len(names) <= COUNTS_IN_CELLS, COUNTS_IN_CELLS < len(names) <= MOST_MAPPED
    levels = charts.levels(matrix, pictures)
    meaning = SEVERAL_MEANING if found.is_several else MEANING
    return Confusion(
        pictures=pictures,
        levels=levels if small else [],
        map=charts.confusion_map(names, levels, meaning) if mapped else Markup(""),
        sparse=[[n for j, cell in enumerate(row) if cell for n in (j, cell)] for row in matrix] if mapped else [],
        pairs=pairs[: 10 if small else 30],
        mistakes=_mistakes(found),
        confused=len(pairs),
        are_turned=not charts.are_short(names),
    )


def _pictures(found: Evaluation) -> list[int]:
    """Return how many pictures each row of the matrix is of."""
    return [one.images for one in found.per_class] if found.is_several else [sum(row) for row in found.confusion]


def _mistakes(found: Evaluation) -> int:
    """Return how many pictures were mistaken; of several labels, at least how many labels: missed or wrongly called."""
    if not found.is_several:
        return sum(sum(row) - row[k] for k, row in enumerate(found.confusion))
    missed = sum(one.images - row[k] for k, (one, row) in enumerate(zip(found.per_class, found.confusion, strict=True)))
    return missed + sum((its := one.known("precision")) is not None and its.value < 1 for one in found.per_class)


# --- mistakes -----------------------------------------------------------------------------------

_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}\Z")


def is_picture(thumbnail: str) -> bool:
    """Say whether it is an image data URI and nothing else."""
    return bool(_DATA_URI.match(thumbnail))


def is_small(thumbnail: str) -> bool:
    """Say whether a PNG data URI's header gives no side of more than 64 pixels; False if it is no PNG."""
    head = thumbnail.partition("base64,")[2][:32]
    if not thumbnail.startswith("data:image/png") or len(head) < 32:
        return False
    sides = struct.unpack(">II", base64.b64decode(head)[16:24])
    return bool(0 < max(sides) <= SMALL_THUMBNAIL)
