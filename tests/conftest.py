"""What every test shares: a cache folder of its own, and where the real data lie."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # One core a worker: two processes that both take every core wait for each other more than they compute.
    all_cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {all_cores[int(worker.removeprefix("gw")) % len(all_cores)]})

SHARED = Path(os.environ.get("RESIDUUM_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESIDUUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder of CIFAR-10's Parquet files."""
    folder = SHARED / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"CIFAR-10 is not at {folder}; set RESIDUUM_DATA to the folder that holds cifar10")
    return folder


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where studies keep their runs, so that the tests of several studies share them."""
    return tmp_path_factory.mktemp("studies")
