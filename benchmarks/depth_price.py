"""What does depth cost? Seconds a picture and memory from 20 to 1202 layers, with and without checkpointing.

Steps are those of `residuum train` on pictures of CIFAR-10's size (32 px, batch 128, precision and layout as it
chooses). Each net is measured in processes of its own, one with checkpointing and one without, turn by turn: in one
process the two ways would find each other's memory, and new pages take longer than a step. Of a process's steps the
first two do not count. Peak memory is that of a process.

    python benchmarks/depth_price.py

Writes results/depth-price.json. Run it on an otherwise idle machine.
"""

import json
import os
import statistics
import subprocess
import sys
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter
from figures import Figures, asked, ratios, seconds_of, spread, write

from residuum.compute import choose_compute
from residuum.data.batches import Batch
from residuum.models.named import NAMED_NETS, named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.recipe import Task
from residuum.recipes.quick import quick
from residuum.training.loop import Job, train_step
from residuum.training.optimizer import make_optimizer

FITTED = ("resnet20", "resnet56", "resnet110", "resnet218", "resnet434", "resnet1202")
DEEPEST = ("resnet1202", "preresnet1001")
BATCH = 128
CLASSES = 10
UNCOUNTED, STEPS = 2, 4


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
    compute.place(net).train()
    recipe = quick(Task(num_pictures=50_000, image_size=32, depth=net.spec.depth))
    optimizer = make_optimizer(net, recipe, compute.dtype)
    forward = make_forward(net, compute, checkpointing=checkpointing)
    return Job(net, forward, optimizer, recipe, None, compute, seed=0)  # type: ignore[arg-type]


def batch() -> Batch:
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    return Batch(images, torch.randint(0, CLASSES, (BATCH,)), np.arange(BATCH), epoch=0)


def steps_of(name: str, checkpointing: bool) -> Figures:
    """Seconds of each step that counts."""
    job, pictures = job_of(name, checkpointing), batch()
    times = [seconds_of(lambda: train_step(job, pictures, 0, 0.001)) for _ in range(UNCOUNTED + STEPS)]
    return {"seconds": times[UNCOUNTED:]}


def both_ways(name: str, rounds: int) -> Figures:
    """Seconds a picture and peak memory without and with checkpointing, and the median of the steps' ratios."""
    turns = [[alone("--net", name, *flag) for flag in ([], ["--checkpointing"])] for _ in range(rounds)]
    plain, checkpointed = ([turn[way] for turn in turns] for way in (0, 1))
    times = [[second for one in way for second in one["seconds"]] for way in (plain, checkpointed)]
    return {
        "layers": spec_of(name).depth,
        "steps": len(times[0]),
        "seconds_a_picture": statistics.median(times[0]) / BATCH,
        "seconds_a_picture_checkpointed": statistics.median(times[1]) / BATCH,
        "overhead": spread(ratios(times[1], times[0])),
        "peak_memory_mib": [max(one["peak_memory_mib"] for one in way) for way in (plain, checkpointed)],
    }


def alone(*words: str) -> Figures:
    """Run this file on one net in a process of its own; return what it printed, and its peak memory in MiB."""
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found: Figures = json.loads(process.stdout.read())
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


def whole(rounds: int) -> Figures:
    steps: Figures = {}
    for name in dict.fromkeys([*FITTED, *DEEPEST]):
        steps[name] = both_ways(name, 1 if name in DEEPEST else rounds)
        print(name, steps[name], flush=True)
    points = [(steps[name]["layers"], steps[name]["seconds_a_picture"]) for name in FITTED]
    return {"batch_size": BATCH, "steps": steps, "fit": line_through(points)}


Hidden = Parameter(show=False)  # how this file asks itself for one net


def main(
    *,
    rounds: int = 2,
    net: Annotated[str | None, Hidden] = None,
    checkpointing: Annotated[bool, Hidden] = False,
) -> None:
    if net:
        print(json.dumps(steps_of(net, checkpointing)))
        return
    found = {"compute": {"precision": choose_compute().precision}, **whole(rounds)}
    write("depth-price", "python benchmarks/depth_price.py", found)
    print(json.dumps(found["fit"], indent=1))


if __name__ == "__main__":
    asked(main)
