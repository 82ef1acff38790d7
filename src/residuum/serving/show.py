"""The verb `show`: the server for this machine alone, and its page in the browser."""

import contextlib
import os
import threading
import webbrowser
from pathlib import Path

from residuum.console import say
from residuum.errors import UserError
from residuum.outward_settings import ServeSettings, ShowSettings
from residuum.serving.run import serve

LONGEST_WAIT = 60.0
"""Seconds that an answer, or a heat map, may take: nobody else waits."""


def show(settings: ShowSettings) -> None:
    """Serve the model until Ctrl-C; its page is opened once the server answers. The server's log is not shown.

    Raises:
        UserError: no model is given, it cannot be opened, or the port is taken.
        Stopped: a signal ended it, 130 or 143.
    """
    if settings.run is None:
        raise UserError("which model?", "", "residuum show RUN, a run folder or a model file")
    one = {name: getattr(settings, name) for name in ("port", "examples", "engine", "precision", "device", "threads")}
    opens = _open if settings.browser else _say
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        serve(ServeSettings((settings.run,), longest_wait=LONGEST_WAIT, **one), opens)


def _open(address: str) -> None:
    """Open the page; a browser may keep its caller waiting, so another thread calls it."""

    def opened_or_said() -> None:
        if not webbrowser.open(address):
            _say(address)

    threading.Thread(target=opened_or_said, daemon=True).start()


def _say(address: str) -> None:
    say(f"open {address} in a browser; Ctrl-C ends it")
