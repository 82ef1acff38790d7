"""What does the last layer alone give on a few hundred photographs, and in what time? One run for each seed.

    python benchmarks/ants_bees_head.py ../shared/data/ants-bees half-resnet50.safetensors --seeds 0 1 2

The model file is what `residuum import half-resnet50.safetensors --stride-in 1x1 --mean 0.482 0.459 0.408 --std 1 1 1`
writes. Two threads, computed as on a processor with AVX2 and nothing above it. Each seed begins with an empty cache,
and the same command is given again. The validation pictures are looked at once. Writes results/ants-bees-head.json.
"""

import tempfile
from pathlib import Path

from figures import Figures, add_runs, asked, flags, mean_and_sd, spread, trained

from residuum.records.codec import to_json
from residuum.runs import RunRecord

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def judged(record: RunRecord) -> Figures:
    """Return the final figures of a run that are worth keeping."""
    found = record.evaluation
    assert found is not None
    return {
        "accuracy": found.top1.value,
        "split": found.split,
        "images": found.images,
        "protocol": found.protocol,
        "loss": found.loss,
        "ece": found.ece.value,
    }


def one_run(data: str, model: str, seed: int) -> Figures:
    """Train twice on one new cache and return what is worth keeping of it."""
    words = flags(start=Path(model).absolute(), tune="head", threads=2, seed=seed)
    with tempfile.TemporaryDirectory() as cache:
        record, first = trained(data, words, **AVX2, RESIDUUM_CACHE=cache)
        again, second = trained(data, words, **AVX2, RESIDUUM_CACHE=cache)
    assert again.evaluation == record.evaluation
    return {
        **judged(record),
        "chosen": record.events[0].message,
        "seconds": round(first, 2),
        "seconds_again": round(second, 2),
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Return mean, spread and number of the accuracies, and the times."""
    return {
        "accuracy": {**mean_and_sd([run["accuracy"] for run in done]), "n": len(done)},
        "seconds": spread([run["seconds"] for run in done]),
        "seconds_again": spread([run["seconds_again"] for run in done]),
    }


def main(data: str, model: str, *, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    about = {
        "command": "residuum train ants-bees --start half-resnet50.safetensors --tune head --threads 2 --seed SEED",
        "written_by": "benchmarks/ants_bees_head.py",
        "instructions": "AVX2",
    }
    cases = [{"seed": seed} for seed in seeds]
    add_runs("ants-bees-head", about, cases, lambda seed: one_run(data, model, seed), summary)


if __name__ == "__main__":
    asked(main)
