"""The run folder: the only code that knows its file names. Everything a run leaves lies in it.

settings.json            what was asked and what it resolved to; repeats the run
environment.json         date, versions, hardware
data.json                classes, counts, fingerprint, where validation came from
split.json               the rows cut from the training data for validation, if any were
metrics.jsonl            one line a report: kind "step", "epoch" or "event"
checkpoint.safetensors   all that training needs to go on; the one before it is kept beside it
folds.safetensors        while a net is tuned fold by fold: the answers of those done
start.safetensors        the model that training began with, where it was not a new net
model.safetensors        the finished model, which describes itself
evaluation.json          the final figures with their intervals
head.json                of a head on frozen features: its temperature, and what it calls unsure
out-of-fold.safetensors  of such a head: each training picture's answer from one that has not seen it
review.json, review.csv  written by `residuum data review`: what to look at in the pictures
mistakes.json            the most confident mistakes, with thumbnails
report.html              written by `residuum report`
explain/                 what `residuum explain` found, a folder each time
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from residuum.errors import UserError
from residuum.files import cannot_write, write_whole
from residuum.records.codec import line as as_line
from residuum.records.codec import parse_line, read_record
from residuum.records.environment import Environment
from residuum.records.evaluation import Evaluation, Mistake
from residuum.records.review import HeadFit, Review
from residuum.records.run import Data, Epoch, Event, Line, Lock, RunSettings, Step

SETTINGS = "settings.json"
ENVIRONMENT = "environment.json"
DATA = "data.json"
SPLIT = "split.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS_CHECKPOINT = "checkpoint-previous.safetensors"
FOLDS = "folds.safetensors"
START = "start.safetensors"
MODEL = "model.safetensors"
EVALUATION = "evaluation.json"
MISTAKES = "mistakes.json"
HEAD = "head.json"
OUT_OF_FOLD = "out-of-fold.safetensors"
REVIEW = "review.json"
REVIEW_TABLE = "review.csv"
REPORT = "report.html"
LESION = "lesion.json"  # what each block is worth
TRIM = "trim.json"  # accuracy against depth
STUDY = "study.json"  # what a study found
EXPLAINED = "explained.json"  # why a net answers as it does
EXPLANATIONS = "explain"  # folder of those
LOCK = "lock.json"
EVENTS = "tensorboard"
EVALUATIONS = "evaluations"  # what `residuum evaluate` found later, one file a split and data set

T = TypeVar("T")


@dataclass(frozen=True)
class RunRecord:
    """A run folder as it was read; what a run has not (yet) written is None or empty."""

    path: Path
    settings: RunSettings
    environment: Environment | None
    data: Data | None
    metrics: list[Line]
    evaluation: Evaluation | None
    mistakes: list[Mistake]
    head: HeadFit | None = None
    review: Review | None = None

    @property
    def steps(self) -> list[Step]:
        """Return the lines of single steps."""
        return [line for line in self.metrics if isinstance(line, Step)]

    @property
    def epochs(self) -> list[Epoch]:
        """Return the lines of whole passes."""
        return [line for line in self.metrics if isinstance(line, Epoch)]

    @property
    def events(self) -> list[Event]:
        """Return what happened on the way."""
        return [line for line in self.metrics if isinstance(line, Event)]


# --- writing -----------------------------------------------------------------------------------


def append_metrics(run: Path, line: Line) -> None:
    """Add one line to the run's metrics; a line is on disk before the next step begins."""
    path = run / METRICS
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(as_line(line) + "\n")
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def cut_metrics(run: Path, step: int) -> None:
    """Drop the lines after `step`: a resumed run writes them again."""
    kept = [raw + b"\n" for raw, line in _lines(run) if line.step <= step]
    write_whole(run / METRICS, b"".join(kept))


# --- reading -----------------------------------------------------------------------------------


def is_run(path: Path) -> bool:
    """Say whether `path` is a run folder."""
    return (path / SETTINGS).is_file()


def model_name(file: Path) -> str:
    """Return what results of a model are called after: its file's name, or the folder's it lies in if that is a run."""
    resolved = file.resolve()
    return resolved.parent.name if resolved.name == MODEL else resolved.stem


def model_path(path: Path) -> Path:
    """Return the model file that `path`, a file or a run folder, stands for (UserError if none)."""
    if path.is_file():
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    if not path.exists():
        raise UserError(f"there is no run or model at {path}", "", "check the path")
    if is_run(path):
        raise UserError(
            f"the run in {path} has not finished, so it has no model yet",
            "",
            f"residuum train --resume {path}",
        )
    raise UserError(
        f"{path} is neither a run folder nor a model file",
        f"it holds no {MODEL}",
        "give the folder that `residuum train` printed",
    )


def read_metrics(run: Path) -> list[Line]:
    """Read the metrics lines; a last line cut off by a crash is left out (UserError if another line is damaged)."""
    return [line for _, line in _lines(run)]


def _lines(run: Path) -> list[tuple[bytes, Line]]:
    """Return each line as it stands and as it was read."""
    path = run / METRICS
    if not path.exists():
        return []
    *whole, last = path.read_bytes().split(b"\n")
    with suppress(ValueError):  # a last line that a crash cut off is no JSON
        json.loads(last)
        whole.append(last)
    return [(raw, parse_line(raw, Line, f"line {number} of {path}")) for number, raw in enumerate(whole, start=1)]


def read_run(path: Path) -> RunRecord:
    """Read a run folder (UserError if `path` is not a run folder, or one of its files is damaged)."""
    if not is_run(path):
        raise UserError(
            f"{path} is not a run folder",
            f"it holds no {SETTINGS}" if path.is_dir() else "there is no such folder",
            "give the folder that `residuum train` printed",
        )

    def optional(name: str, kind: type[T]) -> T | None:
        return read_record(path / name, kind) if (path / name).exists() else None

    return RunRecord(
        path=path,
        settings=read_record(path / SETTINGS, RunSettings),
        environment=optional(ENVIRONMENT, Environment),
        data=optional(DATA, Data),
        metrics=read_metrics(path),
        evaluation=optional(EVALUATION, Evaluation),
        mistakes=optional(MISTAKES, list[Mistake]) or [],
        head=optional(HEAD, HeadFit),
        review=optional(REVIEW, Review),
    )


# --- making and keeping a run ------------------------------------------------------------------


def new_run_folder(wanted: str | Path | None, name: str, pictures: str = "") -> Path:
    """Make an empty run folder: the one wanted, or `runs/NAME-DATE` here (UserError as `new_folder`)."""
    mend = f"go on with it (residuum train --resume {wanted}) or choose another --out"
    return new_folder(wanted, f"runs/{name}", "a run never writes over another", mend, pictures=pictures)


def new_folder(
    wanted: str | Path | None,
    name: str,
    why: str = "results never write over others",
    mend: str = "choose another --out",
    pictures: str = "",
) -> Path:
    """Make an empty folder: the one wanted, or NAME-DATE here, or beside the folder of `pictures` if here is below it.

    Raises:
        UserError: it exists and is not empty (`why` and `mend` are said), lies below `pictures`, or cannot be made.
    """
    try:
        apart = apart_from(pictures)
        now = f"{apart}{name}-{datetime.now():%Y%m%d-%H%M%S}"
        candidates = (Path(now + end) for end in ("", *(f"-{i}" for i in range(2, 1000))))  # another began this second
        path = Path(wanted) if wanted else next(one for one in candidates if not one.exists())
        refuse_below(path, pictures)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not an empty folder", why, mend)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(Path(wanted or name), 0, error) from error
    return path


def apart_from(pictures: str) -> str:
    """Return "", or, with a slash, where results go instead: beside the folder of `pictures`, if here is in it."""
    return f"{Path(pictures).resolve().parent}/" if _is_below(Path(), pictures) else ""


def refuse_below(path: Path, pictures: str) -> None:
    """Refuse to write `path` where that is below the folder of `pictures` (UserError)."""
    if _is_below(path, pictures):
        raise UserError(
            f"{path} lies in the folder of the pictures, {pictures}",
            "nothing is written there: it would be taken for pictures the next time",
            "choose another --out",
        )


def _is_below(path: Path, folder: str) -> bool:
    """Say whether `path` is or would be the folder or below it; "digits" and names of the hub are no folders here."""
    above = Path(folder)
    return above.is_absolute() and above.is_dir() and path.resolve().is_relative_to(above.resolve())


def new_file(wanted: str | Path | None, name: str, pictures: str = "") -> Path:
    """Return where a new model file is to be written: where wanted, or NAME here, or beside the folder of `pictures`.

    Raises:
        UserError: it exists, or lies below `pictures`.
    """
    path = Path(wanted or apart_from(pictures) + name)
    refuse_below(path, pictures)
    if os.path.lexists(path):
        raise UserError(f"{path} exists", "a model is never written over another", "choose another --out")
    return path


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; a lock left by a dead process is taken over.

    Raises:
        UserError: another live process is writing this run.
    """
    path = run / LOCK
    me = Lock(pid=os.getpid(), host=socket.gethostname())
    holder = read_record(path, Lock) if path.exists() else None
    if holder and holder.pid != me.pid and _alive(holder):
        raise UserError(
            f"another process is writing {run}",
            f"process {holder.pid} on {holder.host} holds it",
            f"wait for it, or delete {path} if you are sure it is gone",
        )
    write_whole(path, as_line(me).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _alive(holder: Lock) -> bool:
    """Say whether the lock's process lives; one on another machine is taken to."""
    try:
        if holder.host == socket.gethostname():
            os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, and lives
        return True
    return True
