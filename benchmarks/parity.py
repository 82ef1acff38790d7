"""Does the fast way to train reach the same accuracy? The same seeds both ways, judged on held-out training pictures.

- fast: as `residuum train` chooses by itself: bfloat16 where the processor multiplies it; compiled BN, addition, ReLU;
- plain: float32, torch's own operations.

    python benchmarks/parity.py ../shared/data/cifar10 --model resnet20 --epochs 3 --seeds 1 2 3

Writes results/parity-MODEL.json after every run; a run that stands there already is not run again. Speed is not
measured here, so other work may go on beside it.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from residuum import runs
from residuum.files import read_json, write_json
from residuum.records.codec import to_json

RESULTS = Path(__file__).parent.parent / "results"
WAYS = {
    "fast": ([], {}),
    "plain": (["--precision", "float32"], {"RESIDUUM_KERNELS": "off"}),
}


def one_run(options: argparse.Namespace, way: str, seed: int) -> dict[str, Any]:
    """Train once, in a process of its own, and return the last epoch's scores on the held-out pictures."""
    flags, environment = WAYS[way]
    words = ["--model", options.model, "--epochs", str(options.epochs), "--seed", str(seed), *flags]
    if options.threads:
        words += ["--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run(
            [sys.executable, "-m", "residuum", "train", options.data, *words, "--out", str(run)],
            env={**os.environ, **environment},
            check=True,
        )
        record = runs.read_run(run)
        last, settings = to_json(record.epochs[-1]), record.settings.resolved
        names = ("validation_accuracy", "validation_loss", "train_accuracy")
        return {
            "way": way,
            "seed": seed,
            **{name: last[name] for name in names},
            "precision": settings["precision"],
            "fused": settings["fused"],
            "environment": to_json(record.environment),
        }


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of both ways; their difference with its standard error, and whether two of those hold it."""
    found: dict[str, Any] = {}
    for way in WAYS:
        values = [run["validation_accuracy"] for run in done if run["way"] == way]
        if len(values) < 2:
            return found
        found[way] = {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "n": len(values)}
    difference = found["fast"]["mean"] - found["plain"]["mean"]
    error = math.sqrt(sum(found[way]["sd"] ** 2 / found[way]["n"] for way in WAYS))
    return {
        **found,
        "difference": difference,
        "standard_error": error,
        "within_two": abs(difference) <= 2 * error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    path = RESULTS / f"parity-{options.model}.json"
    done = read_json(path)["runs"] if path.exists() else []
    for seed in options.seeds:
        for way in WAYS:
            if any(run["seed"] == seed and run["way"] == way for run in done):
                continue
            done.append(one_run(options, way, seed))
            flags = f"--model {options.model} --epochs {options.epochs}"
            flags += f" --threads {options.threads}" if options.threads else ""
            about = {
                "command": f"python benchmarks/parity.py DATA {flags}",
                "model": options.model,
                "epochs": options.epochs,
            }
            write_json(path, {**about, "summary": summary(done), "runs": done})
            print({name: value for name, value in done[-1].items() if name != "environment"}, flush=True)
    print(json.dumps(summary(done), indent=1))


if __name__ == "__main__":
    main()
