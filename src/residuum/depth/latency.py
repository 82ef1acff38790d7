"""How long nets of several depths take, measured side by side."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum.compute import Compute
from residuum.depth.measure import blocks_left, finish
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet

BATCHES = (1, 32)
LEAST_ROUNDS, MOST_ROUNDS = 5, 100

Route = Sequence[tuple[str, ResidualBlock]]


@torch.inference_mode()
def latencies(
    net: ResNet, deleted: Sequence[str], image_size: int, compute: Compute, seconds: float = 30.0
) -> tuple[list[dict[int, float]], str]:
    """Return the milliseconds of one pass without the first k blocks `deleted`, k from 0, and how they were measured.

    Each is the median over rounds. A round times every net once for each batch size, in an order drawn anew, so that
    a machine that slows down, or is busy now and then, slows all alike. There are 100 rounds, or fewer (5 at least)
    once `seconds` are over.
    """
    net.eval()
    routes = [blocks_left(net, deleted[:k]) for k in range(len(deleted) + 1)]
    shape = (net.spec.in_channels, image_size, image_size)
    batches = [torch.rand(size, *shape, device=compute.device) for size in BATCHES]
    if compute.layout == "channels-last":
        batches = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]
    turns = np.random.default_rng(0)
    _round(net, routes, batches, compute, turns)  # the first pass over each net prepares it
    rounds: list[NDArray[np.float64]] = []
    began = time.monotonic()
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < MOST_ROUNDS and time.monotonic() - began < seconds):
        rounds.append(_round(net, routes, batches, compute, turns))
    median = np.median(np.stack(rounds), axis=0)
    figures = [dict(zip(BATCHES, row, strict=True)) for row in median.tolist()]
    where = f"{compute.device.type}, {compute.precision}, {compute.layout}, {compute.threads} threads"
    return figures, f"forward pass of a batch in memory, median of {len(rounds)}, all nets in turn; {where}"


def _round(
    net: ResNet, routes: Sequence[Route], batches: Sequence[Tensor], compute: Compute, turns: np.random.Generator
) -> NDArray[np.float64]:
    """Return the milliseconds of every net (row) and batch (column), each timed once."""
    times = np.empty((len(routes), len(batches)))
    for k in turns.permutation(len(routes)):
        times[k] = [_milliseconds(net, routes[k], batch, compute) for batch in batches]
    return times


def _milliseconds(net: ResNet, route: Route, images: Tensor, compute: Compute) -> float:
    wait_for(compute.device)
    began = time.perf_counter()
    with compute.autocast():
        finish(net, route, net.stem(images))
    wait_for(compute.device)
    return (time.perf_counter() - began) * 1000


def wait_for(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()
