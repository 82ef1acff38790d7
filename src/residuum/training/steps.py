"""The part of a run that takes steps: from the last checkpoint or from the first step, written down as it goes."""

from collections.abc import Callable
from contextlib import suppress

from residuum import runs
from residuum.console import say, warn
from residuum.errors import Stopped, UserError
from residuum.records.run import Line
from residuum.tracking.contract import Track
from residuum.tracking.trackers import figures_of
from residuum.training.binding import bound
from residuum.training.captured import steps_for
from residuum.training.kept import Kept
from residuum.training.loop import Callbacks, Job, Report, fit
from residuum.training.progress import shown
from residuum.training.resolve import Resolved
from residuum.training.state import State, has_checkpoint, restore_checkpoint, save_checkpoint


def take_steps(
    kept: Kept,
    resolved: Resolved,
    job: Job,
    validate: Callable[[], dict[str, float]],
    asked_to_stop: Callable[[], int | None],
    track: Track,
) -> None:
    """Take all steps of the job's recipe, from the run's last checkpoint on where it has one.

    Raises:
        Stopped: a signal came; everything is saved and the message says how to go on.
        UserError: the loss is no longer finite, or no checkpoint can be read.
    """
    net, optimizer, state, run = job.net, job.optimizer, State(), kept.folder()
    settings, steps = bound(resolved.settings), job.recipe.iterations
    if has_checkpoint(run):
        state = restore_checkpoint(run, net, optimizer, settings, steps, warn=warn, average=job.average)
        runs.cut_metrics(run, state.step, warn=warn)
        say(f"going on from step {state.step} of {steps}")
    with shown(state.step, steps) as show:
        written = _log(kept)

        def report(line: Line) -> None:
            written(line)
            with suppress(OSError, ValueError):  # what is shown may be lost, the run may not
                show(line)
            track(figures_of(line), line.step)

        callbacks = Callbacks(
            report=report,
            save=lambda now: save_checkpoint(kept.folder(), net, optimizer, now, settings, job.average),
            validate=validate,
            asked_to_stop=asked_to_stop,
        )
        try:
            fit(job, state, callbacks, resolved.settings.save_seconds, steps_for(job))
        except Stopped as stop:
            raise Stopped(f"{stop}\nto go on: residuum train --resume {kept.folder()}", stop.exit_code) from None


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
