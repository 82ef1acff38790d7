"""What are the features of a frozen net good for, by the side pictures are shown at and by how they are pooled?

    python benchmarks/starter_features.py MODEL ../shared/data/ants-bees ../shared/data/imagenet-sample --label NAME

Two questions, each answered out of fold by a fitted last layer, in three cuts of the folds: ants or bees (the training
pictures alone: val is never opened), and animal or not (the first numbers of the names tell). Writes
results/starter-trials.json, one entry for each label, side, question and pooling.
"""

import re
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from figures import Figures, add_runs, asked

from residuum import load, machine
from residuum.data.batches import open_loader
from residuum.data.contract import Split
from residuum.data.open import open_data
from residuum.loading import Classifier
from residuum.records.codec import to_json
from residuum.training.head import fit_head

LAST_ANIMAL = 2_600_000
"""WordNet's ids of animals end here, in ImageNet's own order."""
MAIN = ("ants or bees", "both")
POOLINGS = {"average": ("average",), "max": ("max",), "both": ("average", "max")}


def questions(photographs: Path, sample: Path, folder: Path) -> dict[str, Split]:
    """Return the pictures of each question with their labels; folders of links stand in for the sample's classes."""
    for picture in sample.glob("*.JPEG"):
        number = re.match(r"n(\d+)_", picture.name)
        assert number
        kind = folder / ("animal" if int(number[1]) < LAST_ANIMAL else "other")
        kind.mkdir(exist_ok=True)
        (kind / picture.name).symlink_to(picture.absolute())
    return {"ants or bees": open_data(str(photographs)).train, "animal or not": open_data(str(folder)).train}


@torch.inference_mode()
def pooled(classifier: Classifier, split: Split, side: int) -> dict[str, np.ndarray]:
    """Return (N, D) features of all pictures for each pooling and each of the last two stages: "average 3"."""
    how = replace(classifier.preprocessing, image_size=side, resize_to=side)
    net, parts = classifier.net, []
    for batch in open_loader(split, how, torch.device("cpu"), 0, 50):
        y, found = net.stem(batch.images), {}
        for number, stage in enumerate(net.stages.children(), start=1):
            y = stage(y)
            last = net.end(y) if number == len(net.spec.blocks) else y
            found |= {f"average {number}": last.mean((2, 3)), f"max {number}": last.amax((2, 3))}
        parts.append(found)
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def judged(features: np.ndarray, labels: np.ndarray) -> Figures:
    """Return mean accuracy and loss out of fold, over three cuts of the folds."""
    heads = [fit_head(features, labels, 2, seed) for seed in range(3)]
    rights = [float((head.out_of_fold.argmax(1) == labels).mean()) for head in heads]
    return {
        "accuracy": statistics.fmean(rights),
        "loss": statistics.fmean(head.loss for head in heads),
        "n": len(labels),
    }


def found(classifier: Classifier, asked_for: dict[str, Split], side: int) -> Iterator[tuple[str, str, Figures]]:
    """Yield question, pooling and figures."""
    last = len(classifier.spec.blocks)
    for question, split in asked_for.items():
        x = pooled(classifier, split, side)
        for stages in ((last,), (last - 1, last)):
            for name, kinds in POOLINGS.items():
                columns = [x[f"{kind} {stage}"] for stage in stages for kind in kinds]
                label = name if len(stages) == 1 else f"{name}, last two stages"
                yield question, label, judged(np.concatenate(columns, 1), split.labels)


def main(model: Path, photographs: Path, sample: Path, *, label: str, sides: tuple[int, ...] = (64, 96, 128)) -> None:
    classifier = load(model)
    about = {
        "command": "python benchmarks/starter_features.py MODEL ants-bees imagenet-sample --label LABEL",
        "written_by": "benchmarks/starter_features.py",
        "note": "trials: choices were made by these figures; a run's own accuracy is of " + ", ".join(MAIN),
    }
    with tempfile.TemporaryDirectory() as folder:
        asked_for = questions(photographs, sample, Path(folder))

        def one_run(label: str, side: int) -> Figures:
            figures = [{"question": q, "pooling": pooling, **f} for q, pooling, f in found(classifier, asked_for, side)]
            rates = [each["accuracy"] for each in figures if (each["question"], each["pooling"]) == MAIN]
            return {"seed": 0, "accuracy": rates[0], "found": figures, "environment": to_json(machine.environment())}

        add_runs("starter-trials", about, [{"label": label, "side": side} for side in sides], one_run, lambda done: {})


if __name__ == "__main__":
    asked(main)
