"""Does `residuum plan` tell what the run that follows takes? Time and memory, told and taken, of three nets.

    python benchmarks/plan.py ../shared/data

The folder holds cifar10 and ants-bees. Each net is planned in a process of its own, then trained by the whole command.
Writes results/plan.json. Run it on an otherwise idle machine: about three minutes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figures, asked, flags, mean_and_sd, write

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


def main(data: Path, *, seeds: tuple[int, ...] = (0,), nets: tuple[str, ...] = tuple(NETS)) -> None:
    found = [one_net(data, net, seed) for seed in seeds for net in nets]
    times = [one["of_taken"]["seconds"] for one in found]
    summary = {
        "told_of_taken": {**mean_and_sd(times), "median": statistics.median(times), "n": len(times)},
        "furthest": max(times, key=lambda ratio: abs(ratio - 1)),
        "within_15_percent": sum(abs(ratio - 1) <= WITHIN for ratio in times),
    }
    write("plan", "python benchmarks/plan.py ../shared/data", {**summary, "nets": found})


if __name__ == "__main__":
    asked(main)
