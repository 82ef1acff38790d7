"""What study.json says, as plain typed data. Whatever is missing or not a finite number is None or a gap."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from residuum.files import Json
from residuum.reporting.points import Points

Answer = Literal["supported", "contradicted", "undecided"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
LARGEST = 1e100  # beyond it nothing can be drawn
MOST_CELLS = 128  # rows or columns of a field that are kept


@dataclass(frozen=True)
class Part:
    """One part of the claim, and whether it holds; None: the figures do not say."""

    words: str
    holds: bool | None


@dataclass(frozen=True)
class Amount:
    """One quantity with all its values; `exact`: nothing in it is left to chance."""

    label: str
    unit: str
    values: list[float | None]
    mean: float | None
    sd: float | None
    exact: bool


@dataclass(frozen=True)
class Line:
    """One curve: the mean, and each seed's own."""

    label: str
    points: Points
    seeds: list[Points]


@dataclass(frozen=True)
class Lines:
    """Curves over a common axis; of a share, y is 0 to 1."""

    title: str
    x: str
    y: str
    lines: list[Line]
    percent: bool
    log_y: bool


@dataclass(frozen=True)
class Bar:
    """One bar with its values; those that are no figures are left out."""

    label: str
    values: list[float]


@dataclass(frozen=True)
class Bars:
    """Bars with their spread."""

    title: str
    y: str
    bars: list[Bar]


@dataclass(frozen=True)
class Field:
    """Values over x (columns) and y (rows, the first at the top); a range begins at the first."""

    title: str
    x: str
    y: str
    rows: list[list[float | None]]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    reading: str


Chart = Lines | Bars | Field


@dataclass(frozen=True)
class Table:
    """Texts to look up."""

    title: str
    heads: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Study:
    """study.json."""

    name: str
    title: str
    question: str
    claim: str
    source: str
    predicate: str
    scale: str
    seeds: list[int]
    examined: str
    command: str
    answer: Answer | None
    parts: list[Part]
    measured: str
    amounts: list[Amount]
    charts: list[Chart]
    tables: list[Table]
    notes: list[str]
    settings: Json
    seconds: float | None
    """What measuring took."""
    runs: dict[str, float]
    """What training each run took, in seconds."""
    environment: Json


def read_study(raw: object) -> Study:
    """Read study.json."""
    fields = mapping(raw)
    verdict = mapping(fields.get("verdict"))
    parts = [_part(mapping(item)) for item in listing(verdict.get("parts"))]
    return Study(
        name=words(fields.get("name")),
        title=_english(fields.get("title")),
        question=_english(fields.get("question")),
        claim=_english(fields.get("claim")),
        source=words(fields.get("source")),
        predicate=words(fields.get("predicate")),
        scale=words(fields.get("scale")),
        seeds=[seed for item in listing(fields.get("seeds")) if (seed := whole(item)) is not None],
        examined=words(fields.get("examined")),
        command=words(fields.get("command")),
        answer=next((one for one in ANSWERS if one == verdict.get("answer")), None),
        parts=[part for part in parts if part.words],
        measured=_english(fields.get("measured")),
        amounts=_amounts(mapping(fields.get("quantities"))),
        charts=[chart for item in listing(fields.get("charts")) if (chart := _chart(mapping(item)))],
        tables=[_table(mapping(item)) for item in listing(fields.get("tables"))],
        notes=_texts(fields.get("notes")),
        settings=mapping(_finite(fields.get("settings"))),
        seconds=_seconds(fields.get("seconds")),
        runs={
            str(name): seconds
            for name, raw in mapping(fields.get("runs")).items()
            if (seconds := _seconds(raw)) is not None
        },
        environment=mapping(_finite(fields.get("environment"))),
    )


def _english(raw: object) -> str:
    return words(mapping(raw).get("en"))


def _texts(raw: object) -> list[str]:
    return [text for item in listing(raw) if (text := words(item))]


def _seconds(raw: object) -> float | None:
    value = number(raw)
    return value if value is not None and 0 <= value < 1e12 else None


def _finite(raw: object) -> object:
    """Write numbers that are not finite as words, however deep they lie."""
    if isinstance(raw, dict):
        return {str(key): _finite(value) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_finite(value) for value in raw]
    if isinstance(raw, int | float) and not isinstance(raw, bool) and number(raw) is None:
        return "not a finite number"
    return raw


def _part(fields: Json) -> Part:
    holds = fields.get("holds")
    return Part(words(fields.get("words")), holds if isinstance(holds, bool) else None)


def _amounts(quantities: Json) -> list[Amount]:
    """Return each quantity once: a predicate may give one a second name."""
    found = list[Amount]()
    for name, raw in quantities.items():
        one = _amount(name, mapping(raw))
        if one not in found:
            found.append(one)
    return found


def _amount(name: str, fields: Json) -> Amount:
    return Amount(
        label=words(fields.get("label")) or name,
        unit=words(fields.get("unit")),
        values=[number(value) for value in listing(fields.get("values"))],
        mean=number(fields.get("mean")),
        sd=number(fields.get("sd")),
        exact=fields.get("exact") is True,
    )


def _table(fields: Json) -> Table:
    lines = [_cells(line) for line in [fields.get("heads"), *listing(fields.get("rows"))]]
    width = max(map(len, lines))
    heads, *rows = [[*line, *[""] * (width - len(line))] for line in lines]
    return Table(words(fields.get("title")), heads, rows)


def _cells(raw: object) -> list[str]:
    return [words(cell) for cell in listing(raw)]


# --- plain values ------------------------------------------------------------------------------


def number(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


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


# --- charts -------------------------------------------------------------------------------------


def _chart(fields: Json) -> Chart | None:
    title, x, y = (words(fields.get(key)) for key in ("title", "x", "y"))
    if fields.get("kind") == "lines":
        lines = [_line(mapping(item)) for item in listing(fields.get("lines"))]
        return Lines(title, x, y, lines, fields.get("percent") is True, fields.get("log_y") is True)
    if fields.get("kind") == "bars":
        return Bars(title, y, [_bar(mapping(item)) for item in listing(fields.get("bars"))])
    if fields.get("kind") == "map":
        return _field(fields, title, x, y)
    return None


def _line(fields: Json) -> Line:
    seeds = [_points(item) for item in listing(fields.get("seeds"))]
    return Line(words(fields.get("label")), _points(fields.get("points")), seeds)


def _points(raw: object) -> Points:
    """Return the points whose x can be drawn; a y that cannot is a gap."""
    pairs = [[drawable(value) for value in listing(item)[:2]] for item in listing(raw)]
    return [
        (pair[0], math.nan if pair[1] is None else pair[1])
        for pair in pairs
        if len(pair) == 2 and pair[0] is not None
    ]


def _bar(fields: Json) -> Bar:
    values = [drawable(value) for value in listing(fields.get("values"))]
    return Bar(words(fields.get("label")), [value for value in values if value is not None])


def _field(fields: Json, title: str, x: str, y: str) -> Field:
    rows = [[drawable(cell) for cell in listing(row)] for row in listing(fields.get("rows"))]
    width = max(map(len, rows), default=0)
    even: list[list[float | None]] = [[*row, *[None] * (width - len(row))] for row in rows]
    down, across = (math.ceil(size / MOST_CELLS) or 1 for size in (len(rows), width))
    return Field(
        title,
        x,
        y,
        rows=[row[::across] for row in even[::down]],
        x_range=_range(fields.get("x_range"), width),
        y_range=_range(fields.get("y_range"), len(rows)),
        reading=words(fields.get("reading")),
    )


def _range(raw: object, size: int) -> tuple[float, float]:
    """Return the two ends; where they cannot be, the cells are counted from 0."""
    ends = [drawable(value) for value in listing(raw)]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
        return ends[0], ends[1]
    return 0.0, float(max(size - 1, 1))


def drawable(raw: object) -> float | None:
    """Return a number that can be drawn: neither too large nor, beside zero, too small for arithmetic."""
    value = number(raw)
    if value is None or abs(value) > LARGEST:
        return None
    return value if abs(value) > 1 / LARGEST else 0.0
