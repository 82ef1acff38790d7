"""What does it do to a net that an epoch's order went by the draw that pictures are shifted by? Runs of both orders.

    python benchmarks/epoch_order.py ../shared/data/cifar10 --recipe fast --seeds 1 2 3
    python benchmarks/epoch_order.py ../shared/data/cifar10 --recipe quick --epochs 10 --seeds 1 2 3

Of each seed a run with --shuffle as-0.1, in which the pictures of a batch are shifted up or down alike, and one with
--shuffle whole. Both see the training pictures alone and are judged on a fifth of them, the same for both. Writes
results/epoch-order-RECIPE.json after every run; one that stands there already is not run again.
"""

import tempfile
from pathlib import Path

from fast import training_pictures_alone
from figures import Figures, add_runs, asked, flags, mean_and_sd, trained

from residuum.choices import RecipeName
from residuum.records.codec import to_json

ORDERS = ("as-0.1", "whole")


def one_run(data: Path, told: list[str], seed: int, shuffle: str) -> Figures:
    """Train once and return what is worth keeping of it."""
    with tempfile.TemporaryDirectory() as folder:
        source = training_pictures_alone(data, Path(folder))
        record, seconds = trained(source, [*told, *flags(seed=seed, shuffle=shuffle, validation=0.2)])
    judged = record.evaluation
    assert judged is not None
    return {
        "accuracy": judged.top1.value,
        "cross_entropy": judged.loss,
        "images": judged.images,
        "split": judged.split,
        "training_loss": record.epochs[-1].train_loss,
        "seconds": round(seconds, 1),
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Accuracy and cross-entropy with each order, and what `whole` adds, seed by seed."""
    both = {shuffle: {run["seed"]: run for run in done if run["shuffle"] == shuffle} for shuffle in ORDERS}
    found: Figures = {"n": {shuffle: len(runs) for shuffle, runs in both.items()}}
    for figure in ("accuracy", "cross_entropy"):
        values = {shuffle: {seed: run[figure] for seed, run in runs.items()} for shuffle, runs in both.items()}
        found[figure] = {shuffle: mean_and_sd(list(each.values())) for shuffle, each in values.items() if each}
        added = [values["whole"][seed] - before for seed, before in values["as-0.1"].items() if seed in values["whole"]]
        found[figure]["whole less as-0.1"] = mean_and_sd(added) if added else None
    return found


def main(
    data: Path, *, recipe: RecipeName = "fast", epochs: int | None = None, seeds: tuple[int, ...] = (1, 2, 3)
) -> None:
    told = flags(recipe=recipe, epochs=epochs)
    about = {
        "command": " ".join(["residuum train", data.name, *told, "--validation 0.2 --seed SEED --shuffle SHUFFLE"]),
        "written_by": "benchmarks/epoch_order.py",
        "recipe": recipe,
    }
    cases = [{"seed": seed, "shuffle": shuffle} for seed in seeds for shuffle in ORDERS]
    add_runs(f"epoch-order-{recipe}", about, cases, lambda **case: one_run(data, told, **case), summary)


if __name__ == "__main__":
    asked(main)
