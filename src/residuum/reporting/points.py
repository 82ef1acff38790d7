"""The points of a curve."""

import math
from collections.abc import Sequence

from residuum.records.run import Epoch, Step

Points = list[tuple[float, float]]  # (x, y); y is nan where there is a gap


def points(lines: Sequence[Epoch | Step], name: str) -> Points:
    """Return (epoch, value) for each line that has a figure of this name; one that is not finite becomes a gap."""
    found = [(line.epoch, getattr(line, name)) for line in lines]
    return [(x, y if math.isfinite(y) else math.nan) for x, y in found if y is not None]


def thin(line: Points, most: int) -> Points:
    """Keep at most `most` points, at least four: the first, the last, and of equal stretches the highest and lowest.

    A gap is kept where a stretch has one, so that what is drawn is broken there.
    """
    if len(line) <= most:
        return line
    inner, stretches = range(1, len(line) - 1), (most - 2) // 2
    kept = {0, len(line) - 1}
    for i in range(stretches):
        here = inner[i * len(inner) // stretches : (i + 1) * len(inner) // stretches]
        finite = [at for at in here if not math.isnan(line[at][1])]
        ends = {min(finite, key=lambda at: line[at][1]), max(finite, key=lambda at: line[at][1])} if finite else set()
        gap = next((at for at in here if math.isnan(line[at][1])), None)
        kept |= ends if gap is None else {gap, *(max(ends, default=gap),)}
    return [line[at] for at in sorted(kept)]


def to_mark(line: Points, about: int = 7, most: int = 12) -> Points:
    """Return the points that get a marker: some spread evenly, and where the line turns by a fifth of its range.

    Of up to `most` points all do. Where it turns more than `most` times, only its highest and lowest point.
    """
    finite = [one for one in line if not math.isnan(one[1])]
    if len(finite) <= most:
        return finite
    ys = [y for _, y in finite]
    ends = {ys.index(min(ys)), ys.index(max(ys))}
    turns = _turns(ys, (max(ys) - min(ys)) / 5)
    even = {round(i * (len(ys) - 1) / (about - 1)) for i in range(about)}
    return [finite[at] for at in sorted(even | ends | (turns if len(turns) <= most else set()))]


def _turns(ys: list[float], least: float) -> set[int]:
    """Return where a line, having gone up or down, goes back by more than `least`."""
    found, way, high, low = set[int](), 0, 0, 0
    for at, y in enumerate(ys):
        high = at if way >= 0 and y > ys[high] else high
        low = at if way <= 0 and y < ys[low] else low
        if way >= 0 and ys[high] - y > least:
            found, way, low = found | {high}, -1, at
        elif way <= 0 and y - ys[low] > least:
            found, way, high = found | {low}, 1, at
    return found


def last(line: Points) -> tuple[float, float] | None:
    """Return the last point that is not a gap."""
    return next(((x, y) for x, y in reversed(line) if not math.isnan(y)), None)
