"""One net to train: an ordinary run folder, called after what decides it, so that whoever wants the same run finds it.

Beside the folder lie, while it is trained, the settings it begins with (.json) and what its process says (.log).
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from residuum import runs
from residuum.console import say
from residuum.data.cache import fingerprint
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData
from residuum.data.open import open_data
from residuum.errors import Stopped, UserError
from residuum.files import write_json
from residuum.plain_data import as_json, explicit
from residuum.settings import TrainSettings
from residuum.training.signals import AskedToStop

WAITING = 0.05
"""Seconds between two looks at what others do."""
RESTARTS = 20
"""How often a run goes on whose process or node was lost."""
SAVED = {129, 130, 143}
"""Exit codes of a run that was asked to stop, and has saved."""


@dataclass(frozen=True)
class Ended:
    """A run that is not trained any more: it has finished, or says why it has not."""

    folder: Path
    fault: UserError | None = None


class Planned(Stopped):
    """Nothing was trained, as --dry-run asks: what would be was said."""

    def __init__(self) -> None:
        super().__init__("nothing was trained (--dry-run)", 0)


MAY_FETCH = ContextVar("MAY_FETCH", default=True)
"""Whether pictures that are not on this machine are fetched; a plan fetches nothing."""


@contextmanager
def fetching_nothing() -> Iterator[None]:
    """Leave the network alone within: pictures that are not here are refused."""
    before = MAY_FETCH.set(False)
    try:
        yield
    finally:
        MAY_FETCH.reset(before)


@cache
def open_pictures_of(source: str, columns: ColumnNames = USUAL_COLUMNS) -> ImageData:
    """Open a data set once a process (UserError if there is none, or it is not here and nothing may be fetched)."""
    return open_data(source, MAY_FETCH.get(), columns=columns)


@cache
def _fingerprint(source: str, columns: ColumnNames) -> str:
    return fingerprint(open_pictures_of(source, columns))


def pictures_of(settings: TrainSettings) -> str:
    """Return the fingerprint of the pictures that are trained on, as this machine sees them (UserError if none)."""
    assert settings.data is not None
    return _fingerprint(str(settings.data), ColumnNames.told(settings))


def run_folder(home: Path, settings: TrainSettings) -> Path:
    """Name a run by what decides it: its settings and its pictures (UserError if there are none)."""
    deciding = {**explicit(settings), "data": pictures_of(settings)}
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:12]
    name = re.sub(r"[^\w-]", "_", settings.model or ("grown" if settings.start else "net"))
    return home / "runs" / f"{name}-s{settings.seed}-{digest}"


def beside(folder: Path, suffix: str) -> Path:
    """Return a file beside a run folder, called after it."""
    return folder.with_name(folder.name + suffix)


def is_finished(folder: Path) -> bool:
    """Say whether the run in `folder` has been trained."""
    return (folder / runs.MODEL).is_file()


# --- its process --------------------------------------------------------------------------------


def prepare(folder: Path, settings: TrainSettings) -> None:
    """Write down what the run begins with, for the process that trains it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_json(beside(folder, ".json"), {name: as_json(settings)[name] for name in explicit(settings)})


def command(folder: Path) -> list[str]:
    """Return the command that trains the run of a folder, or goes on with it."""
    return [sys.executable, "-m", "residuum.dispatch.worker", str(folder)]


def start(folder: Path, threads: int | None) -> "subprocess.Popen[bytes]":
    """Begin or go on with a run in a process that ends with this one; its words go to a file beside its folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or 1)}
    with beside(folder, ".log").open("wb") as log:
        return subprocess.Popen(
            command(folder), stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def was_lost(code: int) -> bool:
    """Say whether a process ended by what a run goes on from: killed, or told to stop by others than us."""
    return code < 0 or code in SAVED


def failed(folder: Path, log: Path | None = None) -> UserError:
    """Return what the run's process said at last, as an error."""
    log = log or beside(folder, ".log")
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:] if log.exists() else []
    return UserError(f"training {folder.name} failed", "\n        ".join(said), f"its words are in {log}")


def put_away(folder: Path) -> None:
    """Remove what lies beside the folder of a run that has finished."""
    for suffix in (".json", ".log", ".failed", ".job"):
        beside(folder, suffix).unlink(missing_ok=True)


# --- others -------------------------------------------------------------------------------------


def trained_by_another(folder: Path, asked_to_stop: AskedToStop) -> bool:
    """Wait while another process writes a run: another study, or what is left of one that was killed. Say whether it
    has finished then (Stopped: a signal came)."""
    if runs.is_held(folder):
        say(f"another process trains {folder.name}: waiting for it")
        while runs.is_held(folder):
            refuse_to_go_on(asked_to_stop())
            time.sleep(WAITING)
    return is_finished(folder)


def refuse_to_go_on(code: int | None) -> None:
    """End where a signal came (Stopped)."""
    if code is not None:
        raise Stopped("stopped; the same command goes on", code)
