"""What a run's files say, as plain typed data. Whatever is missing or not a finite number is None."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from residuum.files import Json

Points = list[tuple[float, float]]  # (x, y); y is nan where there is a gap


@dataclass(frozen=True)
class Measure:
    """A figure and its 95 % interval; a figure without one has None for both ends."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassFigures:
    """How one class fared; `number` is its place in the data's list of classes, from 0."""

    number: int
    name: str
    images: int | None
    precision: Measure | None
    recall: Measure | None
    f1: Measure | None


@dataclass(frozen=True)
class Bin:
    """The pictures whose confidence lies in (low, high]; confidence and accuracy are their means."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json; `confusion` is K×K, row = truth, or empty if it is absent or does not fit K."""

    split: str
    protocol: str
    images: int
    top1: Measure | None
    top5: Measure | None
    macro_f1: Measure | None
    ece: Measure | None
    loss: float | None
    classes: list[ClassFigures]
    confusion: list[list[int]]
    calibration: list[Bin]


@dataclass(frozen=True)
class History:
    """metrics.jsonl, sorted into its three kinds of line."""

    epochs: list[Json]
    steps: list[Json]
    events: list[Json]


def number(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def measure(raw: object) -> Measure | None:
    """Read {"value", "low", "high"} or a bare number."""
    fields = mapping(raw) or {"value": raw}
    value = number(fields.get("value"))
    if value is None:
        return None
    return Measure(value, number(fields.get("low")), number(fields.get("high")))


def mapping(raw: object) -> Json:
    """Return `raw` if it is a dict, else an empty one."""
    return raw if isinstance(raw, dict) else {}


def listing(raw: object) -> list[object]:
    """Return `raw` if it is a list, else an empty one."""
    return raw if isinstance(raw, list) else []


def words(raw: object, default: str = "") -> str:
    """Return `raw` if it is text, else the default."""
    return raw if isinstance(raw, str) else default


def whole(raw: object) -> int | None:
    """Return a count, or None."""
    value = number(raw)
    return None if value is None else int(value)


# --- evaluation ---------------------------------------------------------------------------------


def read_evaluation(raw: object, names: Sequence[str] = ()) -> Evaluation | None:
    """Read evaluation.json; `names` are the data's classes, used where the file gives none."""
    fields = mapping(raw)
    if not fields:
        return None
    classes = [_class(i, mapping(item), names) for i, item in enumerate(listing(fields.get("per_class")))]
    return Evaluation(
        split=words(fields.get("split")) or "unnamed",
        protocol=words(fields.get("protocol")),
        images=whole(fields.get("images")) or 0,
        top1=measure(fields.get("top1")),
        top5=measure(fields.get("top5")),
        macro_f1=measure(fields.get("macro_f1")),
        ece=measure(fields.get("ece")),
        loss=number(fields.get("loss")),
        classes=classes,
        confusion=_confusion(fields.get("confusion"), len(classes) or len(names)),
        calibration=[_bin(mapping(item)) for item in listing(fields.get("calibration"))],
    )


def _class(index: int, fields: Json, names: Sequence[str]) -> ClassFigures:
    default = names[index] if index < len(names) else f"class {index}"
    return ClassFigures(
        number=index,
        name=words(fields.get("name"), default),
        images=whole(fields.get("images")),
        precision=measure(fields.get("precision")),
        recall=measure(fields.get("recall")),
        f1=measure(fields.get("f1")),
    )


def _confusion(raw: object, size: int) -> list[list[int]]:
    rows = [[max(0, whole(cell) or 0) for cell in listing(row)] for row in listing(raw)]
    square = len(rows) == size and all(len(row) == size for row in rows)
    return rows if square else []


def _bin(fields: Json) -> Bin:
    return Bin(
        low=number(fields.get("low")) or 0.0,
        high=number(fields.get("high")) or 0.0,
        count=whole(fields.get("count")) or 0,
        confidence=number(fields.get("confidence")),
        accuracy=number(fields.get("accuracy")),
    )


# --- metrics ------------------------------------------------------------------------------------


def read_history(metrics: Sequence[Json]) -> History:
    """Sort the metrics lines by kind; a line without an epoch (or, for events, a message) is left out."""

    def reports(kind: str) -> list[Json]:
        of_kind = [line for line in metrics if line.get("kind") == kind]
        return [line for line in of_kind if (x := number(line.get("epoch"))) is not None and x >= 0]

    return History(
        epochs=reports("epoch"),
        steps=reports("step"),
        events=[line for line in metrics if line.get("kind") == "event" and line.get("message") is not None],
    )


def points(lines: Sequence[Json], key: str) -> Points:
    """Return (epoch, value) for each line that has `key`; a value that is not finite becomes a gap."""
    found = [(float(line["epoch"]), number(line[key])) for line in lines if key in line]
    return [(x, math.nan if y is None else y) for x, y in found]


def thin(line: Points, most: int) -> Points:
    """Keep at most `most` points, evenly spread, with the first and the last."""
    if len(line) <= most:
        return line
    return [line[round(i * (len(line) - 1) / (most - 1))] for i in range(most)]


def last(line: Points) -> tuple[float, float] | None:
    """Return the last point that is not a gap."""
    return next(((x, y) for x, y in reversed(line) if not math.isnan(y)), None)
