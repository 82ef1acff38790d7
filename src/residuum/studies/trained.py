"""The nets of a study: ordinary runs of `residuum train`, kept by their settings, so that studies share them.

A run that is there already is not trained again; one that was interrupted goes on. Where they are trained is told
(`--on`, dispatch/). On a processor each run takes one thread, and as many go side by side as there are cores: small
nets gain little from a second thread.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from residuum import runs
from residuum.console import say
from residuum.dispatch.job import Planned, is_finished, open_pictures_of, run_folder
from residuum.dispatch.train_all import train_all
from residuum.errors import UserError
from residuum.models.named import NAMED_NETS
from residuum.records.study import Points
from residuum.settings import TrainSettings
from residuum.studies.frame import OWN_PICTURES, Setup

Key = TypeVar("Key")

QUICK = {"epochs": 2, "image_size": 16}
"""CIFAR-10's pictures are seen at half their size, which costs a quarter."""
TINY = {"blocks": (1, 1, 1), "widths": (4, 8, 16)}


def net_settings(setup: Setup, model: str, seed: int, **choices: Any) -> TrainSettings:
    """Return how a study trains a net for classification, at its scale; `choices` are flags of `residuum train`.

    quick: the papers' optimiser (recipes/sgd_one_cycle.py), 2 passes over CIFAR-10 at 16 px; other pictures as the
    recipe would. full: the paper's recipe (2015, sec. 4.2) on all training pictures. tiny: one pass over the digits by
    a net of a few channels.
    """
    if setup.scale == "tiny":
        size = {} if "blocks" in choices else {"blocks": TINY["blocks"]}
        choices = {"recipe": "sgd_one_cycle", "widths": TINY["widths"], **size, **choices, "epochs": 1}
        return TrainSettings(setup.data or "digits", model=model, seed=seed, **choices)
    data = setup.data or OWN_PICTURES
    if setup.scale == "full":
        return TrainSettings(data, model=model, seed=seed, **{"recipe": "he2015_cifar", "validation": 0.0, **choices})
    short: dict[str, Any] = {"recipe": "sgd_one_cycle"}
    if data == OWN_PICTURES or open_pictures_of(data).name == OWN_PICTURES:
        short |= QUICK
    return TrainSettings(data, model=model, seed=seed, **{**short, **choices})


# --- training what is not there yet -------------------------------------------------------------


def trained(setup: Setup, wanted: Sequence[TrainSettings]) -> list[runs.RunRecord]:
    """Return a finished run for each of the settings, in order; those that are missing are trained first.

    Raises:
        UserError: a setting or the data are wrong, or training failed.
        Stopped: a signal came; every run was saved and goes on next time. Planned: only a plan was wanted.
    """
    if setup.shuffle:
        wanted = [replace(settings, shuffle=setup.shuffle) for settings in wanted]
    folders = _folders(setup, wanted)
    missing = {folder: settings for folder, settings in zip(folders, wanted, strict=True) if not is_finished(folder)}
    started = time.monotonic()
    if missing:
        _train(setup, missing)
    elif setup.where.dry_run:
        say(f"there already: {len(folders)} nets")
        raise Planned
    waited = time.monotonic() - started
    found = [runs.read_run(folder) for folder in folders]
    setup.watch(found, waited)
    return found


def _folders(setup: Setup, wanted: Sequence[TrainSettings]) -> list[Path]:
    """Name the runs (UserError without their pictures; Planned where these are not here and only a plan is wanted)."""
    try:
        return [run_folder(setup.folder, settings) for settings in wanted]
    except UserError as error:
        if not setup.where.dry_run:
            raise
        say(f"to be trained: {len(wanted)} nets, less those that are there: {error.what}")
        raise Planned from error


def with_each_seed(setup: Setup, nets: Mapping[Key, Callable[[int], TrainSettings]]) -> dict[Key, list[runs.RunRecord]]:
    """Return the runs of each net, one for each seed, from which its settings are made.

    Raises:
        UserError, Stopped: as `trained`.
    """
    wanted = {(key, seed): settings_of(seed) for key, settings_of in nets.items() for seed in setup.seeds}
    found = dict(zip(wanted, trained(setup, list(wanted.values())), strict=True))
    return {key: [found[key, seed] for seed in setup.seeds] for key in nets}


def _train(setup: Setup, missing: dict[Path, TrainSettings]) -> None:
    jobs = {folder: replace(settings, device=setup.device) for folder, settings in missing.items()}
    with closing(train_all(jobs, setup.where, setup.threads)) as ending:
        for ended in ending:
            if ended.fault is not None:
                raise ended.fault


# --- what runs say ------------------------------------------------------------------------------


COMMON = ("image_size", "recipe", "epochs", "batch_size", "lr", "weight_decay", "validation", "precision")


def common(used: Sequence[runs.RunRecord]) -> dict[str, Any]:
    """Return of what shape the nets were and how they were trained: of each setting its value, or all that occur."""
    found = {name: list(dict.fromkeys(run.settings.resolved.get(name) for run in used)) for name in COMMON}
    found |= {name: list(dict.fromkeys(shape(run, name) for run in used)) for name in ("blocks", "widths")}
    return {name: values[0] if len(values) == 1 else values for name, values in found.items() if values}


PLACES = {"data", "start", "out", "device", "threads", "seed"}
"""What says nothing of a net, or lies elsewhere in a record."""


def told_apart(used: Sequence[runs.RunRecord]) -> dict[str, dict[str, Any]]:
    """Return of each run, by its name, what its net is, its seed, and what was asked for of it and not of all."""
    asked = {run.path.name: run.settings.asked for run in used}
    names = dict.fromkeys(name for one in asked.values() for name in one if name not in PLACES)
    vary = [name for name in names if len({str(one.get(name)) for one in asked.values()}) > 1]
    return {
        run.path.name: {
            "net": run.settings.net,
            "seed": run.settings.summary.seed,
            **{name: asked[run.path.name][name] for name in vary if name in asked[run.path.name]},
        }
        for run in used
    }


def shape(run: runs.RunRecord, name: str) -> str:
    """Write the run's blocks or widths, stage by stage, as flags take them: "3 3 3"."""
    return " ".join(map(str, run.settings.resolved["net"][name]))


def in_small(used: Sequence[runs.RunRecord]) -> tuple[str, ...]:
    """Say, where nets are smaller than their names, how deep and wide they are."""
    notes = []
    for run in used:
        name, net = run.settings.resolved.get("model"), run.settings.resolved["net"]
        known = NAMED_NETS.get(name or "")
        if known and any(list(getattr(known, size)) != list(net[size]) for size in ("blocks", "widths")):
            size = f"{run.settings.summary.depth} layers, blocks {shape(run, 'blocks')}, widths {shape(run, 'widths')}"
            notes.append(f"Smaller than the net of its name, {name} has {size} here.")
    return tuple(dict.fromkeys(notes))


def trained_on(used: Sequence[runs.RunRecord]) -> str:
    """Write "1,167 training pictures of digits, 8 px"; nets that learnt several are named one after another."""
    data = [run.data for run in used if run.data is not None]
    each = (f"{one.counts.train:,} training pictures of {one.name}, {one.image_size} px" for one in data)
    return "; ".join(dict.fromkeys(each))


def test_error(run: runs.RunRecord) -> float:
    """Return the final error in per cent, on the test pictures where the data have some."""
    assert run.evaluation is not None
    return 100 * (1 - run.evaluation.top1.value)


def training_error(run: runs.RunRecord) -> float:
    """Return the error in per cent over the last pass, as training saw the pictures."""
    return 100 * (1 - run.epochs[-1].train_accuracy)


def loss_curve(run: runs.RunRecord, places: int = 40) -> Points:
    """Return (passes, mean training loss) over `places` equal parts of the run."""
    last = run.steps[-1].epoch
    parts: dict[int, list[float]] = {}
    for line in run.steps:
        parts.setdefault(min(int(places * line.epoch / last), places - 1), []).append(line.loss)
    return tuple((last * (part + 0.5) / places, fmean(losses)) for part, losses in sorted(parts.items()))
