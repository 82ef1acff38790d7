"""The part of a run that takes steps: from the last checkpoint or from the first step, written down as it goes."""

from collections.abc import Callable
from pathlib import Path

from residuum import runs
from residuum.console import say
from residuum.errors import Stopped
from residuum.records.run import Line
from residuum.training.captured import steps_for
from residuum.training.loop import Callbacks, Job, fit
from residuum.training.progress import events, shown
from residuum.training.resolve import Resolved
from residuum.training.state import State, restore_checkpoint, save_checkpoint


def take_steps(
    run: Path,
    resolved: Resolved,
    job: Job,
    validate: Callable[[], dict[str, float]],
    asked_to_stop: Callable[[], int | None],
    going_on: bool,
) -> None:
    """Take all steps of the job's recipe; `going_on` from the run's checkpoint.

    Raises:
        Stopped: a signal came; everything is saved and the message says how to go on.
        UserError: the loss is no longer finite, or no checkpoint can be read.
    """
    net, optimizer, state = job.net, job.optimizer, State()
    if going_on:
        state = restore_checkpoint(run, net, optimizer, warn=say)
        runs.cut_metrics(run, state.step)
        say(f"going on from step {state.step} of {job.recipe.iterations}")
    tensorboard = events(run, wanted=resolved.settings.tensorboard)
    with shown(state.step, job.recipe.iterations) as show, tensorboard as log:

        def report(line: Line) -> None:
            runs.append_metrics(run, line)
            show(line)
            log(line)

        callbacks = Callbacks(
            report=report,
            save=lambda now: save_checkpoint(run, net, optimizer, now),
            validate=validate,
            asked_to_stop=asked_to_stop,
        )
        try:
            fit(job, state, callbacks, resolved.settings.save_seconds, steps_for(job))
        except Stopped as stop:
            raise Stopped(f"{stop}\nto go on: residuum train --resume {run}", stop.exit_code) from None
