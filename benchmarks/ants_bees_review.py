"""Can a head on a few hundred photographs be trusted? Flipped labels, planted copies, strangers, and its temperature.

    python benchmarks/ants_bees_review.py ants-bees half-resnet50.safetensors imagenet-sample

The model file is that of benchmarks/ants_bees_head.py. Labels are flipped and copies planted in the training pictures;
the validation pictures are looked at once a seed, for what is called unsure. With `--cleanlab PYTHON`, an interpreter
that has cleanlab, labels are ranked by that as well. Writes results/ants-bees-review.json.
"""

import io
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from figures import Figures, asked, mean_and_sd, write
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from sklearn.covariance import LedoitWolf

from residuum import runs
from residuum.compute import Compute, choose_compute
from residuum.data.batches import Loader, open_loader
from residuum.data.contract import Split
from residuum.data.decode import decode
from residuum.data.open import open_data
from residuum.evaluation.likeness import NEIGHBOURS, SHARES, UNSURE, directions, distances, threshold
from residuum.evaluation.review import copies, doubted_labels, nearest_others, small_grey
from residuum.evaluation.unseen import read_unseen
from residuum.loading import Classifier, load
from residuum.prediction.predict import predict
from residuum.settings import PredictSettings, TrainSettings
from residuum.training.features import features
from residuum.training.head import fit_head, folds, softmax
from residuum.training.run import train


def _recoded(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file).convert("RGB")


FLIPPED, FIRST = 20, 25
FIRST_DRAW = 100  # others than those that the ranking was chosen by
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 20": _recoded,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "mirrored": ImageOps.mirror,
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "brighter by 30 %": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BILINEAR),
    "a tenth cut off each side": lambda image: ImageOps.crop(image, min(image.size) // 10),
}
CLEANLAB = """
import sys, numpy as np
from cleanlab.rank import get_label_quality_scores
given = np.load(sys.argv[1])
for method in ("self_confidence", "normalized_margin"):
    scores = get_label_quality_scores(given["labels"], given["answers"], method=method)
    print(len(set(np.argsort(scores, kind="stable")[:25].tolist()) & set(given["flipped"].tolist())))
"""


# --- pictures and net -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """Pictures in memory."""

    encodings: list[Any]

    def __len__(self) -> int:
        return len(self.encodings)

    def encoded(self, index: int) -> Any:
        return self.encodings[index]

    def name(self, index: int) -> str:
        return f"picture {index}"

    def files(self) -> None:
        return None

    def split(self) -> Split:
        return Split(self, np.zeros(len(self), np.int64))


@dataclass(frozen=True)
class Opened:
    """A net, and where it computes."""

    classifier: Classifier
    compute: Compute

    def loader(self, split: Split) -> Loader:
        return open_loader(split, self.classifier.preprocessing, self.compute.device, 0, 32)

    def features(self, split: Split) -> NDArray[np.float32]:
        return features(self.classifier.net, self.loader(split), self.compute, lambda: None)


# --- flipped labels -------------------------------------------------------------------------------


def flipped_labels(x: NDArray[Any], truth: NDArray[np.int64], draws: int, cleanlab: str | None) -> Figures:
    """Flip 20 labels in each draw, and count them among the first 25 of the review."""
    near, every = nearest_others(directions(x)), np.arange(len(truth))
    found: dict[str, list[float]] = {"review": [], "self_confidence": [], "cleanlab_best": []}
    for draw in range(FIRST_DRAW, FIRST_DRAW + draws):
        flipped = np.random.default_rng(draw).choice(len(truth), FLIPPED, replace=False)
        labels = truth.copy()
        labels[flipped] = 1 - labels[flipped]
        answers = fit_head(x, labels, 2, draw).out_of_fold
        first = [one.row for one in doubted_labels(answers, labels, near, every, labels)][:FIRST]
        found["review"].append(len(set(first) & set(flipped.tolist())))
        ranked = np.argsort(answers[every, labels], kind="stable")[:FIRST]
        found["self_confidence"].append(len(set(ranked.tolist()) & set(flipped.tolist())))
        if cleanlab:
            found["cleanlab_best"].append(_by_cleanlab(cleanlab, labels, answers, flipped))
    return {name: {**mean_and_sd(hits), "n": len(hits), "each": hits} for name, hits in found.items() if hits}


def _by_cleanlab(python: str, labels: NDArray[Any], answers: NDArray[Any], flipped: NDArray[Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "given.npz"
        np.savez(place, labels=labels, answers=answers, flipped=flipped)
        done = subprocess.run([python, "-c", CLEANLAB, place], capture_output=True, check=True, text=True)
    return max(map(float, done.stdout.split()))


# --- planted copies -------------------------------------------------------------------------------


def planted_copies(opened: Opened, train: Split, x: NDArray[np.float32], count: int = 30) -> Figures:
    """Plant changed copies of 30 training pictures, one change after another, and count those found."""
    loader = opened.loader(train)
    whole = [loader.seen(row) for row in range(len(x))]
    greys = [small_grey(picture) for picture in whole]
    chosen = np.sort(np.random.default_rng(0).choice(len(x), count, replace=False)).tolist()
    none = copies(nearest_others(directions(x)), np.arange(len(x)), np.stack(greys))
    found: Figures = {"planted": count, "groups_where_none_is_planted": len(none)}
    for name, change in CHANGES.items():
        views = [np.asarray(change(Image.fromarray(decode(train.pictures.encoded(row), name)))) for row in chosen]
        near = nearest_others(directions(np.concatenate([x, opened.features(Held(views).split())])))
        changed = opened.loader(Held(views).split())
        small = [small_grey(changed.seen(row)) for row in range(count)]
        groups = [{*one.rows} for one in copies(near, np.arange(len(x) + count), np.stack([*greys, *small]))]
        found[name] = sum(any(group >= {row, len(x) + i} for group in groups) for i, row in enumerate(chosen))
    return found


# --- strangers ------------------------------------------------------------------------------------


def unsure(data: str, model: str, strangers: str, seed: int) -> Figures:
    """Train, then show the validation pictures and the strangers."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        record = train(TrainSettings(data, start=model, tune="head", seed=seed, out=str(run), threads=2))
        shown = [list(predict(PredictSettings(str(run), (place,), threads=2))) for place in (f"{data}/val", strangers)]
        unseen = read_unseen(run / runs.OUT_OF_FOLD)
    assert record.head is not None
    assert record.evaluation is not None
    known, strange = (np.array([answer.distance for answer in answers]) for answers in shown)
    limits = [(share, threshold(unseen.distances, share)) for share in SHARES]
    limit = record.head.doubt.likeness.threshold
    right = np.array([Path(answer.picture).parent.name == answer.classes[0] for answer in shown[0]])
    fit = record.head
    return {
        "seed": seed,
        "threshold": limit,
        "known_unsure_out_of_fold": fit.doubt.likeness.known,
        "strangers_unsure": float((strange > limit).mean()),
        "strangers": len(strange),
        "validation_unsure": float((known > limit).mean()),
        "validation_right": float(right.mean()),
        "validation_right_of_the_rest": float(right[known <= limit].mean()),
        "validation": len(known),
        "missing_class_unsure": fit.doubt.strangers,
        "temperature": fit.temperature,
        "temperature_used": fit.used,
        "ece": {
            "before": fit.ece_before.value,
            "after": fit.ece_after.value,
            "validation": record.evaluation.ece.value,
        },
        "loss": {"before": fit.loss_before, "after": fit.loss_after, "final": record.evaluation.loss},
        "curve": [
            {
                "wanted": share,
                "known": float((unseen.distances > at).mean()),
                "validation": float((known > at).mean()),
                "strangers": float((strange > at).mean()),
            }
            for share, at in limits
        ],
    }


def other_scores(x: NDArray[Any], labels: NDArray[np.int64], strange: NDArray[Any]) -> Figures:
    """Return the share of strangers unsure by other scores, each threshold set out of fold as ours; one seed."""
    which, found = folds(labels, 0), Figures()
    head = fit_head(x, labels, 2, 0)

    def nearest(count: int) -> Callable[..., NDArray[Any]]:
        return lambda seen, new: distances(directions(new), directions(seen), count)

    def mahalanobis(shape: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[..., NDArray[Any]]:
        return lambda seen, new: LedoitWolf().fit(shape(seen)).mahalanobis(shape(new))

    scores = {f"mean distance to the nearest {count}": nearest(count) for count in (1, NEIGHBOURS, 10)}
    scores |= {"Mahalanobis, directions": mahalanobis(directions), "Mahalanobis": mahalanobis(np.asarray)}
    for name, score in scores.items():
        known = np.empty(len(x))
        for fold in np.unique(which):
            known[which == fold] = score(x[which != fold], x[which == fold])
        found[name] = float((score(x, strange) > threshold(known, UNSURE)).mean())
    sure = -softmax(strange @ head.weight.T + head.bias).max(1)
    found["probability of the likeliest class"] = float((sure > threshold(-head.out_of_fold.max(1), UNSURE)).mean())
    return found


# --- all of it ------------------------------------------------------------------------------------


def main(
    data: str,
    model: str,
    strangers: str,
    *,
    draws: int = 10,
    seeds: tuple[int, ...] = (0, 1, 2),
    cleanlab: str | None = None,
) -> None:
    opened = Opened(load(model), choose_compute("cpu", "float32", threads=2))
    opened.compute.place(opened.classifier.net)
    train_split = open_data(data).train
    x, labels = opened.features(train_split), train_split.labels
    strange = opened.features(Held([path.read_bytes() for path in sorted(Path(strangers).iterdir())]).split())
    runs_of_seeds = [unsure(data, model, strangers, seed) for seed in seeds]
    names = ("strangers_unsure", "known_unsure_out_of_fold", "validation_unsure")
    found = {
        "flipped": {"labels": FLIPPED, "of": len(labels), "first": FIRST, **flipped_labels(x, labels, draws, cleanlab)},
        "copies": planted_copies(opened, train_split, x),
        "unsure": {name: fmean(run[name] for run in runs_of_seeds) for name in names},
        "strangers_unsure_by_other_scores": other_scores(x, labels, strange),
        "each_seed": runs_of_seeds,
    }
    write(
        "ants-bees-review",
        "python benchmarks/ants_bees_review.py ants-bees half-resnet50.safetensors imagenet-sample",
        found,
    )


if __name__ == "__main__":
    asked(main)
