"""What does a second worker give, here and on Ray, and what would 8 to 1,000 of them?

    python benchmarks/many_nets.py

Measured, in turns: four small nets on the digits with one worker and with two, in processes of this machine and as
tasks of a Ray that is begun here; what the driver does for each net, one after another; what a process needs to begin.
Simulated from these: a grid of nets on 1 to 1,000 workers, net by net, with ASSUMED for what one machine cannot show;
the same simulation of what was measured stands beside it. Four minutes. Writes results/many-nets.json.
"""

import heapq
import math
import random
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from figures import Figures, asked, mean_and_sd, seconds_of, spread, write

from residuum import runs
from residuum.dispatch.here import train_side_by_side
from residuum.dispatch.job import prepare, run_folder
from residuum.dispatch.train_all import train_all
from residuum.dispatch.with_ray import connected, train_on_ray
from residuum.setting_parts import WhereTrained
from residuum.settings import TrainSettings

NETS = 4
SMALL = TrainSettings("digits", model="resnet20", recipe="quick", epochs=2, threads=1, device="cpu")
WORKERS = (1, 8, 16, 32, 64, 128, 256, 512, 1000)


@dataclass(frozen=True)
class Cluster:
    """What a grid of nets meets, all in seconds."""

    net: float
    """What training a net takes, in the mean."""
    varies: float
    """The standard deviation of that over its mean: lognormal."""
    start: float
    """What a process needs before it trains, data included."""
    driver: float
    """What the driver does for each net, one at a time."""
    between_losses: float
    """How long a worker lasts in the mean, exponentially, until it is lost."""
    back: float
    """Until another stands in its place."""
    checkpoint: float
    """Between two checkpoints: of what was done since the last, half of this in the mean, is lost."""


ASSUMED = {"nets": 5_000, "net": 600.0, "varies": 0.3, "between_losses": 86_400.0, "back": 120.0, "checkpoint": 60.0}
ASSUMED_WORDS = (
    "5,000 nets of 10 minutes each (lognormal, sd 0.3 of the mean), in the order of the grid; a worker waits for the "
    "driver, which sees to one net at a time; each worker is lost once a day in the mean (exponential) and is back "
    "after 2 minutes; a checkpoint a minute; the shared file system is as quick for all as the disk here for one; a "
    "machine's cores do not slow each other down."
)


def simulate(cluster: Cluster, nets: int, workers: int, seed: int) -> dict[str, float]:
    """Let each net go to the worker that is free first; return the seconds of the whole, and the share that trained.

    What is drawn for a net depends on the seed and its number alone, so that the same nets meet other workers.
    """
    free = [0.0] * workers
    driver = spent = 0.0
    for number in range(nets):
        chance = random.Random(f"{seed} {number}")
        driver = max(driver, free[0]) + cluster.driver
        length = _length(cluster, chance)
        spent += length
        heapq.heapreplace(free, driver + _with_losses(cluster, length, chance))
    return {"seconds": max(free), "efficiency": spent / (workers * max(free))}


def _length(cluster: Cluster, chance: random.Random) -> float:
    """Draw what training a net takes: lognormal, of the cluster's mean and spread."""
    variance = math.log1p(cluster.varies**2)
    return chance.lognormvariate(math.log(cluster.net) - variance / 2, math.sqrt(variance))


def _with_losses(cluster: Cluster, length: float, chance: random.Random) -> float:
    """Return how long a net keeps a worker busy: starting, training, and what was lost with a worker again."""
    taken, left = 0.0, length
    while True:
        lasts = chance.expovariate(1 / cluster.between_losses)
        if lasts >= cluster.start + left:
            return taken + cluster.start + left
        trained = max(0.0, lasts - cluster.start)
        left -= max(0.0, trained - chance.uniform(0, cluster.checkpoint))
        taken += lasts + cluster.back


# --- what is measured ---------------------------------------------------------------------------


def measured(on: str, workers: int) -> tuple[float, list[float]]:
    """Train the nets; return the seconds of the whole, and those of training in each."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = {run_folder(Path(folder), one): one for one in (replace(SMALL, seed=seed) for seed in range(NETS))}
        where = WhereTrained(on="ray", at_once=workers)
        asked_to_stop = lambda: None  # noqa: E731
        begun = (
            train_on_ray(jobs, where, asked_to_stop)
            if on == "ray"
            else train_side_by_side(jobs, workers, asked_to_stop)
        )
        whole = seconds_of(lambda: list(begun))
        return whole, [sum(line.seconds for line in runs.read_run(job).epochs) for job in jobs]


def driver_seconds(times: int = 200) -> dict[str, float]:
    """Return what the driver does for a net: its settings written, a task of Ray handed out and back, its run read."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Path(folder) / "runs" / str(number) for number in range(times)]
        written = seconds_of(lambda: [prepare(job, SMALL) for job in jobs]) / times
        run = run_folder(Path(folder), replace(SMALL, epochs=1))
        list(train_all({run: replace(SMALL, epochs=1)}, WhereTrained(), 1))
        read = seconds_of(lambda: [runs.read_run(run) for _ in range(times)]) / times
    with connected(WhereTrained(at_once=2)) as ray:
        nothing = ray.remote(lambda: None)
        ray.get([nothing.remote() for _ in range(20)])
        handed = seconds_of(lambda: [ray.get(nothing.remote()) for _ in range(times)]) / times
    return {"written": written, "handed_out": handed, "read": read}


def main(*, repeats: int = 2) -> None:
    cases = [(on, workers) for on in ("here", "ray") for workers in (1, 2)]
    walls: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    trained: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for on, workers in cases:
            whole, each = measured(on, workers)
            walls[on, workers].append(whole)
            trained[workers] += each
    driver = driver_seconds()
    net = {workers: statistics.fmean(values) for workers, values in trained.items()}
    start = statistics.fmean(walls["here", 1]) / NETS - net[1]
    found = Cluster(
        **{**{k: v for k, v in ASSUMED.items() if k != "nets"}, "start": start, "driver": sum(driver.values())}
    )
    seeds = range(5)
    write(
        "many-nets",
        "python benchmarks/many_nets.py",
        {
            "written_by": "benchmarks/many_nets.py",
            "nets": f"{NETS} of {SMALL.model} on the digits, {SMALL.epochs} passes, one thread each",
            "n": repeats,
            "measured": {
                on: {
                    "one_worker": {"seconds": spread(walls[on, 1])},
                    "two_workers": {"seconds": spread(walls[on, 2])},
                    "times_as_fast": spread([a / b for a, b in zip(walls[on, 1], walls[on, 2], strict=True)]),
                }
                for on in ("here", "ray")
            },
            "training_a_net": {f"{workers}_at_a_time": mean_and_sd(values) for workers, values in trained.items()},
            "start": round(start, 3),
            "driver_seconds_a_net": driver,
            "simulation": {
                "assumptions": ASSUMED_WORDS,
                "cluster": asdict(found),
                "of_what_was_measured": _checked(found, net, walls),
                "workers": [_row(found, workers, seeds) for workers in WORKERS],
                "seeds": list(seeds),
            },
        },
    )


def _checked(cluster: Cluster, net: dict[int, float], walls: dict[tuple[str, int], list[float]]) -> list[Figures]:
    """Hold the simulation against what was measured here, in which each net took as long as it did beside the other."""
    rows = []
    for workers in (1, 2):
        same = replace(cluster, net=net[workers], varies=0.0, between_losses=1e12)
        seconds, real = simulate(same, NETS, workers, 0)["seconds"], statistics.fmean(walls["here", workers])
        rows.append({"workers": workers, "simulated": round(seconds, 2), "measured": round(real, 2)})
    return rows


def _row(cluster: Cluster, workers: int, seeds: range) -> Figures:
    found = [simulate(cluster, int(ASSUMED["nets"]), workers, seed) for seed in seeds]
    hours = mean_and_sd([one["seconds"] / 3600 for one in found])
    return {
        "workers": workers,
        "hours": hours,
        "efficiency": mean_and_sd([one["efficiency"] for one in found]),
        "n": len(found),
    }


if __name__ == "__main__":
    asked(main)
