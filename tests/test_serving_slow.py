"""The server as a process of its own, under what people and machines do to servers."""

import contextlib
import http.client
import io
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from small_start import small_model

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client", "psutil"):
    pytest.importorskip(package, reason="needs the extra serve, and psutil")

# ruff: noqa: E402
import psutil

pytestmark = pytest.mark.slow
PNG = {"Content-Type": "image/png"}


class Running:
    """A server in a process of its own, and what it logged."""

    def __init__(self, place: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "residuum", "serve", str(place), "--port", "0", "--threads", "1", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, object]] = []
        self.heard: queue.Queue[dict[str, object]] = queue.Queue()
        self.listener = threading.Thread(target=self._hear, daemon=True)
        self.listener.start()
        while (line := self.heard.get(timeout=60))["event"] != "listening":
            pass
        self.port = int(str(line["address"]).rsplit(":", 1)[1])

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            self.heard.put(self.lines[-1])

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Ask over a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, {**(PNG if body is not None else {}), **headers})
            reply = connection.getresponse()
            return reply.status, reply.read()

    def connect(self) -> socket.socket:
        """Open a connection that says nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def wait_for(self, wanted: Callable[[dict[str, object]], bool]) -> None:
        """Wait until a line of the log is as wanted."""
        until = time.monotonic() + 20
        while not any(map(wanted, self.lines)):
            assert time.monotonic() < until
            time.sleep(0.02)
        self.lines.clear()

    @property
    def memory(self) -> float:
        """Return its resident memory, MiB."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("slow") / "small.safetensors", ("a", "b", "c"), 64)


@contextlib.contextmanager
def running(place: Path, *flags: str) -> Iterator[Running]:
    server = Running(place, *flags)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.listener.join()
        server.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Running]:
    with running(place, "--receive", "3") as server:
        yield server


def picture(side: int = 200, seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(3 * side * side)).save(file, "PNG")
    return file.getvalue()


def test_500_slow_connections_keep_nobody_waiting(server: Running) -> None:
    with contextlib.ExitStack() as until_the_end:
        _with_slow_connections(server, [until_the_end.enter_context(server.connect()) for _ in range(500)])
    assert server.ask("GET", "/readyz")[0] == 200


def _with_slow_connections(server: Running, slow: list[socket.socket]) -> None:
    for i, one in enumerate(slow):
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n"
        one.sendall(head[: 20 + i % 60] if i % 2 else head + b"\r\nx")
    took = []
    for _ in range(20):
        began = time.monotonic()
        assert server.ask("POST", "/v1/predict", picture())[0] == 200
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.5
    said = [one.recv(12) for one in slow]  # each is ended, in time
    assert set(said) == {b"", b"HTTP/1.1 408"}


@pytest.mark.parametrize("announced", [True, False])
def test_a_gigabyte_is_refused_while_it_is_read(server: Running, announced: bool) -> None:
    server.ask("POST", "/v1/predict", picture())
    before, chunk = server.memory, bytes(1_000_000)
    with server.connect() as connection:
        length = "Content-Length: 1000000000" if announced else "Transfer-Encoding: chunked"
        connection.sendall(
            f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{length}\r\n\r\n".encode()
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(chunk if announced else b"f4240\r\n" + chunk + b"\r\n")
                assert server.memory < before + 60
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):  # a client that sent on after the end reads no more
            assert connection.recv(12) == b"HTTP/1.1 413"
    server.wait_for(lambda line: line.get("status") == 413)
    assert server.ask("POST", "/v1/predict", picture())[0] == 200


def test_a_client_that_asks_before_it_sends_reads_why_it_may_not(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_head_without_end_is_ended(server: Running) -> None:
    before = server.memory
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(200):
            connection.sendall(b"a" * 1_000_000)
        pytest.fail("200 MB of a head were taken")
    assert server.memory < before + 30


def test_1000_random_bodies_give_no_500(server: Running) -> None:
    luck = random.Random(0)
    whole = [picture(40, seed) for seed in range(3)]
    file = io.BytesIO()
    Image.open(io.BytesIO(whole[0])).save(file, "JPEG")
    whole.append(file.getvalue())
    kinds = [
        "image/png",
        "application/octet-stream",
        "multipart/form-data; boundary=x",
        "text/html",
        "multipart/form-data",
    ]
    found: Counter[int] = Counter()
    for _ in range(1000):
        body = bytearray(luck.choice(whole) if luck.random() < 0.7 else luck.randbytes(luck.randrange(300)))
        for _ in range(luck.randrange(20)):
            if body:
                body[luck.randrange(len(body))] = luck.randrange(256)
        body = body[: luck.randrange(len(body) + 1)] if luck.random() < 0.3 else body
        if luck.random() < 0.3:
            body = (
                b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n' + body + b"\r\n--x--\r\n"
            )
        path = luck.choice(["/v1/predict", "/v1/explain", "/v1/blocks?depth=4", "/v1/predict?top=3"])
        found[server.ask("POST", path, bytes(body), **{"Content-Type": luck.choice(kinds)})[0]] += 1
    assert set(found) <= {200, 415, 422}, found
    assert found[200] > 10
    assert server.ask("GET", "/healthz")[0] == 200


def smooth(side: int) -> bytes:
    """Return a JPEG of few bytes and many pixels."""
    file = io.BytesIO()
    Image.frombytes("RGB", (9, 9), random.Random(0).randbytes(243)).resize((side, side)).save(file, "JPEG")
    return file.getvalue()


def test_ten_times_as_many_requests_as_it_can_answer(place: Path) -> None:
    """Those accepted are answered within the bound that is stated, the others refused; memory stays flat."""
    bound = 1.0
    with running(place, "--longest-wait", str(bound), "--queue", "1000") as server:
        body = smooth(1500)
        for _ in range(5):
            server.ask("POST", "/v1/predict", body)
        began = time.monotonic()
        for _ in range(10):
            server.ask("POST", "/v1/predict", body)
        alone = (time.monotonic() - began) / 10
        by_status: Counter[int] = Counter()

        def go_on_asking(until: float) -> None:
            while time.monotonic() < until:
                status = server.ask("POST", "/v1/predict", body)[0]
                by_status[status] += 1
                time.sleep(0.02 if status == 429 else 0)

        before, many = server.memory, min(400, int(10 * bound / alone))
        with ThreadPoolExecutor(many) as pool:
            for _ in range(many):
                pool.submit(go_on_asking, time.monotonic() + 8)
        assert set(by_status) == {200, 429}, by_status
        # from when the request had been read: those who ask take most of the processor, and send slowly
        took = sorted(float(str(line["answering"])) for line in server.lines if "answering" in line)
        assert took[int(0.99 * len(took))] < 1000 * bound, (by_status, took[:: len(took) // 10])
        assert server.memory < before + 150


def test_an_end_under_load_loses_nothing(place: Path) -> None:
    """Whoever was connected when SIGTERM came has an answer; afterwards nobody gets in."""
    with running(place) as server:
        found: Counter[str] = Counter()
        stop = threading.Event()

        def go_on_asking(seed: int) -> None:
            body = picture(300, seed)
            while not stop.is_set():
                try:
                    connection = server.connect()
                except OSError:
                    return
                try:
                    connection.sendall(
                        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                        + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                        + body
                    )
                    found[connection.recv(12).decode()] += 1
                except OSError:
                    found["lost"] += 1
                finally:
                    connection.close()

        with ThreadPoolExecutor(8) as pool:
            for seed in range(8):
                pool.submit(go_on_asking, seed)
            time.sleep(2)
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(20)
            stop.set()
        assert code == 143
        assert set(found) <= {"HTTP/1.1 200", "HTTP/1.1 429"}, found
        assert found["HTTP/1.1 200"] > 20


def test_a_model_is_replaced_under_load_without_a_fault(place: Path, tmp_path: Path) -> None:
    file = small_model(tmp_path / "small.safetensors", ("a", "b", "c"), 64)
    with running(file) as server:
        stop, found = threading.Event(), Counter[int]()

        def go_on_asking() -> None:
            while not stop.is_set():
                found[server.ask("POST", "/v1/predict", picture())[0]] += 1

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(go_on_asking)
            time.sleep(0.5)
            small_model(file, ("x", "y", "z"), 32)
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_for(lambda line: line["event"] == "reloaded")
            stop.set()
        assert set(found) == {200}
        answers = json.loads(server.ask("POST", "/v1/predict", picture())[1])["answers"]
        assert {one["class"] for one in answers} == {"x", "y", "z"}


def test_a_fuzzer_of_the_api_finds_nothing(server: Running) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="the fuzzer is not installed")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    pictures = st.sampled_from([picture(side) for side in (1, 7, 64)])
    for kind in ("image/png", "image/jpeg"):
        schemathesis.openapi.media_type(kind, pictures)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")

    for test in schema.get_all_operations():

        @given(case=test.ok().as_strategy())
        @settings(
            max_examples=60,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
            deadline=None,
        )
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # most bytes are no picture

        holds()
