"""`residuum train`, as a sentence: settings, data, net, loop, judgement, model file."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from msgspec import UNSET
from torch import nn

from residuum import machine, ranks, runs
from residuum.choices import SplitName, TrackerName
from residuum.console import say, warn
from residuum.data.batches import Loader
from residuum.errors import BEFORE_THE_RUN, Stopped, UserError, listed
from residuum.evaluation.evaluate import computed_in, probabilities, protocol, scores
from residuum.evaluation.shares import Probabilities
from residuum.evaluation.unseen import read_unseen
from residuum.files import CannotWrite, write_whole
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.plain_data import quoted
from residuum.recipes.named import AFTER_THE_HEAD, BY_FOLDS
from residuum.records.codec import read_record
from residuum.records.evaluation import Evaluation
from residuum.records.model import Provenance
from residuum.records.review import HeadFit
from residuum.records.run import Data, Event, RunSettings
from residuum.settings import TrainSettings
from residuum.tracking.contract import Track
from residuum.tracking.trackers import final_figures, refuse_absent, tracking
from residuum.training.head_run import note, train_head
from residuum.training.kept import Kept, kept
from residuum.training.loop import Job
from residuum.training.record import describe, record_data, record_judged, record_start, run_name
from residuum.training.reopen import note_where_data_lie, refuse_finished, reopen
from residuum.training.resolve import Resolved, resolve
from residuum.training.signals import AskedToStop, stop_requests
from residuum.training.start import (
    Loaders,
    final_split,
    learnt_before_of,
    lineage,
    make_job,
    make_net,
    open_loaders,
    seen_of,
    whiten_stem,
)
from residuum.training.state import has_checkpoint
from residuum.training.steps import take_steps
from residuum.training.together import (
    begun_before,
    forward_of,
    hear_the_end,
    hear_what_is_done,
    refuse_other_data,
    shared,
    tell_the_end,
    tell_what_is_done,
)
from residuum.training.tune_run import train_tuned


def train(settings: TrainSettings) -> runs.RunRecord:
    """Train a net and leave a run folder with its model, figures and settings.

    Raises:
        UserError: something we were given is wrong; the message says what and how to mend it.
        Stopped: a signal came; everything is saved and the message says how to go on.
    """
    with ranks.joined():
        return _train_and_write(settings) if ranks.rank() == 0 else _train_beside()


def _train_and_write(settings: TrainSettings) -> runs.RunRecord:
    """Train, and write the run folder: alone, or as rank 0 of several."""
    if (begun := begun_before(settings)) is not None and (begun / runs.MODEL).exists():
        return tell_the_end(begun, at_once=True)
    asked, settings = settings, settings if begun is None else TrainSettings(resume=begun)
    run, resolved, trackers, loaders = _opened(settings)
    with runs.only_writer(run), stop_requests() as asked_to_stop, _way_on(run):
        if settings.resume is None:
            _begin(run, settings, resolved)
            _tell_learnt(run, resolved, loaders)
        else:
            _go_on(run, resolved)
        with kept(run) as folder, tracking(run, trackers) as track:
            tell_what_is_done(resolved, run, asked)
            taken, net, judged = _train_and_judge(folder, resolved, loaders, asked_to_stop, track)
            _finish(folder.folder(), taken, loaders, net, judged)
            if judged is not None and trackers:
                track(final_figures(judged), taken.recipe.iterations)
            return tell_the_end(folder.folder())


def _opened(settings: TrainSettings) -> tuple[Path, Resolved, tuple[TrackerName, ...], Loaders]:
    """Open all that is needed, before anything is written; a fault leaves an empty folder behind.

    Raises:
        UserError: something given is wrong, a picture that cannot be read among it.
        Stopped: by Ctrl-C.
    """
    run = Path(settings.resume) if settings.resume else None
    try:
        resolved = shared(resolve(settings) if run is None else reopen(settings), settings)
        run = run or _new_run(settings, resolved)
        trackers = _trackers(resolved.settings)
        say(describe(run, resolved))
        return run, resolved, trackers, open_loaders(resolved)
    except KeyboardInterrupt:
        raise _stopped_early(settings, run) from None


def _stopped_early(settings: TrainSettings, run: Path | None) -> Stopped:
    """Return what ends a training before its run was begun, or gone on with; an empty folder of its own is removed."""
    if settings.resume:
        return Stopped(f"stopped\nto go on: residuum train --resume {quoted(run)}", 130)
    if run is not None and settings.out is None:
        with suppress(OSError):  # only where it is empty
            run.rmdir()
    return Stopped(BEFORE_THE_RUN, 130)


def _train_beside() -> runs.RunRecord:
    """Train as another rank than the first, which decides all and writes it down."""
    if (settings := hear_what_is_done()) is not None:
        resolved = resolve(settings)
        refuse_other_data(resolved)
        loaders = open_loaders(resolved)
        with stop_requests() as asked_to_stop:
            job = _trained(None, resolved, loaders, asked_to_stop, lambda _figures, _step: None)
            _answers(resolved, loaders, job)
    return hear_the_end()


def _new_run(settings: TrainSettings, resolved: Resolved) -> Path:
    return runs.new_run_folder(settings.out, run_name(resolved), resolved.data.source)


def _trackers(settings: TrainSettings) -> tuple[TrackerName, ...]:
    """Return the trackers that were asked for (UserError if one is not installed)."""
    first: tuple[TrackerName, ...] = ("tensorboard",) if settings.tensorboard else ()
    asked = tuple(dict.fromkeys((*first, *settings.track)))
    refuse_absent(asked)
    return asked


# --- the parts of the sentence ------------------------------------------------------------------


def _begin(run: Path, settings: TrainSettings, resolved: Resolved) -> None:
    """Write down what the run begins with; settings.json comes last and makes the folder a run.

    Raises:
        UserError: another run has begun there meanwhile.
    """
    if not runs.is_only_begun(run):
        raise UserError(f"another run was written to {run} meanwhile", "", "choose another --out")
    runs.clear_begun(run)
    if resolved.start is not None:  # so that the run can go on without the original
        write_whole(run / runs.START, resolved.start.file.read_bytes())
    record_data(run, resolved)
    record_start(run, settings, resolved)
    if skipped := resolved.data.skipped:
        message = f"gone on without {len(skipped):,} that cannot be read: {listed(one.name for one in skipped)}"
        runs.append_metrics(run, Event(step=0, message=message))


def _tell_learnt(run: Path, resolved: Resolved, loaders: Loaders) -> None:
    """Say which pictures that the run is judged on its weights have learnt before."""
    final: list[SplitName] = [name] if (name := final_split(loaders)) else []
    by_folds: list[SplitName] = ["train"] if resolved.recipe.name in BY_FOLDS else []
    for name in by_folds + final:
        split = loaders[name].split
        if learnt := learnt_before_of(run, split):
            kind = "training" if name == "train" else name
            note(
                run,
                f"the weights that training starts from have learnt {learnt:,} of the {len(split):,} {kind} pictures "
                "before: what is said of these is too high to quote. Others tell how good it is, by residuum evaluate",
            )


def _go_on(run: Path, resolved: Resolved) -> None:
    """Write down where the data lie now, and take back metrics that nothing follows from (UserError: it has finished
    meanwhile)."""
    refuse_finished(run)
    note_where_data_lie(run, resolved)
    runs.cut_metrics(run, math.inf if has_checkpoint(run) else 0, warn=warn)


@contextmanager
def _way_on(run: Path) -> Iterator[None]:
    """Say how a run goes on that could not write something."""
    try:
        yield
    except CannotWrite as error:
        how = f"residuum train --resume {quoted(run)}" if runs.is_run(run) else "the same command"
        raise CannotWrite(error.what, error.why, f"make room, then: {how}") from error


def _train_and_judge(
    folder: Kept, resolved: Resolved, loaders: Loaders, asked_to_stop: AskedToStop, track: Track
) -> tuple[Resolved, nn.Module, Evaluation | None]:
    """Return the way taken, which is not the one asked for where the head alone did better; the net; its figures."""
    if resolved.recipe.name == "head":
        return train_head(folder, resolved, loaders, asked_to_stop)
    if resolved.recipe.name in AFTER_THE_HEAD:
        return train_tuned(folder, resolved, loaders, asked_to_stop, track)
    job = _trained(folder, resolved, loaders, asked_to_stop, track)
    return resolved, job.net, _judge(folder.folder(), resolved, loaders, job)


def _trained(
    folder: Kept | None, resolved: Resolved, loaders: Loaders, asked_to_stop: AskedToStop, track: Track
) -> Job:
    net = make_net(resolved)
    resolved.compute.place(net)
    forward = forward_of(net, resolved)
    if resolved.start is None and (folder is None or not has_checkpoint(folder.folder())):
        whiten_stem(net, loaders["train"], resolved.settings.seed)
    job = make_job(resolved, net, forward, loaders["train"], accumulate=resolved.settings.accumulate)
    validate = partial(_validation_scores, job, loaders.get("validation"))
    take_steps(folder, resolved, job, validate, asked_to_stop, track)
    return job


def _validation_scores(job: Job, loader: Loader | None) -> dict[str, float]:
    if loader is None:
        return {}
    ranks.copy_buffers(job.net)
    return scores(probabilities(job.net, loader, job.compute, forward=job.forward), loader.split.labels)


def _finish(run: Path, resolved: Resolved, loaders: Loaders, net: nn.Module, judged: Evaluation | None) -> None:
    """Write the model with the figures of its one judgement, and drop the checkpoints it replaces."""
    fit = read_record(run / runs.HEAD, HeadFit) if (run / runs.HEAD).exists() else None
    about = Provenance(
        metrics=judged.figures() if judged else None,
        data=read_record(run / runs.DATA, Data),
        settings=read_record(run / runs.SETTINGS, RunSettings).settings,
        versions=machine.environment(),
        lineage=lineage(run, resolved),
        several=resolved.data.several or UNSET,
        temperature=fit.applied if fit else UNSET,
        likeness=fit.doubt.likeness if fit else UNSET,
    )
    kept = read_unseen(run / runs.OUT_OF_FOLD).kept if fit else None
    classes = tuple(resolved.data.classes)
    views = resolved.recipe.views if resolved.recipe.name in BY_FOLDS else "single"  # others' are for judging alone
    size, resize = resolved.image_size, resolved.resize_to  # training may see less
    how = replace(loaders["train"].preprocessing, image_size=size, resize_to=resize, views=views)
    save_classifier(run / runs.MODEL, net, resolved.spec, classes, how, about, kept)
    for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT, runs.FOLDS):
        (run / name).unlink(missing_ok=True)


def _judge(run: Path, resolved: Resolved, loaders: Loaders, job: Job) -> Evaluation | None:
    name = final_split(loaders)
    if name is None:
        say("no test or validation pictures, so the net cannot be judged")
        return None
    answers, how = _answers(resolved, loaders, job)
    assert isinstance(job.net, ResNet)
    classes, views = resolved.data.classes, resolved.recipe.views
    return record_judged(run, job.net, answers, loaders[name], classes, name, how, views, seen_of(run, loaders))


def _answers(resolved: Resolved, loaders: Loaders, job: Job) -> tuple[Probabilities, str]:
    """Return the (N, K) probabilities that the net is judged by, and how each picture was shown."""
    name = final_split(loaders)
    if name is None:
        return np.zeros((0, 0)), ""
    loader, views = loaders[name], resolved.recipe.views
    how = protocol(loader.preprocessing, views)
    compute, forward = job.compute, job.forward
    if resolved.recipe.judged_in == "float32":  # as `residuum evaluate` will, to the bit
        compute, forward = replace(compute, precision="float32"), job.net
    elif compute.precision != "float32":
        how = computed_in(how, compute.precision)
    ranks.copy_buffers(job.net)
    return probabilities(job.net, loader, compute, views, forward), how
