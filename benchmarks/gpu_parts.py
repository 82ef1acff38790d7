"""The parts of gpu.py, each in a process of its own: python benchmarks/gpu_parts.py speed DATA --seconds 150

speed: training steps a second, turn by turn on one device, data and augmentation included but for the library's:
- ours: as `residuum train` takes them (training/captured.py); once more with cuDNN's algorithms chosen by timing, which
  are faster but other ones each time; and launched kernel by kernel;
- usual: eager float32 (TF32, as torch has it) in torch's default layout, pictures transformed one by one in a
  DataLoader's processes. The transforms are written out here, without torchvision, which may be missing; they do less
  work than its own;
- library: timm's step (bfloat16 autocast, channels last, SGD with Nesterov's momentum, no decay of biases and norms,
  cuDNN's algorithms chosen by timing), written out, on one batch that is there already.
Then several seeds of a small net side by side, each on a stream of its own.

fast: recipe fast, from the whitening of its stem to the last step, and judged with six views; a run before the first is
not counted. paper: the paper's 64,000 iterations, as many nets side by side as are foreseen to finish in time.
"""

import argparse
import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from residuum import machine
from residuum.compute import Compute, choose_compute
from residuum.data.batches import Loader, TrainingPlan
from residuum.data.contract import Split
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from residuum.evaluation.evaluate import probabilities
from residuum.files import write_json
from residuum.models.named import named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.recipe import Recipe, Task
from residuum.recipes.named import RECIPES
from residuum.records.codec import to_json
from residuum.settings import TrainSettings
from residuum.training.captured import captured
from residuum.training.loop import Callbacks, Job, Steps, Taken, fit, one_by_one
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import resolve
from residuum.training.start import Loaders, make_net, open_loaders, whiten_stem
from residuum.training.state import State

IS_GPU = torch.cuda.is_available()
UNCOUNTED = 5
"""Steps before a timing: in them ours is recorded, and cuDNN's algorithms are chosen."""
FAST_PUBLISHED = {"seconds": 2.59, "accuracy": 0.9401, "device": "A100", "source": "Jordan 2024, airbench94_muon"}
PAPER = {"resnet20": 0.0875, "resnet56": 0.0697}
"""Test errors of He et al. 2015, Table 6; plain nets have none there."""


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


LARGE = Form(
    nets=(Net("resnet20", 128, 100), Net("resnet110", 128, 40), Net("resnet50", 256, 10, side=224)),
    rounds=5,
    pictures=2048,
    workers=min(16, machine.cores()),
    threads=None,
    seeds_beside=(1, 2, 4, 8),
    fast={},
    fast_seeds=(0, 1, 2, 3, 4, 5),
    paper={},
    paper_runs=(
        tuple((model, seed) for seed in (1, 2, 3) for model in ("resnet20", "plain20")),
        (("resnet56", 1), ("plain56", 1)),
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
        device = {"name": "processor", "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        if IS_GPU:
            device |= {"name": torch.cuda.get_device_name(), "memory": torch.cuda.get_device_properties(0).total_memory}
        about = {"command": "python benchmarks/gpu.py CIFAR10", "small": self.form is SMALL, "device": device}
        environment = to_json(machine.environment())
        write_json(self.results / f"gpu-{name}.json", {**about, "environment": environment, **found})
        print(f"written: gpu-{name}.json", flush=True)

    def settings(self, **changes: Any) -> TrainSettings:
        """Return settings that keep no pictures aside."""
        return TrainSettings(self.data, validation=0.0, workers=self.form.workers, threads=self.form.threads, **changes)


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


# --- speed: the other sides ----------------------------------------------------------------------


class UsualPictures(Dataset[tuple[Tensor, int]]):
    """Decoded pictures in memory, padded by 4, cropped, mirrored and normalised one by one."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.pixels, self.labels, self.side = pixels, labels, pixels.shape[1]
        self.mean, self.std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        top, left, mirrored = torch.randint(0, 9, (3,)).tolist()
        picture = torch.from_numpy(self.pixels[index]).permute(2, 0, 1)
        picture = nn.functional.pad(picture, (4, 4, 4, 4))[:, top : top + self.side, left : left + self.side]
        picture = (picture.flip(2) if mirrored % 2 else picture).float() / 255
        return (picture - self.mean[:, None, None]) / self.std[:, None, None], int(self.labels[index])


def usual_steps(net: ResNet, pictures: UsualPictures, batch: int, workers: int, device: torch.device) -> Iterator[None]:
    """Yield after each step of the usual loop."""
    net = net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    how = {"shuffle": True, "drop_last": True, "num_workers": workers, "persistent_workers": True}
    loader = DataLoader(pictures, batch, pin_memory=IS_GPU, **how)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = cross_entropy(net(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            loss.backward()
            optimizer.step()
            loss.item()  # the usual running average
            yield


def library_steps(net: ResNet, batch: int, side: int, device: torch.device) -> Iterator[None]:
    """Yield after each step as timm's train.py takes it with --amp --amp-dtype bfloat16 --channels-last."""
    net = net.to(device, memory_format=torch.channels_last).train()
    groups = [
        {"params": [p for p in net.parameters() if (p.dim() > 1) == decays], "weight_decay": 1e-4 * decays}
        for decays in (True, False)
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    images = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, net.spec.num_classes, (batch,), device=device)
    while True:
        with torch.autocast(device.type, torch.bfloat16):
            loss = cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield


# --- speed ---------------------------------------------------------------------------------------


def training_pictures(part: Part, net: Net, compute: Compute) -> tuple[Loader, NDArray[np.uint8]]:
    """Return the pictures as our loop reads them, and in the processor's memory as the usual one does."""
    resolved = resolve(part.settings(model="resnet20", recipe="he2015_cifar"))
    loader = open_loaders(resolved)["train"]
    assert loader.images is not None
    if net.side is None:
        return loader, loader.images.cpu().numpy()
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (part.form.pictures, net.side, net.side, 3), dtype=np.uint8)
    split = Split(loader.split.pictures, random.integers(0, 10, len(pixels)))
    mean, std = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    how = Preprocessing(net.side, net.side, mean, std)
    return Loader(split, how, torch.from_numpy(pixels).to(compute.device), compute.device), pixels


def speed_of(part: Part, net: Net, compute: Compute) -> dict[str, Any]:
    """Alternate the sides; return images/s of each turn, and our ratio to the others turn by turn."""
    loader, pixels = training_pictures(part, net, compute)
    side = pixels.shape[1]
    spec = named(net.name, 10, **net.choices)
    task = Task(num_pictures=len(pixels), image_size=side, depth=spec.depth, batch_size=net.batch)
    recipe = RECIPES["he2015_cifar"](task)
    ours, timed, single = (
        steps_of(placed(ResNet(spec), recipe, loader, compute, seed=0), 10**6, steps)
        for steps in (captured, captured, one_by_one)
    )
    pictures = UsualPictures(pixels, loader.split.labels)
    sides = {
        "ours": (ours, contextlib.nullcontext),
        "ours, by timing": (timed, lambda: chosen_by_timing(allow_tf32=False)),
        "ours, not recorded": (single, contextlib.nullcontext),
        "usual": (usual_steps(ResNet(spec), pictures, net.batch, part.form.workers, compute.device), chosen_by_timing),
        "library": (library_steps(ResNet(spec), net.batch, side, compute.device), chosen_by_timing),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-1, part.form.rounds):  # the first warms up
        for name, (steps, context) in sides.items():
            with context():
                for _ in range(UNCOUNTED if turn < 0 else 0):
                    next(steps)
                started = synchronised()
                for _ in range(net.steps):
                    next(steps)
                speeds[name].append(net.batch * net.steps / (synchronised() - started))
        print(net.name, {name: round(values[-1]) for name, values in speeds.items()}, flush=True)
        if time.monotonic() > part.until and turn >= 0:
            break
    sides["usual"][0].close()  # its threads must not ask anything of the device while another step is recorded
    kept = {name: values[1:] for name, values in speeds.items()}
    return {
        "model": net.name,
        "image_size": side,
        "batch_size": net.batch,
        "steps_a_turn": net.steps,
        "images_per_s": {name: summary(values) for name, values in kept.items()},
        "ratio_of_ours": {
            name: summary([a / b for a, b in zip(kept["ours"], values, strict=True)])
            for name, values in kept.items()
            if name != "ours"
        },
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, range and n."""
    spread = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {**{name: round(value, 3) for name, value in spread.items()}, "n": len(values)}


def speed(part: Part) -> None:
    compute = choose_compute(threads=part.form.threads)
    for net in part.form.nets:
        part.write(f"speed-{net.name}", **speed_of(part, net, compute))
    smallest = part.form.nets[0]
    loader, _ = training_pictures(part, smallest, compute)
    found = {}
    for count in part.form.seeds_beside:
        spec = named(smallest.name, 10, **smallest.choices)
        task = Task(num_pictures=len(loader.split), image_size=32, depth=spec.depth, batch_size=smallest.batch)
        recipe = RECIPES["he2015_cifar"](task)
        walk = together([placed(ResNet(spec), recipe, loader, compute, seed) for seed in range(count)], 10**6)
        found[str(count)] = round(count * smallest.batch / seconds_a_turn(walk, smallest.steps), 1)
        part.write("seeds", model=smallest.name, images_per_s_of_so_many_seeds=found)


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


# --- recipe fast ---------------------------------------------------------------------------------


def fast(part: Part) -> None:
    runs: list[dict[str, Any]] = []
    loaders = open_loaders(resolve(part.settings(recipe="fast", **part.form.fast)))
    for seed in part.form.fast_seeds:
        found = fast_run(part, loaders, seed)
        print(found, flush=True)
        if seed != part.form.fast_seeds[0]:
            runs.append(found)
            columns = {name: summary([run[name] for run in runs]) for name in ("accuracy", "seconds", "judged_s")}
            part.write("fast", published=FAST_PUBLISHED, summary=columns, runs=runs)
        if time.monotonic() > part.until:
            break


def fast_run(part: Part, loaders: Loaders, seed: int) -> dict[str, Any]:
    """Train recipe fast once and judge it."""
    resolved = resolve(part.settings(recipe="fast", seed=seed, **part.form.fast))
    job = placed(make_net(resolved), resolved.recipe, loaders["train"], resolved.compute, seed)
    assert isinstance(job.net, ResNet)
    started = synchronised()
    whiten_stem(job.net, loaders["train"], seed)
    fit(job, State(), Callbacks(lambda _: None, lambda _: None, dict, lambda: None), 1e9, captured)
    trained = synchronised()
    right = accuracy(job, loaders)
    return {
        "seed": seed,
        "seconds": trained - started,
        "judged_s": synchronised() - trained,
        "accuracy": right,
    }


def accuracy(job: Job, loaders: Loaders) -> float:
    """Return the share of test pictures, seen as the recipe says, that the net names."""
    answers = probabilities(job.net, loaders["test"], job.compute, job.recipe.views, job.forward)
    return float((answers.argmax(1) == loaders["test"].split.labels).mean())


# --- the paper's runs ----------------------------------------------------------------------------


def paper(part: Part) -> None:
    done: list[dict[str, Any]] = []
    left_out: list[str] = []
    loaders = open_loaders(resolve(part.settings(model="resnet20", recipe="he2015_cifar")))
    for group in part.form.paper_runs:
        kept, started = list(group), time.monotonic()
        while kept:
            jobs = [paper_job(part, loaders, model, seed) for model, seed in kept]
            stop = jobs[0].recipe.iterations
            walk = together(jobs, stop)
            tried = min(200, stop // 4)
            foreseen = seconds_a_turn(walk, tried) * (stop - tried - UNCOUNTED)
            if time.monotonic() + foreseen + 10 < part.until:
                break
            left_out.append(f"{kept.pop()} would have ended {foreseen:.0f} s later, {len(kept) + 1} side by side")
        if kept:
            for turn, taken in enumerate(walk):
                if turn % 500 == 0:
                    synchronised()
                    for _, read in taken:
                        read()  # a loss that is not finite ends the part
            synchronised()
            seconds = round(time.monotonic() - started, 1)
            for (model, seed), job in zip(kept, jobs, strict=True):
                found = paper_result(model, seed, job, loaders)
                done.append({**found, "side_by_side": len(kept), "seconds_together": seconds})
        part.write("paper", left_out=left_out, runs=done)


def paper_job(part: Part, loaders: Loaders, model: str, seed: int) -> Job:
    resolved = resolve(part.settings(model=model, recipe="he2015_cifar", seed=seed, **part.form.paper))
    return placed(make_net(resolved), resolved.recipe, loaders["train"], resolved.compute, seed)


def paper_result(model: str, seed: int, job: Job, loaders: Loaders) -> dict[str, Any]:
    """Judge a net once, in float32, as `residuum train` does."""
    judged = dataclasses.replace(job, forward=job.net, compute=dataclasses.replace(job.compute, precision="float32"))
    right = accuracy(judged, loaders)
    return {
        "model": model,
        "seed": seed,
        "iterations": job.recipe.iterations,
        "test_error": round(1 - right, 4),
        "papers_test_error": PAPER.get(model),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "fast", "paper"])
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    form = SMALL if options.small else LARGE
    part = Part(options.data, form, time.monotonic() + options.seconds, options.results)
    {"speed": speed, "fast": fast, "paper": paper}[options.part](part)


if __name__ == "__main__":
    main()
