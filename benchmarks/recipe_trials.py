"""What was tried for a recipe: changes to `quick`, each trained for a few epochs and scored on held-out pictures.

    python benchmarks/recipe_trials.py ../shared/data/cifar10

Writes results/recipe-trials.json after every trial; one that stands there already is not run again. The test
pictures are never looked at. One seed each: differences under half a point mean little.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

from residuum import runs
from residuum.evaluation.evaluate import judge_feed, scores
from residuum.models.resnet import ResNet
from residuum.settings import OneCycle, Recipe, TrainSettings
from residuum.training.feeds import open_feeds
from residuum.training.loop import Hands, Job, fit
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import resolve
from residuum.training.state import State

RESULTS = Path(__file__).parent.parent / "results"
EPOCHS = 4

TRIALS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd", "batch_size": 64, "lr": 0.1, "pad": 4},
    {"optimizer": "sgd", "batch_size": 64, "lr": 0.1, "pad": 2},
    {"optimizer": "sgd", "batch_size": 64, "lr": 0.2, "pad": 2},
    {"optimizer": "muon", "batch_size": 64, "lr": 0.1, "pad": 2},
    {"optimizer": "muon", "batch_size": 128, "lr": 0.15, "pad": 2},
)


def changed(recipe: Recipe, trial: dict[str, Any]) -> Recipe:
    """Return the recipe with a trial's changes."""
    is_sgd = trial["optimizer"] == "sgd"
    return dataclasses.replace(
        recipe,
        optimizer=trial["optimizer"],
        nesterov=is_sgd,
        weight_decay=5e-4 if is_sgd else 0.0,
        schedule=OneCycle(peak=trial["lr"], climb=0.25),
        augmentation=dataclasses.replace(recipe.augmentation, pad=trial["pad"]),
    )


def run(data: str, trial: dict[str, Any]) -> dict[str, Any]:
    """Train once; return the last epoch's figures on training and held-out pictures."""
    resolved = resolve(
        TrainSettings(data, model="resnet20", epochs=EPOCHS, batch_size=trial["batch_size"], seed=1)
    )
    feeds = open_feeds(resolved)
    held_out = feeds.validation
    assert held_out is not None
    torch.manual_seed(1)
    net = ResNet(resolved.spec)
    resolved.compute.place(net)
    recipe = changed(resolved.recipe, trial)
    optimizer = make_optimizer(net, recipe, resolved.compute.dtype)
    lines: list[dict[str, Any]] = []

    def validate() -> dict[str, float]:
        return scores(judge_feed(net, held_out, resolved.compute, 250), held_out.split.labels)

    hands = Hands(lines.append, lambda _: None, validate, lambda: None)
    fit(Job(net, optimizer, recipe, feeds.train, resolved.compute, 1), State(), hands, save_seconds=1e9)
    last = [line for line in lines if line["kind"] == "epoch"][-1]
    kept = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")
    return {**trial, **{name: last[name] for name in kept}, "environment": runs.environment()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    options = parser.parse_args()
    path = RESULTS / "recipe-trials.json"
    about = {
        "command": "python benchmarks/recipe_trials.py DATA",
        "what": f"resnet20, CIFAR-10, {EPOCHS} epochs of 45,000, judged on 5,000 held-out training pictures, seed 1",
    }
    done: list[dict[str, Any]] = runs.read_json(path)["trials"] if path.exists() else []
    for trial in TRIALS:
        if not any(trial.items() <= old.items() for old in done):
            done.append(run(options.data, trial))
            runs.write_json(path, {**about, "trials": done})
            print(trial, f"{done[-1]['validation_accuracy']:.2%}", flush=True)


if __name__ == "__main__":
    main()
