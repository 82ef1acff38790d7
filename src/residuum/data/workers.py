"""Processes that decode pictures: they leave signals to the main one, and end when it does."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from residuum.data.contract import Pictures
from residuum.data.look import all_broken
from residuum.errors import UserError

T = TypeVar("T")


def made_by_workers(
    dataset: Dataset[T | UserError], steps: Iterable[object], workers: int, pictures: Pictures
) -> Iterator[T]:
    """Yield what so many worker processes make of each step, in order; with none, this process does.

    Raises:
        UserError: one of them was ended from outside; or what a step gave, which then names all broken pictures.
    """
    loader = DataLoader(dataset, sampler=steps, batch_size=None, num_workers=workers, worker_init_fn=quiet_worker)
    if workers:
        give_back_freed_memory()
    for made in from_workers(loader):
        if isinstance(made, UserError):
            raise all_broken(pictures, made)
        yield made


def from_workers(workers: Iterable[T]) -> Iterator[T]:
    """Walk what worker processes serve (UserError where one of them was ended from outside)."""
    try:
        yield from workers
    except RuntimeError as error:  # torch has no kind of its own for it
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            "a process that decodes pictures was ended from outside",
            str(error).splitlines()[0],
            "memory may be short: try --workers 0; a run goes on from its last checkpoint (train --resume RUN)",
        ) from error


def give_back_freed_memory() -> None:
    """Give the system what glibc keeps of freed tensors: forked processes would hold it too, and each page of it would
    be copied when it is used again."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def quiet_worker(_number: int) -> None:
    """Leave signals, which go to the whole group, to the main process: it stops after the step. End when it ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the process that this one works for, however it comes, and end too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
