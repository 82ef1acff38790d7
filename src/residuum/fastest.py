"""What is fastest on this machine's processor: precision, layout and threads, timed once and kept.

Flags do not say it: bfloat16 is a hundred times slower than float32 on some processors that know it, and without matrix
units slower than our float32 convolutions. What is timed is what CIFAR nets repeat, at their three sizes: 3×3
convolution, BN and ReLU, forward and backward.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
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
from residuum.kernels.build import library
from residuum.records.codec import read_record, write_record
from residuum.records.machine import CLEARLY, WAYS, Measured, Timing

SHAPES = ((64, 16, 32), (64, 32, 16), (64, 64, 8))
"""(pictures, channels, side in pixels)"""
PASSES = 5
"""The fastest of so many counts; before them is one that starts threads and chooses torch's kernels."""
HOPELESS = 4
"""A way whose second pass takes so many times as long as the best is not tried again."""
BUSY = 0.1
"""Figures taken while this share of the time was spent in waiting for a core are not kept."""


def fastest(*, measuring: bool = True) -> Measured:
    """Return what was measured on this machine with these versions. If nothing was, it is measured now; or, without
    `measuring`, all ways count as alike."""
    file = _file()
    with suppress(UserError, OSError):  # whatever is wrong with a cache, a run goes on
        return read_record(file, Measured)
    if measuring:
        return _measured_now(file)
    cores = machine.cores()
    alike = [Timing(precision=precision, layout=layout, threads=cores, ms=1.0) for precision, layout in WAYS]
    return Measured(timings=tuple(alike), waited=0.0)


def forget() -> None:
    """Let the next who asks measure anew."""
    with suppress(OSError):
        _file().unlink(missing_ok=True)
    _measured_now.cache_clear()


@cache  # where it cannot be kept, a process measures but once
def _measured_now(file: Path) -> Measured:
    say("timing, once, what is fastest on this machine: residuum machine shows it")
    measured = measure()
    if measured.waited > BUSY:  # how many threads are best cannot be told
        return structs.replace(measured, timings=measured.timings[: len(WAYS)])
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


def measure(*, own: bool = True) -> Measured:
    """Time each way on all cores, then the best of them on half of the cores, a quarter, … until that is slower.

    own: whether our kernels compute where they apply, as in training; else torch alone.
    """
    cores, before = machine.cores(), torch.get_num_threads()
    thread, began = threading.get_native_id(), time.perf_counter()
    waited = machine.seconds_waited(thread)
    timings: list[Timing] = []

    def take(precision: Precision, layout: Layout, threads: int) -> None:
        best = min((one.ms for one in timings), default=float("inf"))
        torch.set_num_threads(threads)
        ms = _milliseconds(precision, layout, own, best)
        timings.append(Timing(precision=precision, layout=layout, threads=threads, ms=ms))

    def measured() -> Measured:
        share = (machine.seconds_waited(thread) - waited) / (time.perf_counter() - began)
        return Measured(timings=tuple(timings), waited=min(1.0, share))

    try:
        for precision, layout in WAYS:
            take(precision, layout, cores)
        best = measured().best()
        for halved in range(1, cores.bit_length()):
            take(best.precision, best.layout, cores >> halved)
            if timings[-1].ms > CLEARLY * min(one.ms for one in timings):
                break
    finally:
        torch.set_num_threads(before)
    return measured()


def _milliseconds(precision: Precision, layout: Layout, own: bool, best: float) -> float:
    """Return how long a pass takes, in ms, the shortest of some; `best` is that of the best way so far."""
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        layers = _layers(precision, layout, own)
        layers()
        times = [_timed(layers)]
        if times[0] < HOPELESS * best:
            times += [_timed(layers) for _ in range(1, PASSES)]
    return min(times)


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _layers(precision: Precision, layout: Layout, own: bool) -> Callable[[], None]:
    """Return what does a pass, forward and backward, over new layers."""
    order = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
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
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                y = _forward(conv, norm, x, own)
            torch.autograd.grad(y, (x, *conv.parameters(), *norm.parameters()), y.detach())

    return layers


def _forward(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, own: bool) -> Tensor:
    """Return ReLU(BN(conv(x))), as models/operations.py would compute it."""
    kernel = next((one for one in (convolution, winograd) if own and one.applies(conv, x)), None)
    y = kernel.convolution(conv, x) if kernel else conv(x)
    if own and batch_norm.applies(y, norm, act="relu"):
        return batch_norm.batch_norm(y, norm, act="relu")[0]
    return torch.relu(norm(y))
