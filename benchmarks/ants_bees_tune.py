"""What do the last stage and everything, tuned from the head on, give on a few hundred photographs, and in what time?

    python benchmarks/ants_bees_tune.py ../shared/data/ants-bees half-resnet50.safetensors --seeds 0 1 2

As ants_bees_head.py, which says how the model file is made: two threads, computed as on a processor with AVX2 and
nothing above it, an empty cache for each run. Settings were chosen on the training pictures; the validation pictures
are looked at once. Writes results/ants-bees-tune.json.
"""

import tempfile
from itertools import product
from pathlib import Path

from ants_bees_head import AVX2, judged
from figures import Figures, add_runs, asked, flags, mean_and_sd, spread, trained

from residuum.records.codec import to_json


def one_run(data: str, model: str, tune: str, seed: int) -> Figures:
    """Train once on a new cache and return what is worth keeping of it."""
    words = flags(start=Path(model).absolute(), tune=tune, threads=2, seed=seed)
    with tempfile.TemporaryDirectory() as cache:
        record, seconds = trained(data, words, **AVX2, RESIDUUM_CACHE=cache)
    return {
        **judged(record),
        "said": [event.message for event in record.events],
        "seconds": round(seconds, 2),
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Return mean, spread and number of the accuracies, and the times, by what was tuned."""
    by_tune: dict[str, list[Figures]] = {}
    for run in done:
        by_tune.setdefault(run["tune"], []).append(run)
    return {
        tune: {
            "accuracy": {**mean_and_sd([run["accuracy"] for run in runs]), "n": len(runs)},
            "seconds": spread([run["seconds"] for run in runs]),
        }
        for tune, runs in by_tune.items()
    }


def main(
    data: str, model: str, *, seeds: tuple[int, ...] = (0, 1, 2), tunes: tuple[str, ...] = ("last", "all")
) -> None:
    about = {
        "command": "residuum train ants-bees --start half-resnet50.safetensors --tune TUNE --threads 2 --seed SEED",
        "written_by": "benchmarks/ants_bees_tune.py",
        "instructions": "AVX2",
    }
    cases = [{"tune": tune, "seed": seed} for tune, seed in product(tunes, seeds)]
    add_runs("ants-bees-tune", about, cases, lambda tune, seed: one_run(data, model, tune, seed), summary)


if __name__ == "__main__":
    asked(main)
