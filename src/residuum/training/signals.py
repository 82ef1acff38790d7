"""Ctrl-C, SIGTERM and SIGHUP (a terminal that is closed) ask training to stop after the step, which is said; a second
Ctrl-C stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from residuum.console import say

AskedToStop = Callable[[], int | None]
"""Returns the exit code once a stop was asked for, else None."""


@contextmanager
def stop_requests() -> Iterator[AskedToStop]:
    """Yield a function that returns the exit code (130, 143 or 129) once a stop was asked for, else None."""
    code: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if code and number == signal.SIGINT:
            raise KeyboardInterrupt
        code.append(128 + number)
        if len(code) == 1:
            with suppress(RuntimeError):  # the signal came while another line was being written
                say("stopping as soon as what is under way is done; Ctrl-C stops at once")

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield lambda: None
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: code[0] if code else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
