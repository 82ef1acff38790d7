"""Does `residuum plan` tell what the run that follows takes? Time and memory, told and taken, of three nets.

    python benchmarks/plan.py ../shared/data
    python benchmarks/plan.py ../shared/data --nets resnet50   # one anew, the others as they were

The folder holds cifar10 and ants-bees. Each net is planned in a process of its own, then trained by the whole command,
whose memory is that of its largest process. Writes results/plan.json. Run it on an otherwise idle machine: about three
minutes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import RESULTS, Figures, asked, flags, mean_and_sd, write

from residuum import machine
from residuum.files import read_json

WITHIN = 0.15
NETS: dict[str, tuple[str, Figures]] = {
    "resnet20": ("cifar10", {"epochs": 1}),
    "resnet56": ("cifar10", {"epochs": 1}),
    "resnet50": ("ants-bees", {"epochs": 2, "image_size": 224, "from_nothing": True}),
}
"""The data, and the settings besides net and seed."""


def plan(words: list[str]) -> Figures:
    """Ask what it will cost."""
    command = [sys.executable, "-m", "residuum", "plan", *words, "--json"]
    told: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def run(words: list[str]) -> Figures:
    """Train; return the seconds of the whole command, its peak memory and what it left, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.perf_counter()
        command = [sys.executable, "-m", "residuum", "train", *words, *flags(out=out)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        left = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"seconds": seconds, "memory": 1024 * used.ru_maxrss, "run": left}


def one_net(data: Path, net: str, seed: int) -> Figures:
    """Plan, then run."""
    name, settings = NETS[net]
    words = [str(data / name), *flags(model=net, seed=seed, **settings)]
    told, taken = plan(words), run(words)
    foretold = {"seconds": told["total_s"], "memory": told["memory"], "run": told["disk"]["run"]}
    found: Figures = {
        "date": machine.environment().date,
        "net": net,
        "data": name,
        "seed": seed,
        "told": foretold,
        "taken": taken,
        "of_taken": {part: round(foretold[part] / taken[part], 3) for part in taken},
        "parts": told["seconds"],
        "bottleneck": told["bottleneck"],
        "planning_s": told["measuring_s"],
    }
    print(net, found["of_taken"], foretold, taken, flush=True)
    return found


def summary(nets: list[Figures]) -> Figures:
    """Sum up how far the times told are from those taken."""
    times = [one["of_taken"]["seconds"] for one in nets]
    return {
        "told_of_taken": {**mean_and_sd(times), "median": statistics.median(times), "n": len(times)},
        "furthest": max(times, key=lambda ratio: abs(ratio - 1)),
        "within_15_percent": sum(abs(ratio - 1) <= WITHIN for ratio in times),
    }


def main(data: Path, *, seeds: tuple[int, ...] = (0,), nets: tuple[str, ...] = tuple(NETS)) -> None:
    path = RESULTS / "plan.json"
    found = {(one["net"], one["seed"]): one for one in (read_json(path)["nets"] if path.exists() else [])}
    for seed in seeds:
        for net in nets:
            found[net, seed] = one_net(data, net, seed)
            every = list(found.values())
            write("plan", "python benchmarks/plan.py ../shared/data", {**summary(every), "nets": every})


if __name__ == "__main__":
    asked(main)
