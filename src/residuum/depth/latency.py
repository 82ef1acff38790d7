"""How long nets of several depths take, measured side by side."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum import machine
from residuum.compute import Compute
from residuum.data.cache import Progress
from residuum.depth.measure import blocks_left, finish
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet

BATCHES = (1, 32)
LEAST_ROUNDS, MOST_ROUNDS = 5, 100
WHOLE = 1000
"""Parts that progress is told in."""
TURN = 0.02
"""Seconds that a batch goes through a net again and again in a turn, and once at the least."""


@torch.inference_mode()
def latencies(
    net: ResNet,
    deleted: Sequence[str],
    image_size: int,
    compute: Compute,
    seconds: float = 30.0,
    progress: Progress | None = None,
) -> tuple[list[dict[int, float]], str]:
    """Return the milliseconds of one pass without the first k blocks `deleted`, k from 0, and how they were measured.

    Each is the median over rounds, of which there are 100, or fewer (5 at least) once `seconds` are over, of the least
    of a turn: a thread that waits for a core once makes a short pass ten times as long.
    """
    net.eval()

    def walk(blocks: Sequence[tuple[str, ResidualBlock]], images: Tensor) -> Tensor:
        with compute.autocast():
            return finish(net, blocks, net.stem(images))

    passes = [partial(walk, blocks_left(net, deleted[:k])) for k in range(len(deleted) + 1)]
    shape = (net.spec.in_channels, image_size, image_size)
    turns = in_turn(passes, [compute.lay_out(torch.rand(size, *shape)) for size in BATCHES], compute.device, TURN)
    tell = progress or (lambda _done, _total: None)
    tell(0, WHOLE)
    next(turns)
    rounds: list[NDArray[np.float64]] = []
    began = time.monotonic()
    while (done := _done(len(rounds), (time.monotonic() - began) / max(seconds, 1e-9))) < 1:
        tell(round(WHOLE * (1 + LEAST_ROUNDS * done) / (1 + LEAST_ROUNDS)), WHOLE)  # the first round prepares
        rounds.append(1000 * next(turns))
    tell(WHOLE, WHOLE)
    median = np.median(np.stack(rounds), axis=0)
    figures = [dict(zip(BATCHES, row, strict=True)) for row in median.tolist()]
    where = f"{compute.device.type}, {compute.precision}, {compute.layout}, {compute.threads} threads"
    turn = f"in each the least of {1000 * TURN:g} ms"
    return (
        figures,
        f"forward pass of a batch in memory, median of {len(rounds)} rounds, {turn}, all nets in turn; {where}",
    )


def _done(rounds: int, time: float) -> float:
    """Return how much of the timing is done, 1 at its end, after so many rounds and such a share of the `time` there
    is for it."""
    return max(rounds / MOST_ROUNDS, min(rounds / LEAST_ROUNDS, time))


def in_turn(
    passes: Sequence[Callable[[Tensor], object]], batches: Sequence[Tensor], device: torch.device, turn: float = 0.0
) -> Iterator[NDArray[np.float64]]:
    """Yield round by round the seconds of each pass (row) over each batch (column); the first round prepares them.

    They are the least of as many times as `turn` seconds allow, one at the least.
    The order is drawn anew each time, so that a machine that slows down, or is busy now and then, slows all alike.
    """
    turns = np.random.default_rng(0)
    while True:
        times = np.empty((len(passes), len(batches)))
        for k in turns.permutation(len(passes)):
            times[k] = [machine.least(partial(_seconds, passes[k], images, device), turn) for images in batches]
        yield times


def _seconds(walk: Callable[[Tensor], object], images: Tensor, device: torch.device) -> float:
    _wait_for(device)
    began = time.perf_counter()
    walk(images)
    _wait_for(device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()
