"""What a run begins with: its splits, ready to be served; its net with weights by chance or of a trained one; and what
the loop works on.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from residuum import machine, runs
from residuum.choices import SplitName
from residuum.console import say
from residuum.data.batches import Loader, Served, open_loader, pixels_if_small
from residuum.data.cache import count_seen
from residuum.data.contract import Split
from residuum.data.preprocess import Preprocessing, measure
from residuum.data.rng import order
from residuum.data.split import training_and_validation
from residuum.errors import UserError, listed
from residuum.evaluation.known import BEFORE, NONE, are_among, count_known, digests_of, read_known
from residuum.files import short_digest
from residuum.loading import Classifier
from residuum.models.plan import Forward
from residuum.models.resnet import ResNet
from residuum.models.whitening import PICTURES, whiten
from residuum.recipe import SMALL
from residuum.records.model import Lineage, Trained
from residuum.training.average import average_of
from residuum.training.loop import Job
from residuum.training.optimizer import frozen_part, make_optimizer
from residuum.training.resolve import Resolved

EVALUATION_BATCH = 250
EVALUATION_BATCH_THERE = 1000
"""On a GPU, of small pictures that lie there: a batch of few would take no less time."""

Loaders = dict[SplitName, Loader]
"""The splits that there are, ready to be served."""


# --- pictures -----------------------------------------------------------------------------------


def open_loaders(resolved: Resolved) -> Loaders:
    """Decode the small, prepare to stream the large, and measure the training pictures' mean and spread."""
    size, resize = resolved.image_size, resolved.resize_to
    train, validation = training_and_validation(resolved.data, resolved.cut)
    greys = resolved.data.greys
    images = pixels_if_small(train.pictures, size, resize, resolved.interpolation, greys)
    how = _of_start(resolved.start, size, resize) or measure(images, size, resize, resolved.recipe)
    how = replace(how, greys=greys)
    device, workers = resolved.compute.device, resolved.settings.workers or 0
    batch = evaluation_batch(device, image_size=size)
    splits: dict[SplitName, Split | None] = {"train": train, "validation": validation, "test": resolved.data.test}
    loaders = {
        name: open_loader(split, replace(how, image_size=resolved.training_size), device, workers, batch, images)
        if name == "train"
        else open_loader(split, how, device, workers, batch)
        for name, split in splits.items()
        if split is not None
    }
    return loaders | {"train": replace(loaders["train"], shuffle=resolved.settings.shuffle or "whole")}


def evaluation_batch(device: torch.device, *, image_size: int) -> int:
    """Return how many pictures of this side, in pixels, are judged at once."""
    return EVALUATION_BATCH if image_size > SMALL or device.type == "cpu" else EVALUATION_BATCH_THERE


def _of_start(start: Classifier | None, image_size: int, resize_to: int) -> Preprocessing | None:
    """The preprocessing that a starting model was trained with, at the size asked for; None for a new net.

    Raises:
        UserError: it subtracts a mean picture of another size.
    """
    if start is None:
        return None
    how = start.preprocessing
    if how.mean.ndim == 3 and image_size != how.image_size:
        raise UserError(
            f"the starting model cannot be trained at {image_size} px",
            f"it subtracts a mean picture of {how.image_size} px",
            f"use --image-size {how.image_size}",
        )
    return replace(how, image_size=image_size, resize_to=resize_to, views="single")


def final_split(loaders: Loaders) -> SplitName | None:
    """Return the split that a net is judged on in the end: test, else validation; None where there is neither."""
    names: tuple[SplitName, ...] = ("test", "validation")
    return next((name for name in names if name in loaders), None)


def seen_of(run: Path, loaders: Loaders) -> int:
    """Return how many pictures of the final split the net has learnt: training pictures, or of what its weights were
    trained on before (UserError: a file cannot be read, or the run's is damaged)."""
    name, known = final_split(loaders), read_known(run)
    if name is None:
        return 0
    asked = loaders[name].split.pictures  # a run of 0.1.0 that is gone on with knows none
    return count_known(asked, known) if known else count_seen(asked, loaders["train"].split.pictures)


def learnt_before_of(run: Path, split: Split) -> int:
    """Return how many pictures the weights had learnt that training started from (UserError as above)."""
    before = read_known(run).get(BEFORE, NONE)
    return int(are_among(digests_of(split.pictures), before).sum()) if len(before) else 0


# --- weights ------------------------------------------------------------------------------------


def make_net(resolved: Resolved) -> ResNet:
    """Build the run's net, on the CPU, with its initial weights."""
    torch.manual_seed(resolved.settings.seed)
    net = ResNet(resolved.spec)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = resolved.recipe.statistics_momentum
            module.weight.requires_grad_(resolved.recipe.trained_scales)
    for module in frozen_part(net, resolved.recipe):
        module.requires_grad_(False)
    if resolved.start is not None:
        _take_over(net, resolved.start, tuple(resolved.data.classes), several=resolved.data.several)
    return net


def whiten_stem(net: ResNet, loader: Loader, seed: int) -> None:
    """Compute a whitening stem's filters from the first training pictures of a run; other stems are left alone."""
    if net.spec.stem != "whitening":
        return
    conv = net.stem.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    rows = order(seed, 0, len(loader.split))[:PICTURES]
    plan = [(0, rows[start : start + EVALUATION_BATCH]) for start in range(0, len(rows), EVALUATION_BATCH)]
    whiten(conv, torch.cat([batch.images for batch in loader.batches(plan)]))


def _take_over(net: ResNet, start: Classifier, classes: tuple[str, ...], *, several: bool) -> None:
    """Copy all weights; of the last layer the rows of the classes that both know, in whatever order, where both answer
    one class a picture, or both several."""
    theirs_known = start.classes if start.several == several else ()
    weights, new = dict(start.net.state_dict()), [name for name in classes if name not in theirs_known]
    if start.several != several:
        kind = "several labels a picture" if start.several else "one label a picture"
        say(f"the starting model answers {kind}: a new last layer for {len(classes)} classes")
    elif not start.classes:
        say(f"the starting model is a backbone, without classes: a new last layer for {len(classes)} classes")
    elif len(new) == len(classes):
        say(f"the classes differ from those of the starting model: a new last layer for {len(classes)} classes")
    elif new:
        say(f"the starting model knows {len(classes) - len(new)} of the {len(classes)} classes; new: {listed(new)}")
    there = [place for place, name in enumerate(classes) if name in theirs_known]
    theirs = [start.classes.index(classes[place]) for place in there]
    for name in ("fc.weight", "fc.bias"):
        rows = net.state_dict()[name].clone()
        rows[there] = weights[name][theirs]
        weights[name] = rows
    net.load_state_dict(weights)


# --- what the loop works on ---------------------------------------------------------------------


def make_job(resolved: Resolved, net: ResNet, forward: Forward, loader: Served, *, accumulate: int = 1) -> Job:
    """Return the run's steps on the loader's pictures, each in `accumulate` parts, with a new optimiser; an average
    begins with the net as it is."""
    recipe, compute, weights = resolved.recipe, resolved.compute, resolved.class_weights
    return Job(
        net,
        forward,
        make_optimizer(net, recipe, compute.dtype),
        recipe,
        loader,
        compute,
        resolved.settings.seed,
        class_weights=None if weights is None else torch.from_numpy(weights).float().to(compute.device),
        average=average_of(net, recipe),
        accumulate=accumulate,
    )


# --- where it came from -------------------------------------------------------------------------


def lineage(run: Path, resolved: Resolved) -> Lineage:
    """Return what the model came from, oldest first, with this run as the last step."""
    step = Trained(
        date=machine.environment().date,
        data=resolved.data.name,
        recipe=resolved.recipe.name,
        steps=resolved.recipe.iterations,
        from_=short_digest(run / runs.START) if resolved.start else None,
    )
    return (*resolved.start.about.lineage, step) if resolved.start else (step,)
