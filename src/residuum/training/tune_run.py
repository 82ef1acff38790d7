"""The part of a run that tunes the last stage or the whole net: the head first, then steps, then the last layer anew,
as the head was; kept if they do better.

The same is done without each fold of the training pictures, so that the tuned net and the head alone are compared by
answers to pictures that neither has seen. Letters: N training pictures, K classes.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum import runs
from residuum.console import show_progress, warn
from residuum.data.batches import Served
from residuum.data.labels import Labels, answered, is_right, is_several
from residuum.data.preprocess import weighted
from residuum.errors import UserError
from residuum.evaluation.evaluate import probabilities, protocol
from residuum.evaluation.metrics import mean_loss
from residuum.evaluation.shares import Probabilities
from residuum.files import write_whole
from residuum.models.file import read_tensors, sealed
from residuum.models.plan import Forward, make_forward
from residuum.models.resnet import ResNet
from residuum.recipe import Recipe, Task
from residuum.recipes.head import head as head_recipe
from residuum.records.evaluation import Evaluation
from residuum.tracking.contract import Track
from residuum.training.binding import bound
from residuum.training.features import features, heeding, without_last_layer
from residuum.training.head import FOLDS, Head, Numbers, fit_with
from residuum.training.head_run import (
    Fitted,
    are_right,
    as_computed,
    fit_to_features,
    going_on_with,
    judge_by_folds,
    judge_head,
    note,
    set_last_layer,
)
from residuum.training.kept import Kept
from residuum.training.loop import Callbacks, Job, NotFiniteError, fit
from residuum.training.maps import Maps, maps
from residuum.training.resolve import Resolved
from residuum.training.signals import AskedToStop
from residuum.training.start import Loaders, final_split, make_job
from residuum.training.state import State
from residuum.training.steps import take_steps
from residuum.training.trust import Calibrated, calibrated, record_trust

ENOUGH = 200
"""Where so many pictures have answers out of fold, no further fold is trained without."""

MARGIN = 0.0
"""By so many nats the tuned nets' answers must be likelier than the heads'."""

HELD_BACK = 0.1
"""The last layer of a tuned net is fitted at so many times the head's strength: the net's features of pictures that it
was tuned on lie further apart than those of others."""


def train_tuned(
    folder: Kept, resolved: Resolved, loaders: Loaders, asked_to_stop: AskedToStop, track: Track
) -> tuple[Resolved, ResNet, Evaluation]:
    """Return the tuned net, or the one with the fitted head alone where that does better; its final figures, which are
    written; and the way that was kept.

    Raises:
        Stopped: a signal came; the message says how to go on, from the last fold or checkpoint.
        UserError: pictures cannot be read, are all the same, or the loss is no longer finite.
    """
    run = folder.folder()
    fitted = fit_to_features(run, resolved, loaders, asked_to_stop)
    resolved = replace(resolved, recipe=replace(resolved.recipe, views=fitted.views))
    with going_on_with(run):
        work = _prepared(run, resolved, loaders, fitted, asked_to_stop)
        rows, answers = _out_of_fold(work, asked_to_stop)
    found = _calibrated(work, rows, answers)
    if _is_better(work, rows, found):
        work.begin_again(fitted.start.head.weight, fitted.start.head.bias)
        take_steps(folder, resolved, work.job(), dict, asked_to_stop, track)
        with going_on_with(folder.folder()):
            x = _features(work, asked_to_stop)
        set_last_layer(fitted.net, *_last_layer(work, x, np.arange(len(work.labels))))
        return resolved, fitted.net, _judged(replace(work, run=folder.folder()), loaders, rows, answers)
    work.begin_again(fitted.found.head.weight, fitted.found.head.bias)
    only_head = head_recipe(Task(num_pictures=resolved.num_training, image_size=resolved.image_size, depth=0))
    resolved = replace(resolved, recipe=replace(only_head, views=fitted.views))
    return resolved, fitted.net, judge_head(folder.folder(), resolved, loaders, fitted)


@dataclass(frozen=True)
class _Work:
    """What all folds share."""

    run: Path
    resolved: Resolved
    fitted: Fitted
    loader: Served
    """Training pictures, or what the frozen part makes of them."""
    forward: Forward
    """What takes those to logits."""
    before: dict[str, Tensor]
    """The net's weights before any step."""

    @property
    def labels(self) -> Labels:
        return self.loader.split.labels

    def begin_again(self, weight: Numbers, bias: Numbers) -> None:
        """Put the weights back, with this last layer."""
        self.fitted.net.load_state_dict(self.before)
        set_last_layer(self.fitted.net, weight, bias)

    def job(self, rows: NDArray[np.int64] | None = None) -> Job:
        """Return the steps on these training pictures, by default all."""
        loader = self.loader if rows is None else self.loader.take(rows)
        recipe = _for_fewer(self.resolved.recipe, len(self.labels), len(loader.split))
        parts = min(self.resolved.settings.accumulate, recipe.batch_size)  # a fold may have fewer pictures than a batch
        net, forward = self.fitted.net, self.forward
        return make_job(replace(self.resolved, recipe=recipe), net, forward, loader, accumulate=parts)


def _prepared(run: Path, resolved: Resolved, loaders: Loaders, fitted: Fitted, asked_to_stop: AskedToStop) -> _Work:
    """Compute what the frozen part makes of the pictures' views, where there is one and it fits in memory."""
    net, recipe, compute = fitted.net, resolved.recipe, resolved.compute
    way = make_forward(net, compute, checkpointing=resolved.settings.checkpointing)
    loader: Served = loaders["train"]
    forward: Forward = way
    if frozen := recipe.frozen_stages:
        begin, go_on = partial(way.begin, stages=frozen), partial(way.go_on, stages=frozen)
        passes = -(-recipe.iterations * recipe.batch_size // resolved.num_training)
        net.eval()
        seed, augmentation = resolved.settings.seed, recipe.augmentation
        mirrored = recipe.views == "mirrored"
        found = maps(begin, loaders["train"], compute, augmentation, seed, passes, asked_to_stop, mirrored=mirrored)
        forward = go_on if found else lambda x: go_on(torch.no_grad()(begin)(x))
        loader = found or loader
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return _Work(run, resolved, fitted, loader, forward, before)


def _for_fewer(recipe: Recipe, num_pictures: int, fewer: int) -> Recipe:
    """Return the recipe for as many passes over fewer pictures."""
    passes = recipe.iterations / (num_pictures // recipe.batch_size)
    batch_size = min(recipe.batch_size, fewer)
    return replace(recipe, batch_size=batch_size, iterations=max(1, round(passes * (fewer // batch_size))))


# --- out of fold ---------------------------------------------------------------------------------


def _out_of_fold(work: _Work, asked_to_stop: AskedToStop) -> tuple[NDArray[np.int64], Probabilities]:
    """Return the rows of n training pictures and (n, K) answers to them by nets that were tuned without them.

    Folds are left out in turn until enough pictures have answers; these lie in the run until it ends.

    Raises:
        Stopped: a signal came; the folds done are kept.
    """
    labels, num_classes, file = work.labels, len(work.resolved.data.classes), work.run / runs.FOLDS
    which = work.fitted.found.which
    answers = np.full((len(labels), num_classes), np.nan, np.float32)
    settings = json.dumps({**bound(work.resolved.settings), "last layer": "anew"}, sort_keys=True)
    if file.exists() and (found := _answers_kept(file, settings, answers.shape)) is not None:
        answers = found
    for fold in np.unique(which):
        if np.isfinite(answers[:, 0]).sum() >= ENOUGH:
            break
        if np.isfinite(answers[which == fold]).all():
            continue
        answers[which == fold] = _without(work, which == fold, f"tuning without fold {fold + 1}", asked_to_stop)
        write_whole(file, sealed({"answers": torch.from_numpy(answers)}, {"settings": settings}))
    rows = np.flatnonzero(np.isfinite(answers[:, 0]))
    return rows, answers[rows]


def _answers_kept(file: Path, settings: str, shape: tuple[int, ...]) -> Probabilities | None:
    """Return the answers of the folds done, NaN for the others; None, and a word, where they are of no use."""
    try:
        tensors, metadata = read_tensors(file)
        answers = tensors["answers"].numpy()
        if answers.shape == shape and metadata.get("settings", settings) == settings:
            return answers.astype(np.float32)
    except (UserError, KeyError):
        pass
    warn(f"{file} cannot be used: the folds are tuned again")
    return None


def _without(work: _Work, left_out: NDArray[np.bool_], doing: str, asked_to_stop: AskedToStop) -> Probabilities:
    """Tune without these pictures and return the net's answers to them."""
    others, asked = np.flatnonzero(~left_out), np.flatnonzero(left_out)
    start, labels = work.fitted.start, work.labels[others]
    num_classes = len(work.resolved.data.classes)
    strength, weights = start.head.strength, work.resolved.class_weights
    work.begin_again(*fit_with(start.features[others], labels, num_classes, strength, weights))
    job, progress = work.job(others), show_progress(doing)
    callbacks = Callbacks(
        report=lambda line: progress(line.step, job.recipe.iterations),
        save=lambda _: None,
        validate=dict,
        asked_to_stop=asked_to_stop,
    )
    try:
        fit(job, State(), callbacks, save_seconds=float("inf"))
    except NotFiniteError as error:
        warn(f"{error.what}: as if it knew nothing of these pictures")
        return np.full((len(asked), num_classes), 0.5 if is_several(labels) else 1 / num_classes, np.float32)
    x = _features(work, asked_to_stop)
    weight, bias = _last_layer(work, x, others)
    return answered(x[asked] @ weight.T + bias, several=is_several(labels)).astype(np.float32)


def _last_layer(work: _Work, x: NDArray[np.float32], rows: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return W (K, D) and b (K,) fitted anew to the tuned net's features of these training pictures."""
    classes, strength = len(work.resolved.data.classes), HELD_BACK * work.fitted.head.strength
    return fit_with(x[rows], work.labels[rows], classes, strength, work.resolved.class_weights)


@torch.inference_mode()
def _features(work: _Work, asked_to_stop: AskedToStop) -> NDArray[np.float32]:
    """Return (N, D): what the net's last layer reads of each training picture, the mean over the views chosen.

    Raises:
        Stopped: a signal came.
    """
    net, compute, views = work.fitted.net.eval(), work.resolved.compute, work.fitted.views
    found: list[Tensor] = []
    with without_last_layer(net), compute.autocast():
        if isinstance(work.loader, Maps):
            each = [
                torch.cat([work.forward(batch.images).float() for batch in heeding(maps, asked_to_stop)])
                for maps in work.loader.asked
            ]
            return torch.stack(each).mean(0).cpu().numpy()
        for batch in heeding(work.loader, asked_to_stop):
            parts = [weight * work.forward(view).float() for weight, view in weighted(batch.images, views)]
            found.append(torch.stack(parts).sum(0).cpu())
    return torch.cat(found).numpy()


def _calibrated(work: _Work, rows: NDArray[np.int64], answers: Probabilities) -> Calibrated:
    """Return the net's last layer with the temperature fitted to its (n, K) answers out of fold to these rows."""
    layer = work.fitted.net.fc
    weight, bias = (tensor.detach().cpu().numpy().astype(np.float64) for tensor in (layer.weight, layer.bias))
    loss = mean_loss(answers, work.labels[rows], work.resolved.class_weights)
    head = Head(weight, bias, work.fitted.head.strength, loss, answers.astype(np.float64))
    return calibrated(head, work.labels[rows], work.fitted.found.which[rows], work.resolved.data.classes)


def _is_better(work: _Work, rows: NDArray[np.int64], found: Calibrated) -> bool:
    """Say whether the tuned nets' answers are likelier than those of the heads alone, and tell the person.

    Both are calibrated first: tuning makes nets too sure, which the temperature mends.
    """
    labels, weights = work.labels[rows], work.resolved.class_weights
    both = found.head.out_of_fold, work.fitted.found.head.out_of_fold[rows]
    tuned, head = (mean_loss(each, labels, weights) for each in both)
    tuned_right, head_right = (float(is_right(each, labels).mean()) for each in both)
    is_better = tuned < head - MARGIN
    what = _what_is_tuned(work)
    kept = "the tuned net is kept" if is_better else "the head alone is kept"
    note(
        work.run,
        f"{what} tuned: {tuned_right:.2%} of {len(rows)} pictures not seen {are_right(labels)} (loss {tuned:.3f}), "
        f"the head alone {head_right:.2%} (loss {head:.3f}): {kept}",
    )
    return is_better


def _what_is_tuned(work: _Work) -> str:
    """Say which stages take steps."""
    frozen = work.resolved.recipe.frozen_stages
    stages = len(work.fitted.net.spec.blocks) - frozen
    return ("the last stage" if stages == 1 else f"the last {stages} stages") if frozen else "everything"


def _judged(work: _Work, loaders: Loaders, rows: NDArray[np.int64], answers: Probabilities) -> Evaluation:
    """Calibrate the tuned net, write its final figures and return them: see judge_by_folds."""
    run, resolved, net, final = work.run, work.resolved, work.fitted.net, final_split(loaders)
    found, asked = _calibrated(work, rows, answers), loaders["train"].take(rows)
    set_last_layer(net, found.head.weight, found.head.bias)
    unseen = f"{as_computed(resolved, loaders)}, each answered by a net tuned without it ({FOLDS} folds)"
    own = None
    if final is not None:  # as `residuum evaluate` will, to the bit
        exactly = replace(resolved.compute, precision="float32")
        views = resolved.recipe.views
        own = probabilities(net, loaders[final], exactly, views), protocol(loaders[final].preprocessing, views)
    judged = judge_by_folds(run, resolved, net, loaders, asked, (found.head.out_of_fold, unseen), own)
    x = features(net, asked, resolved.compute, lambda: None, resolved.recipe.views)
    record_trust(run, resolved, asked, x, found, unseen)
    return judged
