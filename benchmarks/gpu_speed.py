"""Part speed: training steps a second, turn by turn on one device, data and augmentation included but the library's:
- ours: as `residuum train` takes them (training/captured.py); once more with cuDNN's algorithms chosen by timing, which
  are faster but other ones each time; and launched kernel by kernel;
- usual: eager float32 (TF32, as torch has it) in torch's default layout, pictures transformed one by one in a
  DataLoader's processes. The transforms are written out here, without torchvision, which may be missing; they do less
  work than its own;
- library: timm's step (bfloat16 autocast, channels last, SGD with Nesterov's momentum, no decay of biases and norms,
  cuDNN's algorithms chosen by timing), written out, on one batch that is there already.
Then several seeds of a small net side by side, each on a stream of its own.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gpu_steps import (
    IS_GPU,
    UNCOUNTED,
    Net,
    Part,
    chosen_by_timing,
    placed,
    seconds_a_turn,
    steps_of,
    summary,
    synchronised,
    together,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from residuum.compute import Compute, choose_compute
from residuum.data.batches import Loader
from residuum.data.contract import Split
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.recipe import Task
from residuum.recipes.named import RECIPES
from residuum.training.captured import captured
from residuum.training.loop import one_by_one
from residuum.training.resolve import resolve
from residuum.training.start import open_loaders

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
