"""The verb `plan`, as a sentence: settings, pictures, a few seconds of measuring, what the run will cost."""

import time
from dataclasses import fields
from pathlib import Path

from msgspec import structs

from residuum import machine
from residuum.console import is_told_on_stderr, say
from residuum.data.contract import Split
from residuum.data.split import training_and_validation
from residuum.errors import UserError
from residuum.fastest import busy_when_timed
from residuum.forecast.cost import Work, forecast_here, forecast_on, profile_here
from residuum.forecast.measure import batch_of, net_of, refuse_folds
from residuum.forecast.source import LEAST, loader_of, sample, source_of
from residuum.recipe import SMALL
from residuum.records.codec import read_record, write_record
from residuum.records.forecast import Forecast, Profile
from residuum.runs import new_file
from residuum.settings import PlanSettings, TrainSettings
from residuum.training.record import describe
from residuum.training.resolve import Resolved, resolve


def plan(settings: PlanSettings) -> Forecast:
    """Say what a run of these settings will cost, here or on the machine of a profile.

    Raises:
        UserError: something we were given is wrong, or the recipe's cost cannot be told.
    """
    began = time.monotonic()
    profile = read_record(Path(settings.on), Profile) if settings.on else None
    _refuse(settings)
    resolved = resolve(_of_run(settings), looking=False)
    refuse_folds(resolved.recipe.name)
    say(describe(Path(resolved.settings.out or "runs"), resolved))
    starting = machine.seconds_running() if is_told_on_stderr() else time.monotonic() - began
    measured_from = time.monotonic()
    batch = batch_of(resolved)
    loader = loader_of(_some(resolved, batch), resolved, batch)
    work = Work(resolved, source_of(resolved, loader), starting)
    if profile is not None:
        found = forecast_on(work, profile)
    else:
        net = net_of(resolved, loader, batch)
        found = forecast_here(work, net, _said(resolved, batch))
        if settings.write_profile is not None:
            write_record(Path(settings.write_profile), profile_here(work, net))
    return structs.replace(found, measuring_s=round(time.monotonic() - measured_from, 2))


def _refuse(settings: PlanSettings) -> None:
    """Raise UserError for what contradicts."""
    if settings.resume is not None:
        raise UserError("plan tells what a whole run costs, not the rest of one", "", "leave --resume out")
    if settings.write_profile is not None:
        new_file(settings.write_profile, "", str(settings.data or ""))
    if settings.on is not None and settings.write_profile is not None:
        raise UserError("--on and --write-profile contradict each other", "with --on no net is timed", "leave one out")


def _of_run(settings: PlanSettings) -> TrainSettings:
    return TrainSettings(**{field.name: getattr(settings, field.name) for field in fields(TrainSettings)})


def _some(resolved: Resolved, batch: int) -> Split:
    train, _ = training_and_validation(resolved.data, resolved.cut)
    return sample(train, max(4 * batch, 2048 if resolved.image_size <= SMALL else 16 * LEAST))


def _said(resolved: Resolved, batch: int) -> tuple[str, ...]:
    said = []
    if batch != resolved.recipe.batch_size and resolved.recipe.iterations:
        said.append(f"steps were timed with {batch} pictures, not {resolved.recipe.batch_size}, to take seconds")
    if not resolved.recipe.iterations:
        said.append("the regression's own seconds are not in it")
    if resolved.compute.device.type == "cpu" and (busy := busy_when_timed()):
        said.append(f"{busy}: alone it may take less")
    return tuple(said)
