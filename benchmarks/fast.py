"""How long does recipe fast take, and what accuracy does it reach? One run for each seed, in a process of its own.

    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 4 5
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 --model fast-plain10     the control: no shortcuts
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 4 5 --target 95
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 --held-out                  what choices are made on
    python benchmarks/fast.py ../shared/data/cifar10 --seeds 1 2 3 --avx2                  in float32, as on AVX2

A run's time is that of the whole command, from its start: Python, data, training on all 50,000 training pictures, and
the judgement with six views. Before it the machine's calibration is measured: GFLOP/s of a 3×3 convolution of 256
channels, 8×8, batch 128, forward and backward, in the numbers that the run computes in. The time to beat is 0.6 of
what the single-GPU record's net took to 94 % on a machine of 466 GFLOP/s (1,045 s), scaled by it. `--held-out` shows
the run the training pictures alone and judges it on a fifth of them.

Writes results/fast.json (fast-95.json, fast-control.json, fast-held-out.json, fast-avx2.json) after every run; a seed
that stands there already is not run again. Run it on an otherwise idle machine.
"""

import os
import statistics
import tempfile
from pathlib import Path

import torch
from ants_bees_head import AVX2
from figures import Figures, add_runs, asked, flags, mean_and_sd, ratios, seconds_of, trained
from torch.nn.functional import conv2d

from residuum.records.codec import to_json

RECORD_SECONDS, RECORD_GFLOPS, SHARE = 1045.0, 466.0, 0.6


def calibration(dtype: torch.dtype, repeats: int = 15) -> float:
    """GFLOP/s of the machine's yardstick, the median of `repeats`."""
    layout = {"dtype": dtype}
    x = torch.randn(128, 256, 8, 8, **layout).to(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(256, 256, 3, 3, **layout).to(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        y = conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), y.detach())

    flops = 3 * 2 * 128 * 8 * 8 * 256 * 256 * 9
    return flops / statistics.median(seconds_of(work) for _ in range(repeats)) / 1e9


def training_pictures_alone(data: Path, place: Path) -> Path:
    """Link a data set's training files, and no others, under `place`."""
    for file in data.rglob("train*.parquet"):
        target = place / "cifar10" / file.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())
    return place / "cifar10"


def one_run(data: Path, told: list[str], held_out: bool, target: int, seed: int) -> Figures:
    """Train once and return what is worth keeping of it."""
    gflops = calibration(torch.float32 if "float32" in told else torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        source = training_pictures_alone(data, Path(folder)) if held_out else data
        words = flags(recipe="fast", seed=seed, validation=0.2 if held_out else 0)
        record, seconds = trained(source, [*words, *told])
    judged = record.evaluation
    assert judged is not None
    return {
        "seconds": round(seconds, 1),
        "accuracy": judged.top1.value,
        "cross_entropy": judged.loss,
        "images": judged.images,
        "split": judged.split,
        "protocol": judged.protocol,
        "training_accuracy": record.epochs[-1].train_accuracy,
        "calibration_gflops": round(gflops, 1),
        "time_to_beat_s": round(SHARE * RECORD_SECONDS * RECORD_GFLOPS / gflops, 1) if target == 94 else None,
        "recipe_details": record.settings.resolved["recipe_details"],
        "net": record.settings.resolved["net"],
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Mean and spread of accuracy and time, and the share of the time to beat, if any, that the runs took."""
    columns = {name: [run[name] for run in done] for name in ("accuracy", "seconds", "time_to_beat_s")}
    to_beat = columns.pop("time_to_beat_s")
    if all(to_beat):
        columns["of_time_to_beat"] = ratios(columns["seconds"], to_beat)
    spreads = {name: {**mean_and_sd(one), "min": min(one), "max": max(one)} for name, one in columns.items()}
    return {"n": len(done), **spreads}


def main(
    data: Path,
    *,
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    model: str | None = None,
    target: int = 94,
    held_out: bool = False,
    avx2: bool = False,
) -> None:
    asked_for = flags(target=target if target != 94 else None, model=model)
    told = [*asked_for, *flags(precision="float32")] if avx2 else asked_for
    if avx2:
        os.environ.update(AVX2)  # before anything is computed
    command = " ".join(["python benchmarks/fast.py DATA", *asked_for, *flags(held_out=held_out, avx2=avx2)])
    ending = {f"-{target}": target != 94, "-control": model, "-held-out": held_out, "-avx2": avx2}
    name = "fast" + "".join(part for part, wanted in ending.items() if wanted)
    cases = [{"seed": seed} for seed in seeds]
    about = {"command": command, **({"instructions": "AVX2"} if avx2 else {})}
    add_runs(name, about, cases, lambda seed: one_run(data, told, held_out, target, seed), summary)


if __name__ == "__main__":
    asked(main)
