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


def to_mark(line: Points, most: int = 30) -> Points:
    """Return the points that get a marker: all where they are no more than `most`, else every second, third or so."""
    finite = [one for one in line if not math.isnan(one[1])]
    return finite[:: math.ceil(len(finite) / most) or 1]


def last(line: Points) -> tuple[float, float] | None:
    """Return the last point that is not a gap."""
    return next(((x, y) for x, y in reversed(line) if not math.isnan(y)), None)
