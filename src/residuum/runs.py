"""The run folder: the only code that knows its file names. Everything a run leaves lies in it.

settings.json            what was asked and what it resolved to; repeats the run
environment.json         date, versions, hardware
data.json                classes, counts, fingerprint, where validation came from
split.json               the rows cut from the training data for validation, if any were
pictures.safetensors     by which pictures of its splits are known again, whatever they are called or said to show
metrics.jsonl            one line a report: kind "step", "epoch" or "event"
checkpoint.safetensors   all that training needs to go on; the one before it, or one of no use, beside it
folds.safetensors        while a net is tuned fold by fold: the answers of those done
start.safetensors        the model that training began with, where it was not a new net
model.safetensors        the finished model, which describes itself
evaluation.json          the final figures with their intervals
head.json                of a head on frozen features: its temperature, and what it calls unsure
out-of-fold.safetensors  of such a head: each training picture's answer from one that has not seen it
review.json, review.csv  written by `residuum data review`: what to look at in the pictures
mistakes.json            the most confident mistakes, with thumbnails
report.html              written by `residuum report`
evaluations/             what `residuum evaluate` found later, a file for each data set and split
README.md                the model's card, written by `residuum card`
explain/                 what `residuum explain` found, a folder each time
NAME-lesion-DATE/, NAME-trim-DATE/  what `residuum lesion` and `residuum trim` found, unless --out says where
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from residuum.apart import apart_from, refuse_below
from residuum.choices import EngineName
from residuum.errors import UserError
from residuum.files import UNFINISHED, cannot_write, is_unfinished, read_whole, remove_unfinished, write_whole
from residuum.lock import only_holder
from residuum.plain_data import quoted
from residuum.records.codec import line as as_line
from residuum.records.codec import parse_line, read_record
from residuum.records.environment import Environment
from residuum.records.evaluation import Evaluation, KeptEvaluation, Mistake
from residuum.records.review import HeadFit, Review
from residuum.records.run import Data, Epoch, Event, Line, RunSettings, Step

SETTINGS = "settings.json"
ENVIRONMENT = "environment.json"
DATA = "data.json"
SPLIT = "split.json"
PICTURES = "pictures.safetensors"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS_CHECKPOINT = "checkpoint-previous.safetensors"
UNUSABLE_CHECKPOINT = "checkpoint-unusable.safetensors"
FOLDS = "folds.safetensors"
START = "start.safetensors"
MODEL = "model.safetensors"
EXPORTED: dict[EngineName, str] = {"onnxruntime": "model.onnx", "openvino": "model.xml", "torch": "model.pt2"}
"""The file in an exported folder, by what opens it."""
UNFINISHED_EXPORT = f"{UNFINISHED}export"  # folder of what is not yet known to agree
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
SWEEP = "sweep.json"  # what a sweep found
EXPLAINED = "explained.json"  # why a net answers as it does
EXPLANATIONS = "explain"  # folder of those
LOCK = "lock.json"
EVENTS = "tensorboard"
MLFLOW = "mlflow"
EVALUATIONS = "evaluations"  # what `residuum evaluate` found later, one file a split and data set

BEGUN = {DATA, START, ENVIRONMENT, SPLIT, PICTURES, LOCK}
"""What lies in a run folder before settings.json, the last of what a run begins with, makes it one."""
LARGEST_LOG = 2**30
"""Bytes of a metrics.jsonl that is read: a line every two seconds for years."""

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
    later: Sequence[KeptEvaluation] = ()
    """What `residuum evaluate` found afterwards."""

    @property
    def several(self) -> bool:
        """Say whether its pictures may show several classes each."""
        return self.evaluation.is_several if self.evaluation else bool(self.data and self.data.several)

    @property
    def out_of_fold(self) -> Evaluation | None:
        """Return the figures of the training pictures, out of fold, where `evaluation` is of others."""
        own = ("out-of-fold", self.data and self.data.fingerprint)
        return next((one for one in self.later if (one.split, one.fingerprint) == own), None)

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


def append_metrics(run: Path, *lines: Line) -> None:
    """Add lines to the run's metrics, all or none; they are on disk before the next step begins.

    Raises:
        UserError: they cannot be written, or there is no such folder.
    """
    path, content = run / METRICS, "".join(as_line(line) + "\n" for line in lines).encode()
    try:
        with path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                written = file.write(content)
                if written != len(content):
                    file.write(content[written:])
            except OSError:  # half a line would spoil the next
                with suppress(OSError):
                    file.truncate(before)
                raise
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def cut_metrics(run: Path, step: float, warn: Callable[[str], None]) -> None:
    """Drop the lines after `step`, which a resumed run writes again, and those that cannot be read, after a `warn`."""
    kept, damaged = list[bytes](), 0
    for read in _lines(run):
        try:
            raw, line = read()
        except UserError:
            damaged += 1
        else:
            kept += [raw + b"\n"] if line.step <= step else []
    if damaged:
        warn(f"{damaged} lines of {run / METRICS} cannot be read and are left out")
    write_whole(run / METRICS, b"".join(kept))


# --- reading -----------------------------------------------------------------------------------


def is_run(path: Path) -> bool:
    """Say whether `path` is a run folder."""
    return (path / SETTINGS).is_file()


def model_name(file: Path) -> str:
    """Return what results of a model are called after: its file's name, or the folder's it lies in if that is a run."""
    resolved = file.resolve()
    return resolved.parent.name if resolved.name == MODEL else resolved.stem


def exported_file(path: Path) -> tuple[EngineName, Path] | None:
    """Return the exported file that `path`, a file or folder, stands for, and what opens it; None if it is none."""
    if UNFINISHED_EXPORT in {path.name, path.parent.name}:
        return None
    for engine, name in EXPORTED.items():
        if path.is_file() and path.suffix == Path(name).suffix:
            return engine, path
        if (path / name).is_file():
            return engine, path / name
    return None


def model_path(path: Path) -> Path:
    """Return the model file that `path`, a file or a run folder, stands for (UserError if none, or of an export)."""
    if (path / MODEL).is_file():
        return path / MODEL
    if exported_file(path):
        raise UserError(
            f"{path} is an export, and this needs the net that it was made of",
            "an export holds what an engine computes: predict, serve, evaluate and residuum.load take it",
            "give the run or model file that it was exported from",
        )
    if UNFINISHED_EXPORT in {path.name, path.parent.name} or (path / UNFINISHED_EXPORT).is_dir():
        why = "it is being written, or was stopped: nothing says whether its answers agree"
        mend = "wait for it, or export the model again; with the same --out what is left there goes"
        raise UserError(f"the export in {path} is not finished", why, mend)
    if path.is_file():
        return path
    if not path.exists():
        mend = "check the path; weights that have a name: residuum weights list"
        raise UserError(f"there is no run or model at {path}", f"seen from {Path.cwd()}", mend)
    if (path / MODEL).exists():
        raise UserError(f"{path / MODEL} is not a file", "something else has that name", "move it away")
    if is_run(path):
        mend = "wait: it is being trained" if is_held(path) else f"residuum train --resume {quoted(path)}"
        raise UserError(f"the run in {path} has not finished, so it has no model yet", "", mend)
    mend = "give the folder that `residuum train` printed"
    raise UserError(f"{path} is neither a run folder nor a model file", f"it holds no {MODEL}", mend)


def read_metrics(run: Path) -> list[Line]:
    """Read the metrics lines; a last line cut off by a crash is left out (UserError if another line is damaged)."""
    return [read()[1] for read in _lines(run)]


def _lines(run: Path) -> Iterator[Callable[[], tuple[bytes, Line]]]:
    """Yield for each line what returns it as it stands and as it was read (UserError where it is damaged)."""
    path = run / METRICS
    if not path.exists():
        return
    *whole, last = read_whole(path, LARGEST_LOG).split(b"\n")
    with suppress(ValueError, RecursionError):  # a last line that a crash cut off is no JSON
        json.loads(last)
        whole.append(last)
    for number, raw in enumerate(whole, start=1):
        yield lambda raw=raw, number=number: (raw, parse_line(raw, Line, f"line {number} of {path}"))  # type: ignore[misc]


def read_run(path: Path) -> RunRecord:
    """Read a run folder (UserError if `path` is not a run folder, or one of its files is damaged)."""
    return replace(
        read_begun(path),
        metrics=read_metrics(path),
        evaluation=_optional(path / EVALUATION, Evaluation),
        mistakes=_optional(path / MISTAKES, list[Mistake]) or [],
        head=_optional(path / HEAD, HeadFit),
        review=_optional(path / REVIEW, Review),
        later=[read_record(file, KeptEvaluation) for file in sorted((path / EVALUATIONS).glob("*.json"))],
    )


def read_begun(path: Path) -> RunRecord:
    """Read what a run began with, and nothing of what it wrote since (UserError as above)."""
    if is_only_begun(path):
        mend = f"start it again, with --out {quoted(path)} if you like"
        raise UserError(f"the run in {path} was stopped before it had begun", "", mend)
    if not is_run(path):
        mend = f"give {path.parent}" if is_run(path.parent) else "give the folder that `residuum train` printed"
        why = "it is a file" if path.is_file() else f"it holds no {SETTINGS}" if path.is_dir() else "there is none"
        raise UserError(f"{path} is not a run folder", why, mend)
    settings, data = read_record(path / SETTINGS, RunSettings), _optional(path / DATA, Data)
    return RunRecord(path, settings, _optional(path / ENVIRONMENT, Environment), data, [], None, [])


def _optional(file: Path, kind: type[T]) -> T | None:
    return read_record(file, kind) if file.exists() else None


# --- making and keeping a run ------------------------------------------------------------------


def new_run_folder(wanted: str | Path | None, name: str, pictures: str = "") -> Path:
    """Make an empty run folder: the one wanted, or `runs/NAME-DATE` here (UserError as `new_folder`).

    One in which a run was killed before it had anything to go on from counts as empty.
    """
    if wanted is not None:
        refuse_below(Path(wanted), pictures)
        refuse_taken_by_run(wanted)
        if is_only_begun(Path(wanted)):
            return Path(wanted)
    return new_folder(wanted, f"runs/{name}", pictures)


def refuse_taken_by_run(wanted: str | Path) -> None:
    """Refuse a folder in which no run may begin (UserError as `refuse_taken`), before anything is computed."""
    if not is_only_begun(Path(wanted)):
        goes_on = is_run(Path(wanted)) and not (Path(wanted) / MODEL).exists()
        resume = f"go on with it (residuum train --resume {quoted(wanted)}) or " if goes_on else ""
        refuse_taken(wanted, "a run never writes over another", f"{resume}choose another --out")


def is_only_begun(path: Path) -> bool:
    """Say whether a folder holds nothing but what a run leaves that was killed before it was one."""
    with suppress(OSError):
        return LOCK in {file.name for file in path.iterdir() if not is_unfinished(file)} <= BEGUN
    return False


def clear_begun(run: Path) -> None:
    """Remove what a run left in its folder that was killed before it was one; the caller holds the folder."""
    for name in BEGUN - {LOCK}:
        (run / name).unlink(missing_ok=True)


def refuse_taken(
    wanted: str | Path | None, why: str = "results never write over others", mend: str = "choose another --out"
) -> None:
    """Refuse a folder that holds anything but what a killed process left (UserError), before anything is computed."""
    path = Path(wanted or "")
    try:
        if wanted and path.exists() and not (path.is_dir() and all(map(is_unfinished, path.iterdir()))):
            raise UserError(f"{path} exists and is not an empty folder", why, mend)
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def folder_of_results(wanted: str | Path | None, model: str | Path, name: str, pictures: str) -> Path:
    """Make an empty folder for what is found of a model: as `new_folder`, but by default within its run."""
    if not wanted and is_run(Path(model)) and os.access(model, os.W_OK):
        return new_folder(None, f"{model}/{name}")
    return new_folder(wanted, name, pictures)


def new_folder(wanted: str | Path | None, name: str, pictures: str = "") -> Path:
    """Make an empty folder: the one wanted, or NAME-DATE here, or beside the folder of `pictures` if here is below it.

    Raises:
        UserError: it exists and is not empty, lies below `pictures`, or cannot be made.
    """
    try:
        apart = apart_from(pictures)
        now = f"{apart}{name}-{datetime.now():%Y%m%d-%H%M%S}"
        candidates = (Path(now + end) for end in ("", *(f"-{i}" for i in range(2, 1000))))  # another began this second
        path = Path(wanted) if wanted else next(one for one in candidates if _made(one))
        refuse_below(path, pictures)
        if wanted:
            refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        for left in path.iterdir():  # by a process that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    except OSError as error:
        raise cannot_write(Path(wanted or name), 0, error) from error
    return path


def _made(path: Path) -> bool:
    """Make a folder; say whether it was not there before (OSError if it cannot be made)."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def new_file(wanted: str | Path | None, name: str, pictures: str = "") -> Path:
    """Return where a new file is to be written: where wanted, or NAME here, or beside the folder of `pictures`.

    Raises:
        UserError: it exists, or lies below `pictures`.
    """
    path = Path(wanted or apart_from(pictures) + name)
    refuse_below(path, pictures)
    refuse_existing(path)
    return path


def refuse_existing(
    wanted: str | Path | None, why: str = "a model is never written over another", mend: str = "choose another --out"
) -> None:
    """Refuse a file that exists (UserError), before anything is computed."""
    if wanted and os.path.lexists(wanted):
        raise UserError(f"{wanted} exists", why, mend)


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; what a writer that was killed left half done goes.

    Raises:
        UserError: as `only_holder`.
    """
    with only_holder(run / LOCK):
        remove_unfinished(run, own=True)
        yield


def is_held(run: Path) -> bool:
    """Say whether a live process writes this run."""
    try:
        with only_holder(run / LOCK):
            return False
    except UserError:
        return (run / LOCK).exists()
