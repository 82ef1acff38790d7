"""How long does the default take on a few hundred photographs where nothing is at hand to start from?

    python benchmarks/from_nothing.py ../shared/data/ants-bees --seeds 0 1 2

Two threads, computed as on a processor with AVX2 and nothing above it, each seed with an empty cache. Above some 200
pictures the work is the same for any number below 1,000. Writes results/from-nothing.json.
"""

import tempfile

from ants_bees_head import AVX2
from figures import Figures, add_runs, asked, flags, spread, trained

from residuum.records.codec import to_json


def one_run(data: str, seed: int) -> Figures:
    """Train once and return the time of the whole command, and what came of it."""
    words = flags(from_nothing=True, threads=2, seed=seed)
    with tempfile.TemporaryDirectory() as cache:
        record, seconds = trained(data, words, **AVX2, RESIDUUM_CACHE=cache)
    kept = {name: record.settings.resolved[name] for name in ("model", "image_size", "epochs", "multiply_adds")}
    assert record.evaluation is not None
    found = {"accuracy": record.evaluation.top1.value, "seconds": round(seconds, 2)}
    return {**kept, **found, "environment": to_json(record.environment)}


def main(data: str, *, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    about = {
        "command": "residuum train ants-bees --from-nothing --threads 2 --seed SEED",
        "written_by": "benchmarks/from_nothing.py",
        "instructions": "AVX2",
    }
    cases = [{"seed": seed} for seed in seeds]
    summary = lambda done: {"seconds": spread([run["seconds"] for run in done])}  # noqa: E731
    add_runs("from-nothing", about, cases, lambda seed: one_run(data, seed), summary)


if __name__ == "__main__":
    asked(main)
