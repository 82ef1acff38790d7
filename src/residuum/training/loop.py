"""The training loop: visible, whole, on one screen; `fit` asks `one_by_one` for steps, and `update` moves the weights.

Letters: N training pictures, B of them in a step, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from residuum import ranks
from residuum.compute import Compute
from residuum.data.batches import Batch, Served, training_plan
from residuum.data.mixing import Mix, mixed
from residuum.data.share import TrainingPlan
from residuum.errors import Stopped, UserError
from residuum.recipe import Recipe
from residuum.records.run import Epoch, Line, Step
from residuum.training.average import Average, averaged
from residuum.training.loss import learnt_by, mean_loss, right, weights_of_mean
from residuum.training.optimizer import Optimizer, frozen_part, set_rate
from residuum.training.sharing import sharing_cores
from residuum.training.signals import AskedToStop
from residuum.training.state import State
from residuum.training.together import parts

Report = Callable[[Line], None]
REPORT_SECONDS = 2.0
"""Longest silence of the metrics; besides, a thousand step lines are written over the run, a hundred where a step does
not wait for the numbers of the one before (captured.py)."""


@dataclass(frozen=True)
class Job:
    """What the loop works on and by; which net, optimiser and average these are does not change while it turns."""

    net: nn.Module
    forward: Callable[[Tensor], Tensor]
    """What computes net(x): the net, or its plan (models/plan.py)."""
    optimizer: Optimizer
    recipe: Recipe
    loader: Served
    compute: Compute
    seed: int
    _: KW_ONLY
    class_weights: Tensor | None = None
    """(K,): what a picture of each class counts in the loss; by default all alike."""
    average: Average | None = None
    """What is judged and kept in place of the last weights, if the recipe asks for it."""
    accumulate: int = 1
    """Parts in which a step's pictures go through the net, one after another."""


@dataclass(frozen=True)
class Callbacks:
    """What the loop does besides training: plain functions, called where the loop says."""

    report: Report
    save: Callable[[State], None]
    validate: Callable[[], dict[str, float]]
    asked_to_stop: AskedToStop


class NotFiniteError(UserError):
    """The loss or the gradient is no longer a number that can be used; nothing was saved after it."""


Taken = tuple[float, Callable[[], float]]
"""A step's learning rate, and what brings the state up to date and returns the step's mean loss."""
Steps = Callable[[Job, State, TrainingPlan], Iterator[Taken]]
"""What takes the plan's steps, one for each turn of the loop: `one_by_one`, or `captured`."""


@sharing_cores()
def fit(job: Job, state: State, callbacks: Callbacks, save_seconds: float, steps: Steps | None = None) -> None:
    """Train from `state` to the recipe's last step; `steps` takes them, by default one by one. An average, if there is
    one, is then what the net is.

    Raises:
        Stopped: a signal came; the step was finished and everything saved.
        NotFiniteError: the loss or the gradient is no longer finite; the last good checkpoint stands.
    """
    recipe = job.recipe
    plan = training_plan(job.loader, job.seed, recipe, state.step)
    report_every = max(1, job.recipe.iterations // (1000 if steps is None else 100))
    last_save = last_report = started = time.monotonic()
    to_training(job)
    for rate, read in (steps or one_by_one)(job, state, plan):
        reports = state.step % report_every == 0 or time.monotonic() - last_report >= REPORT_SECONDS
        ends = state.step % plan.steps_per_epoch == 0 or state.step == job.recipe.iterations
        loss = read() if reports or ends else math.nan
        now = time.monotonic()
        state.epoch_seconds += now - started

        if reports:
            callbacks.report(_step_line(state, plan, loss, rate))
            last_report = now
        if ends:
            with averaged(job.average):
                validation = callbacks.validate()
            callbacks.report(_epoch_line(state, plan, validation))
            to_training(job)
            state.start_epoch()
        code = callbacks.asked_to_stop()
        if code is not None or time.monotonic() - last_save >= save_seconds:
            read()
            callbacks.save(state)
            last_save = time.monotonic()
        if code is not None:
            raise Stopped(f"stopped after step {state.step}; everything is saved", code)
        started = time.monotonic()
    callbacks.save(state)
    if job.average is not None:
        job.average.settle()


def to_training(job: Job) -> None:
    """Put the net into training mode; BN stays in evaluation mode where the recipe freezes its statistics, and so does
    all that it freezes."""
    job.net.train()
    for module in job.net.modules():
        if job.recipe.frozen_statistics and isinstance(module, nn.BatchNorm2d):
            module.eval()
    for module in frozen_part(job.net, job.recipe):
        module.eval()


def one_by_one(job: Job, state: State, plan: TrainingPlan) -> Iterator[Taken]:
    """Take the plan's steps, each read before the next begins.

    Raises:
        NotFiniteError: see train_step.
    """
    for served in job.loader.batches(plan, job.recipe.augmentation, job.seed):
        batch = mixed_batch(job, served)
        rate = job.recipe.rate(state.step, state.warmed_up)
        seed_step(job, state.step)
        loss, correct = train_step(job, batch, state.step, rate)
        state.count(loss, correct, job.recipe.batch_size)
        warm_up(job.recipe, state)
        yield rate, lambda loss=loss: loss  # type: ignore[misc]


def seed_step(job: Job, step: int) -> None:
    """Let what a net drops depend on seed and step alone.

    On a processor torch.manual_seed would write down the stack for each kind of GPU that may come: 0.5 ms a step.
    """
    seed = job.seed * 1_000_003 + step
    if job.compute.device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def train_step(job: Job, batch: Batch, step: int, rate: float) -> tuple[float, int]:
    """Do step `step`, from 0, at learning rate `rate`; return its mean loss and how many of its B pictures were right.

    Raises:
        NotFiniteError: loss or gradient is not finite; the weights were not touched.
    """
    set_rate(job.optimizer, rate)
    images = at_size(job.recipe, step, batch.images)
    mean, right, norm = forward_and_backward(job, images, batch.labels, batch.mix)
    loss, correct = ranks.summed(mean.item(), right.item())
    if not math.isfinite(loss) or not math.isfinite(norm.item()):
        raise not_finite(step, rate, loss, norm.item())
    prepare_update(job, step)
    update(job)
    return loss, int(correct)


def mixed_batch(job: Job, batch: Batch) -> Batch:
    """Return the batch as mixup and CutMix make it, where the recipe has them."""
    images, mix = mixed(batch.images, batch.labels, batch.rows, batch.epoch, job.recipe, job.seed)
    return batch if mix is None else replace(batch, images=images, mix=mix)


def prepare_update(job: Job, step: int) -> None:
    """Set what the update of step `step`, from 0, depends on besides the learning rate."""
    if job.average is not None:
        job.average.set_step(step)


def update(job: Job) -> None:
    """Move the net by its gradients, and its average after it; nothing is read back from the device."""
    job.optimizer.step()
    job.optimizer.zero_grad()
    if job.average is not None:
        job.average.update()


def forward_and_backward(
    job: Job, images: Tensor, labels: Tensor, mix: Mix | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Leave the gradients of (B, 3, S, S) images; return the mean loss, how many of the B were right, and the
    gradients' norm.

    Of several ranks each returns its share of the mean loss, and leaves the gradients of all. Nothing is read back from
    the device.
    """
    losses, hits = [], []
    weights = weights_of_mean(job.recipe, mix, job.class_weights)
    for part in parts(job.forward, labels, mix, job.accumulate, weights):
        with part.together:
            with job.compute.autocast():
                logits = job.forward(images[part.rows])
            logits = logits.float()  # (B, K)
            loss = mean_loss(logits, part.labels, part.mix, job.recipe, job.class_weights)
            (learnt_by(loss, part.labels) * part.scale).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach() * part.share)
        hits.append(right(logits.detach(), part.labels, part.mix))
    moved = (p for group in job.optimizer.param_groups for p in group["params"])  # sooner found than in the net
    gradients = [p.grad for p in moved if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    return torch.stack(losses).sum(), torch.stack(hits).sum(), norm


def at_size(recipe: Recipe, step: int, images: Tensor) -> Tensor:
    """(B, 3, S, S) as the recipe shows them at this step: whole, or resized to a smaller side."""
    side = side_at(recipe, step, images.shape[2])
    return images if side == images.shape[2] else resized(images, side)


def side_at(recipe: Recipe, step: int, side: int) -> int:
    """Return the side, in pixels, at which the recipe shows pictures of this side at this step."""
    smaller = (small for share, small in recipe.small_first if step < share * recipe.iterations and small < side)
    return next(smaller, side)


def resized(images: Tensor, side: int) -> Tensor:
    """(B, 3, S, S) to (B, 3, side, side), in the same layout."""
    smaller = interpolate(images, (side, side), mode="bilinear", antialias=True)
    is_last = images.is_contiguous(memory_format=torch.channels_last)
    return smaller.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def warm_up(recipe: Recipe, state: State) -> None:
    """End the paper's warm-up once the training error is low enough; it never begins again."""
    state.warmed_up = state.warmed_up or recipe.schedule.is_warm(state.error_average)


def not_finite(step: int, rate: float, loss: float, norm: float) -> NotFiniteError:
    """Return what is raised where loss or gradient of step `step`, from 0, overflowed, at learning rate `rate`."""
    return NotFiniteError(
        f"training stopped at step {step + 1}: the loss is {loss} and the gradient's norm {norm}",
        "a number overflowed; nothing was saved after it and the last checkpoint is good. "
        "Usual causes: the learning rate is too high, pictures or labels are wrong, or the precision is too low",
        f"try a new run with --lr {rate / 4:.3g} or --precision float32",
    )


def _step_line(state: State, plan: TrainingPlan, loss: float, rate: float) -> Step:
    return Step(
        step=state.step,
        epoch=round(state.step / plan.steps_per_epoch, 4),
        loss=loss,
        lr=rate,
        images_per_s=round(state.epoch_seen / max(state.epoch_seconds, 1e-9), 1),
    )


def _epoch_line(state: State, plan: TrainingPlan, validation: dict[str, float]) -> Epoch:
    return Epoch(
        epoch=round(state.step / plan.steps_per_epoch, 4),
        step=state.step,
        train_loss=state.epoch_loss / state.epoch_seen,
        train_accuracy=state.epoch_correct / state.epoch_seen,
        **validation,
        seconds=round(state.epoch_seconds, 3),
        images_per_s=round(state.epoch_seen / max(state.epoch_seconds, 1e-9), 1),
    )
