"""Many nets, wherever they are trained: the one way in."""

import math
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import runs
from residuum.compute import choose_compute
from residuum.console import say
from residuum.dispatch.here import train_one_by_one, train_side_by_side
from residuum.dispatch.job import Ended, Planned, beside, pictures_of
from residuum.dispatch.with_ray import train_on_ray
from residuum.dispatch.with_slurm import shown, train_by_slurm
from residuum.errors import UserError
from residuum.setting_parts import WhereTrained
from residuum.settings import TrainSettings
from residuum.training.signals import AskedToStop, stop_requests

ON_A_GPU = 4
"""Runs side by side on one GPU here: small nets leave most of it idle."""


def train_all(jobs: Mapping[Path, TrainSettings], where: WhereTrained, cores: int | None = None) -> Generator[Ended]:
    """Train a net in each folder, or go on with it; give each as it ends, in no order.

    A net whose settings name no threads takes one on a processor; `cores` of this machine are used, by default as many
    as are fastest for one net.

    Raises:
        UserError: there is no such engine here, or data or device are wrong.
        Stopped: a signal came; every run was saved and goes on next time. Planned: only a plan was wanted.
    """
    if where.dry_run:
        _say_plan(jobs, where)
        raise Planned
    here = where.on == "here"
    placed, most = _placed_here(jobs, cores) if here else (_placed_elsewhere(jobs, where), len(jobs))
    most = min(len(jobs), where.at_once or most)
    say(f"training {len(jobs)} nets, " + (f"{most} at a time" if here else f"on {where.on}"))
    began = time.monotonic()
    with stop_requests() as asked_to_stop, closing(_begun(placed, where, most, asked_to_stop)) as ending:
        for done, ended in enumerate(ending, start=1):
            left = (time.monotonic() - began) / done * (len(jobs) - done)
            if most > 1:
                say(f"{done} of {len(jobs)} nets trained{_to_go(left)}")
            yield ended if here else _of_these_pictures(ended, placed[ended.folder])


def _say_plan(jobs: Mapping[Path, TrainSettings], where: WhereTrained) -> None:
    """Say which nets would be trained, and for Slurm how; nothing is timed for it."""
    passes = sorted({one.epochs for one in jobs.values() if one.epochs})
    of = f", of {' or '.join(map(str, passes))} {'pass' if passes == [1] else 'passes'}" if passes else ""
    say("\n".join([f"to be trained: {len(jobs)} nets{of}", *(f"  {folder.name}" for folder in jobs)]))
    if where.on == "slurm":
        say(shown(*next(iter(_placed_elsewhere(jobs, where).items())), where))


def _to_go(seconds: float) -> str:
    """Say how long the rest will take; nothing where there is none."""
    if not seconds:
        return ""
    return f", about {math.ceil(seconds / 60)} min to go" if seconds > 60 else ", less than a minute to go"


def _of_these_pictures(ended: Ended, settings: TrainSettings) -> Ended:
    """Put a run aside that another machine trained on other pictures than those here: nobody is to find it."""
    data = None if ended.fault else runs.read_begun(ended.folder).data
    if data is None or settings.skip_broken or data.fingerprint == pictures_of(settings):
        return ended
    aside = runs.new_folder(beside(ended.folder, "-of-other-pictures"), "")
    ended.folder.replace(aside)
    why = "the machine that trained it has other pictures under the same name"
    fault = UserError(f"{ended.folder.name} was trained on other pictures than those here", why, f"it lies in {aside}")
    return Ended(ended.folder, fault)


def _placed_here(jobs: Mapping[Path, TrainSettings], cores: int | None) -> tuple[dict[Path, TrainSettings], int]:
    """Return the jobs with their threads, and how many of them this machine has room for."""
    compute = choose_compute(next(iter(jobs.values())).device, threads=cores)
    if compute.device.type != "cpu":
        return dict(jobs), ON_A_GPU
    placed = {folder: replace(settings, threads=settings.threads or 1) for folder, settings in jobs.items()}
    return placed, max(1, compute.threads // max(one.threads or 1 for one in placed.values()))


def _placed_elsewhere(jobs: Mapping[Path, TrainSettings], where: WhereTrained) -> dict[Path, TrainSettings]:
    """Return the jobs as another machine reads them: with whole paths, and on a processor where they get no GPU."""
    changed: dict[Path, TrainSettings] = {}
    for folder, settings in jobs.items():
        named = {name: getattr(settings, name) for name in ("data", "start")}
        places: dict[str, Any] = {
            name: str(Path(at).resolve()) for name, at in named.items() if at is not None and Path(at).exists()
        }
        on: dict[str, Any] = {} if where.gpus else {"threads": settings.threads or 1}
        if not where.gpus and settings.device == "auto":
            on["device"] = "cpu"
        changed[folder.absolute()] = replace(settings, **places, **on)
    return changed


def _begun(
    jobs: Mapping[Path, TrainSettings], where: WhereTrained, most: int, asked_to_stop: AskedToStop
) -> Generator[Ended]:
    if where.on == "ray":
        return train_on_ray(jobs, where, asked_to_stop)
    if where.on == "slurm":
        return train_by_slurm(jobs, where, asked_to_stop)
    if most == 1:
        return train_one_by_one(jobs, asked_to_stop)
    return train_side_by_side(jobs, most, asked_to_stop)
