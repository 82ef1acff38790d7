"""How figures and names are written for people."""

import json
import math
import re
import unicodedata

from residuum import console
from residuum.records.evaluation import Measure
from residuum.records.explained import Heat

NONE = "–"
NBSP = "\u00a0"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as "88.3 %"; one that is not quite 0 or 1 is never rounded to it."""
    return NONE if value is None else percent_figure(value, digits) + NBSP + "%"


def percent_figure(value: float, digits: int = 1) -> str:
    """Write a share as "88.3"."""
    text = f"{100 * value:.{digits}f}"
    rounded_away = float(text) in (0, 100) and value not in (0, 1)
    return percent_figure(value, digits + 1) if rounded_away and digits < 4 else text


def interval(measure: Measure | None) -> str:
    """Write the interval as "87.6–88.9 %", or nothing if there is none."""
    return "" if measure is None else f"{percent_figure(measure.low)}–{percent(measure.high)}"


def with_interval(measure: Measure) -> str:
    """Write "88.3 % (95 % interval 87.6–88.9 %)"."""
    return f"{percent(measure.value)} (95{NBSP}% interval {interval(measure)})"


def count(value: float | None) -> str:
    """Write a whole number with its thousands parted: "10,000"."""
    return NONE if value is None else f"{int(value):,}"


def counted(value: int, noun: str, plural: str = "") -> str:
    """Write "1 picture" or "1,234 pictures"."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def short(value: float | None) -> str:
    """Write a large number in three figures: "272 k", "25.6 M", "4.09 G"."""
    if value is None:
        return NONE
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{NBSP}{unit}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Write a time as "4.2 s", "42 s", "12 min 3 s" or "1 h 42 min", each number beside its unit."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    return re.sub(r"(?<=\d) ", NBSP, console.duration(seconds))


def where(heat: Heat) -> str:
    """Say where in the picture a map is highest: "at the top left"."""
    row, column = _third(heat.y), _third(heat.x)
    return f"{_ROWS[row]} {_COLUMNS[column]}".strip()


def are_opposite(one: Heat, other: Heat) -> bool:
    """Say whether two maps are highest on opposite sides, as `where` names them: left and right, or top and bottom."""
    return 2 in {abs(_third(one.y) - _third(other.y)), abs(_third(one.x) - _third(other.x))}


def _third(share: float) -> int:
    return min(2, int(3 * share))


_ROWS, _COLUMNS = ("at the top", "in the middle", "at the bottom"), ("left", "", "right")


def plain(value: object) -> str:
    """Write a setting's value."""
    if value is None:
        return NONE  # "none" is a choice of its own: a net without shortcuts
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else "not a finite number"
    if isinstance(value, list | tuple) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(plain(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown(name: object) -> str:
    """Write a name so that it can be seen: control characters and blanks alone get a visible form."""
    text = str(name)
    text = text if text.isprintable() else "".join(map(_visible, text))
    return text if text.strip() else f"“{text}”"


def _visible(letter: str) -> str:
    if ord(letter) < 32:
        return chr(0x2400 + ord(letter))
    return "\ufffd" if unicodedata.category(letter) in {"Cc", "Cs"} else letter


def isolated(name: object) -> str:
    """Write a name for a sentence or an attribute: its direction cannot turn the text around it."""
    text = shown(name)
    if not text.isprintable():  # as few are: what turns a direction is no letter to print
        text = "".join(letter for letter in text if unicodedata.bidirectional(letter) not in _TURNS)
    return f"\u2068{text}\u2069"


_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def clipped(text: str, width: float) -> str:
    """Cut a label to about `width` Latin letters, with "…" where something was cut."""
    if text_width(text) <= width:
        return text
    kept = text
    while kept and text_width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def text_width(text: str) -> float:
    """Estimate a label's width in Latin letters; a Chinese character takes about two."""
    if text.isascii():
        return float(len(text))
    return sum(1.8 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text)
