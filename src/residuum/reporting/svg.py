"""The parts every chart is made of: SVG elements, scales, axes and hover boxes. All text is escaped here.

Colours, dashes and fonts belong to style.css; a chart only names classes, so it follows light and dark.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup, escape

from residuum.reporting.wording import clipped, isolated, text_width

FONT = 10.5  # in the drawing's own units; style.css sets the same
LETTER = 0.56 * FONT  # mean width of a Latin letter
STYLES = 6  # colours, dashes and markers in style.css and `marker`
WIDTH, BOTTOM, TOP = 400.0, 208.0, 22.0  # of a chart; of its plot area where it is 240 high

Format = Callable[[float], str]


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """Return one element; plain str children and all attribute values are escaped, coordinates rounded to a tenth.

    In attribute names "_" stands for "-" and a trailing one is dropped: `class_`, `text_anchor`. None leaves one out.
    """
    written = "".join([f' {_named(key)}="{_written(value)}"' for key, value in attributes.items() if value is not None])
    return Markup(f"<{name}{written}>{_joined(children)}</{name}>")


@cache
def _named(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return value if isinstance(value, str) and not _IS_SPECIAL(value) else escape(value)


_IS_SPECIAL = re.compile("[&<>'\"]").search
"""Few attributes have anything to escape: to look first takes half of a chart's time less."""


def join(parts: Sequence[Markup | str]) -> Markup:
    """Put parts one after the other, escaping those that are not markup."""
    return Markup(_joined(parts))


def _joined(parts: Sequence[Markup | str]) -> str:
    return "".join([part if isinstance(part, Markup) else escape(part) for part in parts])


def drawing(height: float, label: str, *parts: Markup, width: float = WIDTH, **attributes: object) -> Markup:
    """Return a drawing that fills its box and says to a screen reader what it shows."""
    box = f"0 0 {width:g} {height:g}"
    named: dict[str, object] = {"class_": "chart", **attributes}
    return element("svg", *parts, **named, viewBox=box, role="img", aria_label=label)


def text(
    x: float,
    y: float,
    content: str,
    anchor: str = "start",
    class_: str | None = None,
    whole: str | None = None,
    transform: str | None = None,
) -> Markup:
    """Return text whose baseline starts, is centred or ends at (x, y); pointed at, it shows the `whole`."""
    title = [element("title", whole)] if whole is not None else []
    return element("text", content, *title, x=x, y=y, text_anchor=anchor, class_=class_, transform=transform)


def title(y: float, content: str, right: float | None = None) -> Markup:
    """Return an axis's title, at the left or ending at `right`."""
    start, anchor = (6.0, "start") if right is None else (right, "end")
    return text(start, y, content, anchor, "title")


def name_label(x: float, y: float, name: str, *, letters: float, upright: bool = False) -> Markup:
    """Return a class name that ends at (x, y), or rises from there; cut to `letters`, whole on hover."""
    whole = isolated(name)
    label = f"\u2068{clipped(whole[1:-1], letters)}\u2069"
    turned = f"rotate(-90 {x:.1f} {y:.1f})" if upright else None
    return text(x, y, label, "start" if upright else "end", whole=whole, transform=turned)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, rx: float | None = None) -> Markup:
    """Return a rectangle."""
    return element("rect", x=x, y=y, width=width, height=height, rx=rx, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points in drawing units, broken where y is nan."""
    written, pen = [], "M"
    for x, y in points:
        if not math.isnan(y):
            written.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "M" if math.isnan(y) else "L"
    return element("path", d="".join(written), class_=class_)


def marker(x: float, y: float, style: int, class_: str = "", size: float = 2.8) -> Markup:
    """Return the marker of series number `style`: circle, square, triangle, diamond, cross or plus."""
    named = f"mark c{style % STYLES} {class_}".strip()
    outline = _outlines(size)[style % STYLES]
    return element("path", d=outline, transform=f"translate({x:.1f} {y:.1f})", class_=named)


@cache
def _outlines(r: float) -> tuple[str, ...]:
    return (
        f"M{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M0 {-1.3 * r:.1f}L{1.2 * r:.1f} {r}H{-1.2 * r:.1f}z",
        f"M0 {-1.4 * r:.1f}L{1.4 * r:.1f} 0L0 {1.4 * r:.1f}L{-1.4 * r:.1f} 0z",
        f"M{-r} {-r}L{r} {r}M{-r} {r}L{r} {-r}",
        f"M0 {-1.3 * r:.1f}V{1.3 * r:.1f}M{-1.3 * r:.1f} 0H{1.3 * r:.1f}",
    )


# --- scales and axes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Maps values from low..high to drawing units start..end, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return where `value` lies; nan (a gap) stays nan."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = (self._even(x) for x in (low, high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def _even(self, value: float) -> float:
        if not self.logarithmic:
            return value
        return math.log10(value) if value > 0 else math.nan

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values in the range: multiples of 1, 2 or 5 times a power of ten, or powers of ten.

        Of many powers only every so manyth is returned; where there are but two, what lies between them too.
        """
        if self.logarithmic:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(powers) <= 2 else (1,)
            spread = powers[:: math.ceil(len(powers) / 9) or 1]
            found = [factor * 10.0**power for power in spread for factor in factors]
            return [one for one in found if one <= self.high * (1 + 1e-9)]
        step = round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def round_step(step: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def round_scale(low: float, high: float, step: float, start: float = BOTTOM, end: float = TOP) -> Scale:
    """Return a scale whose ends are the multiples of `step`, made round, next to `low` and `high`."""
    step = round_step(step)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), start, end)


def even_scale(values: Sequence[float]) -> Scale:
    """Return a vertical scale with zero and round ends."""
    low, high = min(0.0, *values), max(0.0, *values)
    high = high if low < high else 1.0
    return round_scale(low, high, (high - low) / 4)


def plain_format(value: float) -> str:
    """Write an axis value or a reading in four figures: 0.25, 1200, 1e-05."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def percent_tick(value: float) -> str:
    """Write a share on an axis: "90 %"."""
    return f"{100 * value:g}" + "\u00a0%" if abs(value) < 1e6 else ""


@dataclass(frozen=True)
class Frame:
    """The plot area of a chart: its two scales, and the edges that their ends are."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """At the lowest x."""
        return self.x.start

    @property
    def right(self) -> float:
        """At the highest x."""
        return self.x.end

    @property
    def top(self) -> float:
        """The smaller number."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """The larger number."""
        return self.y.start


def tick(x: float, y: float, words: str) -> Markup:
    """Return a tick at (x, y) on a horizontal axis, and its value below."""
    return line(x, y, x, y + 4, "axis") + text(x, y + 15, words, "middle", "tick")


def axes(frame: Frame, xs: Sequence[float], ys: Sequence[float], x_format: Format, y_format: Format) -> Markup:
    """Return grid lines with their values at `ys`, and ticks with theirs at `xs`."""
    rows = [
        line(frame.left, frame.y(y), frame.right, frame.y(y), "grid")
        + text(frame.left - 6, frame.y(y) + 3.5, y_format(y), "end", "tick")
        for y in ys
    ]
    columns = [tick(frame.x(x), frame.bottom, x_format(x)) for x in xs]
    return join([*rows, *columns, line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")])


# --- cells and hover ----------------------------------------------------------------------------


def cells(boxes: Sequence[tuple[float, float, float]], height: float, class_: str, words: str = "") -> Markup:
    """Return boxes (x, y, width) of one height and colour as one path, so that many are a small file."""
    places = [(f"{round(x, 2):g} {round(y, 2):g}", f"{round(width, 2):g}") for x, y, width in boxes]
    drawn = "".join(f"M{place}h{width}v{round(height, 2):g}h-{width}z" for place, width in places)
    said = [element("title", words)] if words else []
    return element("path", *said, d=drawn, class_=class_) if boxes else Markup("")


def hover(
    frame: Frame, edges: Sequence[float], x: float, words: Sequence[str], dots: Sequence[Markup] = (), low: bool = False
) -> Markup:
    """Return a strip between two `edges` that, pointed at, shows a hairline at x, `dots` and a box of words.

    The box lies at the frame's top, or at its bottom if `low`. style.css does the showing: no script is needed.
    """
    strip = rect(edges[0], frame.top, edges[1] - edges[0], frame.bottom - frame.top, "strip")
    hair = line(x, frame.top, x, frame.bottom, "hair")
    shown = element("g", hair, *dots, _box(frame, x, words, low), class_="shown")
    return element("g", strip, shown, class_="hover")


def _box(frame: Frame, x: float, words: Sequence[str], low: bool) -> Markup:
    """Return the box of words, on whichever side of x has room."""
    width = max(map(text_width, words)) * LETTER + 14
    height = 13.5 * len(words) + 8
    left = x + 8 if x + 8 + width <= min(frame.right + 40, WIDTH) else max(0.0, x - 8 - width)
    top = max(0.0, frame.bottom - height - 6) if low else frame.top
    rows = [text(left + 7, top + 14.5 + 13.5 * i, row) for i, row in enumerate(words)]
    return join([rect(left, top, width, height, "box", rx=4), *rows])
