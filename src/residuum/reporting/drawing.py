"""The parts every chart is made of: SVG elements, scales, axes and hover boxes. All text is escaped here.

Colours, dashes and fonts belong to style.css; a chart only names classes, so it follows light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from residuum.reporting.wording import clipped, isolated, percent, text_width

FONT = 10.5  # in the drawing's own units; style.css sets the same
LETTER = 0.56 * FONT  # mean width of a Latin letter
STYLES = 6  # colours, dashes and markers in style.css and `marker`

Format = Callable[[float], str]


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """Return one element; plain str children and all attribute values are escaped.

    In attribute names "_" stands for "-" and a trailing one is dropped: `class_`, `text_anchor`.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(attribute(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def attribute(value: object) -> object:
    """Round coordinates to a tenth."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def join(parts: Sequence[Markup | str]) -> Markup:
    """Put parts one after the other, escaping those that are not markup."""
    return Markup("").join(parts)


def drawing(width: float, height: float, label: str, *children: Markup, class_: str = "chart") -> Markup:
    """Return a drawing that fills its box and says to a screen reader what it shows."""
    return element(
        "svg", *children, class_=class_, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label
    )


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "") -> Markup:
    """Return text whose baseline starts, is centred or ends at (x, y)."""
    named = {"class_": class_} if class_ else {}
    return element("text", content, x=x, y=y, text_anchor=anchor, **named)


def name_label(x: float, y: float, name: str, *, letters: float, upright: bool = False) -> Markup:
    """Return a class name that ends at (x, y), or rises from there; cut to `letters`, whole on hover."""
    whole = isolated(name)
    label = f"\u2068{clipped(whole[1:-1], letters)}\u2069"
    turned = {"transform": f"rotate(-90 {x:.1f} {y:.1f})"} if upright else {}
    anchor = "start" if upright else "end"
    return element("text", label, element("title", whole), x=x, y=y, text_anchor=anchor, **turned)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points in drawing units, broken where y is nan."""
    written, pen = [], "M"
    for x, y in points:
        if math.isnan(y):
            pen = "M"
        else:
            written.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
    return element("path", d="".join(written), class_=class_)


def marker(x: float, y: float, style: int, class_: str = "", size: float = 2.8) -> Markup:
    """Return the marker of series number `style`: circle, square, triangle, diamond, cross or plus."""
    r = size
    shapes = (
        f"M{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M0 {-1.3 * r:.1f}L{1.2 * r:.1f} {r}H{-1.2 * r:.1f}z",
        f"M0 {-1.4 * r:.1f}L{1.4 * r:.1f} 0L0 {1.4 * r:.1f}L{-1.4 * r:.1f} 0z",
        f"M{-r} {-r}L{r} {r}M{-r} {r}L{r} {-r}",
        f"M0 {-1.3 * r:.1f}V{1.3 * r:.1f}M{-1.3 * r:.1f} 0H{1.3 * r:.1f}",
    )
    return element(
        "path",
        d=shapes[style % STYLES],
        transform=f"translate({x:.1f} {y:.1f})",
        class_=f"mark c{style % STYLES} {class_}".strip(),
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
        low, high, value = (self._even(x) for x in (self.low, self.high, value))
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


def plain_format(value: float) -> str:
    """Write an axis value or a reading in four figures: 0.25, 1200, 1e-05."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def percent_format(value: float) -> str:
    """Write a share as a reading: "88.3 %"."""
    return percent(value)


def percent_tick(value: float) -> str:
    """Write a share on an axis: "90 %"."""
    return f"{100 * value:g}" + "\u00a0%" if abs(value) < 1e6 else ""


@dataclass(frozen=True)
class Frame:
    """The plot area of a chart: its two scales and the edges they span."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """Return the left edge."""
        return self.x.start

    @property
    def right(self) -> float:
        """Return the right edge."""
        return self.x.end

    @property
    def top(self) -> float:
        """Return the upper edge (the smaller number)."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """Return the lower edge."""
        return self.y.start


def axes(
    frame: Frame, ticks: tuple[Sequence[float], Sequence[float]], x_format: Format, y_format: Format
) -> Markup:
    """Return grid lines with their values at the x and y `ticks`."""
    rows = [
        line(frame.left, frame.y(y), frame.right, frame.y(y), "grid")
        + text(frame.left - 6, frame.y(y) + 3.5, y_format(y), "end", "tick")
        for y in ticks[1]
    ]
    columns = [
        line(frame.x(x), frame.bottom, frame.x(x), frame.bottom + 4, "axis")
        + text(frame.x(x), frame.bottom + 15, x_format(x), "middle", "tick")
        for x in ticks[0]
    ]
    base = line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")
    return join([*rows, *columns, base])


# --- hover --------------------------------------------------------------------------------------


def hover(
    frame: Frame,
    edges: Sequence[float],
    x: float,
    dots: Sequence[Markup],
    words: Sequence[str],
    low: bool = False,
) -> Markup:
    """Return a strip between two `edges` that, pointed at, shows a hairline at x, `dots` and a box of words.

    The box lies at the frame's top, or at its bottom if `low`. style.css does the showing: no script is needed.
    """
    start, end = edges
    strip = element(
        "rect", x=start, y=frame.top, width=end - start, height=frame.bottom - frame.top, class_="strip"
    )
    hair = line(x, frame.top, x, frame.bottom, "hair")
    return element(
        "g", strip, element("g", hair, *dots, _box(frame, x, words, low), class_="shown"), class_="hover"
    )


def _box(frame: Frame, x: float, words: Sequence[str], low: bool) -> Markup:
    """Return the box of words, on whichever side of x has room."""
    width = max(map(text_width, words)) * LETTER + 14
    height = 13.5 * len(words) + 8
    left = x + 8 if x + 8 + width <= frame.right + 40 else max(0.0, x - 8 - width)
    top = max(0.0, frame.bottom - height - 6) if low else frame.top
    back = element("rect", x=left, y=top, width=width, height=height, rx=4, class_="box")
    rows = [text(left + 7, top + 14.5 + 13.5 * i, row) for i, row in enumerate(words)]
    return join([back, *rows])
