"""The run folder: the only code that knows its file names. Everything a run leaves lies in it.

settings.json            what was asked and what it resolved to; repeats the run
environment.json         date, versions, hardware
data.json                classes, counts, fingerprint, where validation came from
split.json               the rows cut from the training data for validation, if any were
metrics.jsonl            one line a report: kind "step", "epoch" or "event"
checkpoint.safetensors   all that training needs to go on; the one before it is kept beside it
start.safetensors        the model that training began with, where it was not a new net
model.safetensors        the finished model, which describes itself
evaluation.json          the final figures with their intervals
mistakes.json            the most confident mistakes, with thumbnails
report.html              written by `residuum report`
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from residuum.errors import UserError
from residuum.files import Json, cannot_write, read_json, write_whole

SETTINGS = "settings.json"
ENVIRONMENT = "environment.json"
DATA = "data.json"
SPLIT = "split.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS_CHECKPOINT = "checkpoint-previous.safetensors"
START = "start.safetensors"
MODEL = "model.safetensors"
EVALUATION = "evaluation.json"
MISTAKES = "mistakes.json"
REPORT = "report.html"
LESION = "lesion.json"  # what each block is worth
TRIM = "trim.json"  # accuracy against depth
STUDY = "study.json"  # what a study found
LOCK = "lock.json"
EVENTS = "tensorboard"
EVALUATIONS = "evaluations"  # what `residuum evaluate` found later, one file a split and data set


@dataclass(frozen=True)
class RunRecord:
    """A run folder as it was read: plain data; what a run has not (yet) written is empty or None."""

    path: Path
    settings: Json
    environment: Json
    data: Json
    metrics: list[Json]
    evaluation: Json | None
    mistakes: list[Json]


# --- writing -----------------------------------------------------------------------------------


def append_metrics(run: Path, line: Json) -> None:
    """Add one line to the run's metrics; a line is on disk before the next step begins."""
    path = run / METRICS
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def cut_metrics(run: Path, step: int) -> None:
    """Drop the lines after `step`: a resumed run writes them again."""
    kept = [line for line in read_metrics(run) if line.get("step", 0) <= step]
    write_whole(run / METRICS, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in kept).encode())


# --- reading -----------------------------------------------------------------------------------


def is_run(path: Path) -> bool:
    """Say whether `path` is a run folder."""
    return (path / SETTINGS).is_file()


def read_metrics(run: Path) -> list[Json]:
    """Read the metrics lines; a last line cut off by a crash is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    parsed = [_parse_line(line) for line in lines]
    return [line for line in parsed if line is not None]


def _parse_line(line: str) -> Json | None:
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def read_run(path: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        UserError: `path` is not a run folder.
    """
    if not is_run(path):
        raise UserError(
            f"{path} is not a run folder",
            f"it holds no {SETTINGS}" if path.is_dir() else "there is no such folder",
            "give the folder that `residuum train` printed",
        )

    def optional(name: str) -> Any:
        return read_json(path / name) if (path / name).exists() else None

    return RunRecord(
        path=path,
        settings=read_json(path / SETTINGS),
        environment=optional(ENVIRONMENT) or {},
        data=optional(DATA) or {},
        metrics=read_metrics(path),
        evaluation=optional(EVALUATION),
        mistakes=optional(MISTAKES) or [],
    )


# --- making and keeping a run ------------------------------------------------------------------


def new_run_folder(wanted: str | Path | None, name: str) -> Path:
    """Make an empty run folder: the one wanted, or `runs/NAME-DATE` here.

    Raises:
        UserError: it exists and is not empty, or cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(wanted) if wanted else _unused(Path("runs") / f"{name}-{stamp}")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} exists and is not an empty folder",
            "a run never writes over another",
            f"go on with it (residuum train --resume {path}) or choose another --out",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path / SETTINGS, 0, error) from error
    return path


def _unused(path: Path) -> Path:
    """Two runs that start in the same second get two folders."""
    candidates = (path.with_name(f"{path.name}-{i}") for i in range(2, 1000))
    return path if not path.exists() else next(p for p in candidates if not p.exists())


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; a lock left by a dead process is taken over.

    Raises:
        UserError: another live process is writing this run.
    """
    path = run / LOCK
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    holder = _parse_line(path.read_text(encoding="utf-8")) if path.exists() else None
    if holder and holder.get("pid") != me["pid"] and _alive(holder):
        raise UserError(
            f"another process is writing {run}",
            f"process {holder['pid']} on {holder['host']} holds it",
            f"wait for it, or delete {path} if you are sure it is gone",
        )
    write_whole(path, json.dumps(me).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _alive(holder: Json) -> bool:
    """Say whether the lock's process lives; one on another machine is taken to."""
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
