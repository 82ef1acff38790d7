"""`residuum train`, as a sentence: settings, data, net, loop, judgement, model file."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import runs
from residuum.compute import Compute
from residuum.data.batches import SMALL, Feed, open_feed
from residuum.data.cache import decoded, fingerprint
from residuum.data.contract import Split
from residuum.data.preprocess import Preprocessing, measure
from residuum.errors import Stopped, UserError
from residuum.evaluation.evaluate import judge_feed, protocol, scores
from residuum.evaluation.metrics import judge
from residuum.evaluation.mistakes import most_confident_mistakes
from residuum.loading import save_classifier
from residuum.models.count import cost
from residuum.models.resnet import ResNet
from residuum.settings import TrainSettings, as_json, explicit
from residuum.training.loop import Hands, Job, Report, fit
from residuum.training.optimizer import make_optimizer
from residuum.training.progress import say, shown
from residuum.training.resolve import Resolved, resolve
from residuum.training.signals import stop_requests
from residuum.training.state import State, restore_checkpoint, save_checkpoint
from residuum.training.tensorboard import events

EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Feeds:
    """The splits, ready to be served."""

    train: Feed
    validation: Feed | None
    test: Feed | None

    @property
    def final(self) -> tuple[str, Feed] | None:
        """Return the split the final figures come from, and its name: test, else validation."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation is not None else None


def train(settings: TrainSettings) -> runs.RunRecord:
    """Train a net and leave a run folder with its model, figures and settings.

    Raises:
        UserError: something we were given is wrong; the message says what and how to mend it.
        Stopped: a signal came; everything is saved and the message says how to go on.
    """
    going_on = settings.resume is not None
    resolved = _reopen(settings) if going_on else resolve(settings)
    run = Path(settings.resume) if settings.resume else runs.new_run_folder(settings.out, _name(resolved))
    with ExitStack() as stack:
        stack.enter_context(runs.only_writer(run))
        asked_to_stop = stack.enter_context(stop_requests())
        if not going_on:
            _record_start(run, settings, resolved)
        say(describe(run, resolved))
        feeds = open_feeds(resolved)
        if not going_on:
            _record_data(run, resolved)
        net = _train_net(run, resolved, feeds, asked_to_stop, going_on)
        _finish(run, resolved, feeds, net)
    return runs.read_run(run)


# --- the parts of the sentence ------------------------------------------------------------------


def open_feeds(resolved: Resolved) -> Feeds:
    """Decode the small, prepare to stream the large, and measure the training pictures' mean and spread."""
    data, size, resize = resolved.data, resolved.image_size, resolved.resize_to

    def pixels(split: Split | None) -> NDArray[np.uint8] | None:
        return decoded(split, size, resize, warn=say) if split is not None and size <= SMALL else None

    whole = pixels(data.train)
    train, train_pixels = _part(data.train, whole, resolved.train_rows)
    how = measure(train_pixels, size, resize, resolved.recipe)

    def feed(split: Split | None, images: NDArray[np.uint8] | None) -> Feed | None:
        workers = resolved.settings.workers or 0
        return split and open_feed(split, how, images, resolved.compute.device, workers)

    if resolved.validation_rows is not None:
        validation, validation_pixels = _part(data.train, whole, resolved.validation_rows)
    else:
        validation, validation_pixels = data.validation, pixels(data.validation)  # type: ignore[assignment]
    train_feed = feed(train, train_pixels)
    assert train_feed is not None
    return Feeds(train_feed, feed(validation, validation_pixels), feed(data.test, pixels(data.test)))


def _part(
    split: Split, images: NDArray[np.uint8] | None, rows: NDArray[np.int64] | None
) -> tuple[Split, NDArray[np.uint8] | None]:
    if rows is None:
        return split, images
    return split.take(rows), None if images is None else images[rows]


def _train_net(
    run: Path,
    resolved: Resolved,
    feeds: Feeds,
    asked_to_stop: Callable[[], int | None],
    going_on: bool,
) -> ResNet:
    torch.manual_seed(resolved.settings.seed)
    net = ResNet(resolved.spec)
    resolved.compute.place(net)
    optimizer = make_optimizer(net, resolved.recipe)
    state = State()
    if going_on:
        state = restore_checkpoint(run, net, optimizer, warn=say)
        runs.cut_metrics(run, state.step)
        say(f"going on from step {state.step} of {resolved.recipe.iterations}")
    job = Job(net, optimizer, resolved.recipe, feeds.train, resolved.compute, resolved.settings.seed)
    with ExitStack() as stack:
        show = stack.enter_context(shown(state.step, resolved.recipe.iterations))
        log = stack.enter_context(events(run, wanted=resolved.settings.tensorboard))
        hands = Hands(
            report=_report(run, show, log),
            save=lambda now: save_checkpoint(run, net, optimizer, now),
            validate=lambda: _validation_scores(net, feeds.validation, resolved.compute),
            asked_to_stop=asked_to_stop,
        )
        try:
            fit(job, state, hands, resolved.settings.save_seconds)
        except Stopped as stop:
            raise Stopped(f"{stop}\nto go on: residuum train --resume {run}", stop.exit_code) from None
    return net


def _report(run: Path, *others: Report) -> Report:
    """Write each line to the run's metrics, then show it."""

    def report(line: dict[str, Any]) -> None:
        runs.append_metrics(run, line)
        for other in others:
            other(line)

    return report


def _validation_scores(net: ResNet, feed: Feed | None, compute: Compute) -> dict[str, float]:
    if feed is None:
        return {}
    return scores(judge_feed(net, feed, compute, EVALUATION_BATCH), feed.split.labels)


def _finish(run: Path, resolved: Resolved, feeds: Feeds, net: ResNet) -> None:
    """Judge once on the final split, write the model, and drop the checkpoints it replaces."""
    figures = _final_figures(run, resolved, feeds, net)
    shown_figures = ("split", "protocol", "images", "top1", "top5", "macro_f1", "ece", "loss")
    about = {
        "metrics": {name: figures[name] for name in shown_figures} if figures else None,
        "data": runs.read_json(run / runs.DATA),
        "settings": runs.read_json(run / runs.SETTINGS)["settings"],
        "versions": runs.environment(),
    }
    classes = tuple(resolved.data.classes)
    save_classifier(run / runs.MODEL, net, resolved.spec, classes, feeds.train.preprocessing, about)
    for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT):
        (run / name).unlink(missing_ok=True)


def _final_figures(run: Path, resolved: Resolved, feeds: Feeds, net: ResNet) -> dict[str, Any] | None:
    if feeds.final is None:
        say("no test or validation pictures, so the net cannot be judged")
        return None
    name, feed = feeds.final
    classes = resolved.data.classes
    answers = judge_feed(net, feed, resolved.compute, EVALUATION_BATCH)
    how = protocol(resolved.image_size, resolved.resize_to)
    figures = judge(answers, feed.split.labels, classes, split=name, protocol=how)
    runs.write_json(run / runs.EVALUATION, figures)
    pictures = feed.split.pictures
    mistakes = most_confident_mistakes(
        answers, feed.split.labels, classes, pictures.name, feed.seen
    )
    runs.write_json(run / runs.MISTAKES, mistakes)
    return figures


# --- what is written down -----------------------------------------------------------------------


def _name(resolved: Resolved) -> str:
    return f"{resolved.data.name}-{resolved.settings.model}-s{resolved.settings.seed}"


def _record_start(run: Path, asked: TrainSettings, resolved: Resolved) -> None:
    recipe = as_json(resolved.recipe)
    numbers = cost(resolved.spec, resolved.image_size)
    settings = replace(resolved.settings, out=None, resume=None)
    runs.write_json(
        run / runs.SETTINGS,
        {
            "command": command(asked),
            "asked": explicit(asked),
            "settings": as_json(settings),
            "resolved": {
                **as_json(settings),
                **numbers,
                "net": resolved.spec.as_json(),
                "recipe_details": recipe,
            },
        },
    )
    runs.write_json(run / runs.ENVIRONMENT, runs.environment())
    if resolved.validation_rows is not None:
        runs.write_json(run / runs.SPLIT, {"validation": resolved.validation_rows.tolist()})


def _record_data(run: Path, resolved: Resolved) -> None:
    data, cut = resolved.data, resolved.validation_rows
    validation = len(cut) if cut is not None else len(data.validation) if data.validation else None
    share = f"{resolved.settings.validation:.0%}".replace("%", " %")
    source = (
        f"cut from the training pictures ({share}, seed {resolved.settings.seed})"
        if cut is not None
        else "the data's own validation split"
        if data.validation
        else "none"
    )
    runs.write_json(
        run / runs.DATA,
        {
            "name": data.name,
            "source": data.source,
            "classes": list(data.classes),
            "fingerprint": fingerprint(data),
            "counts": {
                "train": resolved.num_training,
                "validation": validation,
                "test": len(data.test) if data.test else None,
            },
            "validation_from": source,
            "image_size": resolved.image_size,
        },
    )


def command(asked: TrainSettings) -> str:
    """Return the command line that asks for the same."""
    words = ["residuum", "train"]
    for name, value in explicit(asked).items():
        if name == "data":
            words.append(_quoted(str(value)))
        elif isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        else:
            words += [f"--{name.replace('_', '-')}", _quoted(str(value))]
    return " ".join(words)


def describe(run: Path, resolved: Resolved) -> str:
    """Say in a few lines what will be done."""
    recipe, compute, numbers = resolved.recipe, resolved.compute, cost(resolved.spec, resolved.image_size)
    passes = recipe.iterations / (resolved.num_training // recipe.batch_size)
    return (
        f"data     {resolved.data.name}: {resolved.num_training} training pictures, "
        f"{len(resolved.data.classes)} classes, {resolved.image_size} px\n"
        f"model    {resolved.settings.model}: {numbers['depth']} layers, {numbers['parameters']:,} parameters, "
        f"{numbers['multiply_adds'] / 1e6:,.1f} M multiply-adds, shortcut {resolved.spec.shortcut}\n"
        f"recipe   {recipe.name}: {passes:.4g} epochs, {recipe.iterations} steps of {recipe.batch_size}, "
        f"lr {resolved.settings.lr:g}, seed {resolved.settings.seed}\n"
        f"compute  {compute.device.type}, {compute.precision}, {compute.layout}, {compute.threads} threads\n"
        f"run      {run}"
    )


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


# --- going on -----------------------------------------------------------------------------------


def _reopen(settings: TrainSettings) -> Resolved:
    """Resolve a stopped run again from what it wrote down, and check that the data are still the same.

    Raises:
        UserError: not a run; already finished; other settings were given; or the data have changed.
    """
    assert settings.resume is not None
    run = Path(settings.resume)
    record = runs.read_run(run)
    others = set(explicit(settings)) - {"resume"}
    if others:
        flags = ", ".join("--" + name.replace("_", "-") for name in sorted(others))
        raise UserError(
            f"a run is continued with its own settings, but {flags} was given", "", f"residuum train --resume {run}"
        )
    if (run / runs.MODEL).exists():
        raise UserError(f"the run in {run} has finished", "", f"see it with: residuum report {run}")
    if not (run / runs.CHECKPOINT).exists() and not (run / runs.PREVIOUS_CHECKPOINT).exists():
        raise UserError(f"{run} holds no checkpoint", "it was stopped before its first", "start it again")
    resolved = resolve(TrainSettings(**record.settings["settings"]))
    if fingerprint(resolved.data) != record.data.get("fingerprint"):
        raise UserError(
            f"the data in {resolved.data.source} are no longer those the run in {run} began with",
            "pictures, labels or class names have changed",
            "bring the old data back, or start a new run",
        )
    return resolved
