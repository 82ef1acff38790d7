"""What is said to the person, always on stderr: stdout belongs to the figures."""

import re
import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN = 5.0


def say(text: str) -> None:
    """Print a line for the person."""
    print(visible(text), file=sys.stderr, flush=True)


def show_progress(doing: str) -> Callable[[int, int], None]:
    """Return a function of (done, total) that says at once what is being done, then how far it is now and then."""
    last, began, before = float("-inf"), 0.0, 0

    def tell(done: int, total: int) -> None:
        nonlocal last, began, before
        now = time.monotonic()
        if last == float("-inf"):
            began, before = now, done
        if now - last >= SECONDS_BETWEEN:
            minutes, seconds = divmod(round((now - began) / max(done - before, 1) * (total - done)), 60)
            left = f", ETA {minutes}:{seconds:02d}" if done > before else ""
            say(f"{doing}: {done / max(total, 1):.0%}{left}")
            last = now

    return tell


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return the text with what would steer a terminal, or turn the direction of writing, as \\u001b, as in JSON."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def put(*parts: object, sep: str = " ", end: str = "\n") -> None:
    """Print to stdout, as `print` does, whatever is in the names."""
    sys.stdout.write(visible(sep.join(map(str, parts)) + end))
