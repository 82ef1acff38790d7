"""residuum: trains, judges, uses and takes apart deep residual networks for images.

The verbs of the command line, from Python. Each takes the settings of its verb by name (see residuum.settings),
and raises UserError if something given is wrong, and Stopped on Ctrl-C and SIGTERM, after everything is saved.
torch is imported by the verb that needs it, so that importing residuum is instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from residuum import verbs
from residuum.choices import Device, Scale
from residuum.errors import Stopped, UserError
from residuum.settings import (
    ExplainSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    StudySettings,
    TrainSettings,
)
from residuum.verbs import for_people
from residuum.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from residuum.exchange.export_weights import Exported
    from residuum.exchange.import_weights import Imported
    from residuum.explanation.explain import Explanation
    from residuum.loading import Classifier
    from residuum.plain_data import Place
    from residuum.prediction.predict import Answer
    from residuum.publishing.publish import Published
    from residuum.runs import RunRecord

__all__ = [
    "Answer",
    "Classifier",
    "Explanation",
    "Exported",
    "Imported",
    "Published",
    "RunRecord",
    "Stopped",
    "TrainSettings",
    "UserError",
    "__version__",
    "card",
    "check",
    "evaluate",
    "explain",
    "export_weights",
    "fetch",
    "grow",
    "import_weights",
    "lesion",
    "load",
    "model_table",
    "predict",
    "publish",
    "report",
    "review",
    "study",
    "this_machine",
    "train",
    "trim",
    "weights_fetch",
    "weights_list",
]

__version__ = VERSION

train = verbs.train.python
evaluate = verbs.evaluate.python
import_weights = verbs.import_weights.python
export_weights = verbs.export_weights.python
grow = verbs.grow.python
lesion = verbs.lesion.python
trim = verbs.trim.python
card = verbs.card.python
publish = verbs.publish.python
check = verbs.check.python
review = verbs.review.python
fetch = verbs.fetch.python
this_machine = verbs.this_machine.python
weights_list = verbs.weights_list.python
weights_fetch = verbs.weights_fetch.python


@for_people
def load(path: Place) -> Classifier:
    """Load a run folder or model file: a net with its classes and preprocessing (UserError if there is none)."""
    from residuum.loading import load as load_classifier

    return load_classifier(path)


# --- verbs that take any number of things, one after another ------------------------------------


@for_people
def predict(
    run: Place, *images: Place, top: int = 5, device: Device = "auto", threads: int | None = None
) -> list[Answer]:
    """Say what each picture shows: the likeliest classes with their probabilities."""
    return list(verbs.predict.run(PredictSettings(run, images, top=top, device=device, threads=threads)))


@for_people
def explain(
    run: Place,
    *images: Place,
    of: str | None = None,
    top: int = 3,
    nearest: int = 6,
    among: int = 5_000,
    data: Place | None = None,
    out: Place | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> Explanation:
    """Show why pictures are answered so; return what was found, and the folder with the page."""
    return verbs.explain.run(ExplainSettings(
        run, images, of=of, top=top, nearest=nearest, among=among, data=data, out=out, device=device, threads=threads
    ))  # fmt: skip


@for_people
def report(*runs: Place, out: Place | None = None) -> Path:
    """Write one HTML page about a run, or one that compares several; return its path."""
    return verbs.report.run(ReportSettings(runs, out=out))


@for_people
def study(
    *names: str,
    list: bool = False,  # noqa: A002 - as the flag is called
    scale: Scale = "quick",
    seeds: int = 3,
    model: Place | None = None,
    data: Place | None = None,
    out: Place = "studies",
    device: Device = "auto",
    threads: int | None = None,
) -> Sequence[dict[str, Any]]:
    """Put the papers' claims to the test; return what each study found, its verdict, and the folder with its page."""
    return verbs.study.run(StudySettings(
        names, list=list, scale=scale, seeds=seeds, model=model, data=data, out=out, device=device, threads=threads
    ))  # fmt: skip


@for_people
def model_table(
    names: Sequence[str] = (), *, classes: int | None = None, image_size: int | None = None
) -> list[dict[str, Any]]:
    """Return depth, parameters and multiply-adds of the named nets, by default of all."""
    rows = verbs.models.run(ModelsSettings(tuple(names), classes=classes, image_size=image_size))
    assert isinstance(rows, list)
    return rows


def __getattr__(name: str) -> Any:
    """Import what the verbs return when it is first asked for."""
    homes = {
        "Answer": "residuum.prediction.predict",
        "Classifier": "residuum.loading",
        "Explanation": "residuum.explanation.explain",
        "Exported": "residuum.exchange.export_weights",
        "Imported": "residuum.exchange.import_weights",
        "Published": "residuum.publishing.publish",
        "RunRecord": "residuum.runs",
    }
    if name not in homes:
        raise AttributeError(f"module residuum has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(homes[name]), name)
