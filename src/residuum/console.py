"""What is said to the person, always on stderr: stdout belongs to the figures."""

import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN = 5.0


def say(text: str) -> None:
    """Print a line for the person."""
    print(text, file=sys.stderr, flush=True)


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
