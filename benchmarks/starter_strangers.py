"""How often does the small net that comes along say "unsure" of photographs unlike those that it was trained on?

    python benchmarks/starter_strangers.py ants-bees imagenet-sample

A head on the starter's features, as benchmarks/ants_bees_review.py asks other weights; the validation pictures are
looked at once a seed. Writes results/starter-strangers.json.
"""

from statistics import fmean

from ants_bees_review import unsure
from figures import asked, write

NAMES = ("strangers_unsure", "known_unsure_out_of_fold", "validation_unsure")


def main(data: str, strangers: str, *, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    each = [unsure(data, "starter", strangers, seed) for seed in seeds]
    found = {"unsure": {name: fmean(run[name] for run in each) for name in NAMES}, "each_seed": each}
    write("starter-strangers", "python benchmarks/starter_strangers.py ants-bees imagenet-sample", found)


if __name__ == "__main__":
    asked(main)
