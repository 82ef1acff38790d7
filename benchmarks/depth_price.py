"""What does depth cost? Seconds a picture and memory from 20 to 1202 layers, with and without checkpointing.

Steps are those of `residuum train` on pictures of CIFAR-10's size (32 px, batch 128, precision and layout as it
chooses). Each net is measured in a process of its own; with and without checkpointing take turns there. Peak memory is
that of a process that trains in one of the two ways alone.

    python benchmarks/depth_price.py

Writes results/depth-price.json. Run it on an otherwise idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum import runs
from residuum.compute import choose_compute
from residuum.data.batches import Batch
from residuum.models.named import NAMED_NETS, named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.recipe import Task
from residuum.recipes.quick import quick
from residuum.training.loop import Job, train_step
from residuum.training.optimizer import make_optimizer, set_rate

RESULTS = Path(__file__).parent.parent / "results"
FITTED = ("resnet20", "resnet56", "resnet110", "resnet218", "resnet434", "resnet1202")
DEEPEST = ("resnet1202", "preresnet1001")
BATCH = 128
CLASSES = 10


def spec_of(name: str) -> NetSpec:
    """Return the named net; between the named ones, the CIFAR net of that depth, 6n+2 layers."""
    if name in NAMED_NETS:
        return named(name)
    n = (int(name.removeprefix("resnet")) - 2) // 6
    return named("resnet20", blocks=(n, n, n))


def job_of(name: str, checkpointing: bool) -> Job:
    """Everything one step needs but the pictures."""
    compute = choose_compute()
    torch.manual_seed(0)
    net = ResNet(spec_of(name))
    net.fusing, net.checkpointing = compute.fuses, checkpointing
    compute.place(net).train()
    recipe = quick(Task(num_pictures=50_000, image_size=32, depth=net.spec.depth))
    optimizer = make_optimizer(net, recipe, compute.dtype)
    set_rate(optimizer, 0.001)
    return Job(net, optimizer, recipe, None, compute, seed=0)  # type: ignore[arg-type]


def batch() -> Batch:
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    return Batch(images, torch.randint(0, CLASSES, (BATCH,)), np.arange(BATCH), epoch=0)


def seconds(job: Job, pictures: Batch) -> float:
    started = time.perf_counter()
    train_step(job, pictures, 0, 0.001)
    return time.perf_counter() - started


def in_turns(name: str, rounds: int) -> dict[str, Any]:
    """Seconds a step with and without checkpointing, turn by turn, and the median of their ratios."""
    pictures = batch()
    jobs = {False: job_of(name, False), True: job_of(name, True)}
    for job in jobs.values():
        seconds(job, pictures)
    turns = [{way: seconds(job, pictures) for way, job in jobs.items()} for _ in range(rounds)]
    ratios = [turn[True] / turn[False] for turn in turns]
    return {
        "seconds_a_picture": statistics.median(turn[False] for turn in turns) / BATCH,
        "seconds_a_picture_checkpointed": statistics.median(turn[True] for turn in turns) / BATCH,
        "overhead": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
    }


def alone(*words: str) -> dict[str, Any]:
    """Run this file on one net in a process of its own; return what it printed, and its peak memory in MiB."""
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return {**found, "peak_memory_mib": round(usage.ru_maxrss / 1024)}


def line_through(points: list[tuple[int, float]]) -> dict[str, float]:
    """Fit seconds = a + b · layers by least squares of the relative errors; say how far the points lie."""
    layers, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    slope, start = np.polyfit(layers, values, 1, w=1 / values)
    expected = start + slope * layers
    spread = ((values - values.mean()) ** 2).sum()
    return {
        "start_s": float(start),
        "slope_s_a_layer": float(slope),
        "r2": round(float(1 - ((values - expected) ** 2).sum() / spread), 5),
        "largest_relative_error": round(float(np.abs(values / expected - 1).max()), 4),
    }


def one_net(options: argparse.Namespace) -> dict[str, Any]:
    if options.rounds:
        return in_turns(options.net, options.rounds)
    job, pictures = job_of(options.net, options.checkpointing), batch()
    for _ in range(2):
        seconds(job, pictures)
    return {"net": options.net, "checkpointing": options.checkpointing}


def whole(rounds: int) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for name in dict.fromkeys([*FITTED, *DEEPEST]):
        times = rounds if name in DEEPEST else 3 * rounds
        found = alone("--net", name, "--rounds", str(times))
        found.pop("peak_memory_mib")  # of both ways together
        steps[name] = {"layers": spec_of(name).depth, "rounds": times, **found}
        print(name, steps[name], flush=True)
    memory = []
    for name in DEEPEST:
        for flag in ([], ["--checkpointing"]):
            memory.append(alone("--net", name, "--rounds", "0", *flag))
            print(memory[-1], flush=True)
    points = [(steps[name]["layers"], steps[name]["seconds_a_picture"]) for name in FITTED]
    return {"batch_size": BATCH, "steps": steps, "memory": memory, "fit": line_through(points)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.net:
        print(json.dumps(one_net(options)))
        return
    found = {
        "command": "python benchmarks/depth_price.py",
        "environment": runs.environment(),
        "compute": {"precision": choose_compute().precision},
        **whole(options.rounds),
    }
    runs.write_json(RESULTS / "depth-price.json", found)
    print(json.dumps(found["fit"], indent=1))


if __name__ == "__main__":
    main()
