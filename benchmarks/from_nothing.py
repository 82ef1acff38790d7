"""How long does the default take on a few hundred photographs where nothing is at hand to start from?

    python benchmarks/from_nothing.py ../shared/data/ants-bees --trials 3

Two threads, computed as on a processor with AVX2 and nothing above it, each trial with an empty cache. Above some 200
pictures the work is the same for any number below 1,000. Writes results/from-nothing.json.
"""

import tempfile

from ants_bees_head import AVX2
from figures import Figures, add_runs, asked, flags, spread, trained

from residuum.records.codec import to_json


def one_run(data: str, trial: int) -> Figures:
    """Train once and return the time of the whole command."""
    words = flags(from_nothing=True, threads=2, seed=trial)
    with tempfile.TemporaryDirectory() as cache:
        record, seconds = trained(data, words, **AVX2, RESIDUUM_CACHE=cache)
    kept = {name: record.settings.resolved[name] for name in ("model", "image_size", "epochs", "multiply_adds")}
    return {**kept, "seconds": round(seconds, 2), "environment": to_json(record.environment)}


def main(data: str, *, trials: int = 3) -> None:
    about = {
        "command": "residuum train ants-bees --from-nothing --threads 2 --seed TRIAL",
        "written_by": "benchmarks/from_nothing.py",
        "instructions": "AVX2",
    }
    cases = [{"trial": trial} for trial in range(trials)]
    summary = lambda done: {"seconds": spread([run["seconds"] for run in done])}  # noqa: E731
    add_runs("from-nothing", about, cases, lambda trial: one_run(data, trial), summary)


if __name__ == "__main__":
    asked(main)
