"""What is said to the person: by `logging`, where who uses the library chooses the handler, and by the command's own on
stderr, as stdout belongs to the figures.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Literal, TextIO

SECONDS_BETWEEN = 5.0


LOGGER = logging.getLogger("residuum")
"""Whoever uses the library chooses its handler; without one nothing is printed."""
LOGGER.addHandler(logging.NullHandler())


def say(text: str) -> None:
    """Tell the person, as INFO; where nobody can be told any more, what is being done goes on."""
    LOGGER.info("%s", visible(text))


def silence(silent: bool) -> None:
    """Let what is said from now on be said to nobody, or to the person again."""
    LOGGER.disabled = silent


@contextmanager
def silenced(silent: bool) -> Iterator[None]:
    """Say nothing for a while, where another process says it."""
    before = LOGGER.disabled
    silence(silent or before)
    try:
        yield
    finally:
        silence(before)


def warn(text: str) -> None:
    """Tell the person of something that is not as it should be, as WARNING."""
    LOGGER.warning("%s", visible(text))


class _OnStderr(logging.Handler):
    """The command's: each message a line."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:  # None where it was closed from the start, and print() would take stdout
            with suppress(OSError, ValueError):
                print(record.getMessage(), file=sys.stderr, flush=True)


def tell_on_stderr() -> None:
    """Let all that is said stand on stderr, and nowhere else, as the command does."""
    if not is_told_on_stderr():
        LOGGER.addHandler(_OnStderr())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def is_told_on_stderr() -> bool:
    """Say whether this is the command, which may draw on the terminal."""
    return any(isinstance(one, _OnStderr) for one in LOGGER.handlers)


class Forgiving:
    """A stream whose words may be lost: that it is full, closed or hung up raises nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def secure_streams() -> None:
    """Let no file that is opened later become stdin, stdout or stderr, and nothing that is said end the command."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # it was closed from the start; the lowest free number is taken
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = forgiving_stderr()


def forgiving_stderr() -> Forgiving:
    """Return stderr as it is now, so that writing to it raises nothing."""
    return sys.stderr if isinstance(sys.stderr, Forgiving) else Forgiving(sys.stderr or _nowhere())


@cache  # one for all, until the end
def _nowhere() -> TextIO:
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def show_progress(doing: str) -> Callable[[int, int], None]:
    """Return a function of (done, total) that says at once what is being done, then how far it is now and then, and
    that it is done."""
    state: Literal["new", "going", "done"] = "new"
    began, before, last = 0.0, 0, 0.0

    def tell(done: int, total: int) -> None:
        nonlocal state, began, before, last
        now = time.monotonic()
        if state == "new":
            state, began, before, last = "going", now, done, now
            say(f"{doing}: {done / max(total, 1):.0%}")
        elif state == "going" and done >= total > before:
            state = "done"
            say(f"{doing}: 100%, took {duration(now - began)}")
        elif state == "going" and now - last >= SECONDS_BETWEEN:
            left = f", ETA {duration((now - began) / (done - before) * (total - done))}" if done > before else ""
            say(f"{doing}: {done / max(total, 1):.0%}{left}")
            last = now

    return tell


def duration(seconds: float) -> str:
    """Write a time as "42 s", "12 min 3 s" or "1 h 42 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return the text with what would steer a terminal, or turn the direction of writing, as \\u001b, as in JSON."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: object) -> str:
    """Return a name as it is shown where each line is one thing: with the ends of lines in it as \\u000a, too."""
    return visible(str(text)).replace("\n", "\\u000a")


def put(*parts: object, sep: str = " ", end: str = "\n") -> None:
    """Print to stdout, as `print` does, whatever is in the names."""
    sys.stdout.write(visible(sep.join(map(str, parts)) + end))
