"""A server at work in a thread of the test's own process, for pages in a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from residuum.outward_settings import ServeSettings
from residuum.serving import run
from residuum.serving.run import _bound, _Server
from residuum.serving.service import Service, open_service


@contextmanager
def served_at(model: Path) -> Iterator[tuple[Service, str]]:
    """Serve a model; yield what serves it, and its address."""
    settings = ServeSettings((model,), port=0, threads=1)
    service, ready, listening = open_service(settings), threading.Event(), _bound(settings)
    server = _Server(service, ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert ready.wait(30)
        yield service, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "LATE", 0.0)  # the browser keeps its connections, and asks nothing more on them
            server.should_exit = True
            thread.join(30)
