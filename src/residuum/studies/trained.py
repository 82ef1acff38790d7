"""The nets of a study: ordinary runs of `residuum train`, kept by their settings, so that studies share them.

A run that is there already is not trained again; one that was interrupted goes on. On a processor each run takes one
thread, and as many go side by side as there are cores: small nets gain little from a second thread.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from residuum import runs
from residuum.compute import choose_compute
from residuum.console import say
from residuum.data.cache import fingerprint
from residuum.data.open import open_data
from residuum.errors import Stopped, UserError
from residuum.files import write_json
from residuum.plain_data import as_json, explicit
from residuum.records.study import Points
from residuum.settings import TrainSettings
from residuum.studies.frame import Setup
from residuum.training.run import train
from residuum.training.signals import stop_requests

Key = TypeVar("Key")

PICTURES = "cifar10"
QUICK = {"epochs": 2, "image_size": 16}
"""CIFAR-10's pictures are seen at half their size, which costs a quarter."""
TINY = {"blocks": (1, 1, 1), "widths": (4, 8, 16)}
WAITING = 0.2
"""Seconds between two looks at what others do."""
ON_A_GPU = 4
"""Runs side by side on one GPU: small nets leave most of it idle."""


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
    data = setup.data or PICTURES
    if setup.scale == "full":
        return TrainSettings(data, model=model, seed=seed, **{"recipe": "he2015_cifar", "validation": 0.0, **choices})
    short: dict[str, Any] = {"recipe": "sgd_one_cycle"}
    if open_pictures_of(data).name == PICTURES:
        short |= QUICK
    return TrainSettings(data, model=model, seed=seed, **{**short, **choices})


@cache
def open_pictures_of(source: str) -> Any:
    """Open a data set once a process (UserError if there is none)."""
    return open_data(source)


@cache
def _fingerprint(source: str) -> str:
    return fingerprint(open_pictures_of(source))


# --- training what is not there yet -------------------------------------------------------------


def trained(setup: Setup, wanted: Sequence[TrainSettings]) -> list[runs.RunRecord]:
    """Return a finished run for each of the settings, in order; those that are missing are trained first.

    Raises:
        UserError: a setting or the data are wrong, or training failed.
        Stopped: a signal came; every run was saved and goes on next time.
    """
    folders = [_folder(setup, settings) for settings in wanted]
    missing = {folder: settings for folder, settings in zip(folders, wanted, strict=True) if not _finished(folder)}
    started = time.monotonic()
    if missing:
        _train(setup, missing)
    waited = time.monotonic() - started
    found = [runs.read_run(folder) for folder in folders]
    setup.watch(found, waited)
    return found


def with_each_seed(setup: Setup, nets: Mapping[Key, Callable[[int], TrainSettings]]) -> dict[Key, list[runs.RunRecord]]:
    """Return the runs of each net, one for each seed, from which its settings are made.

    Raises:
        UserError, Stopped: as `trained`.
    """
    wanted = {(key, seed): settings_of(seed) for key, settings_of in nets.items() for seed in setup.seeds}
    found = dict(zip(wanted, trained(setup, list(wanted.values())), strict=True))
    return {key: [found[key, seed] for seed in setup.seeds] for key in nets}


def _folder(setup: Setup, settings: TrainSettings) -> Path:
    """Name a run by what decides it: its settings and its pictures."""
    assert settings.data is not None
    deciding = {**explicit(settings), "data": _fingerprint(settings.data)}
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:12]
    name = settings.model or "grown"
    return setup.folder / "runs" / f"{name}-s{settings.seed}-{digest}"


def _finished(folder: Path) -> bool:
    return (folder / runs.MODEL).is_file()


def _train(setup: Setup, missing: dict[Path, TrainSettings]) -> None:
    compute = choose_compute(setup.device, threads=setup.threads)
    on_gpu = compute.device.type != "cpu"
    most = min(len(missing), ON_A_GPU if on_gpu else compute.threads)
    say(f"training {len(missing)} nets, {most} at a time")
    threads: dict[str, Any] = {} if on_gpu else {"threads": 1}
    jobs = {folder: replace(settings, device=setup.device, **threads) for folder, settings in missing.items()}
    if most == 1:
        for folder, settings in jobs.items():
            if not _trained_by_another(folder, lambda: None):
                train(_going_on(folder, settings))
    else:
        _side_by_side(jobs, most)


def _going_on(folder: Path, settings: TrainSettings) -> TrainSettings:
    """Return the settings that begin a run, or go on with one that was interrupted."""
    return TrainSettings(resume=str(folder)) if runs.is_run(folder) else replace(settings, out=str(folder))


def _trained_by_another(folder: Path, asked_to_stop: Callable[[], int | None]) -> bool:
    """Wait while another process writes a run: another study, or what is left of one that was killed. Say whether it
    has finished then (Stopped: a signal came)."""
    if runs.is_held(folder):
        say(f"another process trains {folder.name}: waiting for it")
        while runs.is_held(folder):
            _refuse_to_go_on(asked_to_stop())
            time.sleep(WAITING)
    return _finished(folder)


def _refuse_to_go_on(code: int | None) -> None:
    if code is not None:
        raise Stopped("stopped; the same command goes on", code)


def _side_by_side(jobs: dict[Path, TrainSettings], most: int) -> None:
    """Train in processes of their own, `most` at a time."""
    waiting, running, started, done = list(jobs.items()), dict[Any, Path](), time.monotonic(), 0
    with stop_requests() as asked_to_stop:
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    folder, settings = waiting.pop(0)
                    if _trained_by_another(folder, asked_to_stop):
                        done += 1
                    else:
                        running[_start(folder, _going_on(folder, settings))] = folder
                for process in [one for one in running if one.poll() is not None]:
                    with process:
                        _check(process.returncode, running.pop(process))
                    done += 1
                    left = (time.monotonic() - started) / done * (len(jobs) - done)
                    say(f"{done} of {len(jobs)} nets trained, about {left / 60:.0f} min to go")
                _refuse_to_go_on(asked_to_stop())
                time.sleep(WAITING)
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                with process:
                    process.wait()


def _start(folder: Path, settings: TrainSettings) -> "subprocess.Popen[bytes]":
    """Begin a run whose words go to a file beside its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.with_suffix(".json")
    write_json(config, {name: as_json(settings)[name] for name in explicit(settings)})
    words = ["train", "--config", str(config)]
    command = [sys.executable, "-m", "residuum.studies.child", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with folder.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def _check(code: int, folder: Path) -> None:
    """Raise what the run said (UserError) unless it finished; its files beside the folder go where it did."""
    log = folder.with_suffix(".log")
    if code == 0 and _finished(folder):
        log.unlink()
        folder.with_suffix(".json").unlink()
        return
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:]
    raise UserError(f"training {folder.name} failed", "\n        ".join(said), f"its words are in {log}")


# --- what runs say ------------------------------------------------------------------------------


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
