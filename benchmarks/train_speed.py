"""How much faster is training here than in the usual loop? Both sides in one run, turn by turn.

Ours: the training loop of `residuum train` as it is, data and augmentation included, in the precision and layout it
chooses. The usual: the same net, eager float32, axes in torch's default order, torchvision's per-image transforms
(RandomCrop with padding 4, RandomHorizontalFlip, ToTensor, Normalize) in a DataLoader, SGD with momentum.

    python benchmarks/train_speed.py ../shared/data/cifar10 --model resnet20

Writes results/train-speed-MODEL.json. Run it on an otherwise idle machine.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from residuum import runs
from residuum.models.resnet import ResNet
from residuum.settings import TrainSettings
from residuum.training.feeds import Feeds, open_feeds
from residuum.training.loop import Hands, Job, fit
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import Resolved, resolve
from residuum.training.state import State

RESULTS = Path(__file__).parent.parent / "results"


class UsualPictures(Dataset[tuple[torch.Tensor, int]]):
    """CIFAR pictures as torchvision.datasets.CIFAR10 serves them: decoded arrays in memory, transformed one by one."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(pixels.shape[1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def usual_steps(resolved: Resolved, feeds: Feeds, workers: int) -> Iterator[None]:
    """Yield after each step of the usual loop."""
    assert feeds.train.images is not None
    pictures = UsualPictures(feeds.train.images.numpy(), feeds.train.split.labels)
    net = ResNet(resolved.spec).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    while True:
        for images, labels in DataLoader(
            pictures, resolved.recipe.batch_size, shuffle=True, drop_last=True, num_workers=workers
        ):
            optimizer.zero_grad()
            loss = cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()  # the usual running average
            yield


class Ours:
    """Our loop, continued from turn to turn."""

    def __init__(self, resolved: Resolved, feeds: Feeds) -> None:
        net = ResNet(resolved.spec)
        resolved.compute.place(net)
        optimizer = make_optimizer(net, resolved.recipe, resolved.compute.dtype)
        self.job = Job(net, optimizer, resolved.recipe, feeds.train, resolved.compute, seed=0)
        self.state = State()
        self.hands = Hands(lambda _: None, lambda _: None, dict, lambda: None)

    def steps(self, count: int) -> None:
        """Do `count` steps of the real loop."""
        recipe = dataclasses.replace(self.job.recipe, iterations=self.state.step + count)
        fit(dataclasses.replace(self.job, recipe=recipe), self.state, self.hands, save_seconds=1e9)


def seconds_of(work: object) -> float:
    """Return how long the call takes."""
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def measure(settings: TrainSettings, rounds: int, steps: int) -> dict[str, object]:
    """Alternate the two sides and return images/s of each turn, and their ratio turn by turn."""
    resolved = resolve(settings)
    feeds = open_feeds(resolved)
    usual, ours = usual_steps(resolved, feeds, workers=resolved.compute.threads), Ours(resolved, feeds)
    sides = {
        "usual": lambda n: [None for _ in itertools.islice(usual, n)],
        "ours": ours.steps,
    }
    for side in sides.values():
        side(10)  # warm-up: workers started, kernels chosen
    images = steps * resolved.recipe.batch_size
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            speeds[name].append(images / seconds_of(lambda side=side: side(steps)))
        print({name: round(values[-1]) for name, values in speeds.items()}, flush=True)
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["usual"], strict=True)]
    return {
        "model": resolved.settings.model,
        "batch_size": resolved.recipe.batch_size,
        "rounds": rounds,
        "steps_a_round": steps,
        "compute": {
            "precision": resolved.compute.precision,
            "layout": resolved.compute.layout,
            "threads": resolved.compute.threads,
        },
        "images_per_s": {name: summary(values) for name, values in speeds.items()},
        "ratio": summary(ratios),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    found = measure(
        TrainSettings(options.data, model=options.model, batch_size=128), options.rounds, options.steps
    )
    command = f"python benchmarks/train_speed.py DATA --model {options.model}"
    path = RESULTS / f"train-speed-{options.model}.json"
    runs.write_json(path, {"command": command, "environment": runs.environment(), **found})
    print(json.dumps(found, indent=1))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
