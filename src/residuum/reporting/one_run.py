"""What the page says of one run: sentences, tables and charts, made from the run's files alone."""

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from markupsafe import Markup

from residuum.files import Json
from residuum.reporting import charts, sentences
from residuum.reporting.charts import Series
from residuum.reporting.figures import (
    Evaluation,
    History,
    last,
    listing,
    mapping,
    number,
    points,
    read_evaluation,
    read_history,
    thin,
    words,
)
from residuum.reporting.wording import plain, shown
from residuum.runs import RunRecord

COUNTS_IN_CELLS = 20  # classes up to which the confusion matrix is a table of counts
MOST_MAPPED = 100  # classes up to which it is drawn in colour
SMALL_THUMBNAIL = 64  # pixels up to which a thumbnail is enlarged with hard edges


@dataclass(frozen=True)
class Pair:
    """`count` pictures of `truth` were called `predicted`: `share` of all its pictures."""

    truth: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """The matrix in the form its size allows: cells (K <= 20), a map (K <= 100) or the pairs alone."""

    levels: list[list[int]]
    map: Markup
    sparse: list[list[int]]
    pairs: list[Pair]
    mistakes: int
    confused: int  # how many pairs of classes are ever confused


@dataclass(frozen=True)
class Mistake:
    """One wrong answer; `thumbnail` is an image data URI or empty."""

    name: str
    truth: str
    predicted: str
    confidence: float | None
    thumbnail: str
    enlarged: bool


@dataclass(frozen=True)
class Chart:
    """A drawing and, where it has several lines, what they are."""

    title: str
    drawing: Markup
    legend: list[Series] = field(default_factory=list)


@dataclass(frozen=True)
class OneRun:
    """All that the page shows of one run. `key` starts its ids; `letter` names it among several."""

    key: str
    letter: str
    place: int
    record: RunRecord
    evaluation: Evaluation | None
    history: History
    names: list[str]
    verdict: str
    scale: str
    baseline: float | None
    verdict_line: Markup
    calibration: str
    charts: list[Chart]
    events: list[str]
    confusion: Confusion | None
    reliability: Markup
    mistakes: list[Mistake]
    notes: list[str]

    @property
    def name(self) -> str:
        """Return the run folder's name."""
        return self.record.path.resolve().name

    @property
    def resolved(self) -> Json:
        """Return every setting the run used."""
        return mapping(self.record.settings.get("resolved"))

    @property
    def title(self) -> str:
        """Return "data · model · recipe", leaving out what is not known."""
        data = self.record.data.get("name") or self.resolved.get("data")
        parts = [data, self.resolved.get("model"), self.resolved.get("recipe")]
        return " · ".join(shown(part) for part in parts if isinstance(part, str)) or self.name

    @property
    def command(self) -> str:
        """Return the line that repeats the run."""
        return words(self.record.settings.get("command"))

    @property
    def asked(self) -> set[str]:
        """Return the names of the settings that were asked for, as `resolved` spells them."""
        return {
            str(flag).lstrip("-").replace("-", "_") for flag in mapping(self.record.settings.get("asked"))
        }

    @property
    def plain_settings(self) -> list[tuple[str, object]]:
        """Return the settings that are single values."""
        return [(key, value) for key, value in self.resolved.items() if not isinstance(value, dict)]

    @property
    def nested_settings(self) -> list[tuple[str, Json]]:
        """Return the settings that are groups of values."""
        return [(key, value) for key, value in self.resolved.items() if isinstance(value, dict)]

    @property
    def data_rows(self) -> list[tuple[str, object]]:
        """Return what is known of the data, with the classes counted."""
        data = {**self.record.data, "classes": len(self.names)}
        return list(flat({key: "–" if value is None else value for key, value in data.items()}).items())

    @property
    def seconds(self) -> float | None:
        """Return the time spent in the epochs that are done."""
        found = [s for line in self.history.epochs if (s := number(line.get("seconds"))) is not None]
        return sum(found) if found else None

    @property
    def speed(self) -> float | None:
        """Return the median of the epochs' pictures a second."""
        found = [s for line in self.history.epochs if (s := number(line.get("images_per_s"))) is not None]
        return median(found) if found else None

    def figure(self, key: str) -> float | None:
        """Return a number among the settings, such as "parameters"."""
        return number(self.resolved.get(key))


def flat(settings: Json, prefix: str = "") -> dict[str, object]:
    """Turn nested dicts into one, with dotted keys."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def read_one(record: RunRecord, key: str, letter: str = "", place: int = 0) -> OneRun:
    """Work out everything the page says of a run."""
    record = _sound(record)
    data_names = [words(name, plain(name)) for name in listing(record.data.get("classes"))]
    evaluation = read_evaluation(record.evaluation, data_names)
    history = read_history(record.metrics)
    names = [one.name for one in evaluation.classes] if evaluation else []
    names = names or data_names
    top1 = evaluation.top1 if evaluation else None
    baseline = sentences.commonest(evaluation)
    return OneRun(
        key=key,
        letter=letter,
        place=place,
        record=record,
        evaluation=evaluation,
        history=history,
        names=names,
        verdict=sentences.verdict(evaluation) or sentences.unfinished(record, history),
        scale=sentences.scale(baseline),
        baseline=baseline[1] if baseline else None,
        verdict_line=charts.interval_line(top1, baseline[1] if baseline else None) if top1 else Markup(""),
        calibration=sentences.calibration(evaluation),
        charts=_charts(history),
        events=_event_words(history),
        confusion=_confusion(names, evaluation.confusion if evaluation else []),
        reliability=charts.reliability(evaluation.calibration)
        if evaluation and evaluation.calibration
        else Markup(""),
        mistakes=[_mistake(mapping(item)) for item in listing(record.mistakes)],
        notes=sentences.notes(record, evaluation, history),
    )


def _sound(record: RunRecord) -> RunRecord:
    """Read a file that holds something else than it should as empty."""
    return replace(
        record,
        settings=mapping(record.settings),
        environment=mapping(record.environment),
        data=mapping(record.data),
    )


# --- learning curves ----------------------------------------------------------------------------


def _charts(history: History) -> list[Chart]:
    """Draw what was measured during training; a chart with nothing to show is left out."""
    marks = _events(history)
    loss = _pair(history, "loss") + _step_loss(history)
    accuracy = _pair(history, "accuracy")
    rate = [Series("learning rate", thin(points(history.steps, "lr"), 200), 0)]
    speed_lines = history.epochs if len(history.epochs) > 1 else history.steps
    speed = [Series("pictures a second", thin(points(speed_lines, "images_per_s"), 200), 0)]
    wanted = [
        ("Loss", loss, charts.LOSS),
        ("Accuracy", accuracy, charts.ACCURACY),
        ("Learning rate", rate, charts.RATE),
        ("Speed", speed, charts.SPEED),
    ]
    return [
        Chart(title, charts.curves(series, quantity, marks), series if len(series) > 1 else [])
        for title, lines, quantity in wanted
        if (series := [one for one in lines if last(one.points)])
    ]


def _pair(history: History, key: str) -> list[Series]:
    return [
        Series("training", points(history.epochs, f"train_{key}"), 0, "training"),
        Series("validation", points(history.epochs, f"validation_{key}"), 1, "validation"),
    ]


def _step_loss(history: History) -> list[Series]:
    """Show the loss between epochs while there are few of them."""
    if len(history.epochs) >= 5:
        return []
    return [Series("training, step by step", thin(points(history.steps, "loss"), 200), 2, faint=True)]


def _events(history: History) -> list[tuple[float, str]]:
    """Return (epoch, message); an event knows only its step, so its epoch is worked out from the others."""
    lines = [*history.epochs, *history.steps]
    known = [(s, float(line["epoch"])) for line in lines if (s := number(line.get("step")))]
    if not known:
        return []
    per_step = max(known)[1] / max(known)[0]
    steps = [(number(event.get("step")), shown(event["message"])) for event in history.events]
    return [(per_step * step, message) for step, message in steps if step is not None]


def _event_words(history: History) -> list[str]:
    """Say each event with its epoch, or with its step where that is all that is known."""
    placed = [f"epoch {epoch:.4g}: {message}" for epoch, message in _events(history)]
    return placed or [
        f"step {plain(event.get('step'))}: {shown(event['message'])}" for event in history.events
    ]


# --- confusion ----------------------------------------------------------------------------------


def _confusion(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Confusion | None:
    if not matrix:
        return None
    pairs = _pairs(names, matrix)
    small, mapped = len(names) <= COUNTS_IN_CELLS, COUNTS_IN_CELLS < len(names) <= MOST_MAPPED
    return Confusion(
        levels=charts.levels(matrix) if small else [],
        map=charts.confusion_map(names, matrix) if mapped else Markup(""),
        sparse=[_sparse(row) for row in matrix] if mapped else [],
        pairs=pairs[: 10 if small else 30],
        mistakes=sum(pair.count for pair in pairs),
        confused=len(pairs),
    )


def _pairs(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[Pair]:
    """Return all confused pairs, the most frequent first."""
    found = [
        Pair(names[i], names[j], cell, cell / sum(row))
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell > 0
    ]
    return sorted(found, key=lambda pair: -pair.count)


def _sparse(row: Sequence[int]) -> list[int]:
    """Return [column, count, column, count, …] of the cells that are not zero."""
    return [value for j, cell in enumerate(row) if cell for value in (j, cell)]


# --- mistakes -----------------------------------------------------------------------------------

_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}\Z")


def _mistake(fields: Json) -> Mistake:
    raw = fields.get("thumbnail")
    thumbnail = raw if isinstance(raw, str) and _DATA_URI.match(raw) else ""
    return Mistake(
        name=words(fields.get("name")),
        truth=words(fields.get("truth")),
        predicted=words(fields.get("predicted")),
        confidence=number(fields.get("confidence")),
        thumbnail=thumbnail,
        enlarged=0 < _png_side(thumbnail) <= SMALL_THUMBNAIL,
    )


def _png_side(uri: str) -> int:
    """Return the longer side that a PNG data URI's header gives, 0 if it is no PNG."""
    head = uri.partition("base64,")[2][:32]
    if not uri.startswith("data:image/png") or len(head) < 32:
        return 0
    width, height = struct.unpack(">II", base64.b64decode(head)[16:24])
    return int(max(width, height))
