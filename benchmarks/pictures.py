"""The pictures of README and site: a run's report, the live page, a lesion page, a study; light and dark, by Chromium.

    python benchmarks/pictures.py                 trains on the digits (seed 1) first, in about a minute
    python benchmarks/pictures.py --run RUN       of a run that is there

Writes docs/pictures/*.webp. The study's page is drawn from results/studies/degradation.json. Pages are English and,
where a name ends with -zh, Chinese. They change with the pages they show: after such a change call the command again.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from figures import asked

from residuum import runs
from residuum.records.codec import read_record
from residuum.records.study import StudyRecord
from residuum.reporting.study_page import write_study_report

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1200, 860
OFF = "#off=stage1.block1,stage2.block2&picture=2"
"""Which blocks the live page has switched off, and of which example."""

if TYPE_CHECKING:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Tab


def called(*words: str, language: str = "en") -> None:
    """Run a command, quietly."""
    environment = {**os.environ, "RESIDUUM_LANG": language}
    subprocess.run([sys.executable, "-m", "residuum", *words], env=environment, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def served(run: Path) -> Iterator[str]:
    """Serve a run and give its address."""
    command = [sys.executable, "-m", "residuum", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        try:
            said = iter(server.stderr.readline, "")
            yield next(found[1] for line in said if (found := re.search(r"listening on (\S+)", line)))
        finally:
            server.terminate()


def pages(run: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Write the pages; yield each one's name, address and language."""
    called("lesion", str(run), "--out", str(folder / "lesions"))
    yield "lesions", (folder / "lesions" / runs.REPORT).as_uri() + "#charts", "en"
    study = folder / "degradation"
    study.mkdir()
    found = read_record(ROOT / "results" / "studies" / "degradation.json", StudyRecord)
    (study / runs.STUDY).write_bytes((ROOT / "results" / "studies" / f"{found.name}.json").read_bytes())
    yield "degradation", write_study_report(study).as_uri() + "#charts", "en"
    for language in ("en", "zh"):
        report = folder / f"report-{language}.html"
        called("report", str(run), "--out", str(report), language=language)
        yield "report" + (language == "zh") * "-zh", report.as_uri(), language


def photograph(tab: "Tab", name: str, address: str, language: str) -> None:
    """Take a page as it is first seen, light and dark."""
    tab.speak({"en": "en-US", "zh": "zh-CN"}[language])
    tab.size(WIDTH, HEIGHT)
    tab.send("Emulation.setScrollbarsHidden", hidden=True)
    for mode in ("light", "dark"):
        tab.dark(mode == "dark")
        tab.open(address)
        tab.wait("document.readyState == 'complete'")
        if name.startswith("live"):
            tab.wait("document.querySelector('#sentence').textContent.length > 20")
        tab.js("new Promise((done) => setTimeout(done, 800))")
        write(tab, PICTURES / f"{name}-{mode}.webp")


def write(tab: "Tab", file: Path) -> None:
    """Write what the window shows."""
    import base64

    found = tab.send("Page.captureScreenshot", format="webp", quality=82)
    file.write_bytes(base64.b64decode(found["data"]))
    print(f"written: {file.relative_to(ROOT)} ({file.stat().st_size // 1024} KiB)")


def main(*, run: Path | None = None) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import browser

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if run is None:
            run = Path(folder) / "run"
            called("train", "digits", "--seed", "1", "--out", str(run))
        with browser(Path(folder) / "profile") as tab:
            for name, address, language in pages(run, Path(folder)):
                photograph(tab, name, address, language)
            with served(run) as address:
                photograph(tab, "live", address + OFF, "en")
                photograph(tab, "live-zh", address + OFF, "zh")


if __name__ == "__main__":
    asked(main)
