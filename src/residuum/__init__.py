"""residuum: trains, judges, uses and takes apart deep residual networks for images.

The verbs of the command line, from Python. Each takes the settings of its verb by name (see residuum.settings).
torch is imported by the verb that needs it, so that importing residuum is instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.errors import Stopped, UserError
from residuum.files import read_json

if TYPE_CHECKING:
    from residuum.exchange.export_weights import Exported
    from residuum.exchange.import_weights import Imported
    from residuum.loading import Classifier
    from residuum.prediction.predict import Answer
    from residuum.records.evaluation import DataEvaluation
    from residuum.runs import RunRecord

__version__ = version("residuum")
__all__ = [
    "Stopped",
    "UserError",
    "check",
    "evaluate",
    "export_weights",
    "fetch",
    "grow",
    "import_weights",
    "lesion",
    "load",
    "model_table",
    "predict",
    "report",
    "study",
    "train",
    "trim",
]

Place = str | Path


def train(data: Place | None = None, **settings: Any) -> RunRecord:
    """Train a net on pictures and return the run: its folder, settings, metrics and final figures.

    Raises:
        UserError: something given is wrong; the message says what, why and how to mend it.
        Stopped: Ctrl-C or SIGTERM; everything is saved.
    """
    from residuum.settings import TrainSettings
    from residuum.training.run import train as train_run

    return train_run(TrainSettings(_or_none(data), **settings))


def load(path: Place) -> Classifier:
    """Load a run folder or model file: a net with its classes and preprocessing (UserError if there is none)."""
    from residuum.loading import load as load_classifier

    return load_classifier(path)


def evaluate(run: Place, data: Place | None = None, **settings: Any) -> DataEvaluation:
    """Judge a run or model on its own data, or on others; return the figures with their intervals."""
    from residuum.evaluation.evaluate import evaluate as evaluate_run
    from residuum.settings import EvaluateSettings

    return evaluate_run(EvaluateSettings(str(run), _or_none(data), **settings))


def predict(run: Place, *images: Place, **settings: Any) -> list[Answer]:
    """Say what each picture shows: the likeliest classes with their probabilities."""
    from residuum.prediction.predict import predict as predict_pictures
    from residuum.settings import PredictSettings

    return list(predict_pictures(PredictSettings(str(run), tuple(map(str, images)), **settings)))


def import_weights(source: Place, **settings: Any) -> Imported:
    """Turn other people's weights into a model file; return where it is, and what had to be assumed."""
    from residuum.exchange.import_weights import import_weights as import_file
    from residuum.settings import ImportSettings

    return import_file(ImportSettings(str(source), **settings))


def export_weights(model: Place, **settings: Any) -> Exported:
    """Write a model's weights under torchvision's or timm's names; return where, and the line that loads them."""
    from residuum.exchange.export_weights import export_weights as export_file
    from residuum.settings import ExportWeightsSettings

    return export_file(ExportWeightsSettings(str(model), **settings))


def grow(model: Place, **settings: Any) -> Path:
    """Write a deeper model that gives the same answers; return its path."""
    from residuum.depth.grow import grow as grow_model
    from residuum.settings import GrowSettings

    return grow_model(GrowSettings(str(model), **settings))


def lesion(model: Place, data: Place | None = None, **settings: Any) -> Path:
    """Measure what each block is worth; return the folder with lesion.json and report.html."""
    from residuum.depth.lesion import lesion as lesion_model
    from residuum.reporting.depth_page import write_depth_report
    from residuum.settings import LesionSettings

    folder = lesion_model(LesionSettings(str(model), _or_none(data), **settings))
    write_depth_report(folder)
    return folder


def trim(model: Place, data: Place | None = None, **settings: Any) -> Path:
    """Take out the blocks that matter least; return the folder with the smaller model, trim.json and report.html."""
    from residuum.depth.trim import trim as trim_model
    from residuum.reporting.depth_page import write_depth_report
    from residuum.settings import TrimSettings

    folder = trim_model(TrimSettings(str(model), _or_none(data), **settings))
    write_depth_report(folder)
    return folder


def _or_none(place: Place | None) -> str | None:
    return None if place is None else str(place)


def report(*runs: Place, out: Place | None = None) -> Path:
    """Write one HTML page about a run, or one that compares several; return its path."""
    from residuum.reporting.page import write_report

    return write_report([Path(run) for run in runs], Path(out) if out is not None else None)


def check(data: Place) -> dict[str, Any]:
    """Look at a data set: counts, sizes, broken pictures, duplicates across splits, problems in plain words."""
    from residuum.data.check import check as check_data
    from residuum.data.open import open_data

    return check_data(open_data(str(data)))


def fetch(name: str) -> Path:
    """Download a data set by its short or hub name, checksummed; it uses the network."""
    from residuum.data.hub import fetch as fetch_data

    return fetch_data(name)


def study(*names: str, **settings: Any) -> list[dict[str, Any]]:
    """Put the papers' claims to the test; return what each study found, its verdict, and the folder with its page.

    Raises:
        UserError: there is no such study, or the data or model are wrong.
        Stopped: Ctrl-C or SIGTERM; what was trained is kept, and the same call goes on.
    """
    from residuum.reporting.study_page import write_study_pages
    from residuum.runs import STUDY
    from residuum.settings import StudySettings
    from residuum.study.run import run_studies

    asked = StudySettings(names, **settings)
    folders = write_study_pages(run_studies(asked), Path(asked.out))
    return [{**read_json(folder / STUDY), "folder": str(folder)} for folder in folders]


def model_table(names: Sequence[str] = (), **settings: Any) -> list[dict[str, Any]]:
    """Return depth, parameters and multiply-adds of the named nets, by default of all."""
    from residuum.models.count import table
    from residuum.settings import ModelsSettings

    return table(ModelsSettings(**settings), names)
