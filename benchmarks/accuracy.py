"""What accuracy does a recipe reach, and how much does it vary? One training run for each seed, one after the other.

    python benchmarks/accuracy.py ../shared/data/cifar10 --model resnet20 --epochs 10 --seeds 1 2 3

Writes results/accuracy-DATA-MODEL-RECIPE.json after every run; a seed that stands there already is not run again.
Each run looks at the test pictures once, after its last step. Speed is not measured here: train_speed.py does that.
The paper's own training, on all 50,000 pictures, whose runs take an hour and more, goes on where it was interrupted:

    python benchmarks/accuracy.py ../shared/data/cifar10 --model resnet20 --recipe he2015_cifar --validation 0 \
        --seeds 1 --keep runs/paper
"""

from pathlib import Path

from figures import Figures, add_runs, asked, flags, mean_and_sd, trained, trained_or_gone_on

from residuum.choices import RecipeName
from residuum.records.codec import to_json
from residuum.settings import TrainSettings
from residuum.training.resolve import resolve


def one_run(data: str, told: list[str], seed: int, kept: Path | None) -> Figures:
    """Train once, in the folder `kept` if any, and return what is worth keeping of it."""
    words = [*told, *flags(seed=seed)]
    record = trained_or_gone_on(data, words, kept) if kept else trained(data, words)[0]
    found = record.evaluation
    assert found is not None
    return {
        "test_accuracy": found.top1.value,
        "validation_accuracy": record.epochs[-1].validation_accuracy,
        "ece": found.ece.value,
        "split": found.split,
        "images": found.images,
        "protocol": found.protocol,
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Return mean, spread and number of the accuracies."""
    return {"test_accuracy": {**mean_and_sd([run["test_accuracy"] for run in done]), "n": len(done)}}


def main(
    data: str,
    *,
    model: str | None = None,
    recipe: RecipeName = "quick",
    epochs: int | None = None,
    validation: float | None = None,
    seeds: tuple[int, ...] = (1, 2, 3),
    keep: Path | None = None,
) -> None:
    told = flags(model=model, epochs=epochs, recipe=recipe, validation=validation)
    given = {} if validation is None else {"validation": validation}
    resolved = resolve(TrainSettings(data, model=model, recipe=recipe, epochs=epochs, **given))
    name, settings = resolved.data.name, resolved.settings
    about = {
        "command": " ".join(["residuum train", name, *told, "--seed SEED"]),
        "written_by": "benchmarks/accuracy.py",
        "data": name,
        "model": settings.model,
        "recipe": recipe,
        "epochs": settings.epochs,
        "training_pictures": resolved.num_training,
    }
    cases = [{"seed": seed} for seed in seeds]
    file = f"accuracy-{name}-{settings.model}-{recipe}"
    add_runs(file, about, cases, lambda seed: one_run(data, told, seed, keep and keep / f"{file}-{seed}"), summary)


if __name__ == "__main__":
    asked(main)
