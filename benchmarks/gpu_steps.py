"""What the parts of gpu.py share: how much is done, how our steps are taken, and how they are timed."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from residuum import machine
from residuum.compute import Compute
from residuum.data.batches import Loader
from residuum.data.share import TrainingPlan
from residuum.files import write_json
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.recipe import Recipe
from residuum.records.codec import to_json
from residuum.settings import TrainSettings
from residuum.training.captured import captured
from residuum.training.loop import Job, Steps, Taken
from residuum.training.optimizer import make_optimizer
from residuum.training.state import State

IS_GPU = torch.cuda.is_available()
UNCOUNTED = 5
"""Steps before a timing: in them ours is recorded, and cuDNN's algorithms are chosen."""


class Net(NamedTuple):
    """A net whose steps are timed; pictures of DATA, or made-up ones of `side` pixels."""

    name: str
    batch: int
    steps: int
    side: int | None = None
    choices: dict[str, Any] = {}  # noqa: RUF012


class Form(NamedTuple):
    """How much is done."""

    nets: tuple[Net, ...]
    rounds: int
    pictures: int
    workers: int
    threads: int | None
    seeds_beside: tuple[int, ...]
    fast: dict[str, Any]
    fast_seeds: tuple[int, ...]
    paper: dict[str, Any]
    paper_runs: tuple[tuple[tuple[str, int], ...], ...]
    """(model, seed) that are trained side by side, in groups one after another."""

    def of(self, names: Collection[str]) -> Self:
        """Return the form with these nets alone, and no seeds of another side by side."""
        groups = (tuple(run for run in group if run[0] in names) for group in self.paper_runs)
        nets = tuple(net for net in self.nets if net.name in names)
        return self._replace(nets=nets, seeds_beside=(), paper_runs=tuple(filter(None, groups)))


LARGE = Form(
    nets=(Net("resnet20", 128, 60), Net("resnet50", 256, 8, side=224), Net("resnet110", 128, 15)),
    rounds=5,
    pictures=2048,
    workers=min(16, machine.cores()),
    threads=None,
    seeds_beside=(1, 2, 4, 8),
    fast={},
    fast_seeds=(0, 1, 2, 3, 4, 5),
    paper={},
    paper_runs=(
        tuple((model, seed) for seed in (1, 2) for model in ("resnet20", "plain20")),
        (("resnet56", 1), ("plain56", 1)),
        (("resnet56", 2), ("plain56", 2)),
        (("resnet20", 3), ("plain20", 3)),
    ),
)
SMALL = Form(
    nets=(
        Net("resnet20", 16, 2, choices={"blocks": (1, 1, 1)}),
        Net("resnet50", 2, 1, side=32, choices={"blocks": (1, 1, 1, 1), "widths": (8, 8, 8, 8)}),
    ),
    rounds=1,
    pictures=16,
    workers=1,
    threads=1,
    seeds_beside=(1, 2),
    fast={"epochs": 1, "widths": (16, 32, 32)},
    fast_seeds=(0, 1),
    paper={"epochs": 2, "blocks": (1, 1, 1)},
    paper_runs=((("resnet20", 1), ("plain20", 1)),),
)


@dataclasses.dataclass(frozen=True)
class Part:
    """What a part is given: the data, how much to do, when to be done, and where its results go."""

    data: str
    form: Form
    until: float
    results: Path

    def write(self, name: str, **found: Any) -> None:
        """Write results/gpu-NAME.json, and say so."""
        device = {"name": device_name(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        if IS_GPU:
            device |= {"memory": torch.cuda.get_device_properties(0).total_memory}
        about = {"command": "python benchmarks/gpu.py CIFAR10", "small": self.form is SMALL, "device": device}
        environment = to_json(machine.environment())
        write_json(self.results / f"gpu-{name}.json", {**about, "environment": environment, **found})
        print(f"written: gpu-{name}.json", flush=True)

    def where_and_when(self) -> dict[str, Any]:
        """Return what a run says of itself where a file holds those of several sessions."""
        return {"device": device_name(), "date": machine.environment().date}

    def settings(self, **changes: Any) -> TrainSettings:
        """Return settings that keep no pictures aside."""
        return TrainSettings(self.data, validation=0.0, workers=self.form.workers, threads=self.form.threads, **changes)


def device_name() -> str:
    return torch.cuda.get_device_name() if IS_GPU else "processor"


def synchronised() -> float:
    """Wait for the device and return the time, in seconds."""
    if IS_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def placed(net: ResNet, recipe: Recipe, loader: Loader, compute: Compute, seed: int) -> Job:
    """Return a new net's job."""
    compute.place(net).train()
    optimizer = make_optimizer(net, recipe, compute.dtype)
    return Job(net, make_forward(net, compute), optimizer, recipe, loader, compute, seed)


def steps_of(job: Job, stop: int, steps: Steps = captured) -> Iterator[Taken]:
    """Take our steps from the first to `stop`."""
    return steps(job, State(), TrainingPlan(job.seed, len(job.loader.split), job.recipe.batch_size, 0, stop))


@contextlib.contextmanager
def chosen_by_timing(allow_tf32: bool = True) -> Iterator[None]:
    """Let cuDNN take whatever algorithms are fastest, as the usual scripts do."""
    if not IS_GPU:
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=allow_tf32):
        yield


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, range and n."""
    spread = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {**{name: round(value, 3) for name, value in spread.items()}, "n": len(values)}


# --- several nets side by side -------------------------------------------------------------------


def together(jobs: Sequence[Job], stop: int) -> Iterator[list[Taken]]:
    """Take a step of each job a turn, each on a stream of its own, so that small nets share the device."""
    streams = [torch.cuda.Stream() if IS_GPU else None for _ in jobs]
    walks = [steps_of(job, stop) for job in jobs]
    for stream in filter(None, streams):
        stream.wait_stream(torch.cuda.current_stream())
    for _ in range(stop):
        taken = []
        for stream, walk in zip(streams, walks, strict=True):
            with torch.cuda.stream(stream):
                taken.append(next(walk))
        yield taken


def seconds_a_turn(walk: Iterator[Any], turns: int) -> float:
    """Return how long a turn takes, after some that are not counted."""
    for _ in range(UNCOUNTED):
        next(walk)
    started = synchronised()
    for _ in range(turns):
        next(walk)
    return (synchronised() - started) / turns
