"""What a net takes: steps, validation, checkpoint and judgement, each timed for a few seconds by the run's own code."""

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.data.batches import Loader
from residuum.data.contract import Split
from residuum.data.labels import CALLED, Labels
from residuum.data.split import training_and_validation
from residuum.errors import UserError
from residuum.evaluation.evaluate import probabilities
from residuum.evaluation.metrics import judge
from residuum.evaluation.mistakes import MOST as MISTAKES
from residuum.evaluation.several_labels import resamples_of
from residuum.fastest import multiply_adds_per_s
from residuum.forecast.memory import peak_memory, workers_memory
from residuum.forecast.power import Energy, measured_energy
from residuum.forecast.source import FEWEST, LEAST, SECONDS, in_training, many_steps, timed
from residuum.models.count import cost
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.recipe import Recipe
from residuum.recipes.named import AFTER_THE_HEAD
from residuum.runs import CHECKPOINT
from residuum.training.captured import steps_for
from residuum.training.loop import Job, mixed_batch, one_by_one, to_training, train_step
from residuum.training.record import record_judged
from residuum.training.resolve import Resolved
from residuum.training.sharing import sharing_cores
from residuum.training.start import evaluation_batch, make_job, make_net
from residuum.training.state import State, save_checkpoint

LONG = 3.0
"""A step that would take longer, in s, is timed with fewer pictures, but not below LEAST."""
PASS = 8
"""Batches of a pass over pictures that are judged, at most, while it is timed."""
JUDGED = 2000
ANSWERS = 20_000
"""Of several labels a picture: so many are judged while it is timed."""
TINY_RATE = 1e-8
"""The learning rate while it is timed: a net's first steps at the schedule's peak could overflow."""


@dataclass(frozen=True)
class Phase:
    """Steps in which pictures are shown at one size."""

    steps: int
    seconds: float
    """A picture: net, decoding and all."""


@dataclass(frozen=True)
class Net:
    """What a net takes here, in seconds a picture, unless it says otherwise."""

    phases: tuple[Phase, ...]
    """None for a head, which takes no steps."""
    first: float
    """By so much the first step of all takes longer, in s; so does, below, the first validation, and the judgement."""
    once_validated: float
    once_judged: float
    recording: float
    """Writing down a judgement with as many mistakes as are kept, in s."""
    device: float
    """A step's part that is not decoding."""
    validating: float
    judging: float
    checkpoint: float
    """Writing one, in s."""
    checkpoint_bytes: int
    model_bytes: int
    recorded_bytes: int
    memory: int
    batch: int
    """What was measured in."""
    energy: Energy


def net_of(resolved: Resolved, loader: Loader, batch: int) -> Net:
    """Time steps of `batch` pictures, validation, a checkpoint and judgement, in a run's order: what memory is there
    for each depends on what was before.

    Raises:
        UserError: a picture cannot be read.
    """
    job, device = _job(resolved, loader, batch), resolved.compute.device
    model = sum(tensor.nbytes for tensor in job.net.state_dict().values())
    first, phases, decoding = 0.0, list[Phase](), 0
    watched = peak_memory(device), measured_energy(on_gpu=device.type == "cuda")
    with sharing_cores(), watched[0] as stepping, watched[1] as energy:
        for start, steps in phases_of(job.recipe, resolved.training_size) if job.recipe.iterations else ():
            longer, seconds, decoding = _steps(job, start)
            first, phases = first or longer, [*phases, Phase(steps, seconds)]
    at_once = evaluation_batch(device, image_size=resolved.image_size)
    at_once = min(at_once, _evaluated(resolved, loader), len(loader.split))
    shown = replace(loader, batch_size=at_once).take(np.arange(min(PASS * at_once, len(loader.split))))
    with peak_memory(device) as validated:
        once_validated, validating, _ = _evaluating(job, shown, resolved, final=False)
    alone = validating if not phases else phases[-1].seconds if steps_for(job) else _device_alone(job)
    saving, checkpoint_bytes = _checkpoint(job)
    with peak_memory(device) as judged:
        once_judged, judging, answers = _evaluating(job, shown, resolved, final=True)
    recording, recorded_bytes = _recording(job, shown, answers, resolved)
    more = min(evaluation_batch(device, image_size=resolved.image_size), _most_evaluated(resolved)) / at_once
    return Net(
        phases=tuple(phases),
        first=first,
        once_validated=once_validated,
        once_judged=once_judged,
        recording=recording,
        device=alone,
        validating=validating,
        judging=judging,
        checkpoint=saving,
        checkpoint_bytes=checkpoint_bytes,
        model_bytes=model,
        recorded_bytes=recorded_bytes,
        memory=max(
            stepping.with_more(resolved.recipe.batch_size / batch, fixed=2 * model) + decoding,  # gradients, momentum
            validated.with_more(more),
            judged.with_more(more),
        ),
        batch=batch,
        energy=energy,
    )


def _job(resolved: Resolved, loader: Loader, batch: int) -> Job:
    """Return the run's net, ready to be trained with `batch` of the loader's pictures in a step."""
    net = make_net(resolved)
    resolved.compute.place(net)
    forward = make_forward(net, resolved.compute, checkpointing=resolved.settings.checkpointing)
    recipe = replace(resolved.recipe.changed(lr=TINY_RATE), batch_size=batch)
    timed_by, pictures = replace(resolved, recipe=recipe), in_training(loader, resolved)
    return make_job(timed_by, net, forward, pictures, accumulate=resolved.settings.accumulate)


def batch_of(resolved: Resolved) -> int:
    """Return how many pictures a step is timed with: the recipe's, or fewer where it would take long."""
    batch = resolved.recipe.batch_size
    if resolved.compute.device.type != "cpu":
        return batch
    one = 3 * cost(resolved.spec, resolved.training_size)["multiply_adds"] / multiply_adds_per_s()
    while batch // 2 >= LEAST and batch * one > LONG:
        batch //= 2
    return batch


def phases_of(recipe: Recipe, side: int) -> Iterator[tuple[int, int]]:
    """Yield the first step, and how many there are, of each size at which the recipe shows pictures of this side."""
    ends = [math.ceil(share * recipe.iterations) for share, smaller in recipe.small_first if smaller < side]
    for start, end in itertools.pairwise((0, *ends, recipe.iterations)):
        if end > start:
            yield start, end - start


def _steps(job: Job, start: int) -> tuple[float, float, int]:
    """Take steps from step `start` on for a while: by how many s the first took longer, the seconds a picture of the
    others, and the bytes that decoding processes held."""
    plan = many_steps(job.loader, job.seed, job.recipe, start)
    ahead, mark, first, decoding = 2, 0.0, 0.0, 0
    to_training(job)
    began = time.perf_counter()
    for index, (_, read) in enumerate((steps_for(job) or one_by_one)(job, State(step=start), plan), 1):
        if index == 1:
            read()
            first = time.perf_counter() - began
        if index == ahead:
            read()
            mark = time.perf_counter()
        if index >= ahead + FEWEST and time.perf_counter() - mark > SECONDS:
            read()
            decoding = workers_memory()
            break
    seconds = (time.perf_counter() - mark) / (index - ahead)
    return max(0.0, first - seconds), seconds / job.recipe.batch_size, decoding


def _device_alone(job: Job) -> float:
    """Return the seconds a picture of steps on one batch that is there."""
    plan = many_steps(job.loader, job.seed, job.recipe, 0)
    batch = mixed_batch(job, next(job.loader.batches(plan, job.recipe.augmentation, job.seed)))
    to_training(job)
    last = job.recipe.iterations - 1  # where pictures are shown whole
    times = list[float]()
    while len(times) < FEWEST or (sum(times) < SECONDS and len(times) < 100):
        times.append(timed(lambda: train_step(job, batch, last, TINY_RATE))[0])
    return sum(times) / len(times) / job.recipe.batch_size


def _evaluated(resolved: Resolved, loader: Loader) -> int:
    """Return how many pictures a batch that is timed has at most: as many as take about a second."""
    if resolved.compute.device.type != "cpu":
        return len(loader.split)
    enough = multiply_adds_per_s() * SECONDS / 2 / cost(resolved.spec, resolved.image_size)["multiply_adds"]
    return max(LEAST, int(enough))


def _most_evaluated(resolved: Resolved) -> int:
    """Return how many pictures the largest split has that the net is judged on."""
    _, validation = training_and_validation(resolved.data, resolved.cut)
    return max((len(split) for split in (validation, resolved.data.test) if split), default=0)


def _evaluating(
    job: Job, shown: Loader, resolved: Resolved, *, final: bool
) -> tuple[float, float, NDArray[np.float32]]:
    """Return by how many s the first pass takes longer, the seconds a picture of validation, or of the final judgement,
    and the (N, K) answers."""
    compute, forward, views = job.compute, job.forward, resolved.recipe.views if final else "single"
    if final and resolved.recipe.judged_in == "float32":
        compute, forward = replace(compute, precision="float32"), job.net

    marks = list[tuple[int, float]]()

    def once() -> NDArray[np.float32]:
        marks.clear()
        return probabilities(
            job.net, shown, compute, views, forward, lambda done, _: marks.append((done, time.perf_counter()))
        )

    answers = once()
    whole, times = marks[-1][1] - marks[0][1], _times(marks)
    if len(times) == 1 and whole <= LONG:
        once()
        times += _times(marks)
    # The first batches take memory anew, and the others have it: one alone says nothing of the others.
    seconds = statistics.median(times[1:] or times)
    return max(0.0, whole - seconds * len(shown.split)), seconds, answers


def _times(marks: list[tuple[int, float]]) -> list[float]:
    """Return the seconds a picture of each batch, from how many were done when."""
    return [(after - before) / (done - had) for (had, before), (done, after) in itertools.pairwise(marks)]


def _recording(job: Job, shown: Loader, answers: NDArray[np.float32], resolved: Resolved) -> tuple[float, int]:
    """Write down a judgement by which every answer was wrong: seconds and bytes."""
    rows = np.resize(np.arange(len(shown.split)), MISTAKES)
    taken, classes = shown.take(rows), resolved.data.classes
    wrong = _wrong(answers[rows], several=resolved.data.several)
    assert isinstance(job.net, ResNet)
    judged = job.net, answers[rows], replace(taken, split=Split(taken.split.pictures, wrong)), classes, "test", ""
    with _folder() as folder:
        seconds, _ = timed(lambda: record_judged(folder, *judged))
        return seconds, sum(path.stat().st_size for path in folder.iterdir())


def _wrong(answers: NDArray[np.float32], *, several: bool) -> Labels:
    """Return labels by which each of (N, K) answers was wrong."""
    if several:
        return (answers < CALLED).astype(np.uint8)
    wrong: Labels = (answers.argmax(1) + 1) % answers.shape[1]
    return wrong


def _checkpoint(job: Job) -> tuple[float, int]:
    """Write a checkpoint: seconds and bytes."""
    with _folder() as folder:
        seconds, _ = timed(lambda: save_checkpoint(folder, job.net, job.optimizer, State(), {}, job.average))
        return seconds, (folder / CHECKPOINT).stat().st_size


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder, beside what is kept on this machine, and remove it."""
    cache = machine.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield Path(folder)


def judged_in(images: int, classes: int, *, several: bool = False) -> float:
    """Return the seconds that figures and intervals of so many answers take."""
    if several:
        return _several_judged_in(images, classes)
    count = min(images, JUDGED)
    labels = np.arange(count) % classes
    answers = np.full((count, classes), 0.5 / max(1, classes - 1), np.float32)
    answers[np.arange(count), labels] = 0.5 if classes > 1 else 1.0
    seconds, _ = timed(lambda: judge(answers, labels, tuple(map(str, range(classes))), split="test", protocol=""))
    return seconds * images / count


def _several_judged_in(images: int, classes: int) -> float:
    """Return the same of several labels: each resample walks all answers, and of many fewer resamples are drawn."""
    count = min(images, max(LEAST, ANSWERS // classes))
    luck = np.random.default_rng(0)
    labels, answers = luck.integers(0, 2, (count, classes), np.uint8), luck.random((count, classes), np.float32)
    labels[0] = 1  # else there may be none to judge by
    seconds, _ = timed(lambda: judge(answers, labels, tuple(map(str, range(classes))), split="test", protocol=""))
    times = images * resamples_of(images, classes) / (count * resamples_of(count, classes))
    return seconds * times


def refuse_folds(name: str) -> None:
    """Raise UserError for a recipe that tunes fold by fold, and as long as that does better."""
    if name in AFTER_THE_HEAD:
        raise UserError(
            f"what recipe {name} costs cannot be told",
            "it tunes fold by fold, and goes on where that does better; on few photographs it takes minutes",
            "plan --tune head, or --recipe fine_tune",
        )
