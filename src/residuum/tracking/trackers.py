"""Figures of a run for the trackers that were asked for, through one small interface; none of them can stop the run.

Nothing goes to the network unless the environment names a server: see each tracker's file.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from residuum import runs
from residuum.choices import TrackerName
from residuum.console import warn
from residuum.errors import UserError
from residuum.records.codec import read_record, to_json
from residuum.records.evaluation import Evaluation, MeasureName
from residuum.records.run import Line, RunSettings
from residuum.tracking import with_mlflow, with_tensorboard, with_wandb
from residuum.tracking.contract import About, Open, Track, Tracker
from residuum.version import installing

PACKAGES: dict[TrackerName, tuple[str, Open]] = {
    "tensorboard": ("tensorboard", with_tensorboard.open_tracker),
    "mlflow": ("mlflow", with_mlflow.open_tracker),
    "wandb": ("wandb", with_wandb.open_tracker),
}
"""The package of each tracker, and what opens it. The extra is called as the tracker."""


def refuse_absent(names: Sequence[TrackerName]) -> None:
    """Raise UserError for a tracker whose package is not installed."""
    for name in names:
        found = find_spec(PACKAGES[name][0])
        if found is None or found.origin is None:  # without an origin: a folder that is called so
            raise UserError(f"--track {name} needs a package that is not installed", "", installing(name))


@contextmanager
def tracking(run: Path, names: Sequence[TrackerName]) -> Iterator[Track]:
    """Yield what hands figures on to these trackers of a run folder.

    A tracker that fails, at whatever moment, is let go of and said so once: the run goes on.
    """
    about = _about(run) if names else None
    opened = {name: tracker for name in names if about and (tracker := _opened(name, about))}

    def track(figures: Mapping[str, float], step: int) -> None:
        for name, tracker in list(opened.items()):
            with _let_go_of(name, opened):
                tracker.log(figures, step)

    finished = False
    try:
        yield track
        finished = True
    finally:
        for name, tracker in list(opened.items()):
            with _let_go_of(name, opened):
                tracker.close(finished)


def figures_of(line: Line) -> dict[str, float]:
    """Return the numbers of a metrics line by name: epoch/train_loss, step/lr, …"""
    content = to_json(line)
    numbers = {name: value for name, value in content.items() if isinstance(value, int | float)}
    return {f"{content['kind']}/{name}": float(value) for name, value in numbers.items() if name not in _PLACES}


def final_figures(judged: Evaluation) -> dict[str, float]:
    """Return a run's final figures by name: test/top1, …; of several labels a picture test/map, too."""
    return {f"{judged.split}/{name}": one.value for name, one in judged.named(_FINAL).items()}


_FINAL: dict[MeasureName, str] = {
    "mean_ap": "map",
    "top1": "top1",
    "top5": "top5",
    "macro_f1": "macro_f1",
    "ece": "ece",
}
_PLACES = {"step", "epoch"}


def _opened(name: TrackerName, about: About) -> Tracker | None:
    opened: dict[TrackerName, Tracker] = {}
    with _let_go_of(name, opened):
        opened[name] = PACKAGES[name][1](about)
    return opened.get(name)


@contextmanager
def _let_go_of(name: TrackerName, opened: dict[TrackerName, Tracker]) -> Iterator[None]:
    """Let go of a tracker that fails, and say so."""
    try:
        yield
    except Exception as error:  # whatever it is: others' code, and not what the run is for
        opened.pop(name, None)
        warn(f"{name} takes no more figures ({type(error).__name__}: {error}); the run goes on without it")


def _about(run: Path) -> About:
    record = read_record(run / runs.SETTINGS, RunSettings)
    begun = [(run / name).read_bytes() for name in (runs.SETTINGS, runs.ENVIRONMENT) if (run / name).exists()]
    settings = {name: value for name, value in record.settings.items() if value not in (None, [])}
    return About(run.absolute(), hashlib.sha256(b"".join(begun)).hexdigest()[:16], settings)
