"""Nets to examine: those of the study's runs or the one it was given, and the pictures they are examined on."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from residuum.choices import Scale
from residuum.compute import Compute, choose_compute
from residuum.data.batches import Batch
from residuum.depth.recalibrate import recalibrate
from residuum.evaluation.opening import BATCH, NetWithData, open_with_data, with_validation
from residuum.loading import Classifier, load
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.numbers import wilson
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.frame import Setup, refuse_several
from residuum.studies.trained import net_settings, with_each_seed

IMAGES: dict[Scale, int] = {"tiny": 200, "quick": 1000, "full": 5000}
"""Validation pictures that a net is examined on, where there are so many."""
LARGE, FEWER = 64, 8
"""Of pictures wider than so many pixels, which cost so much more, only one in so many is taken."""


def opened(path: Path | str, setup: Setup) -> NetWithData:
    """Open a run folder or model file: the net in evaluation mode, placed where it computes, in float32.

    Raises:
        UserError: there is none, it cannot be read, or the pictures are not to be had or have other classes.
    """
    compute = choose_compute(setup.device, "float32", threads=setup.threads)
    found = open_with_data(load(path), compute, setup.data, call="study NAME --model {} --data DATA")
    refuse_several(found.data)
    return with_validation(found)


def affordable(classifier: Classifier, images: int) -> int:
    """Return `images`, or an eighth of it where the net sees large pictures."""
    return images // FEWER if classifier.preprocessing.image_size > LARGE else images


def training_batches(run: NetWithData, images: int) -> list[Batch]:
    """Return that many training pictures, or all there are, but at most 2,000, as evaluation shows them."""
    loader = run.recalibration_loader(0)
    present = len(loader.split)
    # spread over all rows, since the first ones of a folder are of one class
    rows = np.arange(min(images, present)) * present // min(images, present)
    return list(loader.batches([(0, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]))


def pictures_of(run: NetWithData, images: int, split: str = "") -> str:
    """Write "1,000 validation pictures of cifar10", or of which `split` they are."""
    split = split or run.validation_split
    of = "pictures that it was trained on, for none were kept aside," if split == "train" else f"{split} pictures"
    return f"{images:,} {of} of {run.data.name}"


def interval_of(per_cent: float, images: int) -> str:
    """Write the 95 % interval of a share of so many pictures as "2.2–6.8 %"."""
    low, high = wilson(round(per_cent / 100 * images), images)
    return f"{100 * low:.1f}–{100 * high:.1f} %"


class Examined(NamedTuple):
    """A net, placed and in evaluation mode, and pictures that can be walked again and again."""

    name: str
    net: ResNet
    batches: Iterable[Batch]
    compute: Compute
    images: int
    pictures: str
    """How many of which split, in words."""


def examine(setup: Setup, model: str | Path, images: int | None = None) -> Examined:
    """Open a run folder or model file with `images` validation pictures, by default as many as the scale has.

    Of large pictures it is an eighth of that.

    Raises:
        UserError: there is no such model, its pictures are not known, or they have other classes.
    """
    run = opened(model, setup)
    count = affordable(run.classifier, images or IMAGES[setup.scale])
    loader, classifier = run.validation_loader(count), run.classifier
    images = len(loader.split)
    words = pictures_of(run, images)
    return Examined(classifier.name, classifier.net, loader.held(), run.compute, images, words)


def examine_each(
    setup: Setup, records: Sequence[RunRecord], images: int | None = None
) -> Iterator[tuple[Examined, int]]:
    """Open one run after another, one for each seed, as `examine` does; give each net with its seed."""
    for record, seed in zip(records, setup.seeds, strict=True):
        yield examine(setup, record.path, images), seed


def notes_on_pictures(setup: Setup) -> tuple[str, ...]:
    """Return what a study has to say of its pictures at this scale."""
    if setup.scale != "full" or setup.model is not None:
        return ()
    return ("At scale full nets are trained on all training pictures; a tenth of these is what they are examined on.",)


# --- the nets of the degradation study, which other studies examine -----------------------------


DEPTHS: dict[Scale, tuple[int, ...]] = {"tiny": (8, 20), "quick": (20, 56), "full": (20, 32, 44, 56)}
"""What plain and residual nets are compared at; quick has fewer, to stay within minutes."""


def of_depth(setup: Setup, kind: str, depth: int, seed: int, **choices: Any) -> TrainSettings:
    """Return how a net of 6n + 2 layers is trained, kind "plain" or "resnet"; some tiny ones have no name."""
    if setup.scale == "tiny":
        n = (depth - 2) // 6
        return net_settings(setup, f"{kind}20", seed, blocks=(n, n, n), **choices)
    return net_settings(setup, f"{kind}{depth}", seed, **choices)


def runs_of(setup: Setup, nets: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[RunRecord]]:
    """Return the runs of each (kind, depth), one for each seed; those that are missing are trained.

    Raises:
        UserError, Stopped: as `trained`.
    """
    return with_each_seed(setup, {net: partial(of_depth, setup, *net) for net in nets})


def untrained(spec: NetSpec, seed: int) -> ResNet:
    """Return a new net with the initial weights of this seed; torch's own state of chance stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet(spec)


def untrained_on(spec: NetSpec, seed: int, images: Iterable[Tensor], compute: Compute) -> ResNet:
    """Return such a net placed and in evaluation mode, its BN statistics measured on batches (B, C, S, S)."""
    net = untrained(spec, seed)
    compute.place(net)
    with compute.autocast():
        recalibrate(net, images)
    return net.eval()
