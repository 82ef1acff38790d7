"""What two processes on one machine give against one on the same cores, and how soon all stop where one is killed.

    python benchmarks/ranks_speed.py ../shared/data/cifar10

ResNet-20 on CIFAR-10's pictures, 40 steps of 128; a process a core against one process with two threads, BN over the
pictures of all and over each process's own. Turn by turn, so that a busy minute meets all of them. Then one of two
is killed, and the time until torchrun has ended is taken. Writes results/ranks-speed.json.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figures, asked, flags, ratios, spread, write

from residuum import runs

WAYS: dict[str, tuple[int, tuple[str, ...]]] = {
    "one process, 2 threads": (1, ("--threads", "2")),
    "2 processes, BN over the pictures of all": (2, ("--threads", "1")),
    "2 processes, BN over each one's own pictures": (2, ("--threads", "1", "--no-sync-bn")),
}

SAID = "said"
"""Beside the run, what it said."""


def started(processes: int, run: Path, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a run of so many processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else ()), "-m", "residuum", "train"]
    with run.with_name(SAID).open("wb") as said:
        return subprocess.Popen([*command, *words, *flags(out=run)], stdout=said, stderr=said)


def speed(data: str, processes: int, words: tuple[str, ...], steps: int) -> float:
    """Return the images a second of a run's steps, the first ten left out."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        process = started(processes, run, (data, "--epochs", "1", "--model", "resnet20", *words))
        lines: list[tuple[float, int]] = []
        while process.poll() is None and (not lines or lines[-1][1] < steps):
            time.sleep(0.05)
            taken = runs.read_metrics(run)[-1:] if (run / runs.METRICS).exists() else []
            if taken and taken[0].step >= 10 and (not lines or taken[0].step > lines[-1][1]):
                lines.append((time.perf_counter(), taken[0].step))
        process.terminate()
        process.wait()
        if len(lines) < 2:
            sys.exit(run.with_name(SAID).read_text())
        (first, begun), (last, done) = lines[0], lines[-1]
        return (done - begun) * 128 / (last - first)


def seconds_to_stop(seed: int) -> float:
    """Return how long torchrun takes to end once a rank is killed."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        process = started(2, run, ("digits", "--epochs", "500", "--threads", "1"))
        while not (run / runs.METRICS).exists():
            time.sleep(0.05)
        time.sleep(random.Random(seed).uniform(0, 3))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(random.Random(seed).choice(children[-2:])), signal.SIGKILL)
        began = time.perf_counter()
        process.wait()
        return time.perf_counter() - began


def main(data: str, *, turns: int = 3, steps: int = 40, kills: int = 5) -> None:
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(turns):
        for way, (processes, words) in WAYS.items():
            found[way].append(speed(data, processes, (*words, "--batch-size", "128"), steps))
    alone = found["one process, 2 threads"]
    ways: Figures = {
        way: {"images_per_s": spread(speeds), "times_one_process": spread(ratios(speeds, alone)), "n": turns}
        for way, speeds in found.items()
    }
    stops = [seconds_to_stop(seed) for seed in range(kills)]
    write(
        "ranks-speed",
        f"python benchmarks/ranks_speed.py {Path(data).name} --turns {turns} --steps {steps} --kills {kills}",
        {"ways": ways, "seconds_to_stop": {**spread(stops), "n": kills}, "seeds": list(range(kills))},
    )


if __name__ == "__main__":
    asked(main)
