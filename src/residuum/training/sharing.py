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
BUSY = 0.1
"""The share of the time that a thread waited for a core, from which the machine counts as busy."""


@contextmanager
def sharing_cores() -> Iterator[None]:
    """Watch, from a thread of its own, how long the calling thread waits for a core; nothing with another OpenMP."""
    ended = threading.Event()
    if torch.get_num_threads() > 1 and hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        threading.Thread(target=_watch, args=(threading.get_native_id(), ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(thread: int, ended: threading.Event) -> None:
    while not ended.is_set():
        if _is_busy(thread, ended):
            helper = threading.Thread(target=_lend_threads, args=(thread, ended), daemon=True)
            helper.start()
            helper.join()  # its end gives the lent threads back


def _lend_threads(thread: int, ended: threading.Event) -> None:
    """Begin idle threads, one more than there are cores with those at work, and keep them while the machine is busy."""
    openmp, count = ctypes.CDLL(None), machine.cores() - torch.get_num_threads() + 2
    openmp.GOMP_parallel(openmp.omp_get_num_threads, None, count, 0)
    while _is_busy(thread, ended):
        pass


def _is_busy(thread: int, ended: threading.Event) -> bool:
    """Wait a while; say whether the thread could not have a core when it wanted one."""
    before = machine.seconds_waited(thread)
    return not ended.wait(SECONDS) and machine.seconds_waited(thread) - before > BUSY * SECONDS
