"""Ctrl-C and SIGTERM ask training to stop after the step; a second Ctrl-C stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the exit code (130 or 143) once a stop was asked for, else None."""
    code: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if code and number == signal.SIGINT:
            raise KeyboardInterrupt
        code.append(128 + number)

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield lambda: None
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: code[0] if code else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
