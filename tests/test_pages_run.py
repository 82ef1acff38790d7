"""Every command and snippet of README and the pages is given, in small forms, one after another as on the page."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from residuum.data.digits import digits

ROOT = Path(__file__).parent.parent
PAGES = ["README.md"]
PAGES += sorted(
    p.relative_to(ROOT).as_posix() for room in ("tutorials", "how-to") for p in ROOT.glob(f"docs/{room}/*.md")
)
ELSEWHERE = {
    "pip": "what is installed is tried by tests/test_distribution.py",
    "python3": "the same",
    ".": "the same",
    "make": "what it calls is tried by tests/test_distribution.py and by the workflows",
}
SMALL = {
    "train": ["--threads", "1"],
    "study": ["--scale", "tiny", "--seeds", "1"],
    "sweep": ["--threads", "1"],
    "export": [],
}
"""What a verb is told besides what the page says; but not with what is in OWN, which has its own."""
OWN = {"--print-config", "--list", "--resume"}
FEWER = [
    (r"--epochs \d+", "--epochs 1"),
    (r"(train|sweep) digits(?!.*(--epochs|--print-config))", r"\1 digits --epochs 1"),
]
FEWER += [(r"(--model \w+)56", r"\g<1>20"), (r"study degradation lesions", "study lesions")]


def photographs(folder: Path) -> None:
    """Two classes that a net can tell apart, 24 pictures each."""
    chance = np.random.default_rng(0)
    for name, hue in (("cat", 0), ("dog", 2)):
        for number in range(24):
            pixels = chance.integers(0, 90, (40, 48, 3), dtype=np.uint8)
            pixels[8:32, 8:40, hue] += 120
            place = folder / name / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)


def command(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for long, short in FEWER:
        line = re.sub(long, short, line)
    words = shlex.split(line)[1:]
    small = [] if OWN.intersection(words) else SMALL.get(words[0], [])
    small = small[:2] if words[0] == "study" and "--model" in words else small  # a model that is given has no seeds
    words += small[2:] if "--scale" in words else small
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    called = [sys.executable, "-m", "residuum", *words]
    return subprocess.run(called, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)


@contextlib.contextmanager
def served(line: str, folder: Path) -> Iterator[str]:
    words = [*shlex.split(line)[1:], "--port", "0", *(["--no-browser"] if " show " in line else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    called = [sys.executable, "-m", "residuum", *words]
    with subprocess.Popen(called, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        said = (re.search(r"(?:listening on|at|open) (http://\S+)", one) for one in iter(server.stderr.readline, ""))
        try:
            yield next(found[1] for found in said if found)
        finally:
            server.terminate()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    photographs(tmp_path / "PHOTOS")
    photographs(tmp_path / "FOLDER")
    photographs(tmp_path / "NEWPICTURES")
    (tmp_path / "PICTURE").write_bytes((tmp_path / "PHOTOS" / "cat" / "0.jpg").read_bytes())
    theirs = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1])
    torch.save(theirs.state_dict(), tmp_path / "FILE")
    return tmp_path


def blocks(page: str) -> list[tuple[str, list[str]]]:
    found = re.findall(
        r"^```(sh|python)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [(kind, text.splitlines() if kind == "sh" else [text]) for kind, text in found]


def prepared(page: str, place: Path) -> None:
    """Make what the page takes for given: a run, and another one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in ("RUN", "OTHER"):
        own = re.search(rf"--out {name}\b", text)
        if re.search(rf"\b{name}\b", text) and (not own or page.startswith("docs/how-to")):
            made = command(f"residuum train PHOTOS --out {name}", place)
            assert made.returncode == 0, made.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_works(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    prepared(page, place)
    asked = list[str]()
    for kind, lines in blocks(page):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(lines[0].replace("epochs=5", "epochs=1"), {})
            continue
        for line in (re.split(r"\s+#", one)[0].strip() for one in lines):
            word = line.split(" ")[0]
            if not line or word in ELSEWHERE or "--install-completion" in line:
                continue
            if word == "curl":
                assert "-H 'Content-Type: image/jpeg' --data-binary @PICTURE" in line, "the server was asked so"
                assert asked
                continue
            assert word == "residuum", line
            if re.match(r"residuum (serve|show) ", line):
                with served(line, place) as address:
                    picture = (place / "PICTURE").read_bytes()
                    how = {"Content-Type": "image/jpeg"}
                    request = urllib.request.Request(f"{address.rstrip('/')}/v1/predict", picture, how)
                    with urllib.request.urlopen(request, timeout=60) as reply:
                        asked.append(reply.read().decode())
                assert '"answers"' in asked[-1]
                continue
            if (out := re.search(r"--out (\S+)", line)) and (place / out[1]).exists() and "report" not in line:
                continue  # the page says it twice: with other settings, or in another part
            done = command(line, place)
            if "--resume" in line:  # the run has ended by itself here: tests/test_training.py stops one
                assert "the run in RUN has finished" in done.stderr, f"{line}\n{done.stderr}"
                continue
            assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/page.md"])
def test_the_digit_that_a_page_writes_is_one_that_the_net_did_not_learn(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for told in (page, page.replace("docs/", "docs/zh/").replace("README.", "README.zh.")):
        (block,) = [lines[0] for kind, lines in blocks(told) if kind == "python" and ".save(" in lines[0]]
        trains = r"^(import residuum|run = |classifier = |print\().*\n"  # what is left reads and writes the digit
        exec(re.sub(trains, "", block, flags=re.MULTILINE), {})
        written = np.asarray(Image.open("scan.png"))
        test = digits().test
        row = [test.pictures.name(row) for row in range(len(test))].index("scan 15")
        assert np.array_equal(written, test.pictures.encoded(row))
        assert test.labels[row] == 5
        (tmp_path / "scan.png").unlink()


def test_the_other_language_shows_the_same() -> None:
    """Comments apart: so it need not be given again. tests/test_docs.py holds the pages, this the README."""
    assert [kind for kind, _ in blocks("README.md")] == [kind for kind, _ in blocks("README.zh.md")]
