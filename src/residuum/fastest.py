"""What is fastest on this machine's processor: precision, layout and threads, timed once and kept.

Flags do not say it: bfloat16 is a hundred times slower than float32 on some processors that know it, and without matrix
units slower than our float32 convolutions. What is timed is what CIFAR nets repeat, at their three sizes: 3×3
convolution, BN and ReLU, forward and backward.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from msgspec import structs
from torch import Tensor, nn

from residuum import machine
from residuum.choices import Layout, Precision
from residuum.console import say
from residuum.errors import UserError
from residuum.kernels import batch_norm, convolution, winograd
from residuum.kernels.build import is_compiled, library
from residuum.records.codec import read_record, write_record
from residuum.records.machine import CLEARLY, WAYS, Measured, Timing

SHAPES = ((64, 16, 32), (64, 32, 16), (64, 64, 8))
"""(pictures, channels, side in pixels)"""
CONVOLUTIONS = (convolution, winograd)
"""Our kernels of a 3×3 convolution, in the order in which models/operations.py tries them."""
Clock = Callable[[], float]
"""Seconds since some moment."""
CPU_TIME: Clock = time.perf_counter if sys.platform == "win32" else time.thread_time
"""That of the thread; Windows' is too coarse."""
PASSES = 5
"""The fastest of so many counts, and of one before them."""
STARTING = 100.0
"""In the first pass threads start, and torch chooses its kernels: it may take so many ms more."""
HOPELESS = 4
"""A way that takes so many times as long as the best so far is not tried again."""


def fastest(*, measuring: bool = True) -> Measured:
    """Return what was measured on this machine with these versions. What was not, is measured now; or, without
    `measuring`, all ways count as alike."""
    if measuring or is_compiled():  # predictions wait for no compiler
        file = _file()
        found = _kept(file)
        if found is not None and (found.waited <= machine.BUSY or not measuring):
            return found
        if measuring:
            return _measured_now(file)
    alike = [Timing(precision=precision, layout=layout, threads=machine.cores(), ms=1.0) for precision, layout in WAYS]
    return Measured(ways=tuple(alike), by_threads=tuple(alike[:1]), waited=0.0)


def multiply_adds_per_s() -> float:
    """Return about how many multiply-adds a second this machine's processor trains with, by the best way measured."""
    step = 3 * sum(pictures * channels**2 * 9 * side**2 for pictures, channels, side in SHAPES)  # forward and backward
    return 1000 * step / min(one.ms for one in fastest().by_threads)


def busy_when_timed() -> str:
    """Say that others were computing while this machine was timed, so that it is faster than it seems; "" if none."""
    waited = fastest().waited
    busy = f"others were computing when this machine was timed, and threads waited {waited:.0%} of the time"
    return busy if waited > machine.BUSY else ""


def forget() -> None:
    """Let the next who asks measure anew."""
    with suppress(OSError):
        _file().unlink(missing_ok=True)
    _measured_now.cache_clear()


def _kept(file: Path) -> Measured | None:
    """Return what was measured before, if it can be used here."""
    with suppress(UserError, OSError):  # whatever is wrong with a cache, a run goes on
        found = read_record(file, Measured)
        if all(1 <= one.threads <= machine.cores() for one in found.by_threads):
            return found
    return None


@cache  # where it cannot be kept, a process measures but once
def _measured_now(file: Path) -> Measured:
    found = _kept(file)
    if found is None:
        say("timing for some seconds, once, what is fastest on this machine: residuum machine shows it")
    measured = measure(found.ways if found else ())
    if measured.waited > machine.BUSY:  # how many threads are best cannot be told: that alone is timed again
        measured = structs.replace(measured, by_threads=measured.by_threads[:1])
    with suppress(UserError):
        write_record(file, measured)
    return measured


def _file() -> Path:
    """Name what was measured by all that it depends on; a cache may be shared by machines that differ."""
    here, kernels = machine.environment(), library()
    told = [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    named = [here.residuum, here.torch, here.system, here.processor, str(here.cores), *told]
    named.append(Path(kernels._name).stem if kernels else "torch")
    return machine.cache_folder() / "machine" / f"{hashlib.sha256('|'.join(named).encode()).hexdigest()[:16]}.json"


# --- timing -------------------------------------------------------------------------------------


def measure(known: Sequence[Timing] = (), *, own: bool = True) -> Measured:
    """Time each way on one thread, then the best on all cores, on half of them, a quarter, … until that is slower.

    known: the ways as they were timed before, if they were.
    own: whether our kernels compute where they apply, as in training; else torch alone.
    """
    cores, before = machine.cores(), torch.get_num_threads()
    ways, by_threads = list(known), list[Timing]()

    def take(to: list[Timing], precision: Precision, layout: Layout, threads: int, clock: Clock) -> None:
        torch.set_num_threads(threads)
        best = min((one.ms for one in to), default=float("inf"))
        ms = _milliseconds(_layers(precision, layout, own), clock, best)
        to.append(Timing(precision=precision, layout=layout, threads=threads, ms=ms))

    try:
        for precision, layout in WAYS[len(ways) :]:
            take(ways, precision, layout, 1, CPU_TIME)
        best = Measured(ways=tuple(ways), by_threads=tuple(ways), waited=0.0).best()
        began, waited = time.perf_counter(), machine.seconds_waited()
        for halved in range(cores.bit_length()):
            take(by_threads, best.precision, best.layout, cores >> halved, time.perf_counter)
            if by_threads[-1].ms > CLEARLY * min(one.ms for one in by_threads):
                break
    finally:
        torch.set_num_threads(before)
    share = machine.share_waited(began, waited)
    return Measured(ways=tuple(ways), by_threads=tuple(by_threads), waited=min(1.0, share))


def _milliseconds(layers: Callable[[], None], clock: Clock, best: float) -> float:
    """Return how long a pass takes, in ms, the shortest of some; `best` is that of the best way so far."""
    times, limit = [_timed(layers, clock)], HOPELESS * best + STARTING
    while len(times) <= PASSES and times[-1] < limit:
        times.append(_timed(layers, clock))
        limit = HOPELESS * best
    return min(times)


def _timed(work: Callable[[], None], clock: Clock) -> float:
    began = clock()
    work()
    return 1000 * (clock() - began)


def _layers(precision: Precision, layout: Layout, own: bool) -> Callable[[], None]:
    """Return what does a pass, forward and backward, over new layers."""
    order = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    with torch.random.fork_rng(devices=()):  # what is drawn here must change no run
        cases = [
            (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=order),
                nn.BatchNorm2d(channels),
                torch.randn(pictures, channels, side, side).to(dtype, memory_format=order).requires_grad_(),
            )
            for pictures, channels, side in SHAPES
        ]

    def layers() -> None:
        for conv, norm, x in cases:
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                y = _forward(conv, norm, x, own)
            torch.autograd.grad(y, (x, *conv.parameters(), *norm.parameters()), y.detach())

    return layers


def _forward(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, own: bool) -> Tensor:
    """Return ReLU(BN(conv(x))), as models/operations.py would compute it."""
    kernel = next((one for one in CONVOLUTIONS if own and one.applies(conv, x)), None)
    y = kernel.convolution(conv, x) if kernel else conv(x)
    if own and batch_norm.applies(y, norm):
        return batch_norm.batch_norm(y, norm, act="relu")[0]
    return torch.relu(norm(y))
