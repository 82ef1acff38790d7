"""The part of a run that fits the last layer alone: features, regression, the judgement on every picture."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray

from residuum import machine, runs
from residuum.choices import SIZES, Views
from residuum.console import say
from residuum.data.batches import Loader
from residuum.data.cache import fingerprint, picture_digests
from residuum.data.contract import Split
from residuum.data.labels import Labels, is_right, is_several
from residuum.errors import Stopped
from residuum.evaluation.evaluate import computed_in, protocol
from residuum.evaluation.metrics import judge, mean_loss
from residuum.evaluation.shares import Probabilities
from residuum.models.answers import answered
from residuum.models.resnet import ResNet
from residuum.plain_data import as_json, quoted
from residuum.records.codec import write_record
from residuum.records.evaluation import Evaluation, KeptEvaluation
from residuum.records.numbers import wilson
from residuum.records.run import Event
from residuum.training.features import features
from residuum.training.head import FOLDS, Head, Numbers, fit_head, folds
from residuum.training.kept import Kept
from residuum.training.record import record_judged
from residuum.training.resolve import Resolved
from residuum.training.signals import AskedToStop
from residuum.training.start import Loaders, final_split, learnt_before_of, make_net, seen_of
from residuum.training.trust import Calibrated, calibrated, record_trust

OUT_OF_FOLD = "out-of-fold"


@dataclass(frozen=True)
class Fitted:
    """A net with its last layer fitted to the features of the frozen rest."""

    net: ResNet
    head: Head
    found: Calibrated
    """The head as it is in the net."""
    features: NDArray[np.float32]
    """(N, D) of the training pictures."""
    answers: Probabilities | None
    """Of the data's own test or validation pictures, where there are any."""
    views: Views
    """What of each picture the features are the mean of."""
    one_view: "Fitted | None" = None
    """The head fitted to one view, where these are several."""

    @property
    def start(self) -> "Fitted":
        """Return the head that steps begin from: they are shown one view at a time."""
        return self.one_view or self


def train_head(
    folder: Kept, resolved: Resolved, loaders: Loaders, asked_to_stop: AskedToStop
) -> tuple[Resolved, ResNet, Evaluation]:
    """Return the way taken, with the views that were chosen; the net with its last layer fitted; and the run's final
    figures, which are written.

    Raises:
        Stopped: a signal came; the message says how to go on.
        UserError: pictures cannot be read, or are all the same.
    """
    fitted = fit_to_features(folder.folder(), resolved, loaders, asked_to_stop)
    resolved = replace(resolved, recipe=replace(resolved.recipe, views=fitted.views))
    return resolved, fitted.net, judge_head(folder.folder(), resolved, loaders, fitted)


def fit_to_features(run: Path, resolved: Resolved, loaders: Loaders, asked_to_stop: AskedToStop) -> Fitted:
    """Fit the last layer, and say how the training pictures fared out of fold.

    Raises:
        Stopped: a signal came; the message says how to go on.
        UserError: pictures cannot be read, or are all the same.
    """
    net = make_net(resolved)
    resolved.compute.place(net)
    with going_on_with(run):
        views: Views = resolved.recipe.views if resolved.recipe.views in SIZES else "single"
        fitted = _fitted(net, resolved, loaders, views, asked_to_stop)
        _tell(run, fitted.found.head, loaders["train"].split.labels)
        _tell_copies(run, loaders["train"].split)
        if resolved.recipe.views == "mirrored" and loaders["train"].preprocessing.mean.ndim == 1:
            averaged = _fitted(net, resolved, loaders, "mirrored", asked_to_stop)
            fitted = _likelier(run, resolved, loaders, fitted, averaged)
    set_last_layer(net, fitted.found.head.weight, fitted.found.head.bias)
    return fitted


@contextmanager
def going_on_with(run: Path) -> Iterator[None]:
    """Say how to go on where it is stopped."""
    try:
        yield
    except Stopped as stop:
        raise Stopped(f"{stop}\nto go on: residuum train --resume {quoted(run)}", stop.exit_code) from None


def _fitted(net: ResNet, resolved: Resolved, loaders: Loaders, views: Views, asked_to_stop: AskedToStop) -> Fitted:
    """Fit the last layer to the mean features of these views (Stopped, UserError as above)."""
    final, train, classes = final_split(loaders), loaders["train"], resolved.data.classes
    x = features(net, train, resolved.compute, asked_to_stop, views)
    final_x = features(net, loaders[final], resolved.compute, asked_to_stop, views, final) if final else None
    same = _same_files(train.split)
    labels, seed = train.split.labels, resolved.settings.seed
    head = fit_head(x, labels, len(classes), seed, same, resolved.class_weights, asked_to_stop)
    found = calibrated(head, labels, folds(labels, seed, same), classes)
    set_last_layer(net, found.head.weight, found.head.bias)
    answers = None
    if final_x is not None:
        with torch.inference_mode():
            logits = copy.deepcopy(net.fc).cpu()(torch.from_numpy(final_x))
            answers = answered(logits, several=resolved.data.several).numpy()
    return Fitted(net, head, found, x, answers, views)


def _likelier(run: Path, resolved: Resolved, loaders: Loaders, single: Fitted, averaged: Fitted) -> Fitted:
    """Return the head whose answers out of fold are likelier, and say which."""
    labels, weights = loaders["train"].split.labels, resolved.class_weights
    answers = [each.found.head.out_of_fold for each in (averaged, single)]
    both, alone = (mean_loss(each, labels, weights) for each in answers)
    right = float(is_right(answers[0], labels).mean())
    kept = "both are asked from here on" if both < alone else "the picture alone is asked"
    note(
        run,
        f"answers averaged with the mirror image's: {right:.2%} {are_right(labels)} (loss {both:.3f}, "
        f"{alone:.3f} without): {kept}",
    )
    return replace(averaged, one_view=single) if both < alone else single


def judge_head(run: Path, resolved: Resolved, loaders: Loaders, fitted: Fitted) -> Evaluation:
    """Write the final figures of a net with its last layer fitted, and return them: see judge_by_folds."""
    how = as_computed(resolved, loaders)
    unseen = f"{how}, each answered by a last layer fitted without it ({FOLDS} folds)"
    own, train = None if fitted.answers is None else (fitted.answers, how), loaders["train"]
    judged = judge_by_folds(run, resolved, fitted.net, loaders, train, (fitted.found.head.out_of_fold, unseen), own)
    record_trust(run, resolved, train, fitted.features, fitted.found, unseen)
    return judged


def judge_by_folds(
    run: Path,
    resolved: Resolved,
    net: ResNet,
    loaders: Loaders,
    asked: Loader,
    unseen: tuple[Probabilities, str],
    own: tuple[Probabilities, str] | None,
) -> Evaluation:
    """Write the final figures and return them: of the data's `own` test or validation pictures, answers and protocol;
    or else of the training pictures that were `asked` out of fold, `unseen`.

    Where there are both, the latter lie in the run's evaluations.
    """
    final, classes, views = final_split(loaders), resolved.data.classes, resolved.recipe.views
    seen = learnt_before_of(run, asked.split)
    if final is None or own is None:
        return record_judged(run, net, unseen[0], asked, classes, OUT_OF_FOLD, unseen[1], views, seen)
    by_folds = judge(unseen[0], asked.split.labels, classes, split=OUT_OF_FOLD, protocol=unseen[1])
    _keep(run, resolved, structs.replace(by_folds, seen=seen))
    return record_judged(run, net, own[0], loaders[final], classes, final, own[1], views, seen_of(run, loaders))


def as_computed(resolved: Resolved, loaders: Loaders) -> str:
    """Say how pictures are shown, and in what they are computed where that is not float32."""
    return computed_in(protocol(loaders["train"].preprocessing, resolved.recipe.views), resolved.compute.precision)


@torch.no_grad()
def set_last_layer(net: ResNet, weight: Numbers, bias: Numbers) -> None:
    """Copy W (K, D) and b (K,) into the net's last layer."""
    net.fc.weight.copy_(torch.from_numpy(weight))
    net.fc.bias.copy_(torch.from_numpy(bias))


def _keep(run: Path, resolved: Resolved, found: Evaluation) -> None:
    """Write the figures beside the run's own, as `residuum evaluate` does."""
    digest = fingerprint(resolved.data)
    kept = KeptEvaluation(
        **structs.asdict(found),
        data=resolved.data.source,
        fingerprint=digest,
        same_data_as_training=True,
        model=runs.MODEL,
        settings=as_json(resolved.settings),
        environment=machine.environment(),
    )
    write_record(run / runs.EVALUATIONS / f"{found.split}-{digest[:12]}.json", kept)


def note(run: Path, message: str) -> None:
    """Say it, and write it down for the page, once however often the run is gone on with."""
    say(message)
    if message not in (line.message for line in runs.read_metrics(run) if isinstance(line, Event)):
        runs.append_metrics(run, Event(step=0, message=message))


def are_right(labels: Labels) -> str:
    """Say what is true of pictures that are answered rightly: of several labels each, that the likeliest is right."""
    return "with their likeliest label right" if is_several(labels) else "right"


def _same_files(split: Split) -> NDArray[np.int64]:
    """Return a number for each of the N pictures, (N,), the same one where they are the same file."""
    return np.unique(picture_digests(split.pictures), axis=0, return_inverse=True)[1].reshape(-1)


def _tell_copies(run: Path, split: Split) -> None:
    """Say how many training pictures are the same file as another, and that no copy answered for its twin."""
    _, first, number = np.unique(_same_files(split), return_index=True, return_inverse=True)
    copies = len(split) - len(first)
    if copies:
        unlike = split.labels != split.labels[first[number]]
        otherwise = int((unlike.any(axis=1) if is_several(split.labels) else unlike).sum())
        note(
            run,
            f"{copies:,} of the training pictures repeat another, {otherwise:,} of them under another class: data "
            "check names them. No fit that answered one had seen its twin",
        )


def _tell(run: Path, head: Head, labels: Labels) -> None:
    """Say what was chosen, and how the training pictures fared out of fold."""
    right = int(is_right(head.out_of_fold, labels).sum())
    low, high = wilson(right, len(labels))
    note(
        run,
        f"each of the {len(labels)} training pictures was answered by a last layer that had not seen it: "
        f"{right / len(labels):.2%} {are_right(labels)} (95 % interval {low:.2%} to {high:.2%}; loss {head.loss:.3f}; "
        f"by that was chosen scikit-learn's C = {head.strength:.3g}, the less, the less closely it follows the "
        "pictures)",
    )
