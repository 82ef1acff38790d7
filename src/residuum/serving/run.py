"""The verb `serve`: the app on a port, with bounds on connections, and an end that loses nothing."""

import asyncio
import contextlib
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from residuum.console import say
from residuum.errors import Stopped, UserError
from residuum.outward_settings import ServeSettings
from residuum.serving.app import app
from residuum.serving.served import LOOPBACK
from residuum.serving.service import Service, log, open_service

TOKEN = "RESIDUUM_TOKEN"
EVERY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""What stands for every address of a machine, and that of them by which it reaches itself."""
HEAD_MOST = 65_536
"""Bytes of a request before its body."""
MARGIN = 3.0
"""Seconds beyond what the app allows for a request to come, so that its own answer, which says why, comes first."""
LATE = 1.0
"""For how many seconds a server that ends still takes a request on a connection it had before."""
UNREAD = 30_000
"""Milliseconds that a client may leave what it was sent unread (Linux)."""
BACKLOG = 2048
"""Connections that may wait to be taken, as uvicorn has it."""
QUEUE = 1.0
"""For how many seconds a server that ends still takes those who wait."""
TURNS = 4
"""Turns of the loop in which whoever it has taken is a connection of the server's."""
RESERVED = 100
"""Files that are not connections."""


def serve(settings: ServeSettings, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or Ctrl-C; what had come by then is answered first. SIGHUP opens the models anew.

    The port is taken at once but opened only when the models are: who asks before is refused by the system, not kept
    waiting. `ready` is told the address once requests are taken.

    Raises:
        UserError: no model is given, one cannot be opened, the port is taken, or an address that others reach has no
            token.
        Stopped: a signal ended it, 130 or 143.
    """
    token = _token(settings)
    with _bound(settings) as port:
        service = open_service(settings, token)
        address = _address(port)
        server = _Server(service, lambda: _say_ready(service, address, ready))
        server.run(sockets=[port])
    log("stopped", signal=server.ended_by)
    answered = "" if server.force_exit else "; every request that had come was answered"
    raise Stopped(f"stopped{answered}", 128 + server.ended_by)


def _say_ready(service: Service, address: str, ready: Callable[[str], None]) -> None:
    for one in service.models.values():
        engine, digest = one.predictor.engine, one.digest
        how = {"engine": engine.name, "precision": engine.precision}
        log("model", model=one.name, digest=digest, milliseconds=round(1000 * one.predict.seconds, 2), **how)
    log("listening", address=address)
    say(f"ready: listening on {address}{_reached(address)}")
    ready(address)


def _reached(address: str) -> str:
    """Say by what a server is reached that listens on every address of its machine, which is none to ask."""
    asked = urlsplit(address)
    here = EVERY.get(asked.hostname or "")
    others = f"http://NAME:{asked.port}, by this machine's name or address"
    return f" (from here http://{here}:{asked.port}; for others {others})" if here else ""


def _token(settings: ServeSettings) -> str | None:
    """Return what requests have to bring (UserError where one is needed and none is given)."""
    token = os.environ.get(TOKEN, "")
    if settings.token_file is not None:
        try:
            token = Path(settings.token_file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read --token-file {settings.token_file}", str(error), "check the path") from error
    if settings.host not in LOOPBACK and not token:
        raise UserError(
            f"{settings.host} can be reached by others, and nothing keeps them from asking",
            "a server that is not on 127.0.0.1 needs a token",
            f"put one into a file, --token-file FILE, or into ${TOKEN}",
        )
    return token or None


def _bound(settings: ServeSettings) -> socket.socket:
    """Return a socket that holds the port and does not listen yet (UserError where it is taken)."""
    port = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        if port.family == socket.AF_INET6:
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if os.name == "posix":  # what the last server left behind does not bar the next; on Windows it never does
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind((settings.host, settings.port))
    except OSError as error:
        port.close()
        raise _taken(f"{settings.host}:{settings.port}", error) from error
    return port


def _address(port: socket.socket) -> str:
    host, number = port.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{number}"


def _taken(where: str, error: OSError) -> UserError:
    return UserError(f"cannot listen on {where}", error.strerror or str(error), "--port 0 takes a free one")


class _Server(uvicorn.Server):
    """uvicorn's server, with our signals: SIGTERM and Ctrl-C let it end, a second time at once; SIGHUP reloads."""

    def __init__(self, service: Service, ready: Callable[[], None]) -> None:
        settings = service.settings
        bounded = type("Bounded", (_Bounded,), {"seconds": settings.receive + MARGIN, "most": _connections()})
        logging.getLogger("uvicorn.error").addHandler(_Log())
        super().__init__(
            uvicorn.Config(
                app(service),
                http=bounded,
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(settings.drain),
            )
        )
        self.service, self.ready, self.ended_by = service, ready, 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen (UserError where another did while the models were loaded)."""
        try:
            for one in sockets or ():
                one.listen(BACKLOG)  # here, for uvloop says nothing of what it cannot listen on
        except OSError as error:
            raise _taken(f"{self.service.settings.host}:{self.service.settings.port}", error) from error
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, with nobody left in the queue before the door; uvicorn leaves the app's own end out where it is asked a
        second time, and is then told of a fault."""
        await let_in(sockets or ())
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Heed signals until the server has ended."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def end(number: int, _: Any) -> None:
            loop.call_soon_threadsafe(self.end, number)

        def reload(*_: Any) -> None:
            loop.call_soon_threadsafe(lambda: tasks.add(loop.create_task(self.service.reload())))

        wanted: dict[int, Any] = {signal.SIGTERM: end, signal.SIGINT: end}
        if hasattr(signal, "SIGHUP"):
            wanted[signal.SIGHUP] = reload
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self, number: int) -> None:
        """Take no more connections, answer what has come, and return; when asked a second time, at once."""
        log("ending", signal=number, waiting=len(self.service.desk.taken))
        self.force_exit = self.should_exit
        self.ended_by = self.ended_by or number
        self.service.draining, self.should_exit = True, True


async def let_in(sockets: Sequence[socket.socket], seconds: float = QUEUE) -> None:
    """Wait until the running loop has taken all who stand in these sockets' queues: the system throws them out where a
    socket is closed. Who comes meanwhile joins a queue of one place at the most, or finds it full and asks again."""
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        for one in sockets:
            waiting.register(one, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                one.listen(0)
        empty = 0
        while empty < TURNS and time.monotonic() < until:
            await asyncio.sleep(0)
            empty = 0 if waiting.select(0) else empty + 1


class _Bounded(HttpToolsProtocol):
    """A connection that has to say what it wants in time, and in so many bytes."""

    seconds: ClassVar[float]
    most: ClassVar[int]
    ends = False
    _clock: asyncio.TimerHandle | None = None
    _begun = 0
    """Requests so far."""
    _head: int | None = None
    """Bytes of a request's head so far; None where none is being read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begun = self._begun
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head is not None and begun == self._begun:
            self._head += len(data)
            if self._head > HEAD_MOST:
                self.send_400_response("The request's head is too large.")
        if self._clock is None and self._is_idle and self.timeout_keep_alive_task is None:
            self._start_clock()  # empty lines, which begin no request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun, self._head = self._begun + 1, 0
        self._start_clock()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head = None
        self.cycle.keep_alive = self.cycle.keep_alive and not self.ends

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_clock()

    def shutdown(self) -> None:
        """Where nothing is being answered, wait a moment: a request may be on its way."""
        self.ends = True
        if self._is_idle:
            self.loop.call_later(LATE, self._end_if_idle)
        else:
            self.cycle.keep_alive = False

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _end_if_idle(self) -> None:
        if self._is_idle:
            self.transport.close()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self.seconds, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def _connections() -> int:
    """Return how many connections there may be; as many files are asked for as the system gives."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, 8192)) if hard != resource.RLIM_INFINITY else max(soft, 8192)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(soft - RESERVED, 16)


class _Log(logging.Handler):
    """What uvicorn has to say, as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError):  # ended: a 499
            log("server", level=record.levelname.lower(), message=record.getMessage())
