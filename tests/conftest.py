"""What every test shares: a cache folder of its own, and where the real data lie."""

import atexit
import gc
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from residuum import machine
from residuum.console import tell_on_stderr

if TYPE_CHECKING:
    from browser import Tab
    from corpus.warm import Warm

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    atexit.register(os._exit, 0)  # all has been reported by then: to take torch apart would take seconds
    # One core a worker: two processes that both take every core wait for each other more than they compute.
    all_cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {all_cores[int(worker.removeprefix("gw")) % len(all_cores)]})

gc.disable()  # while the tests are collected: what is imported stays
EARLY = None
if worker and sys.platform == "linux":  # before the tests load more than the command does
    from corpus.warm import forked_now

    EARLY = forked_now()
NUMBERS = itertools.count()
KERNELS = machine.cache_folder() / "kernels"  # this user's own, kept from one run of the tests to the next
SHARED = Path(os.environ.get("RESIDUUM_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put hundreds of short tests last: who is done first takes over half of what is left, but never half a test."""
    items.sort(key=lambda item: item.path.name in ("test_docs.py", "test_claims_page.py"))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what the imports have made: to walk it took a tenth of the time of small tests."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # it took a thirtieth of the time of nets and pages, now a hundredth
    gc.enable()


def pytest_unconfigure() -> None:
    if not worker:
        gc.unfreeze()


def new_cache(folder: Path) -> Path:
    """Make an empty cache, but for the compiled kernels: no process that uses it has to compile them again."""
    folder.mkdir(parents=True, exist_ok=True)
    KERNELS.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "kernels").symlink_to(KERNELS)
    return folder


def told_what_is_fastest(cache: Path) -> Path:
    """Put into a cache what is fastest here, instead of measuring: beside other tests it would be chance, and wait."""
    from made_up_machine import measured_as

    from residuum import fastest
    from residuum.kernels.pairs import has_matrix_units
    from residuum.records.codec import write_record

    best = "bfloat16" if has_matrix_units() else "float32"
    (cache / "machine").mkdir()
    write_record(cache / "machine" / fastest._file().name, measured_as(1, **{best: 1.0}))
    return cache


@pytest.fixture(autouse=True, scope="session")
def _own_cache_and_no_wait_for_the_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        cache = new_cache(tmp_path_factory.mktemp("cache"))
        patch.setenv("RESIDUUM_CACHE", str(cache))
        told_what_is_fastest(cache)
        patch.setattr(os, "fsync", lambda _: None)  # no test pulls the plug: nothing need be on the disk
        tell_on_stderr()  # as the command does, so that each test reads there what was said
        _no_stack_is_noted_for_cards_that_are_not_here(patch)
        yield


def _no_stack_is_noted_for_cards_that_are_not_here(patch: pytest.MonkeyPatch) -> None:
    """torch.manual_seed writes down the whole stack for each kind of GPU that may yet come: a millisecond in a test."""
    import torch

    for kind in (torch.cuda, torch.xpu):
        if not kind.is_available():
            patch.setattr(kind, "manual_seed_all", lambda _seed: None)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytest's own looks among thousands for a free number, and turns a link to the newest: a millisecond and more."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}-{next(NUMBERS)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(autouse=True)
def _as_many_threads_as_before() -> Iterator[None]:
    """Two threads on a worker's one core wait for each other: all tests after it would take several times as long."""
    import torch

    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Warm"]:
    """The command in processes of its own, which need not load torch."""
    from corpus.warm import Warm

    process = Warm(tmp_path_factory.mktemp("warm"), process=EARLY)
    yield process
    process.close()


@pytest.fixture
def warm_python(warm: "Warm", monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started as `sys.executable -m MODULE` need not load torch either."""
    monkeypatch.setattr(sys, "executable", str(warm.python))


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, which is given its words: its exit code, and what it printed and said."""
    return lambda *words: in_this_process(words, capsys, monkeypatch)


def in_this_process(
    words: Sequence[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    from residuum.cli import main

    monkeypatch.setattr(sys, "argv", ["residuum", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not draw the convolutions' weights of new nets: most of the work, where only shapes count."""
    for name in ("kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(f"torch.nn.init.{name}", lambda weight, *_, **__: weight)


Browse = Callable[[Path], tuple[str, list[str]]]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Tab"]:
    """One page in a headless chromium."""
    from browser import browser

    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="session")
def browse(chromium: "Tab") -> Browse:
    """Open pages in chromium, 400 px wide: the DOM after the script ran, and what the console said."""

    def open_page(html: Path) -> tuple[str, list[str]]:
        chromium.send("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
        chromium.messages.clear()
        chromium.open(html.as_uri())
        chromium.wait(f"location.href == {json.dumps(html.as_uri())} && document.readyState == 'complete'")
        return chromium.js("document.documentElement.outerHTML"), [*chromium.messages]

    return open_page


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder of CIFAR-10's Parquet files."""
    folder = SHARED / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"CIFAR-10 is not at {folder}; set RESIDUUM_DATA to the folder that holds cifar10")
    return folder


def third_party(name: str) -> Path:
    """A file of other people's weights."""
    weights = SHARED / "third-party-weights" / name
    if not weights.is_file():
        pytest.skip(f"there is no {weights}; set RESIDUUM_DATA to the folder that holds third-party-weights")
    return weights


@pytest.fixture(scope="session")
def public_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of the public weights of ResNet-20."""
    from residuum.exchange.import_weights import import_weights
    from residuum.outward_settings import ImportSettings

    weights = third_party("resnet20-12fca82f.th")
    out = tmp_path_factory.mktemp("public") / "resnet20.safetensors"
    return import_weights(ImportSettings(str(weights), out=str(out))).path


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where studies keep their runs, so that the tests of several studies share them."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture
def few_digits() -> Iterator[None]:
    """Of the built-in digits every sixth, for studies that are asked only for what holds of any pictures."""
    with every_sixth_digit():
        yield


@contextmanager
def every_sixth_digit() -> Iterator[None]:
    """As few_digits, for fixtures of a whole file.

    Intervals are from a tenth of the resamples, and few mistakes are kept and have heat maps: no study reads them.
    """
    from residuum.data import digits
    from residuum.dispatch import job
    from residuum.evaluation.mistakes import most_confident_mistakes

    remembered = job.open_pictures_of, job._fingerprint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "_rows", digits._rows()[::6].copy)
        patch.setattr(digits, "TEST_SIZE", digits.TEST_SIZE // 6)
        patch.setattr("residuum.evaluation.metrics.RESAMPLES", 100)
        patch.setitem(most_confident_mistakes.__kwdefaults__, "limit", 3)
        patch.setattr("residuum.evaluation.heat_maps.WITH_HEAT", 2)
        for function in remembered:
            function.cache_clear()
        yield
    for function in remembered:
        function.cache_clear()
