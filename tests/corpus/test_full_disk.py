"""Each n-th write, fsync and rename fails, to the end of a small train, report, trim and study.

Whatever fails: one clear error or none, nothing that was there is lost, and the way on ends in the same bits. A
library that is loaded before libc counts the calls, so that none is missed that Rust or C++ makes.
RESIDUUM_FAULTS_EVERY=5 tries a fifth of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpus.case import snapshot
from corpus.things import home_in
from corpus.warm import Ended, Fault, Warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("gcc"), reason="needs gcc and Linux's LD_PRELOAD"),
]
EVERY = int(os.environ.get("RESIDUUM_FAULTS_EVERY", "1"))
KINDS = {"write": "w", "fsync": "s", "rename": "r"}


@dataclass(frozen=True)
class Work:
    """A command that writes below `out`, what must not change, and what must come of it after all."""

    words: Callable[[Path], list[object]]
    prepare: Callable[[Path], object]
    result: str
    """The file that must be the same to the bit."""
    on: Callable[[Path], list[object]]
    """The way on; where it is refused, the same command with another --out."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_in(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    folder = tmp_path_factory.mktemp("warm")
    library = folder / "full_disk.so"
    source = Path(__file__).with_name("full_disk.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    process = Warm(folder, library)
    yield process
    process.close()


def _works(home: Path) -> dict[str, Work]:
    train = ["train", home / "photos", "--from-nothing", "--model", "resnet20", *["--blocks", "1"] * 3, "--epochs", "2"]
    train += ["--batch-size", "8", "--save-seconds", "0", "--threads", "1", "--workers", "0", "--out"]
    trim = ["trim", home / "colours.safetensors", home / "photos", "--threads", "1", "--random", "1", "--out"]
    study = ["study", "lesions", "--model", home / "finished", "--threads", "1", "--out"]
    return {
        "train": Work(
            lambda out: [*train, out], lambda _: None, "model.safetensors", lambda out: ["train", "--resume", out]
        ),
        "report": Work(
            lambda out: ["report", out], lambda out: shutil.copytree(home / "finished", out), "report.html",
            lambda out: ["report", out],
        ),
        "trim": Work(
            lambda out: [*trim, out], lambda _: None, "model.safetensors", lambda out: [*trim, f"{out}-again"]
        ),
        "study": Work(lambda out: [*study, out], lambda _: None, "", lambda out: [*study, out]),
    }  # fmt: skip


def _assert_clear(ended: Ended, fault: object) -> None:
    assert ended.code in (0, 2, 3), (fault, ended)
    assert "Traceback" not in ended.said, (fault, ended.said)
    assert ended.code == 0 or ended.said.count("error:") == 1, (fault, ended.said)


def _result(out: Path, work: Work) -> object:
    """What came of it, where it must be the same to the bit: tensors, else the file."""
    from residuum.models.file import read_tensors

    path = out / work.result
    if path.suffix == ".safetensors":
        return {name: tensor.numpy().tobytes() for name, tensor in read_tensors(path)[0].items()}
    return bool(work.result) and path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["train", "report", "trim", "study"])
def test_nothing_is_lost_whichever_fails(verb: str, kind: str, home: Path, warm: Warm, tmp_path: Path) -> None:
    work, before = _works(home)[verb], snapshot(home)
    work.prepare(tmp_path / "whole" / "run")
    whole = warm.run(work.words(tmp_path / "whole" / "run"), Fault(str(tmp_path / "whole"), KINDS[kind], 0, False))
    assert whole.code == 0, whole.said
    wanted = _result(tmp_path / "whole" / "run", work)
    assert whole.calls > 0
    for n in range(1, whole.calls + 1, EVERY):
        for lasting in (False, True):
            out = tmp_path / f"{n}-{lasting}" / "run"  # a page names its run
            work.prepare(out)
            fault = Fault(str(out), KINDS[kind], n, lasting)
            _assert_clear(warm.run(work.words(out), fault), fault)
            assert not list(out.rglob(".unfinished-*")), fault
            assert _result(_went_on(warm, work, out), work) == wanted, fault
            shutil.rmtree(out.parent)
    assert snapshot(home) == before


def _went_on(warm: Warm, work: Work, out: Path) -> Path:
    """Follow the way on to the end: a run that has finished is as it is, one that cannot go on begins anew."""
    on = work.on(out)
    again = warm.run(on)
    _assert_clear(again, on)
    if again.code == 0:
        return Path(str(on[-1])) if on[0] == "trim" else out
    if "has finished" in again.said:
        return out
    assert "mend:" in again.said, again.said
    anew = out.with_name(out.name + "-anew")
    done = warm.run(work.words(anew))
    assert done.code == 0, done.said
    return anew
