"""What a run consists of, each part timed for a few seconds on some of its pictures, by the code that the run uses."""

import hashlib
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import machine
from residuum.data.batches import SMALL, Loader, Served, training_plan
from residuum.data.contract import Split
from residuum.data.decode import decode, evaluation_view
from residuum.data.preprocess import measure as mean_and_spread
from residuum.data.share import TrainingPlan
from residuum.data.split import training_and_validation
from residuum.errors import UserError
from residuum.evaluation.evaluate import probabilities
from residuum.evaluation.metrics import judge
from residuum.fastest import multiply_adds_per_s
from residuum.forecast.memory import peak_memory, workers_memory
from residuum.forecast.power import Energy, measured_energy
from residuum.models.count import cost
from residuum.models.plan import make_forward
from residuum.recipe import Recipe
from residuum.runs import CHECKPOINT
from residuum.training.average import average_of
from residuum.training.captured import steps_for
from residuum.training.loop import Job, mixed_batch, one_by_one, to_training, train_step
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import Resolved
from residuum.training.sharing import sharing_cores
from residuum.training.start import EVALUATION_BATCH, make_net, weights_there
from residuum.training.state import State, save_checkpoint

T = TypeVar("T")
SECONDS = 2.0
"""So long each part is timed, and for at least FEWEST steps."""
FEWEST = 3
LONG = 3.0
"""A step that would take longer, in s, is timed with fewer pictures, but not below LEAST."""
LEAST = 8
MOST = 1 << 16
"""Steps that are planned; time ends them sooner."""
PLACES = 16
LOOKED_AT = 64
"""Of so many pictures reading and decoding is timed."""
JUDGED = 2000
TINY_RATE = 1e-8
"""The learning rate while it is timed: a net's first steps at the schedule's peak could overflow."""


@dataclass(frozen=True)
class Source:
    """What pictures take before a net sees them, in seconds a picture."""

    streamed: bool
    """Whether pictures are read and decoded each time they are shown; else they lie decoded in memory."""
    reading: float
    """Fetching the bytes."""
    bytes: float
    """Of an encoded picture."""
    hashing: float
    decoding: float
    """In full, on one core."""
    serving: float
    """Training batches, all that decode together."""
    serving_core: float
    """The same, on one core."""


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
    device: float
    """A step's part that is not decoding."""
    validating: float
    judging: float
    checkpoint: float
    """Writing one, in s."""
    checkpoint_bytes: int
    model_bytes: int
    memory: int
    batch: int
    """What was measured in."""
    energy: Energy


# --- pictures -----------------------------------------------------------------------------------


def sample(split: Split, count: int) -> Split:
    """Return about `count` of the pictures: neighbours at places spread over the split."""
    places = np.linspace(0, len(split) - 1, PLACES).astype(int)
    rows = np.unique(np.minimum(places[:, None] + np.arange(-(-count // PLACES)), len(split) - 1))
    if len(rows) < min(count, len(split)):
        rows = np.arange(min(count, len(split)))
    return split.take(rows)


def loader_of(split: Split, resolved: Resolved, batch_size: int) -> Loader:
    """Return what serves these pictures as the run would, decoding small ones now."""
    size, resize = resolved.image_size, resolved.resize_to
    images: NDArray[np.uint8] | None = None
    if size <= SMALL:
        decoded = (decode(split.pictures.encoded(row), split.pictures.name(row)) for row in range(len(split)))
        images = np.stack([evaluation_view(pixels, size, resize, resolved.interpolation) for pixels in decoded])
    how = mean_and_spread(images, size, resize, resolved.recipe)
    device = resolved.compute.device
    held = None if images is None else torch.from_numpy(images).to(device)
    return Loader(split, how, held, device, resolved.settings.workers or 0, batch_size)


def in_training(loader: Loader, resolved: Resolved) -> Loader:
    """Return what serves the pictures at training's size."""
    return replace(loader, preprocessing=replace(loader.preprocessing, image_size=resolved.training_size))


def source_of(resolved: Resolved, loader: Loader) -> Source:
    """Time reading, looking at and serving training pictures."""
    pictures = training_and_validation(resolved.data, resolved.cut)[0].pictures
    rows = np.linspace(0, len(pictures) - 1, min(LOOKED_AT, len(pictures))).astype(int).tolist()
    read, encoded = _timed(lambda: [pictures.encoded(row) for row in rows])
    held = [one if isinstance(one, bytes) else one.tobytes() for one in encoded]
    hashed, _ = _timed(lambda: [hashlib.sha256(one) for one in held])
    names = map(pictures.name, rows)
    looked, _ = _timed(lambda: [decode(one, name) for one, name in zip(encoded, names, strict=True)])
    serving = _serving(resolved, in_training(loader, resolved))
    return Source(
        streamed=loader.images is None,
        reading=read / len(rows),
        bytes=sum(map(len, held)) / len(rows),
        hashing=hashed / len(rows),
        decoding=looked / len(rows),
        serving=serving,
        serving_core=serving * (max(1, min(loader.workers, machine.cores())) if loader.images is None else 1),
    )


def _serving(resolved: Resolved, loader: Loader) -> float:
    """Return the seconds a training picture takes to be made, with no net to wait for."""
    batch = min(loader.batch_size, max(LEAST, len(loader.split) // 4))
    recipe = replace(resolved.recipe, batch_size=batch)
    plan = _many_steps(loader, resolved.settings.seed, recipe, 0)
    ahead = 2 * loader.workers + 1 if loader.images is None else 1  # batches that workers make before one is taken
    turns = enumerate(loader.batches(plan, resolved.recipe.augmentation, resolved.settings.seed), 1)
    began = 0.0
    for index, _ in turns:
        if index == ahead:
            _wait(resolved.compute.device)
            began = time.perf_counter()
        if index > ahead and (time.perf_counter() - began > SECONDS / 2 and index - ahead >= FEWEST):
            break
    _wait(resolved.compute.device)
    return (time.perf_counter() - began) / ((index - ahead) * batch)


# --- the net ------------------------------------------------------------------------------------


def net_of(resolved: Resolved, loader: Loader, batch: int) -> Net:
    """Time steps of `batch` pictures, validation, judgement and a checkpoint.

    Raises:
        UserError: a picture cannot be read.
    """
    net = make_net(resolved)
    resolved.compute.place(net)
    forward = make_forward(net, resolved.compute, checkpointing=resolved.settings.checkpointing)
    recipe = replace(resolved.recipe.changed(lr=TINY_RATE), batch_size=batch)
    optimizer = make_optimizer(net, recipe, resolved.compute.dtype)
    seen, average, weights = in_training(loader, resolved), average_of(net, recipe), weights_there(resolved)
    seed, accumulate = resolved.settings.seed, resolved.settings.accumulate
    job = Job(net, forward, optimizer, recipe, seen, resolved.compute, seed, weights, average, accumulate)
    with peak_memory(resolved.compute.device) as evaluating:
        shown = replace(loader, batch_size=EVALUATION_BATCH).take(np.arange(_evaluated(resolved, loader)))
        once_validated, validating = _evaluating(job, shown, resolved, final=False)
    once_judged, judging = _evaluating(job, shown, resolved, final=True)
    first, phases, device, decoding = 0.0, list[Phase](), validating, 0
    watched = peak_memory(resolved.compute.device), measured_energy(on_gpu=_is_gpu(job))
    with sharing_cores(), watched[0] as stepping, watched[1] as energy:
        for start, steps in phases_of(recipe, resolved.training_size) if recipe.iterations else ():
            longer, seconds, decoding = _steps(job, start)
            first, phases = first or longer, [*phases, Phase(steps, seconds)]
    if phases:
        device = phases[-1].seconds if steps_for(job) else _device_alone(job)
    seconds, size = _checkpoint(job)
    model = sum(tensor.nbytes for tensor in net.state_dict().values())
    one_more = max(0, stepping.most - stepping.before - 2 * model) / batch  # gradients and momentum are of the weights
    needed = stepping.most + (resolved.recipe.batch_size - batch) * one_more + decoding
    of_one = max(0, evaluating.most - evaluating.before) / len(shown.split)
    needed = max(needed, evaluating.before + of_one * min(EVALUATION_BATCH, resolved.num_training))
    once = first, once_validated, once_judged
    return Net(tuple(phases), *once, device, validating, judging, seconds, size, model, int(needed), batch, energy)


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
    plan = _many_steps(job.loader, job.seed, job.recipe, start)
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


def _many_steps(loader: Served, seed: int, recipe: Recipe, start: int) -> TrainingPlan:
    """Return a run's steps from `start` on, without an end."""
    return replace(training_plan(loader, seed, recipe, start), stop=start + MOST)


def _device_alone(job: Job) -> float:
    """Return the seconds a picture of steps on one batch that is there."""
    plan = _many_steps(job.loader, job.seed, job.recipe, 0)
    batch = mixed_batch(job, next(job.loader.batches(plan, job.recipe.augmentation, job.seed)))
    to_training(job)
    last = job.recipe.iterations - 1  # where pictures are shown whole
    times = list[float]()
    while len(times) < FEWEST or (sum(times) < SECONDS and len(times) < 100):
        times.append(_timed(lambda: train_step(job, batch, last, TINY_RATE))[0])
    return sum(times) / len(times) / job.recipe.batch_size


def _evaluated(resolved: Resolved, loader: Loader) -> int:
    """Return how many pictures judging is timed on: as many as take about a second."""
    enough = EVALUATION_BATCH
    if resolved.compute.device.type == "cpu":
        enough = int(multiply_adds_per_s() * SECONDS / 2 / cost(resolved.spec, resolved.image_size)["multiply_adds"])
    return min(max(LEAST, enough), EVALUATION_BATCH, len(loader.split))


def _evaluating(job: Job, shown: Loader, resolved: Resolved, *, final: bool) -> tuple[float, float]:
    """Return by how many s the first pass takes longer, and the seconds a picture of validation, or of the final
    judgement."""
    compute, forward, views = job.compute, job.forward, resolved.recipe.views if final else "single"
    if final and resolved.recipe.judged_in == "float32":
        compute, forward = replace(compute, precision="float32"), job.net
    first, seconds = (_timed(lambda: probabilities(job.net, shown, compute, views, forward))[0] for _ in range(2))
    return max(0.0, first - seconds), seconds / len(shown.split)


def _checkpoint(job: Job) -> tuple[float, int]:
    """Write a checkpoint beside what is kept on this machine: seconds and bytes."""
    cache = machine.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        seconds, _ = _timed(lambda: save_checkpoint(Path(folder), job.net, job.optimizer, State(), {}, job.average))
        return seconds, (Path(folder) / CHECKPOINT).stat().st_size


def judged_in(images: int, classes: int) -> float:
    """Return the seconds that figures and intervals of so many answers take."""
    count = min(images, JUDGED)
    labels = np.arange(count) % classes
    answers = np.full((count, classes), 0.5 / max(1, classes - 1), np.float32)
    answers[np.arange(count), labels] = 0.5 if classes > 1 else 1.0
    seconds, _ = _timed(lambda: judge(answers, labels, tuple(map(str, range(classes))), split="test", protocol=""))
    return seconds * images / count


def refuse_folds(name: str) -> None:
    """Raise UserError for a recipe that tunes fold by fold, and as long as that does better."""
    if name in {"tune_last", "tune_all"}:
        raise UserError(
            f"what recipe {name} costs cannot be told",
            "it tunes fold by fold, and goes on where that does better; on few photographs it takes minutes",
            "plan --tune head, or --recipe fine_tune",
        )


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _is_gpu(job: Job) -> bool:
    return job.compute.device.type == "cuda"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
