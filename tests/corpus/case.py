"""What a case of the corpus is, and how it is tried: plain data, and the command run in this process.

A case is an odd or damaged input that is made when it is needed, and what must happen to it, verb by verb.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

DONE, FAULT, PARTLY = 0, 2, 3
"""The exit codes that the command documents, signals aside."""


@dataclass(frozen=True)
class Must:
    """What must happen: one of these exit codes, and words that stand in what is said or printed.

    "{}" in a word is the name of what was given. Of words in one tuple one is enough.
    """

    codes: tuple[int, ...]
    words: tuple[str | tuple[str, ...], ...] = ()
    never: tuple[str, ...] = ()


def done(*words: str | tuple[str, ...], never: Sequence[str] = ()) -> Must:
    """It is done, and the words are among what is printed."""
    return Must((DONE,), words, tuple(never))


def refused(*words: str | tuple[str, ...], never: Sequence[str] = ()) -> Must:
    """One clear error that says the words; by default the name of what was given."""
    return Must((FAULT,), words or ("{}",), tuple(never))


ONE_CLASS = done("only one class", never=["nothing wrong"])
"""What looking at the data says: nothing can be learnt from them, but each picture can be read."""


def partly(*words: str | tuple[str, ...]) -> Must:
    """The rest is done, and what is not is named."""
    return Must((PARTLY,), words or ("{}",))


Make = Callable[[Path, Random], Path]
"""Makes the input in an empty folder, with chance of its own, and returns where it is."""


@dataclass(frozen=True)
class Case:
    """An input and what must happen to it by each verb; `quick` ones are tried in `make test`."""

    name: str
    make: Make
    must: Mapping[str, Must]
    quick: tuple[str, ...] = ()


class Verb(Protocol):
    """The words of a command for what a case made, in a folder for what it writes."""

    def __call__(self, given: Path, out: Path) -> list[object]: ...


@dataclass
class Said:
    """What the command left with, and said."""

    code: int
    out: str
    err: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.out + self.err


def command(words: Iterable[object], capture: Any) -> Said:
    """Run the command line in this process; whatever it raises but its own exit is raised."""
    from residuum.cli import main

    before = sys.argv
    sys.argv = ["residuum", *map(str, words)]
    capture.readouterr()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    return Said(code, *capture.readouterr())


def wrong_with(said: Said, must: Must, name: str) -> list[str]:
    """Say what is not as it must be; nothing where all is well."""
    found = []
    if said.code not in must.codes:
        found.append(f"exit code {said.code}, not {' or '.join(map(str, must.codes))}")
    text = " ".join(said.text.split())
    for word in must.words:
        wanted = [one.replace("{}", name) for one in ((word,) if isinstance(word, str) else word)]
        if not any(" ".join(one.split()) in text for one in wanted):
            found.append(f"it does not say {' or '.join(map(repr, wanted))}")
    found += [f"it says {word!r}" for word in must.never if word in text]
    if "Traceback" in text or "Error:" in said.err:
        found.append("a traceback")
    if any(sign in said.text for sign in "\x1b\x07\x9b"):
        found.append("a control character reaches the terminal")
    return found


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """What lies at and below a place: kind, size, times of change and content, links not followed."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))] if root.is_dir() and not root.is_symlink() else [root]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if _readable(status, path) else ""
        found[os.fsdecode(path)] = (kind, status.st_size * stat.S_ISREG(kind), status.st_mtime_ns, content)
    return found


def _readable(status: os.stat_result, path: Path) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size < 1 << 27 and os.access(path, os.R_OK)
