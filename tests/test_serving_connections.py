"""The server's connections: real sockets, to a server in a thread."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_start import small_model

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

# ruff: noqa: E402
from residuum.errors import Stopped, UserError
from residuum.outward_settings import ServeSettings
from residuum.serving import run
from residuum.serving.service import Service, open_service

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@contextlib.contextmanager
def serving(place: Path) -> Iterator[tuple[run._Server, int]]:
    settings = ServeSettings((place,), port=0, receive=0.2, threads=1)
    ready = threading.Event()
    with pytest.MonkeyPatch.context() as patch, run._bound(settings) as listening:
        patch.setattr(run, "MARGIN", 0.1)
        patch.setattr(run, "LATE", 0.3)
        server = run._Server(open_service(settings), ready.set)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert ready.wait(10)
        yield server, port
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("connections") / "small.safetensors", ("a", "b", "c"), 16)


@pytest.fixture(scope="module")
def port(place: Path) -> Iterator[int]:
    with serving(place) as (_, port):
        yield port


def said(port: int, *sent: bytes) -> bytes:
    """Send all of it, piece by piece, and return what is said until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for one in sent:
            with contextlib.suppress(ConnectionError):
                connection.sendall(one)
        found = b""
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65_536):
                found += more
        return found


def test_a_large_body_may_come_in_one_piece_with_its_head(port: int) -> None:
    body = bytes(150_000)
    request = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    last = HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nx"
    assert said(port, request * 3 + last).count(b"HTTP/1.1 422 ") == 4


ENDING: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "nothing": ((b"",), b""),
    "empty lines": ((b"\r\n\r\n",), b""),
    "half a head": ((HEAD,), b""),
    "half a body": ((HEAD + b"Content-Length: 10\r\n\r\n12345",), b"HTTP/1.1 408 "),
    "asked before": (
        (HEAD + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n",),
        b"HTTP/1.1 413 ",
    ),
    "no end": (
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"186a0\r\n" + bytes(100_000) + b"\r\n"] * 120),
        b"HTTP/1.1 413 ",
    ),
    "a head without end": ((b"GET / HTTP/1.1\r\nX: ", *[b"x" * 50_000] * 100), b"HTTP/1.1 400 "),
    "none": ((b"no HTTP\r\n\r\n",), b"HTTP/1.1 400 "),
}


@pytest.fixture(scope="module")
def ended(port: int) -> dict[str, tuple[bytes, float]]:
    """What each connection was told, and after how many seconds it ended; they wait side by side."""

    def end(sent: tuple[bytes, ...]) -> tuple[bytes, float]:
        began = time.monotonic()
        return said(port, *sent), time.monotonic() - began

    with ThreadPoolExecutor(len(ENDING)) as threads:
        return dict(zip(ENDING, threads.map(end, [sent for sent, _ in ENDING.values()]), strict=True))


@pytest.mark.parametrize("name", ENDING)
def test_a_connection_ends_in_time_and_says_why_where_it_can(name: str, ended: dict[str, tuple[bytes, float]]) -> None:
    answered, seconds = ended[name]
    answer = ENDING[name][1]
    assert answered.startswith(answer)
    assert seconds < 3.0


def test_what_comes_on_an_open_connection_while_the_server_ends_is_answered(place: Path) -> None:
    with serving(place) as (server, port):
        new, used = (socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2))
        with new, used:
            request = HEAD + b"Content-Length: 1\r\n\r\nx"
            used.sendall(request)
            assert used.recv(12) == b"HTTP/1.1 422"
            server.end(15)
            while server.servers[0].is_serving():
                time.sleep(0.01)
            with pytest.raises(OSError, match=r"refused|reset"):
                socket.create_connection(("127.0.0.1", port)).recv(1)
            for one in (new, used):
                one.sendall(request)
                answered = b""
                while more := one.recv(65_536):
                    answered += more
                assert b"connection: close" in answered


# --- while models are loaded --------------------------------------------------------------------


@pytest.fixture
def free_port() -> int:
    with run._bound(ServeSettings(port=0)) as port:
        return int(port.getsockname()[1])


def test_the_port_is_closed_until_the_models_are_open(
    place: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balancer or a probe takes an open port for a server that answers."""

    def opening(settings: ServeSettings, token: str | None) -> Service:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port), timeout=5)
        return open_service(settings, token)

    def answers(address: str) -> None:
        assert address == f"http://127.0.0.1:{free_port}"
        socket.create_connection(("127.0.0.1", free_port), timeout=5).close()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run, "open_service", opening)
    monkeypatch.setattr(run, "LATE", 0.0)
    with pytest.raises(Stopped):
        run.serve(ServeSettings((place,), port=free_port, threads=1), answers)


def test_a_port_that_another_takes_while_models_are_loaded_is_said(
    place: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def opening(settings: ServeSettings, token: str | None) -> Service:
            other.bind(("127.0.0.1", free_port))
            other.listen()
            return open_service(settings, token)

        monkeypatch.setattr(run, "open_service", opening)
        with pytest.raises(UserError, match="cannot listen"):
            run.serve(ServeSettings((place,), port=free_port, threads=1))


# --- signals to a process -----------------------------------------------------------------------

NEVER_LOADED = """
import time
from residuum.cli import main
from residuum.serving import service
service.open_served = lambda *_: time.sleep(600)
main()
"""


@contextlib.contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(wanted):
            return line
    raise AssertionError(f"{wanted} was not said")


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("verb", [("serve",), ("show", "--no-browser")])
def test_a_signal_while_models_are_loaded_ends_it_calmly(verb: tuple[str, ...], number: int, place: Path) -> None:
    with command("-c", NEVER_LOADED, *verb, str(place), "--port", "0") as process:
        said_until(process, "loading ")
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "stopped\n")
        assert process.returncode == 128 + number


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_ends_a_request_under_way_without_a_fault(first: int, second: int, place: Path) -> None:
    with command("-m", "residuum", "serve", str(place), "--port", "0", "--threads", "1") as process:
        port = int(said_until(process, "ready: listening on ").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(HEAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 100"  # the request is being read
            assert process.stdout is not None
            process.send_signal(first)
            while json.loads(line := process.stdout.readline())["event"] != "ending":
                pass
            process.send_signal(second)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (128 + first, "stopped\n")
        events = [json.loads(line) for line in out.splitlines()]
        assert [one["event"] for one in events] == ["ending", "request", "stopped"], (line, events)
        assert events[1]["status"] == 499


def test_who_stands_in_the_queue_is_let_in_before_the_door_is_closed() -> None:
    async def greeted() -> list[bytes]:
        met: list[asyncio.StreamWriter] = []

        def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"good day")
            met.append(writer)

        door = socket.create_server(("127.0.0.1", 0))
        server, address = await asyncio.start_server(meet, sock=door), door.getsockname()
        guests = [socket.create_connection(address, timeout=10) for _ in range(20)]
        assert not met  # the loop had no turn
        await run.let_in([door])
        server.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(address, timeout=10)
        async with asyncio.timeout(10):
            while len(met) < len(guests):
                await asyncio.sleep(0)
            for writer in met:
                await writer.drain()
                writer.close()
        with contextlib.ExitStack() as ends:
            return [ends.enter_context(guest).recv(8) for guest in guests]

    assert asyncio.run(greeted()) == [b"good day"] * 20


def test_a_queue_that_never_ends_keeps_no_door_open() -> None:
    """Nobody takes these, as the loop has no such server."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        began = time.monotonic()
        asyncio.run(run.let_in([listening], seconds=0.05))
        assert 0.05 <= time.monotonic() - began < 10
