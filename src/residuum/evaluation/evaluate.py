"""A net and batches in, probabilities out; and the verb `evaluate` for a finished run."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import Tensor, nn

from residuum import machine, runs
from residuum.choices import Precision, Views
from residuum.compute import Compute, choose_compute
from residuum.data.batches import Batch, Loader
from residuum.data.contract import Split
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.evaluation.metrics import SMALLEST, judge
from residuum.evaluation.opening import NetWithData, open_with_data
from residuum.evaluation.views import SAID, weighted
from residuum.loading import load
from residuum.plain_data import as_json
from residuum.records.codec import write_record
from residuum.records.evaluation import DataEvaluation, Evaluation, KeptEvaluation
from residuum.settings import EvaluateSettings


@torch.inference_mode()
def probabilities(
    net: nn.Module,
    batches: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    forward: Callable[[Tensor], Tensor] | None = None,
) -> NDArray[np.float32]:
    """Return (N, K) probabilities of the net, put into evaluation mode, for all pictures served.

    They come from the mean logits of each picture's views. `forward` computes net(x) in the net's place (its plan).
    """
    net.eval()
    forward = forward or net
    parts = []
    for batch in batches:
        with compute.autocast():
            answers = [weight * forward(view).float() for weight, view in weighted(batch.images, views)]
            logits = torch.stack(answers).sum(0)
        parts.append(torch.softmax(logits, dim=1).cpu().numpy())
    return np.concatenate(parts)


def scores(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the two figures shown after each epoch: mean loss and accuracy."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return {
        "validation_loss": float(-np.log(np.maximum(of_truth, SMALLEST)).mean()),
        "validation_accuracy": float((probabilities.argmax(1) == labels).mean()),
    }


def protocol(shown: Preprocessing, views: Views = "single") -> str:
    """Say how each picture was shown to the net, so that figures are compared like with like."""
    how = "" if shown.interpolation == "bilinear" else f" ({shown.interpolation})"
    square = f"{shown.image_size}×{shown.image_size}"
    if shown.resize_to == shown.image_size:
        return f"{SAID[views]}, {square}{how}"
    return f"{SAID[views]}, shorter side {shown.resize_to}{how}, central {square}"


def evaluate(settings: EvaluateSettings) -> DataEvaluation:
    """Judge a run or model on a split and keep the figures in the run's `evaluations` folder.

    It computes in float32 unless told otherwise: a net scores what was published for it.

    Raises:
        UserError: no such run, data or split; or the data's classes are not the model's.
    """
    if settings.run is None:
        raise UserError("which run or model?", "", "residuum evaluate RUN [DATA]")
    classifier = load(settings.run)
    precision: Precision = "float32" if settings.precision == "auto" else settings.precision
    compute = choose_compute(settings.device, precision, threads=settings.threads)
    opened = open_with_data(classifier, compute, settings.data)
    name, split = _choose_split(opened, settings)
    loader = opened.loader(split, settings.batch_size, settings.workers)
    found = DataEvaluation(
        **structs.asdict(judged(classifier.net, loader, compute, classifier.classes, name)),
        data=str(settings.data) if settings.data else opened.data.source,
        fingerprint=opened.fingerprint,
        same_data_as_training=opened.same,
    )
    run = Path(settings.run)
    if runs.is_run(run):  # kept beside the run, never over the run's own evaluation
        kept = KeptEvaluation(
            **structs.asdict(found),
            model=classifier.file.name,
            settings=as_json(settings),
            environment=machine.environment(),
        )
        write_record(run / runs.EVALUATIONS / f"{found.split}-{found.fingerprint[:12]}.json", kept)
    return found


def judged(net: nn.Module, loader: Loader, compute: Compute, classes: Sequence[str], split: str) -> Evaluation:
    """Return the figures of a net on a split that goes by this name."""
    answers = probabilities(net, loader, compute)
    how = protocol(loader.preprocessing)
    return judge(answers, loader.split.labels, classes, split=split, protocol=how)


def _choose_split(opened: NetWithData, settings: EvaluateSettings) -> tuple[str, Split]:
    """The split asked for; else test, else validation, else train."""
    data, wanted = opened.data, settings.split
    if wanted is None and settings.data is not None and data.test is None and data.validation is None:
        wanted = "train"  # pictures given without splits: all of them are what to judge on
    splits = {"test": data.test, "validation": opened.validation, "train": data.train}
    present = {name: split for name, split in splits.items() if split is not None}
    name: str = wanted or next(iter(present))
    if name not in present:
        raise UserError(
            f"{data.source} has no {name} split", "it has: " + ", ".join(present), "choose one with --split"
        )
    return name, present[name]
