"""Cores shared with other programs: threads that wait for each other spin where they are alone, and sleep elsewhere.

GNU's OpenMP, which torch brings on Linux, lets a thread spin for some milliseconds before it sleeps. Alone that is
faster by a quarter; beside another training it takes the very core that is waited for. It spins a hundredth as long
while it has more threads than there are cores: where others compute too, it is lent idle ones.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from residuum import machine

SECONDS = 0.25
"""How often it is decided again."""


@contextmanager
def sharing_cores() -> Iterator[None]:
    """Watch, from a thread of its own, how long threads wait for a core; nothing with another OpenMP, or with more
    threads than cores, which spin as little anyway."""
    ended = threading.Event()
    if 1 < torch.get_num_threads() <= machine.cores() and hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(ended: threading.Event) -> None:
    while not ended.is_set():
        if _is_busy(ended):
            helper = threading.Thread(target=_lend_threads, args=(ended,), daemon=True)
            helper.start()
            helper.join()  # its end gives the lent threads back


def _lend_threads(ended: threading.Event) -> None:
    """Begin idle threads, one more than there are cores with those at work, and keep them while the machine is busy."""
    openmp, count = ctypes.CDLL(None), machine.cores() - torch.get_num_threads() + 2
    openmp.GOMP_parallel(openmp.omp_get_num_threads, None, count, 0)
    while _is_busy(ended):
        pass


def _is_busy(ended: threading.Event) -> bool:
    """Wait a while; say whether threads of this process wanted a core and had none."""
    before = machine.seconds_waited()
    return not ended.wait(SECONDS) and machine.seconds_waited() - before > machine.BUSY * SECONDS * machine.cores()
