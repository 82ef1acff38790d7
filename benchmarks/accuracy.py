"""What accuracy does a recipe reach, and how much does it vary? One training run for each seed, one after the other.

    python benchmarks/accuracy.py ../shared/data/cifar10 --model resnet20 --epochs 10 --seeds 1 2 3

Writes results/accuracy-DATA-MODEL-RECIPE.json after every run; a seed that stands there already is not run again.
Each run looks at the test pictures once, after its last step. Speed is not measured here: train_speed.py does that.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from residuum.files import read_json, write_json
from residuum.records.codec import to_json
from residuum.settings import TrainSettings
from residuum.training.resolve import resolve
from residuum.training.run import train

RESULTS = Path(__file__).parent.parent / "results"


def one_run(settings: TrainSettings) -> dict[str, Any]:
    """Train once and return what is worth keeping of it."""
    with tempfile.TemporaryDirectory() as folder:
        record = train(TrainSettings(**{**settings.__dict__, "out": str(Path(folder) / "run")}))
    found = record.evaluation
    assert found is not None
    return {
        "seed": settings.seed,
        "test_accuracy": found.top1.value,
        "validation_accuracy": record.epochs[-1].validation_accuracy,
        "ece": found.ece.value,
        "split": found.split,
        "images": found.images,
        "protocol": found.protocol,
        "environment": to_json(record.environment),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Return mean, sample standard deviation and n."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": spread, "n": len(values)}


def write(path: Path, about: dict[str, Any], done: list[dict[str, Any]]) -> None:
    """Write the runs and their summary."""
    accuracy = summary([run["test_accuracy"] for run in done])
    write_json(path, {**about, "summary": {"test_accuracy": accuracy}, "runs": done})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default=None)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    base = TrainSettings(options.data, model=options.model, recipe=options.recipe, epochs=options.epochs)
    resolved = resolve(base)
    name = f"{resolved.data.name}-{resolved.settings.model}-{options.recipe}"
    path = RESULTS / f"accuracy-{name}.json"
    flags = f" --model {options.model}" if options.model else ""
    flags += f" --epochs {options.epochs}" if options.epochs else ""
    about = {
        "command": f"residuum train {resolved.data.name}{flags} --recipe {options.recipe} --seed SEED",
        "written_by": "benchmarks/accuracy.py",
        "data": resolved.data.name,
        "model": resolved.settings.model,
        "recipe": options.recipe,
        "epochs": resolved.settings.epochs,
        "training_pictures": resolved.num_training,
    }
    done = read_json(path)["runs"] if path.exists() else []
    for seed in options.seeds:
        if seed not in {run["seed"] for run in done}:
            done.append(one_run(TrainSettings(**{**base.__dict__, "seed": seed})))
            write(path, about, done)
            print(f"seed {seed}: {done[-1]['test_accuracy']:.2%}", flush=True)


if __name__ == "__main__":
    main()
