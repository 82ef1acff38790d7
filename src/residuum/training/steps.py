"""The part of a run that takes steps: from the last checkpoint or from the first step, written down as it goes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from residuum import ranks, runs
from residuum.console import say, warn
from residuum.errors import Stopped, UserError
from residuum.plain_data import quoted
from residuum.records.run import Event, Line
from residuum.tracking.contract import Track
from residuum.tracking.trackers import figures_of
from residuum.training.binding import bound
from residuum.training.captured import steps_for
from residuum.training.kept import Kept
from residuum.training.loop import Callbacks, Job, Report, fit
from residuum.training.progress import shown
from residuum.training.resolve import Resolved
from residuum.training.signals import AskedToStop
from residuum.training.state import State, has_checkpoint, restore_checkpoint, save_checkpoint
from residuum.training.together import processes, same_on_all


def take_steps(
    kept: Kept | None,
    resolved: Resolved,
    job: Job,
    validate: Callable[[], dict[str, float]],
    asked_to_stop: AskedToStop,
    track: Track,
) -> None:
    """Take all steps of the job's recipe, from the run's last checkpoint on where it has one; without a run folder
    (None) beside the rank that has it, and write nothing.

    Raises:
        Stopped: a signal came; everything is saved and the message says how to go on.
        UserError: the loss is no longer finite, or no checkpoint can be read.
    """
    state, save_seconds = _where_it_stands(kept, resolved, job), resolved.settings.save_seconds

    def all_asked_to_stop() -> int | None:
        return ranks.highest(asked_to_stop() or 0) or None

    if kept is None:
        beside = Callbacks(lambda _line: None, lambda _now: None, validate, all_asked_to_stop)
        return fit(job, state, beside, save_seconds, steps_for(job))
    settings = bound(resolved.settings)
    with shown(state.step, job.recipe.iterations, several=resolved.data.several) as show:
        written = _log(kept)

        def report(line: Line) -> None:
            written(line)
            with suppress(OSError, ValueError):  # what is shown may be lost, the run may not
                show(line)
            track(figures_of(line), line.step)

        callbacks = Callbacks(
            report=report,
            save=lambda now: save_checkpoint(kept.folder(), job.net, job.optimizer, now, settings, job.average),
            validate=validate,
            asked_to_stop=all_asked_to_stop,
        )
        try:
            return fit(job, state, callbacks, save_seconds, steps_for(job))
        except Stopped as stop:
            how = f"residuum train --resume {quoted(kept.folder())}"
            raise Stopped(f"{stop}\nto go on: {how}", stop.exit_code) from None


def _where_it_stands(kept: Kept | None, resolved: Resolved, job: Job) -> State:
    """Return where the run's last checkpoint was, with the job's net and optimiser as they were there."""
    state, settings, steps = State(), bound(resolved.settings), job.recipe.iterations

    def restore(folder: Path) -> None:
        nonlocal state
        state = restore_checkpoint(folder, job.net, job.optimizer, settings, steps, warn, job.average)

    if kept is not None and has_checkpoint(run := kept.folder()):
        restore(run)
        runs.cut_metrics(run, state.step, warn=warn)
        say(f"going on from step {state.step} of {steps}")

    def save(folder: Path) -> None:
        save_checkpoint(folder, job.net, job.optimizer, state, settings, job.average)

    same_on_all(state.step > 0, save, restore)
    if kept is not None and (said := processes(resolved.settings)):
        runs.append_metrics(kept.folder(), Event(step=state.step, message=said))
    return state


def _log(kept: Kept) -> Report:
    """Return what writes metrics lines; those that cannot be written wait for the next, and that is said once."""
    waiting = list[Line]()
    kept.hold(runs.METRICS)

    def write(line: Line) -> None:
        waiting.append(line)
        try:
            runs.append_metrics(kept.folder(), *waiting)
        except UserError as error:
            if len(waiting) == 1:
                warn(f"{error.what}; training goes on, and it is tried again")
        else:
            waiting.clear()
            kept.hold(runs.METRICS)

    return write
