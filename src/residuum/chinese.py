"""What --help and reports say, in Chinese, where RESIDUUM_LANG or the locale asks for it.

The words stand in chinese.json: an English text, with {} for what differs and {#} for a number, and the Chinese one.
Pages are written in English and then said again, text by text; what has no entry stays English, and so does what a
person called something.
"""

import html
import json
import os
import re
from functools import cache, reduce
from importlib.resources import files

PARTS = re.compile(r"(<[^>]*>)")
SPOKEN = re.compile(r'\b(title|aria-label|alt|placeholder|data-title|data-note|data-head)="([^"]*)"')
KEPT = ("bdi", "code", "pre", "script", "style")
"""Elements whose text is a person's, or a program's."""
LETTERS = re.compile("[A-Za-z]{2}")
BREAKS = (
    re.compile(r"(?<=[.?!])(?<!\beq\.)(?<!\bsec\.)(?<!\bfig\.) (?=[A-Z0-9±\u2068])"),
    re.compile(r"(?<=[;:]) "),
    re.compile(r"(?<=,) "),
)
"""Where a text is taken apart that has no words as a whole: behind sentences, then behind their parts; names of
figures behind commas, too."""
PAGES, STUDIES = "chinese.json", "reporting/study_chinese.json"
"""The words of pages and help, and those that studies write into their records."""
MARKS = {";": "\uff1b", ",": "\uff0c"}
HOLES = {
    "{#}": r"([-−]?[\d,.]*\d(?:e[-+]?\d+)?(?: ?[kMGT%])?)",
    "{}": r"((?:(?![.:?!] [A-Z]|; ).)+?)",
    ": {}": r": ((?:(?![.?!] [A-Z]).)+)",
}
"""What may stand in a hole: a number; part of a sentence; behind a colon at the end, all that follows."""
ISOLATES = "\u2068\u2069"
HOLE = re.compile(r"({\d*})")
HAN, WORD = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z0-9]")
FULL_WIDTH = "，。；：？！、（）"
"""Marks that bring their own blank."""
BLANK = re.compile(rf"(?<=[{FULL_WIDTH}])((?:</?(?:bdi|b|a|code|span)\b[^>]*>)+) +")
"""A blank behind such a mark, with the ends of elements between them."""
NAMED = re.compile("(?<=[\u4e00-\u9fff]) (?=<bdi>[\u4e00-\u9fff])|(?<=[A-Za-z0-9]</bdi>)(?=[\u4e00-\u9fff])")
"""Where a name in a sentence of a page brings a blank too many, or lacks one: as `_joined` has it."""
NAME = re.compile("\u2068[^\u2069]*\u2069")
"""What was put into a sentence and is somebody's own."""


def is_wanted() -> bool:
    """Say whether Chinese is asked for: by RESIDUUM_LANG, which may also ask for en, else by the locale."""
    variables = ("RESIDUUM_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    return next((value for name in variables if (value := os.environ.get(name))), "").startswith("zh")


def said(text: str, words: str = PAGES) -> str:
    """Return a text in Chinese: as a whole, or sentence by sentence; as it is where there are no words for it."""
    plain = " ".join(text.replace("\u00a0", " ").split())
    if not LETTERS.search(plain):
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    found = _apart(plain, BREAKS if words == STUDIES else BREAKS[:2], words)
    if found == plain:
        return text
    return ("" if found[0] in FULL_WIDTH else before) + found + ("" if found[-1] in FULL_WIDTH else after)


def _apart(text: str, breaks: tuple[re.Pattern[str], ...], words: str) -> str:
    """Return what is said for a text, or else for its parts."""
    known = _known(text, words)
    mark = MARKS.get(text[-1:]) if words == STUDIES or text.endswith(";") else None
    if known is not None or not (breaks or mark):
        return text if known is None else known
    if mark:
        return _apart(text[:-1], breaks, words) + mark
    parts = [_apart(part, breaks[1:], words) for part in breaks[0].split(text)]
    return re.sub(f"(?<=[{FULL_WIDTH}]) ", "", " ".join(parts))


def page(written: str) -> str:
    """Return a page in Chinese."""
    parts, within = list[str](), list[str]()
    for part in PARTS.split(written.replace('<html lang="en">', '<html lang="zh-CN">')):
        if not part.startswith("<"):
            parts.append(part if within else _text(part))
            continue
        name = re.match(r"</?(\w*)", part)
        if name and name[1] in KEPT:
            within = within[:-1] if part.startswith("</") else [*within, name[1]]
        parts.append(SPOKEN.sub(lambda found: f'{found[1]}="{_text(found[2])}"', part))
    whole = BLANK.sub(r"\1", "".join(parts))
    return NAMED.sub(lambda found: "" if found[0] else " ", whole)


def _text(escaped: str) -> str:
    """Return a text of the page in Chinese."""
    return html.escape(said(html.unescape(escaped))) if escaped.strip() else escaped


@cache
def _known(text: str, words: str) -> str | None:
    """Return what is said for exactly this text, or for one with holes that it fits."""
    whole, with_holes = _read(words)
    if text in whole:
        return whole[text]
    for pattern, chinese in with_holes:
        if found := pattern.fullmatch(text):
            return _filled(chinese, [one if NAME.fullmatch(one) else said(one, words) for one in found.groups()])
    return None


def _filled(template: str, values: list[str]) -> str:
    """Return a text with its holes filled, and blanks between Chinese and other letters, whichever the values are."""
    holes = iter(range(len(values)))
    parts: list[str] = [
        values[int(part[1:-1] or next(holes))] if HOLE.fullmatch(part) else part for part in HOLE.split(template)
    ]
    return reduce(_joined, filter(None, parts))


def _joined(before: str, after: str) -> str:
    last, first = before.rstrip(ISOLATES + " ")[-1:], after.lstrip(ISOLATES + " ")[:1]
    if not (last and first):
        return before + after
    sides = bool(HAN.match(last)), bool(HAN.match(first))
    if all(sides) or last in FULL_WIDTH or first in FULL_WIDTH:
        return before.rstrip() + after.lstrip()
    if any(sides) and WORD.search(last + first):
        return f"{before.rstrip()} {after.lstrip()}"
    return before + after


@cache
def _read(words: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Return texts without holes, and those with, the longest first: it says most about what it fits."""
    read: dict[str, str] = json.loads(files("residuum").joinpath(words).read_text(encoding="utf-8"))
    holes = sorted((text for text in read if "{" in text), key=lambda text: -len(re.sub("{#?}", "", text)))
    patterns = [(_pattern(text), read[text]) for text in holes]
    return {text: chinese for text, chinese in read.items() if "{" not in text}, patterns


def _pattern(text: str) -> re.Pattern[str]:
    """Return what a text with holes fits."""
    parts = re.split(r"(: {}$|{#?})", text)
    return re.compile("".join(HOLES.get(part) or re.escape(part) for part in parts))
