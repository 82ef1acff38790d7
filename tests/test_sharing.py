"""Waiting as others allow: threads that idle beside training while the machine is busy, and only then."""

import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from threads import threads_used

from residuum.training import sharing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux keeps account of waiting")


def threads_there() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def until(wanted: int) -> int:
    """Wait until so many threads are there, for at most ten seconds; return how many there are."""
    end = time.monotonic() + 10
    while threads_there() != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return threads_there()


def test_threads_idle_beside_training_while_it_has_to_wait_and_only_then(monkeypatch):
    if "GNU" not in torch.__config__.show() and "gomp" not in Path("/proc/self/maps").read_text():
        pytest.skip("torch brings another OpenMP")
    waited = {"a period": 0.0, "so far": 0.0}

    def account() -> float:
        waited["so far"] += waited["a period"]
        return waited["so far"]

    monkeypatch.setattr(sharing, "SECONDS", 0.01)
    monkeypatch.setattr(sharing.machine, "seconds_waited", account)
    monkeypatch.setattr(sharing.machine, "cores", lambda: 4)
    with threads_used(2):
        torch.zeros(2**20).add_(1)
        before = threads_there()
        with sharing.sharing_cores():
            assert until(before + 1) == before + 1  # it watches
            time.sleep(0.1)
            assert threads_there() == before + 1  # and lends nothing
            waited["a period"] = 0.5
            # who lends and 3 lent, so that with the 2 at work there are 5 for 4 cores
            assert until(before + 5) == before + 5
            waited["a period"] = 0.0
            assert until(before + 1) == before + 1
        assert until(before) == before


@pytest.mark.parametrize("threads", [1, 3])
def test_one_thread_and_more_than_there_are_cores_are_left_alone(threads, monkeypatch):
    monkeypatch.setattr(sharing.machine, "cores", lambda: 2)
    with threads_used(threads):
        before = threading.active_count()
        with sharing.sharing_cores():
            assert threading.active_count() == before


def test_the_account_of_waiting_is_in_seconds():
    """Linux's own: microseconds to minutes, for a process that has only just begun to work."""
    assert 0 <= sharing.machine.seconds_waited() < 3600
