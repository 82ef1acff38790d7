"""What accuracy does a recipe reach, and how much does it vary? One training run for each seed, one after the other.

    python benchmarks/accuracy.py ../shared/data/cifar10 --model resnet20 --epochs 10 --seeds 1 2 3

Writes results/accuracy-DATA-MODEL-RECIPE.json after every run; a seed that stands there already is not run again.
Each run looks at the test pictures once, after its last step. Speed is not measured here: train_speed.py does that.
"""

from figures import Figures, add_runs, asked, flags, mean_and_sd, trained

from residuum.choices import RecipeName
from residuum.records.codec import to_json
from residuum.settings import TrainSettings
from residuum.training.resolve import resolve


def one_run(data: str, told: list[str], seed: int) -> Figures:
    """Train once and return what is worth keeping of it."""
    record, _ = trained(data, [*told, *flags(seed=seed)])
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
    seeds: tuple[int, ...] = (1, 2, 3),
) -> None:
    resolved = resolve(TrainSettings(data, model=model, recipe=recipe, epochs=epochs))
    name, settings, told = resolved.data.name, resolved.settings, flags(model=model, epochs=epochs, recipe=recipe)
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
    add_runs(file, about, cases, lambda seed: one_run(data, told, seed), summary)


if __name__ == "__main__":
    asked(main)
