"""Steps on an NVIDIA GPU: each kind recorded once as a CUDA graph and replayed; none waits for the one before.

A small net's step is hundreds of kernels of a few microseconds each: launched one by one they wait for Python, replayed
they do not. What a step counts is summed on the device, in float64 as the state does, and read when somebody asks.
"""

import math
from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

from residuum.console import warn
from residuum.data.batches import Batch
from residuum.data.mixing import Mix
from residuum.data.share import TrainingPlan
from residuum.training.loop import (
    Job,
    Steps,
    Taken,
    forward_and_backward,
    mixed_batch,
    not_finite,
    prepare_update,
    resized,
    seed_step,
    side_at,
    update,
    warm_up,
)
from residuum.training.optimizer import set_rate
from residuum.training.state import State, averaged_error

FIRST = 3
"""Steps of a kind that are taken before it is recorded, so that what is made once is there, as torch asks."""


def steps_for(job: Job) -> Steps | None:
    """Return what takes the job's steps: `captured`, or None (one by one) where a step cannot be recorded.

    That is so away from NVIDIA's GPUs, where pictures are read from the disk, under checkpointing, in parts, on several
    processes, and where blocks are skipped by chance, which Python draws.
    """
    skips = any(getattr(module, "skipped", 0) for module in job.net.modules())
    is_resident = job.compute.device.type == "cuda" and getattr(job.loader, "images", None) is not None
    whole = job.forward is job.net and job.accumulate == 1
    return captured if is_resident and whole and not skips else None


def captured(job: Job, state: State, plan: TrainingPlan) -> Iterator[Taken]:
    """Take the plan's steps without reading anything back.

    Only while the rate depends on how many pictures were right, in the paper's warm-up, each step is read.

    Raises:
        UserError: at the first reading after a loss or gradient that was not finite; nothing was saved since.
    """
    sums = [state.epoch_loss, float(state.epoch_correct), state.error_average, 0.0, 0.0, float(state.step)]
    figures = torch.tensor(sums, dtype=torch.float64, device=job.compute.device)
    drops = any(isinstance(module, nn.Dropout) and module.p > 0 for module in job.net.modules())
    kinds: dict[tuple[torch.Size, int], _Kind] = {}
    for served in job.loader.batches(plan, job.recipe.augmentation, job.seed):
        batch = mixed_batch(job, served)
        if state.epoch_seen == 0:
            figures[:2].zero_()
        rate, warm = (job.recipe.rate(state.step, warmed_up) for warmed_up in (state.warmed_up, True))
        set_rate(job.optimizer, rate)
        prepare_update(job, state.step)
        if drops:
            seed_step(job, state.step)
        key = batch.images.shape, side_at(job.recipe, state.step, batch.images.shape[2])
        if key not in kinds:
            kinds[key] = _Kind(job, batch, key[1], figures)
        kinds[key].take(batch)
        state.step += 1
        state.epoch_seen += len(batch.rows)
        read = cache(partial(_read, job, state, figures, rate))
        if rate != warm:
            read()
        yield rate, read


def _read(job: Job, state: State, figures: Tensor, rate: float) -> float:
    """Bring the state up to date and return the last step's loss."""
    loss_sum, correct, error, loss, norm, steps = figures.tolist()
    if not math.isfinite(loss + norm):
        raise not_finite(int(steps) - 1, rate, loss, norm)
    state.epoch_loss, state.epoch_correct, state.error_average = loss_sum, int(correct), error
    warm_up(job.recipe, state)
    return float(loss)


def _count(figures: Tensor, loss: Tensor, correct: Tensor, norm: Tensor, seen: int) -> None:
    """Take in a step of `seen` pictures, as State.count does; nothing more after one that was not finite.

    `figures` (6,): the epoch's loss and correct answers, the average error, the last loss and norm, and the steps.
    """
    loss_sum, right, error, last_loss, last_norm, steps = figures.unbind()
    loss = loss.double()
    error = averaged_error(error, correct.double(), seen)
    new = torch.stack([loss_sum + loss * seen, right + correct, error, loss, norm.double(), steps + 1])
    figures.copy_(torch.where(torch.isfinite(last_loss + last_norm), new, figures))


class _Kind:
    """Steps of one shape of batch, seen at one size; what they read lies at one place in memory."""

    def __init__(self, job: Job, batch: Batch, side: int, figures: Tensor) -> None:
        self.job, self.side, self.figures = job, side, figures
        self.images, self.labels = torch.empty_like(batch.images), torch.empty_like(batch.labels)
        self.mix = None if batch.mix is None else Mix(*map(torch.empty_like, (batch.mix.labels, batch.mix.share)))
        self.taken = 0
        self.own = torch.cuda.Stream() if self.images.is_cuda else None  # type: ignore[no-untyped-call]
        self.graph: torch.cuda.CUDAGraph | None = None

    def take(self, batch: Batch) -> None:
        """Take one step; the first ones on a stream of its own, the others by the graph that was recorded there."""
        self.images.copy_(batch.images)
        self.labels.copy_(batch.labels)
        if self.mix is not None and batch.mix is not None:
            self.mix.labels.copy_(batch.mix.labels)
            self.mix.share.copy_(batch.mix.share)
        if self.own is not None and self.taken == FIRST:
            self._record(self.own)
        self.taken += 1
        if self.graph is not None:
            self.graph.replay()
        elif self.own is not None:
            self.own.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.own):
                self._step()
            torch.cuda.current_stream().wait_stream(self.own)
        else:
            self._step()

    def _step(self) -> None:
        images = self.images if self.side == self.images.shape[2] else resized(self.images, self.side)
        loss, correct, norm = forward_and_backward(self.job, images, self.labels, self.mix)
        update(self.job)
        _count(self.figures, loss, correct, norm, len(self.labels))

    def _record(self, stream: torch.cuda.Stream) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._step()
        except RuntimeError as error:
            self.job.optimizer.zero_grad()
            warn(f"the step cannot be recorded and is launched kernel by kernel: {error}")
        else:
            self.graph = graph
