"""What does the server give of what its engine could, and what becomes of it when ten times as many ask?

    python benchmarks/serve.py ../shared/data/imagenet-sample [MODEL]

Without a model, a ResNet-50 that was never trained, which is as fast. In turns: the engine alone on batches of 16 views
that are ready; `predict` of the files, for comparison, which decodes but knows no HTTP; and the server, asked for
photographs (their JPEG files) by 32 connections, each of which asks again as soon as it has its answer. Then, for 20
seconds, requests at ten times that rate, whether answered or not. Who asks runs beside the server, on the same cores.
Three minutes. Writes results/serve.json.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from figures import Figures, asked, ratios, seconds_of, spread, write
from predict import untrained

from residuum.choices import EngineWanted, PrecisionWanted
from residuum.data.picture_files import pictures_below
from residuum.prediction.predictor import Predictor, load

BATCH, CONNECTIONS, TIMES = 16, 32, 10
LONGEST_WAIT = 2.0
TOGETHER = 0.05
"""Seconds in which a batch's answers come."""


@contextlib.contextmanager
def served(model: Path, engine: str, precision: str) -> Iterator[tuple[int, psutil.Process]]:
    """Start a server; give its port and process."""
    command = [sys.executable, "-m", "residuum", "serve", str(model), "--port", "0", "--engine", engine]
    command += ["--precision", precision, "--longest-wait", str(LONGEST_WAIT), "--queue", "1000", "--examples", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said = json.loads(line)
                if said["event"] == "listening":
                    break
            drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
            yield int(said["address"].rsplit(":", 1)[1]), psutil.Process(process.pid)
            drain.kill()
        finally:
            process.terminate()


def requests(pictures: Path) -> list[bytes]:
    """Return a request for each photograph, as it goes over the wire."""
    found = []
    for name in pictures_below(pictures)[:200]:
        body = (pictures / name).read_bytes()
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}"
        )
        found.append(head.encode() + b"\r\n\r\n" + body)
    return found


class Connection:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its answer; again where an idle connection had ended."""
        used = self.streams is not None
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            if not used:
                raise
            self.streams = None
            return await self.ask(request)
        return int(head[9:12])


async def throughput(port: int, sent: list[bytes], seconds: float) -> float:
    """Return the pictures a second that the server answers, when 32 connections ask without a pause.

    From the first answer after two seconds, whose batch is not counted, to the last one's.
    """
    answered, ends = list[float](), time.perf_counter() + 2 + seconds

    async def go_on(first: int) -> None:
        connection, i = Connection(port), first
        while time.perf_counter() < ends:
            if await connection.ask(sent[i % len(sent)]) != 200:  # a slow engine, and 32 are too many
                await asyncio.sleep(0.05)
                continue
            i += CONNECTIONS
            if ends - seconds <= time.perf_counter() < ends:
                answered.append(time.perf_counter())

    await asyncio.gather(*(go_on(i) for i in range(CONNECTIONS)))
    began = min(answered)
    return sum(each > began + TOGETHER for each in answered) / (max(answered) - began)


async def overload(port: int, sent: list[bytes], rate: float, seconds: float, server: psutil.Process) -> Figures:
    """Ask at this rate, whether answered or not; return what became of the requests."""
    found: list[tuple[int, float]] = []
    free: list[Connection] = []
    memory, tasks = [server.memory_info().rss / 2**20], set[asyncio.Task[None]]()

    async def one(request: bytes) -> None:
        connection, began = free.pop() if free else Connection(port), time.perf_counter()
        status = await connection.ask(request)
        found.append((status, time.perf_counter() - began))
        free.append(connection)

    began = time.perf_counter()
    for i in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + i / rate - time.perf_counter()))
        tasks.add(asyncio.create_task(one(sent[i % len(sent)])))
        if i % int(rate) == 0:
            memory.append(server.memory_info().rss / 2**20)
    took_to_send = time.perf_counter() - began
    await asyncio.gather(*tasks)
    took = sorted(each for status, each in found if status == 200)
    return {
        "asked_per_second": round(len(found) / took_to_send, 1),
        "statuses": {str(status): count for status, count in sorted(Counter(s for s, _ in found).items())},
        "answered_per_second": round(len(took) / took_to_send, 1),
        "stated_bound_seconds": LONGEST_WAIT,
        "accepted_p50_seconds": round(statistics.median(took), 3),
        "accepted_p99_seconds": round(took[int(0.99 * len(took))], 3),
        "memory_mib": {"before": round(memory[0]), "third": round(memory[len(memory) // 3]), "end": round(memory[-1])},
    }


def alone(predictor: Predictor, seconds: float) -> float:
    """Return the views a second of the engine, at batch 16."""
    side = predictor.model.view.image_size
    views = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    predictor.engine(views)
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        predictor.engine(views)
        done += BATCH
    return done / (time.perf_counter() - began)


def with_decoding(predictor: Predictor, pictures: Path) -> float:
    """Return the pictures a second of the engine and the decoder before it, from files."""
    files = [pictures / name for name in pictures_below(pictures)[:200]]
    return len(files) / seconds_of(lambda: list(predictor.answers(files)))


def main(
    pictures: str,
    model: str | None = None,
    *,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    turns: int = 3,
    seconds: float = 12.0,
) -> None:
    sent = requests(Path(pictures))
    engines, predicts, servers = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        file = untrained(Path(folder)) if model is None else Path(model)
        predictor = load(file, engine=engine, precision=precision)
        with served(file, engine, precision) as (port, process):
            for _ in range(turns):
                engines.append(alone(predictor, seconds))
                predicts.append(with_decoding(predictor, Path(pictures)))
                servers.append(asyncio.run(throughput(port, sent, seconds)))
            bursts = asyncio.run(overload(port, sent, TIMES * statistics.median(servers), 20.0, process))
    found = {
        "written_by": "benchmarks/serve.py",
        "model": file.stem,
        "pictures": f"{len(sent)} photographs, {sum(map(len, sent)) // len(sent) // 1000} kB in the mean",
        "engine": predictor.engine.name,
        "precision": predictor.engine.precision,
        "engine_per_second": spread(engines),
        "predict_per_second": spread(predicts),
        "server_per_second": spread(servers),
        "of_the_engine": spread(ratios(servers, engines)),
        "of_predict": spread(ratios(servers, predicts)),
        "n": turns,
        "overload": bursts,
    }
    print(json.dumps(found, indent=1))
    write("serve", f"python benchmarks/serve.py PICTURES {file.name if model else ''}".rstrip(), found)


if __name__ == "__main__":
    asked(main)
