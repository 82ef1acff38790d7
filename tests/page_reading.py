"""A report read back: as a parser sees it, and as a browser shows it."""

import base64
import hashlib
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import pytest

from residuum.errors import UserError

VOID = {"meta", "img", "br", "wbr", "input"}
EMPTY = re.compile(f'(<(?:{"|".join(sorted(VOID))})\\b(?:"[^"]*"|[^">/])*)>')
RAW = re.compile("(<(script|style)\\b[^>]*>)(.*?)(</\\2>)", re.DOTALL)
WITH_NBSP = ("<!DOCTYPE html>", '<!DOCTYPE html [<!ENTITY nbsp "&#160;">]>')
LOADS = {"src", "href", "srcset", "poster", "action", "data", "xlink:href", "background"}


class Page(HTMLParser):
    """A page as a browser's parser sees it; wrongly nested tags fail at once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        try:
            self._begin()
            self._read_as_xml()
        except expat.ExpatError:
            self._begin()
            self.feed(html)
            self.close()
        assert self.open == []

    def _begin(self) -> None:
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.cells: list[list[str]] = []
        self.scripts: list[str] = []

    def _read_as_xml(self) -> None:
        """What is well-formed as XML too is read in a tenth of the time, and to the same."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self.handle_endtag
        parser.CharacterDataHandler = self.handle_data
        closed = EMPTY.sub(r"\1/>", self.html.replace(*WITH_NBSP, 1).replace(" hidden>", ' hidden="">'))
        parser.Parse(RAW.sub(r"\1<![CDATA[\3]]>\4", closed), True)

    def _started(self, tag: str, attributes: dict[str, str]) -> None:
        self.handle_starttag(tag, [(key.lower(), value) for key, value in attributes.items()])
        if tag in VOID:
            self.open.append(tag)  # its end is told of too

    def updatepos(self, i: int, j: int) -> int:
        """Count no lines: it took a tenth of the time."""
        return j

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.pieces.append(data)
            if {"td", "th"} & set(self.open):
                self.cells[-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.pieces))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, key: str) -> list[str]:
        return [attributes[key] for _, attributes in self.tags if key in attributes]

    @property
    def plain(self) -> str:
        """Return the text with ordinary spaces and without the marks that isolate names."""
        return self.text.replace("\u00a0", " ").replace("\u2068", "").replace("\u2069", "")

    def rows(self, columns: int) -> list[list[str]]:
        """Return the table rows with so many cells."""
        return [[cell.replace("\u00a0", " ") for cell in row] for row in self.cells if len(row) == columns]

    # --- what every page promises ---------------------------------------------------------------

    def assert_closed(self, *, shows_pictures: bool = False) -> None:
        """Nothing is loaded from anywhere, and of scripts only our own may run; pictures, if any, lie in the page."""
        loaded = [value for _, attributes in self.tags for key, value in attributes.items() if key in LOADS]
        assert loaded
        allowed = ("#", "data:image/png;base64,") if shows_pictures else ("#",)
        assert all(value.startswith(allowed) for value in loaded)
        assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in self.tags}
        policy = next(meta["content"] for meta in self.all("meta") if "http-equiv" in meta)
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        digest = base64.b64encode(hashlib.sha256("".join(self.scripts).encode()).digest()).decode()
        assert rules["default-src"] == "'none'"
        assert rules["img-src"] == "data:"
        assert rules["script-src"] == f"'sha256-{digest}'"
        self.assert_no_script_slipped_in()

    def assert_no_script_slipped_in(self) -> None:
        """There is one script and one style sheet, and no attribute that is code."""
        assert len(self.all("script")) == len(self.all("style")) == 1
        assert not [key for _, attributes in self.tags for key in attributes if key.startswith("on")]

    def assert_usable_without_sight(self) -> None:
        """Pictures are described, headings nest, every cell has its head, and links lead somewhere."""
        assert self.all("html")[0]["lang"] == "en"
        assert all("aria-label" in svg or svg.get("aria-hidden") == "true" for svg in self.all("svg"))
        assert sum("aria-label" in svg for svg in self.all("svg")) >= 2
        assert all(image["alt"] for image in self.all("img"))
        levels = [int(tag[1]) for tag, _ in self.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert all(below - above <= 1 for above, below in pairwise(levels))
        ids = self.values("id")
        assert max(Counter(ids).values()) == 1
        assert {href[1:] for href in self.values("href")} <= set(ids)
        assert all("scope" in head for head in self.all("th"))
        viewport = next(meta["content"] for meta in self.all("meta") if meta.get("name") == "viewport")
        assert "width=device-width" in viewport

    def assert_drawn_well(self, *, drawings: int, numbers: int) -> None:
        """There are at least so many drawings and places in them; every place is a number, and no size is negative."""
        found = re.findall(r"<svg.*?</svg>", self.html, re.DOTALL)
        assert len(found) >= drawings
        places = [
            (key, float(value))
            for drawing in found
            for part in ElementTree.fromstring(drawing).iter()
            for key, value in part.attrib.items()
            if key in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"}
        ]
        assert sum(key not in {"cx", "cy"} for key, _ in places) > numbers
        assert all(math.isfinite(value) for _, value in places)
        assert min(value for key, value in places if key in {"width", "height"}) >= 0


def leaves(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(way for key, value in items for way in leaves(value, (*at, key)))]


def may_stand_for(new: Any, old: Any) -> bool:
    """Say whether a damaged value could be a right one: it is of the same kind, or absent where that can be."""
    if isinstance(new, float) and not math.isfinite(new):
        return False
    return None in (new, old) or type(new) is type(old) or {type(new), type(old)} == {int, float}


def page_or_refusal(write: Callable[[], Path], damaged: Path) -> Page | None:
    """Write the page; None if the damaged file was refused, in one error that says all that it must."""
    try:
        place = write()
    except UserError as error:
        refused = error
    else:
        return Page(place.read_text(encoding="utf-8"))
    assert f"{damaged} is not what residuum" in refused.what
    assert refused.why.endswith(("it was written by residuum 0.1.0", "which version wrote them"))
    assert refused.mend
    return None


CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no `chromium` in PATH")
