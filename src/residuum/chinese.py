"""What --help and reports say, in Chinese, where RESIDUUM_LANG or the locale asks for it.

The words stand in chinese.json: an English text, with {} for what differs and {#} for a number, and the Chinese one.
Pages are written in English and then said again, text by text; what has no entry stays English, and so does what a
person called something.
"""

import html
import json
import os
import re
from functools import cache
from importlib.resources import files

PARTS = re.compile(r"(<[^>]*>)")
SPOKEN = re.compile(r'\b(title|aria-label|alt|placeholder|data-title|data-note)="([^"]*)"')
KEPT = ("bdi", "code", "pre", "script", "style")
"""Elements whose text is a person's, or a program's."""
LETTERS = re.compile("[A-Za-z]{2}")
BREAKS = (re.compile(r"(?<=[.?!]) (?=[A-Z0-9\u2068])"), re.compile(r"(?<=[;:]) "))
"""Where a text is taken apart that has no words as a whole: behind sentences, then behind their parts."""
HOLES = {
    "{#}": r"([\d,.]+(?:e[-+]?\d+)?(?: ?[kMGT%])?)",
    "{}": r"((?:(?![.:?!] [A-Z]|; ).)+?)",
    ": {}": r": ((?:(?![.?!] [A-Z]).)+)",
}
"""What may stand in a hole: a number; part of a sentence; behind a colon at the end, all that follows."""
NAME = re.compile("\u2068[^\u2069]*\u2069")
"""What was put into a sentence and is somebody's own."""


def is_wanted() -> bool:
    """Say whether Chinese is asked for: by RESIDUUM_LANG, which may also ask for en, else by the locale."""
    variables = ("RESIDUUM_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    return next((value for name in variables if (value := os.environ.get(name))), "").startswith("zh")


def said(text: str) -> str:
    """Return a text in Chinese: as a whole, or sentence by sentence; as it is where there are no words for it."""
    plain = " ".join(text.replace("\u00a0", " ").split())
    if not LETTERS.search(plain):
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    found = _apart(plain, BREAKS)
    return text if found == plain else before + found + after


def _apart(text: str, breaks: tuple[re.Pattern[str], ...]) -> str:
    """Return what is said for a text, or else for its parts."""
    known = _known(text)
    if known is not None or (not breaks and not text.endswith(";")):
        return text if known is None else known
    if text.endswith(";"):
        return _apart(text[:-1], breaks) + "\uff1b"
    parts = [_apart(part, breaks[1:]) for part in breaks[0].split(text)]
    return re.sub(r"(?<=[\u3002\uff1b\uff1a\uff1f]) ", "", " ".join(parts))


def page(written: str, own: dict[str, str] | None = None) -> str:
    """Return a page in Chinese; `own` holds texts of its own with their translation, such as a study's question."""
    own = {" ".join(text.split()): chinese for text, chinese in (own or {}).items()}
    parts, within = list[str](), list[str]()
    for part in PARTS.split(written.replace('<html lang="en">', '<html lang="zh-CN">')):
        if not part.startswith("<"):
            parts.append(part if within and within != ["bdi"] else _text(part, own, bool(within)))
            continue
        name = re.match(r"</?(\w*)", part)
        if name and name[1] in KEPT:
            within = within[:-1] if part.startswith("</") else [*within, name[1]]
        parts.append(SPOKEN.sub(lambda found: f'{found[1]}="{_text(found[2], own)}"', part))
    return "".join(parts)


def _text(escaped: str, own: dict[str, str], is_name: bool = False) -> str:
    """Return a text of the page in Chinese; one that is a name only where the page brings its translation."""
    text = html.unescape(escaped)
    known = own.get(" ".join(text.split()))
    if known is None and (is_name or not text.strip()):
        return escaped
    return html.escape(known or said(text))


@cache
def _known(text: str) -> str | None:
    """Return what is said for exactly this text, or for one with holes that it fits."""
    words, with_holes = _words()
    if text in words:
        return words[text]
    for pattern, chinese in with_holes:
        if found := pattern.fullmatch(text):
            return chinese.format(*(one if NAME.fullmatch(one) else said(one) for one in found.groups()))
    return None


@cache
def _words() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Return texts without holes, and those with, the longest first: it says most about what it fits."""
    read: dict[str, str] = json.loads(files("residuum").joinpath("chinese.json").read_text(encoding="utf-8"))
    holes = sorted((text for text in read if "{" in text), key=lambda text: -len(re.sub("{#?}", "", text)))
    patterns = [(_pattern(text), read[text]) for text in holes]
    return {text: chinese for text, chinese in read.items() if "{" not in text}, patterns


def _pattern(text: str) -> re.Pattern[str]:
    """Return what a text with holes fits."""
    parts = re.split(r"(: {}$|{#?})", text)
    return re.compile("".join(HOLES.get(part) or re.escape(part) for part in parts))
