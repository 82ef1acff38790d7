"""A net and batches in, probabilities out; and the verb `evaluate` for a finished run."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import nn

from residuum import machine, runs
from residuum.choices import Interpolation, Precision, SplitName, Views
from residuum.compute import Compute, choose_compute
from residuum.console import show_progress
from residuum.data.batches import Batch, Feed, one_pass, open_feed, pixels_if_small
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData, Split
from residuum.data.folder import differences
from residuum.data.open import open_data
from residuum.errors import UserError
from residuum.evaluation.metrics import SMALLEST, judge
from residuum.evaluation.views import SAID, weighted
from residuum.loading import Classifier, load, model_path
from residuum.plain_data import as_json
from residuum.records.codec import read_record, write_record
from residuum.records.evaluation import DataEvaluation, Evaluation, KeptEvaluation
from residuum.records.run import Data, SplitRows
from residuum.settings import EvaluateSettings


@torch.inference_mode()
def probabilities(
    net: nn.Module, batches: Iterable[Batch], compute: Compute, views: Views = "single"
) -> NDArray[np.float32]:
    """Return (N, K) probabilities of the net, put into evaluation mode, for all pictures served.

    They come from the mean logits of each picture's views.
    """
    net.eval()
    parts = []
    for batch in batches:
        with compute.autocast():
            answers = [weight * net(view).float() for weight, view in weighted(batch.images, views)]
            logits = torch.stack(answers).sum(0)
        parts.append(torch.softmax(logits, dim=1).cpu().numpy())
    return np.concatenate(parts)


def judge_feed(
    net: nn.Module, feed: Feed, compute: Compute, batch_size: int, views: Views = "single"
) -> NDArray[np.float32]:
    """Return (N, K) probabilities for every picture of the feed once, in order; `views` as in `probabilities`."""
    batches = feed.batches(one_pass(len(feed.split), batch_size))
    return probabilities(net, batches, compute, views)


def scores(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the two figures shown after each epoch: mean loss and accuracy."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return {
        "validation_loss": float(-np.log(np.maximum(of_truth, SMALLEST)).mean()),
        "validation_accuracy": float((probabilities.argmax(1) == labels).mean()),
    }


def protocol(
    image_size: int, resize_to: int, interpolation: Interpolation = "bilinear", views: Views = "single"
) -> str:
    """Say how each picture was shown to the net, so that figures are compared like with like."""
    how = "" if interpolation == "bilinear" else f" ({interpolation})"
    if resize_to == image_size:
        return f"{SAID[views]}, {image_size}×{image_size}{how}"
    return f"{SAID[views]}, shorter side {resize_to}{how}, central {image_size}×{image_size}"


def evaluate(settings: EvaluateSettings) -> DataEvaluation:
    """Judge a run or model on a split and keep the figures in the run's `evaluations` folder.

    It computes in float32 unless told otherwise: a net scores what was published for it.

    Raises:
        UserError: no such run, data or split; or the data's classes are not the model's.
    """
    if settings.run is None:
        raise UserError("which run or model?", "", "residuum evaluate RUN [DATA]")
    classifier = load(settings.run)
    trained_on = classifier.about.data
    source = settings.data or _own_source(trained_on, settings.run)
    data = open_data(source, progress=show_progress("fetching"))
    name, split = _choose_split(data, settings.split, Path(settings.run), settings.data is None)
    split = renumbered(split, data, classifier.classes)
    precision: Precision = "float32" if settings.precision == "auto" else settings.precision
    compute = choose_compute(settings.device, precision, threads=settings.threads)
    judged = _judge(classifier, split, name, compute, settings)
    digest = fingerprint(data)
    found = DataEvaluation(
        **structs.asdict(judged),
        data=source,
        fingerprint=digest,
        same_data_as_training=digest == trained_on.fingerprint if trained_on else None,
    )
    _keep(Path(settings.run), found, settings)
    return found


def _judge(
    classifier: Classifier, split: Split, name: str, compute: Compute, settings: EvaluateSettings
) -> Evaluation:
    how = classifier.preprocessing
    images = pixels_if_small(split, how.image_size, how.resize_to, how.interpolation)
    workers = compute.threads if settings.workers is None else settings.workers
    feed = open_feed(split, how, images, compute.device, workers)
    net = compute.place(classifier.net)
    return judge(
        judge_feed(net, feed, compute, settings.batch_size),
        split.labels,
        classifier.classes,
        split=name,
        protocol=protocol(how.image_size, how.resize_to, how.interpolation),
    )


def _own_source(trained_on: Data | None, run: str) -> str:
    if not trained_on:
        raise UserError(
            f"which pictures should {run} be judged on?",
            "it was not trained here, so it has no data of its own",
            f"residuum evaluate {run} DATA",
        )
    return trained_on.source


def _choose_split(data: ImageData, wanted: SplitName | None, run: Path, own_data: bool) -> tuple[str, Split]:
    """The split asked for; else test, else validation; a validation split that training cut is cut again."""
    validation = data.validation or (_cut_again(data, run) if own_data else None)
    splits = {"test": data.test, "validation": validation, "train": data.train}
    if wanted is None and not own_data and data.test is None and data.validation is None:
        wanted = "train"  # pictures given without splits: all of them are what to judge on
    present = {name: split for name, split in splits.items() if split is not None}
    name: str = wanted or next(iter(present))
    if name not in present:
        raise UserError(
            f"{data.source} has no {name} split", "it has: " + ", ".join(present), "choose one with --split"
        )
    return name, present[name]


def renumbered(split: Split, data: ImageData, classes: Sequence[str]) -> Split:
    """Number the labels as the model does, by name (UserError where the names differ)."""
    if tuple(data.classes) == tuple(classes):
        return split
    if difference := differences(classes, data.classes):
        raise UserError(
            f"{data.source} does not have the model's classes", difference, "the class names must be the same"
        )
    number = {name: index for index, name in enumerate(classes)}
    table = np.array([number[name] for name in data.classes])
    return Split(split.pictures, table[split.labels])


def _cut_again(data: ImageData, run: Path) -> Split | None:
    rows = run / runs.SPLIT
    return data.train.take(np.array(read_record(rows, SplitRows).validation)) if rows.exists() else None


def _keep(run: Path, found: DataEvaluation, settings: EvaluateSettings) -> None:
    """Write the figures beside the run, never over the run's own evaluation."""
    if not runs.is_run(run):
        return
    kept = KeptEvaluation(
        **structs.asdict(found),
        model=model_path(run).name,
        settings=as_json(settings),
        environment=machine.environment(),
    )
    write_record(run / runs.EVALUATIONS / f"{found.split}-{found.fingerprint[:12]}.json", kept)
