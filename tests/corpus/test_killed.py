"""kill -9 at random moments of train, study, trim and serve: bit-equal after going on, or refused with a way on.

RESIDUUM_KILLS says how many, 200 by default. Afterwards no process is left that names the folder.
"""

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from corpus.case import snapshot
from corpus.things import home_in, png
from corpus.warm import Ended, Started, Warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone"),
]
KILLS = int(os.environ.get("RESIDUUM_KILLS", "200"))
SHARES = {"train": 0.5, "trim": 0.2, "study": 0.1, "serve": 0.2}
"""How the kills are spread."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_in(tmp_path_factory.mktemp("killed"))


@pytest.fixture(autouse=True)
def _nothing_stays_or_changes(home: Path, tmp_path: Path) -> Iterator[None]:
    before = snapshot(home)
    yield
    until = time.monotonic() + 20
    while (left := _processes_naming(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    assert snapshot(home) == before


def _processes_naming(folder: Path) -> list[str]:
    """The command lines, or open working folders, of living processes below a folder; those killed and not yet
    waited for have neither."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            here = str((entry / "cwd").readlink())
        except OSError:
            continue
        if (str(folder) in line or here.startswith(str(folder))) and entry.name != str(os.getpid()):
            found.append(line)
    return found


def _tensors(path: Path) -> dict[str, bytes]:
    from residuum.models.file import read_tensors

    return {name: tensor.numpy().tobytes() for name, tensor in read_tensors(path)[0].items()}


def _moments(verb: str, seconds: float) -> Iterator[float]:
    """Random times to kill at, within what the whole takes."""
    luck = Random(verb)
    yield from (luck.uniform(0, seconds) for _ in range(max(1, round(SHARES[verb] * KILLS))))


def _killed(started: Started, seconds: float) -> Ended:
    time.sleep(seconds)
    started.kill()
    return started.wait(60)


def _timed(warm: Warm, words: list[object]) -> float:
    began = time.monotonic()
    ended = warm.run(words)
    assert ended.code == 0, ended.said
    return time.monotonic() - began


def _went_on(warm: Warm, on: list[object], anew: list[object]) -> Path:
    """Where it came to its end: the same folder, or, refused with a way on, a new one."""
    ended = warm.run(on)
    assert "Traceback" not in ended.said, ended.said
    if ended.code == 0 or "has finished" in ended.said:
        return Path(str(on[-1]))
    assert ended.code == 2, ended
    assert "mend:" in ended.said or "why:" in ended.said, ended.said
    done = warm.run(anew)
    assert done.code == 0, done.said
    return Path(str(anew[-1]))


def test_train(warm: Warm, home: Path, tmp_path: Path) -> None:
    words: list[object] = ["train", home / "photos", "--from-nothing", "--model", "resnet20", *["--blocks", "1"] * 3]
    words += ["--epochs", "6", "--batch-size", "8", "--save-seconds", "0", "--threads", "1", "--workers", "0", "--out"]
    seconds = _timed(warm, [*words, tmp_path / "whole"])
    wanted, lines = _tensors(tmp_path / "whole/model.safetensors"), _losses(tmp_path / "whole")
    for number, moment in enumerate(_moments("train", seconds)):
        out = tmp_path / str(number)
        _killed(warm.start([*words, out]), moment)
        if number % 3 == 0:  # killed again while it goes on
            _killed(warm.start(["train", "--resume", out]), moment / 2)
        ended = _went_on(warm, ["train", "--resume", out], [*words, f"{out}-anew"])
        assert _tensors(ended / "model.safetensors") == wanted, (number, moment)
        assert _losses(ended) == lines, (number, moment)
        assert not list(ended.rglob(".unfinished-*")), (number, moment)


def _losses(run: Path) -> list[Any]:
    from residuum import runs
    from residuum.records.run import Step

    return [(line.step, line.loss) for line in runs.read_metrics(run) if isinstance(line, Step)]


def test_trim(warm: Warm, home: Path, tmp_path: Path) -> None:
    words: list[object] = ["trim", home / "colours.safetensors", home / "photos", "--threads", "1", "--random", "1"]
    words += ["--repair", "1", "--out"]
    seconds = _timed(warm, [*words, tmp_path / "whole"])
    wanted = _tensors(tmp_path / "whole/model.safetensors")
    for number, moment in enumerate(_moments("trim", seconds)):
        out = tmp_path / str(number)
        _killed(warm.start([*words, out]), moment)
        ended = _went_on(warm, [*words, out], [*words, f"{out}-anew"])
        assert _tensors(ended / "model.safetensors") == wanted, (number, moment)


def test_study(warm: Warm, tmp_path: Path) -> None:
    words: list[object] = ["study", "degradation", "--scale", "tiny", "--seeds", "1", "--threads", "2", "--out"]
    seconds = _timed(warm, [*words, tmp_path / "whole"])
    wanted = _figures(tmp_path / "whole")
    for number, moment in enumerate(_moments("study", seconds)):
        out = tmp_path / str(number)
        _killed(warm.start([*words, out]), moment)
        assert _figures(_went_on(warm, [*words, out], [*words, f"{out}-anew"])) == wanted, (number, moment)
        shutil.rmtree(out)


def _figures(folder: Path) -> Any:
    """What a study found, but for when and how fast."""
    (path,) = folder.glob("*/study.json")
    return json.loads(path.read_text())["quantities"]


def test_serve(warm: Warm, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    model = Path(shutil.copy(home / "colours.safetensors", tmp_path / "colours.safetensors"))
    before = snapshot(model)
    for moment in _moments("serve", 2.0):
        server = warm.start(["serve", model, "--port", "0", "--threads", "1"])
        began = time.monotonic()
        while time.monotonic() - began < moment:
            _asked(server)
            time.sleep(0.01)
        server.kill()
        server.wait(60)
        assert snapshot(model) == before
    server = warm.start(["serve", model, "--port", "0", "--threads", "1"])
    until = time.monotonic() + 60
    while _asked(server) != "red":
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.05)
    os.kill(server.pid, 15)
    assert server.wait(60).code in (0, 143, -15)


def _asked(server: Started) -> str | None:
    """What it answers a red picture; None before it listens."""
    lines = [line for line in server.log.read_text(errors="replace").splitlines() if '"listening"' in line]
    if not lines:
        return None
    port = int(json.loads(lines[0])["address"].rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/predict", png("red"), {"Content-Type": "image/png"})
        return str(json.load(connection.getresponse())["answers"][0]["class"])
    finally:
        connection.close()
