"""How fast is training, whole loop included, against the usual loop, a library's step, and the machine's limit?

All sides in one run, turn by turn:
- ours: the loop of `residuum train` as it is, data and augmentation included, in the precision and layout it chooses;
- usual: the same net, eager float32, axes in torch's default order, torchvision's per-image transforms in a DataLoader,
  SGD with momentum;
- library: timm's step on one batch that is there already: its optimiser, in the precision (bfloat16 by autocast) and
  layout in which torch alone is fastest on this machine, as residuum/fastest.py times it;
- limit: the net's convolutions alone, by torch, forward and backward, in that precision, each in its faster layout.

    python benchmarks/train_speed.py ../shared/data/cifar10 --model resnet20
    python benchmarks/train_speed.py ../shared/data/imagenet-sample --model resnet50 --image-size 224 --batch-size 32

With ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 a processor with matrix units (AMX) computes as one without, with
ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 as one that has nothing above AVX2, on all sides.

Writes results/train-speed-MODEL.json. Run it on an otherwise idle machine.
"""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from figures import Figures, asked, flags, ratios, seconds_of, spread, write
from numpy.typing import NDArray
from PIL import Image
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from residuum import fastest, runs
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.records.machine import Timing
from residuum.settings import TrainSettings
from residuum.training.loop import Callbacks, Job, fit
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import Resolved, resolve
from residuum.training.start import Loaders, make_net, open_loaders
from residuum.training.state import State

Turn = Callable[[int], float]
"""Does so many steps and returns the seconds they took."""
Case = tuple[Tensor, Tensor, dict[str, int]]
"""A convolution: input, weights, and how."""
ORDERS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
KEPT_TO = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables by which all sides compute as on a lesser processor."""
STARTING = 2
"""Steps of ours that are not counted in a turn: there its workers start, which they do once in a run."""

# --- the usual loop -----------------------------------------------------------------------------

NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class UsualPictures(Dataset[tuple[Tensor, int]]):
    """CIFAR pictures as torchvision.datasets.CIFAR10 serves them: decoded arrays in memory, transformed one by one."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.pixels, self.labels = pixels, labels
        crop = transforms.RandomCrop(pixels.shape[1], padding=4)
        self.transform = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALISE])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def usual_pictures(resolved: Resolved, loaders: Loaders) -> Dataset[tuple[Tensor, int]]:
    """Return the training pictures as the usual scripts serve them."""
    if loaders["train"].images is not None:
        return UsualPictures(loaders["train"].images.numpy(), loaders["train"].split.labels)
    crop = transforms.RandomResizedCrop(resolved.image_size)
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALISE]
    return ImageFolder(resolved.data.source, transforms.Compose(steps))


def usual_steps(resolved: Resolved, loaders: Loaders) -> Iterator[None]:
    """Yield after each step of the usual loop."""
    net = ResNet(resolved.spec).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        usual_pictures(resolved, loaders),
        resolved.recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=resolved.compute.threads,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()  # the usual running average
            yield


# --- a library's step ---------------------------------------------------------------------------


def library_steps(resolved: Resolved, how: Timing) -> Iterator[None]:
    """Yield after each step as timm's train.py does it, with --amp --amp-dtype bfloat16 and --channels-last where these
    are faster."""
    net = ResNet(resolved.spec).train().to(memory_format=ORDERS[how.layout])
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    size, batch = resolved.image_size, resolved.recipe.batch_size
    images = torch.randn(batch, 3, size, size).to(memory_format=ORDERS[how.layout])
    labels = torch.randint(0, resolved.spec.num_classes, (batch,))
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=how.precision == "bfloat16"):
            loss = cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        yield


# --- ours ---------------------------------------------------------------------------------------


class Ours:
    """Our loop, continued from turn to turn."""

    def __init__(self, resolved: Resolved, loaders: Loaders) -> None:
        net = make_net(resolved)
        resolved.compute.place(net)
        optimizer = make_optimizer(net, resolved.recipe, resolved.compute.dtype)
        forward = make_forward(net, resolved.compute)
        self.job = Job(net, forward, optimizer, resolved.recipe, loaders["train"], resolved.compute, seed=0)
        self.state = State()
        self.ends: list[float] = []
        self.callbacks = Callbacks(lambda _: None, lambda _: None, dict, self._step_ended)

    def steps(self, count: int) -> float:
        """Do a few steps of the real loop, then `count` more, and return the seconds of those."""
        self.ends.clear()
        recipe = dataclasses.replace(self.job.recipe, iterations=self.state.step + STARTING + count)
        fit(dataclasses.replace(self.job, recipe=recipe), self.state, self.callbacks, save_seconds=1e9)
        return self.ends[-1] - self.ends[STARTING - 1]

    def _step_ended(self) -> None:
        self.ends.append(time.perf_counter())


# --- the limit ----------------------------------------------------------------------------------


class Limit:
    """The net's convolutions one by one, forward and backward, in the precision given, each in its faster layout."""

    def __init__(self, resolved: Resolved, precision: str) -> None:
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.cases = [(count, *self._faster(case, dtype)) for case, count in convolutions(resolved).items()]

    @classmethod
    def _faster(cls, case: tuple[object, ...], dtype: torch.dtype) -> Case:
        cases = [cls._case(case, dtype, order) for order in ORDERS.values()]
        return min(cases, key=lambda one: min(seconds_of(lambda: once(*one)) for _ in range(4)))

    @staticmethod
    def _case(case: tuple[object, ...], dtype: torch.dtype, order: torch.memory_format) -> Case:
        shape, weight, stride, padding, groups, is_first = case
        x, w = (torch.randn(*size, dtype=dtype).to(memory_format=order) for size in (shape, weight))
        how = {"stride": stride, "padding": padding, "groups": groups}
        return x.requires_grad_(not is_first), w.requires_grad_(), how

    def steps(self, _count: int) -> float:
        """Return the seconds that one step's convolutions take: each kind timed thrice, the median counted."""
        total = 0.0
        for count, x, w, how in self.cases:
            total += count * statistics.median(seconds_of(lambda x=x, w=w, how=how: once(x, w, how)) for _ in range(3))
        return total


def once(x: Tensor, w: Tensor, how: dict[str, int]) -> None:
    """One convolution, forward and backward; the gradient that comes in is the output itself."""
    y = conv2d(x, w, **how)
    torch.autograd.grad(y, [t for t in (x, w) if t.requires_grad], y.detach())


def convolutions(resolved: Resolved) -> Counter[tuple[object, ...]]:
    """Count the net's convolutions by input, weight, stride, padding, groups, and whether x needs no gradient."""
    found: Counter[tuple[object, ...]] = Counter()
    with torch.device("meta"):
        net = ResNet(resolved.spec)
        x = torch.empty(resolved.recipe.batch_size, 3, resolved.image_size, resolved.image_size)

    def see(module: nn.Conv2d, inputs: tuple[Tensor], _output: Tensor) -> None:
        shape = tuple(inputs[0].shape)
        how = (module.stride[0], module.padding[0], module.groups, not found)
        found[(shape, tuple(module.weight.shape), *how)] += 1

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(see)
    net(x)
    return found


# --- measuring ----------------------------------------------------------------------------------


def measure(resolved: Resolved, rounds: int, steps: int) -> Figures:
    """Alternate the sides and return images/s of each turn, and our ratio to the others turn by turn."""
    loaders = open_loaders(resolved)
    torchs = fastest.measure(own=False).best()
    usual, library = usual_steps(resolved, loaders), library_steps(resolved, torchs)
    ours, limit = Ours(resolved, loaders), Limit(resolved, torchs.precision)
    sides: dict[str, Turn] = {
        "usual": lambda n: seconds_of(lambda: list(itertools.islice(usual, n))),
        "library": lambda n: seconds_of(lambda: list(itertools.islice(library, n))),
        "ours": ours.steps,
    }
    for side in sides.values():
        side(3)  # warm-up: workers started, kernels chosen
    limit.steps(1)
    batch = resolved.recipe.batch_size
    speeds: dict[str, list[float]] = {name: [] for name in (*sides, "limit")}
    for _ in range(rounds):
        for name, side in sides.items():
            speeds[name].append(batch * steps / side(steps))
        speeds["limit"].append(batch / limit.steps(1))
        print({name: round(values[-1], 1) for name, values in speeds.items()}, flush=True)
    compared = {name: spread(ratios(speeds["ours"], speeds[name])) for name in ("usual", "library", "limit")}
    return {
        "model": resolved.model,
        "image_size": resolved.image_size,
        "batch_size": batch,
        "rounds": rounds,
        "steps_a_round": steps,
        "compute": {name: getattr(resolved.compute, name) for name in ("precision", "layout", "threads")},
        "library": {"precision": torchs.precision, "layout": torchs.layout},
        "images_per_s": {name: spread(values) for name, values in speeds.items()},
        "instructions_up_to": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "ratio": compared["usual"],
        "ratio_library": compared["library"],
        "ratio_limit": compared["limit"],
    }


def start_and_memory(settings: TrainSettings) -> dict[str, float]:
    """Run the command until its first steps are reported; return seconds from start, and peak memory in MiB."""
    told = {name: getattr(settings, name) for name in ("model", "batch_size", "validation", "image_size")}
    words = [sys.executable, "-m", "residuum", "train", str(settings.data), *flags(**told)]
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / runs.METRICS
        started = time.perf_counter()
        process = subprocess.Popen([*words, "--out", str(metrics.parent)], stderr=subprocess.DEVNULL)
        while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        process.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(process.pid, 0)
    return {"first_steps_s": round(seconds, 2), "peak_memory_mib": round(usage.ru_maxrss / 1024)}


def in_classes(folder: Path, place: Path) -> Path:
    """Copy a flat folder of photographs into two classes, ten times over, so that there are enough for some steps."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpeg", ".jpg"})
    if not files:
        return folder
    for turn in range(10):
        for index, file in enumerate(files):
            target = place / f"class{index % 2}" / f"{turn}-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return place


def main(
    data: Path,
    *,
    model: str = "resnet20",
    image_size: int | None = None,
    batch_size: int = 128,
    rounds: int = 7,
    steps: int = 40,
) -> None:
    told: Figures = {"model": model, "batch_size": batch_size, "image_size": image_size}
    with tempfile.TemporaryDirectory() as place:
        settings = TrainSettings(str(in_classes(data, Path(place))), **told, validation=0.0)
        found = measure(resolve(settings), rounds, steps)
        found |= start_and_memory(settings)
    print(json.dumps(found, indent=1))
    command = " ".join(["python benchmarks/train_speed.py DATA", *flags(**told)])
    kept_to = [f"{name}={os.environ[name]}" for name in KEPT_TO if name in os.environ]
    isa = os.environ.get(KEPT_TO[0])
    write(f"train-speed-{model}{'-' + isa.lower() if isa else ''}", " ".join([*kept_to, command]), found)


if __name__ == "__main__":
    asked(main)
