"""How long does recipe fast take, and what accuracy does it reach? One run for each seed, in a process of its own.

    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 4 5
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 --model fast-plain10     the control: no shortcuts
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 4 5 --target 95
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 --held-out                  what choices are made on

A run's time is that of the whole command, from its start: Python, data, training on all 50,000 training pictures, and
the judgement with six views. Before it the machine's calibration is measured: GFLOP/s of a bfloat16 3×3
convolution of 256 channels, 8×8, batch 128, forward and backward. The time to beat is 0.6 of what the single-GPU
record's net took to 94 % on a machine of 466 GFLOP/s (1,045 s), scaled by it. `--held-out` shows the run the training
pictures alone and judges it on a fifth of them.

Writes results/fast.json (fast-95.json, fast-control.json, fast-held-out.json) after every run; a seed that stands there
already is not run again. Run it on an otherwise idle machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import conv2d

from residuum import runs
from residuum.files import read_json, write_json
from residuum.records.codec import to_json

RESULTS = Path(__file__).parent.parent / "results"
RECORD_SECONDS, RECORD_GFLOPS, SHARE = 1045.0, 466.0, 0.6


def calibration(repeats: int = 15) -> float:
    """GFLOP/s of the machine's yardstick, the median of `repeats`."""
    layout = {"dtype": torch.bfloat16}
    x = torch.randn(128, 256, 8, 8, **layout).to(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(256, 256, 3, 3, **layout).to(memory_format=torch.channels_last).requires_grad_()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        y = conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), y.detach())
        seconds.append(time.perf_counter() - started)
    flops = 3 * 2 * 128 * 8 * 8 * 256 * 256 * 9
    return flops / statistics.median(seconds) / 1e9


def training_pictures_alone(data: Path, place: Path) -> Path:
    """Link a data set's training files, and no others, under `place`."""
    for file in data.rglob("train*.parquet"):
        target = place / "cifar10" / file.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())
    return place / "cifar10"


def told(options: argparse.Namespace) -> list[str]:
    """Return the flags that decide the net and the passes."""
    target = ["--target", str(options.target)] if options.target != 94 else []
    return target + (["--model", options.model] if options.model else [])


def one_run(data: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train once and return what is worth keeping of it."""
    gflops = calibration()
    with tempfile.TemporaryDirectory() as folder:
        source = training_pictures_alone(data, Path(folder)) if options.held_out else data
        run = Path(folder) / "run"
        words = ["train", str(source), "--recipe", "fast", "--seed", str(seed), "--out", str(run)]
        words += ["--validation", "0.2" if options.held_out else "0"]
        words += told(options)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "residuum", *words], check=True)
        seconds = time.perf_counter() - started
        record = runs.read_run(run)
    judged = record.evaluation
    assert judged is not None
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "accuracy": judged.top1.value,
        "cross_entropy": judged.loss,
        "images": judged.images,
        "split": judged.split,
        "protocol": judged.protocol,
        "training_accuracy": record.epochs[-1].train_accuracy,
        "calibration_gflops": round(gflops, 1),
        "time_to_beat_s": round(SHARE * RECORD_SECONDS * RECORD_GFLOPS / gflops, 1) if options.target == 94 else None,
        "recipe_details": record.settings.resolved["recipe_details"],
        "net": record.settings.resolved["net"],
        "environment": to_json(record.environment),
    }


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of accuracy and time, and the share of the time to beat, if any, that the runs took."""
    found: dict[str, Any] = {"n": len(done)}
    columns = {"accuracy": [run["accuracy"] for run in done], "seconds": [run["seconds"] for run in done]}
    if all(run["time_to_beat_s"] for run in done):
        columns["of_time_to_beat"] = [run["seconds"] / run["time_to_beat_s"] for run in done]
    for name, values in columns.items():
        spread = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"mean": statistics.fmean(values), "sd": spread, "min": min(values), "max": max(values)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--model")
    parser.add_argument("--target", type=int, default=94)
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    ending = f"-{options.target}" if options.target != 94 else ""
    ending += ("-control" if options.model else "") + ("-held-out" if options.held_out else "")
    path = RESULTS / f"fast{ending}.json"
    done = read_json(path)["runs"] if path.exists() else []
    flags = " ".join(["", *told(options), *(["--held-out"] if options.held_out else [])])
    for seed in options.seeds:
        if seed in {run["seed"] for run in done}:
            continue
        done.append(one_run(options.data, options, seed))
        write_json(
            path,
            {"command": f"python benchmarks/fast.py DATA{flags}", "summary": summary(done), "runs": done},
        )
        print({name: done[-1][name] for name in ("seed", "seconds", "accuracy", "time_to_beat_s")}, flush=True)


if __name__ == "__main__":
    main()
