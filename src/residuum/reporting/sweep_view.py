"""What the page about a sweep says, and its chart: accuracy against cost, with the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from residuum.choices import SweepCost
from residuum.records.sweep import Combination, Difference, SweepRecord
from residuum.reporting import svg
from residuum.reporting.study_wording import axis_figure, quantity_words
from residuum.reporting.svg import Frame, Scale
from residuum.reporting.wording import NBSP, NONE, counted, duration, isolated, short

COSTS: dict[SweepCost, str] = {
    "training": "multiply-adds of the training",
    "seconds": "seconds of training",
    "inference": "multiply-adds a picture",
    "parameters": "parameters",
}
STANDINGS = {
    "front": "on the front: none is as accurate, in the mean, at no higher cost",
    "near": "near it: one is, but within two standard errors",
    "behind": "behind it",
}
STYLES = {"front": 0, "near": 3, "behind": 2}
LEFT, RIGHT = 52.0, 388.0
BESIDE = 11.0
"""Between marks of the same cost, in the chart's units."""
MANY_TIMES = 10
"""Costs of so many times the lowest are drawn by their logarithm."""


@dataclass(frozen=True)
class Row:
    """One combination in the table."""

    number: int
    found: Combination
    cost: float | None

    @property
    def words(self) -> str:
        """Return its settings, in one line."""
        return named(self.found)


@dataclass(frozen=True)
class Compared:
    """One difference in the table."""

    found: Difference
    what: str
    alike: str
    points: str
    interval: str


@dataclass(frozen=True)
class SweepView:
    """All that the page shows."""

    sweep: SweepRecord
    sentence: str
    beside: str
    chart: Markup
    kinds: list[tuple[int, str]]
    rows: list[Row]
    cost_name: str
    failed: list[tuple[str, str]]
    differences: list[Compared]

    @property
    def heads(self) -> list[str]:
        """Return the table's headings."""
        varied = [name.replace("_", " ") for name in self.sweep.over]
        return ["#", *varied, self.sweep.figure, "front", "n", "test", "training", "seconds", "a picture", "parameters"]


def view_sweep(sweep: SweepRecord) -> SweepView:
    """Work out everything the page says."""
    rows = [Row(i, one, one.cost(sweep.cost)) for i, one in enumerate(sweep.combinations, start=1)]
    front = [row for row in rows if row.found.standing == "front"]
    return SweepView(
        sweep=sweep,
        sentence=_sentence(sweep, front),
        beside=_beside(sweep, rows),
        chart=_chart(sweep, [row for row in rows if row.found.standing is not None]),
        kinds=[
            (STYLES[standing], words.replace("accurate", "good") if sweep.several else words)
            for standing, words in STANDINGS.items()
            if any(row.found.standing == standing for row in rows)
        ],
        rows=rows,
        cost_name=COSTS[sweep.cost],
        failed=[(f"{one.run}", one.why) for row in rows for one in row.found.failed],
        differences=[Compared(one, *between(one), *points(one)) for one in sweep.differences],
    )


def named(found: Combination) -> str:
    """Write a combination's settings: "lr 0.1, model resnet20"."""
    return _listed(found.values) or "as asked"


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def between(found: Difference) -> tuple[str, str]:
    """Write what is held against what, and with which other settings: "order: b − a", "lr 0.1"."""
    return f"{found.setting.replace('_', ' ')}: {found.one} − {found.other}", _listed(found.alike)


def points(found: Difference) -> tuple[str, str]:
    """Write a difference in points and its interval: "+3.68", "−1.20 to +8.56"."""
    mean, *ends = (f"{value:+.2f}".replace("-", "−") for value in (found.points, *(found.interval or ())))
    return mean, " to ".join(ends) or NONE


def _sentence(sweep: SweepRecord, front: list[Row]) -> str:
    if not front:
        return "No run has finished yet, so there is nothing to compare."
    best = max(front, key=lambda row: row.found.accuracy.mean if row.found.accuracy else -math.inf)
    assert best.found.accuracy is not None
    on = f"{sweep.judged_on} pictures" if sweep.judged_on else "pictures"
    share = f"{quantity_words(best.found.accuracy)}{NBSP}%"
    score = f"{sweep.figure} {share} on {on}" if sweep.several else f"{share} of {on}"
    if len(sweep.combinations) == 1:
        return f"{isolated(named(best.found))}: {score}."
    on_front = f"{counted(len(front), 'combination')} on the Pareto front of {sweep.figure} against {COSTS[sweep.cost]}"
    return f"Best in the mean: {isolated(named(best.found))}, with {score}. {on_front}."


def _beside(sweep: SweepRecord, rows: list[Row]) -> str:
    """Say how much was trained."""
    done, lost = sum(len(row.found.runs) for row in rows), sum(len(row.found.failed) for row in rows)
    spent = sum(sum(row.found.seconds.values) for row in rows if row.found.seconds)
    parts = [counted(len(rows), "combination"), counted(len(sweep.seeds), "seed"), f"{counted(done, 'run')} trained"]
    return ", ".join([*parts, *([f"{lost:,} failed"] if lost else []), f"{duration(spent)} of training in all"])


def written(value: Any, kind: SweepCost) -> str:
    """Write a cost."""
    return NONE if value is None else duration(value) if kind == "seconds" else short(value)


# --- the chart ----------------------------------------------------------------------------------


def _chart(sweep: SweepRecord, rows: list[Row]) -> Markup:
    """Draw a marker for each combination, with a whisker of one standard deviation, and a line along the front."""
    if not rows:
        return Markup("")
    frame = _frame(rows)
    front = sorted((row for row in rows if row.found.standing == "front"), key=lambda row: row.cost or 0.0)
    places = _places(frame, rows)
    steps = [svg.path([places[row.number] for row in front], "curve c0 d0")] if len(front) > 1 else []
    marks = [part for row in rows for part in _marked(frame, row, places[row.number], sweep.cost)]
    ticks = frame.x.ticks(5)
    drawn = svg.axes(frame, ticks, frame.y.ticks(5), axis_figure, lambda y: f"{y:g}")
    said = "; ".join(f"{row.number} {_reading(row, sweep.cost)}" for row in rows)
    titles = svg.title(11, f"{sweep.figure}, %") + svg.title(246, COSTS[sweep.cost], RIGHT)
    return svg.drawing(252, f"{sweep.figure} against {COSTS[sweep.cost]}: {said}", drawn, titles, *steps, *marks)


def _frame(rows: list[Row]) -> Frame:
    costs = [row.cost for row in rows if row.cost is not None]
    ends = [end for row in rows for end in _whisker(row)]
    low, high = min(ends), max(ends)
    room = max(high - low, 0.5) * 0.08
    y = svg.round_scale(max(0.0, low - room), min(100.0, high + room), (high - low + 2 * room) / 4)
    logarithmic = min(costs) > 0 and max(costs) > MANY_TIMES * min(costs)
    least, most = min(costs), max(costs)
    if logarithmic:
        return Frame(Scale(least / 1.3, most * 1.3, LEFT, RIGHT - 8, logarithmic=True), y)
    room = max(most - least, abs(most) * 0.1, 1e-9) * 0.08
    return Frame(Scale(max(0.0, least - room), most + room, LEFT, RIGHT - 8), y)


def _places(frame: Frame, rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    """Return where each mark stands, by its row's number: those of nearly the same cost side by side."""
    ordered = sorted(rows, key=lambda row: row.cost or 0.0)
    wide = RIGHT - LEFT - 8
    xs = _apart([frame.x(row.cost or 0.0) for row in ordered], min(BESIDE, wide / len(ordered)))
    over = max(0.0, xs[-1] - (RIGHT - 4)) or min(0.0, xs[0] - (LEFT + 4))
    heights = [row.found.accuracy.mean for row in ordered if row.found.accuracy is not None]
    return {row.number: (x - over, frame.y(y)) for row, x, y in zip(ordered, xs, heights, strict=True)}


def _apart(xs: Sequence[float], step: float) -> list[float]:
    """Return rising places, moved as little as leaves `step` between each two: isotonic regression, by pooling."""
    pools = list[list[float]]()
    for place, x in enumerate(xs):
        pools.append([x - step * place])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    level = [fmean(pool) for pool in pools for _ in pool]
    return [x + step * place for place, x in enumerate(level)]


def _whisker(row: Row) -> tuple[float, float]:
    assert row.found.accuracy is not None
    mean, sd = row.found.accuracy.mean, row.found.accuracy.sd or 0.0
    return max(0.0, mean - sd), min(100.0, mean + sd)


def _marked(frame: Frame, row: Row, place: tuple[float, float], kind: SweepCost) -> list[Markup]:
    x, y = place
    low, high = (frame.y(end) for end in _whisker(row))
    standing = row.found.standing or "behind"
    mark = svg.marker(x, y, STYLES[standing], size=3.4 if standing == "front" else 2.8)
    pointed = svg.element("g", svg.line(x, low, x, high, "spread"), mark, svg.element("title", _reading(row, kind)))
    label = svg.text(x + 6, y - 5, str(row.number), class_="tick") if standing == "front" else Markup("")
    return [pointed, label]


def _reading(row: Row, kind: SweepCost) -> str:
    assert row.found.accuracy is not None
    return f"{isolated(named(row.found))}: {quantity_words(row.found.accuracy)}{NBSP}%, {written(row.cost, kind)}"
