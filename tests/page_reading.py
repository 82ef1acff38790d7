"""A report read back: as a parser sees it, and as a browser shows it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "img", "br", "input"}
LOADS = {"src", "href", "srcset", "poster", "action", "data", "xlink:href", "background"}


class Page(HTMLParser):
    """A page as a browser's parser sees it; wrongly nested tags fail at once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.cells: list[list[str]] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

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
        assert self.open.pop() == tag, (tag, self.open, self.getpos())

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


def leaves(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(way for key, value in items for way in leaves(value, (*at, key)))]


CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no `chromium` in PATH")


def browse(html: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page in headless chromium; return its DOM after the script ran, and what the console said."""
    assert CHROMIUM is not None
    quiet = "no-first-run disable-background-networking disable-component-update disable-sync disable-gpu no-sandbox"
    command = [CHROMIUM, "--headless", *(f"--{flag}" for flag in quiet.split())]
    command += [
        "--enable-logging=stderr",
        "--v=0",
        f"--user-data-dir={profile}",
        "--window-size=400,900",
        "--dump-dom",
    ]
    done = subprocess.run([*command, html.as_uri()], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
