"""What does the starter give on a few hundred photographs, and in what time; and what comes of nothing?

    python benchmarks/ants_bees_starter.py ../shared/data/ants-bees --seeds 0 1 2

The starter as benchmarks/ants_bees_head.py takes other weights: two threads, computed as on a processor with AVX2, each
seed with an empty cache. From nothing: a new ResNet-20 at 64 px by recipe quick, for each seed. The validation pictures
are looked at once by each run. Writes results/ants-bees-starter.json.
"""

from ants_bees_head import AVX2, one_run, summary
from figures import Figures, add_runs, asked, flags, trained

from residuum.records.codec import to_json
from residuum.weights.fetched import STARTER_FILE

NOTHING = flags(model="resnet20", image_size=64, recipe="quick", threads=2)


def from_nothing(data: str, seed: int) -> Figures:
    """Train a new net and return what is worth keeping of it."""
    record, seconds = trained(data, [*NOTHING, *flags(seed=seed)], **AVX2)
    assert record.evaluation is not None
    return {
        "accuracy": record.evaluation.top1.value,
        "protocol": record.evaluation.protocol,
        "seconds": round(seconds, 2),
        "seconds_again": round(seconds, 2),  # nothing is kept for it
        "environment": to_json(record.environment),
    }


def summaries(done: list[Figures]) -> Figures:
    """Return the figures of each way."""
    ways = dict.fromkeys(run["way"] for run in done)
    return {way: summary([run for run in done if run["way"] == way]) for way in ways}


def main(data: str, *, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    about = {
        "command": "residuum train ants-bees --start starter.safetensors --tune head --threads 2 --seed SEED; "
        f"residuum train ants-bees {' '.join(NOTHING)} --seed SEED",
        "written_by": "benchmarks/ants_bees_starter.py",
        "instructions": "AVX2",
    }
    cases = [{"way": way, "seed": seed} for way in ("starter", "nothing") for seed in seeds]

    def of_case(way: str, seed: int) -> Figures:
        return one_run(data, str(STARTER_FILE), seed) if way == "starter" else from_nothing(data, seed)

    add_runs("ants-bees-starter", about, cases, of_case, summaries)


if __name__ == "__main__":
    asked(main)
