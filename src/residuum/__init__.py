"""residuum: trains, judges, uses and takes apart deep residual networks for images.

The verbs of the command line, from Python. Each takes the settings of its verb by name (see residuum.settings and
residuum.outward_settings), and raises UserError if something given is wrong, and Stopped on Ctrl-C and SIGTERM, after
everything is saved. What they say on the way goes to `logging`; logging.basicConfig(level="INFO") shows it. torch is
imported by the verb that needs it, so that importing residuum is instant.
"""

from __future__ import annotations

import signal
import sys

if sys.orig_argv[1:3] == ["-m", "residuum"] or "".join(sys.argv[:1]).endswith(("/residuum", "\\residuum.exe")):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the command begins: Ctrl-C ends it, until cli.py sees to it

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from residuum import outward_verbs, verbs
from residuum.as_found import all_as_found, threads_as_found
from residuum.choices import (
    Activation,
    AnswerFormat,
    Device,
    EngineWanted,
    Order,
    PrecisionWanted,
    Scale,
    Shortcut,
    Shuffle,
    Stem,
    StrideIn,
    TrainedOn,
)
from residuum.errors import Stopped, UserError
from residuum.nets import net, net_of, save
from residuum.outward_settings import ServeSettings
from residuum.settings import (
    ExplainSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    StudySettings,
    TrainSettings,
)
from residuum.verb import for_people
from residuum.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from residuum.exchange.export_weights import Exported
    from residuum.exchange.import_weights import Imported
    from residuum.explanation.explain import Explanation
    from residuum.exporting.export import ExportedModel
    from residuum.loading import Classifier
    from residuum.plain_data import DataPlace, Place
    from residuum.prediction.answer import Answer, Unanswered
    from residuum.prediction.predictor import Predictor
    from residuum.publishing.publish import Published
    from residuum.runs import RunRecord

__all__ = [
    "Answer",
    "Classifier",
    "Explanation",
    "Exported",
    "ExportedModel",
    "Imported",
    "Predictor",
    "Published",
    "RunRecord",
    "Stopped",
    "TrainSettings",
    "Unanswered",
    "UserError",
    "__version__",
    "bench",
    "card",
    "check",
    "evaluate",
    "explain",
    "export",
    "export_weights",
    "fetch",
    "grow",
    "import_weights",
    "lesion",
    "load",
    "model_table",
    "net",
    "net_of",
    "pack",
    "plan",
    "predict",
    "publish",
    "report",
    "review",
    "save",
    "serve",
    "show",
    "study",
    "sweep",
    "this_machine",
    "train",
    "trim",
    "weights_fetch",
    "weights_list",
]

__version__ = VERSION

train = verbs.train.python
plan = verbs.plan.python
evaluate = verbs.evaluate.python
bench = outward_verbs.bench.python
export = outward_verbs.export.python
import_weights = outward_verbs.import_weights.python
export_weights = outward_verbs.export_weights.python
grow = verbs.grow.python
lesion = verbs.lesion.python
trim = verbs.trim.python
show = outward_verbs.show.python
card = outward_verbs.card.python
publish = outward_verbs.publish.python
sweep = verbs.sweep.python
check = verbs.check.python
pack = verbs.pack.python
review = verbs.review.python
fetch = verbs.fetch.python
this_machine = verbs.this_machine.python
weights_list = outward_verbs.weights_list.python
weights_fetch = outward_verbs.weights_fetch.python


@for_people
def load(
    path: Place,
    *,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
    call_from: float = 0.5,
    at_least: float | None = None,
) -> Predictor:
    """Open a run folder, a model file or an export, to hold and to ask: pictures in, answers out, from any thread
    (UserError if none). `threads`: by default torch keeps as many as it has. `call_from`: for several labels a picture,
    the probability from which on a label is called. `at_least`: for one, the probability below which the likeliest
    class is unsure, too.

    It has `classes`; and its `net`, the torch module, with its `preprocessing`, but of an export.
    """
    from residuum.prediction.predictor import load as load_predictor

    with threads_as_found() if threads is None else nullcontext():
        return load_predictor(
            path,
            engine=engine,
            precision=precision,
            device=device,
            threads=threads,
            call_from=call_from,
            at_least=at_least,
        )


# --- verbs that take any number of things, one after another ------------------------------------


@for_people
@threads_as_found()
def predict(
    run: Place,
    *images: Place,
    top: int = 5,
    call_from: float = 0.5,
    at_least: float | None = None,
    out: Place | None = None,
    format: AnswerFormat | None = None,  # noqa: A002 - as the flag is called
    sort_into: Place | None = None,
    allow_urls: bool = False,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
) -> list[Answer]:
    """Say what each picture shows: the likeliest classes with their probabilities; of several labels a picture all that
    are called, too, which are its `labels`.

    One that cannot be read is an error, raised once the others are answered; `load` returns an object that goes on.
    """
    from residuum.prediction.predictor import answered

    found = verbs.predict.run(PredictSettings(
        run, images, top=top, call_from=call_from, at_least=at_least, out=out, format=format, sort_into=sort_into,
        allow_urls=allow_urls, engine=engine, precision=precision, device=device, threads=threads
    ))  # fmt: skip
    return [answered(one) for one in found]


@for_people
@threads_as_found()
def explain(
    run: Place,
    *images: Place,
    of: str | None = None,
    top: int = 3,
    nearest: int = 6,
    among: int = 5_000,
    data: DataPlace | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    out: Place | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> Explanation:
    """Show why pictures are answered so; return what was found, and the folder with the page."""
    return verbs.explain.run(ExplainSettings(
        run, images, of=of, top=top, nearest=nearest, among=among, data=data, image_column=image_column,
        label_column=label_column, label_separator=label_separator, out=out, device=device, threads=threads
    ))  # fmt: skip


@for_people
def report(*runs: Place, out: Place | None = None) -> Path:
    """Write one HTML page about a run, or one that compares several; return its path."""
    return verbs.report.run(ReportSettings(runs, out=out))


@for_people
@threads_as_found()
def serve(
    *runs: Place,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Place | None = None,
    batch: int = 16,
    gather: float = 5.0,
    queue: int = 64,
    longest_wait: float = 2.0,
    megabytes: float = 10.0,
    megapixels: float = 25.0,
    receive: float = 10.0,
    drain: float = 30.0,
    examples: int = 8,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
) -> None:
    """Answer over HTTP, many at once, until a signal ends it (Stopped)."""
    outward_verbs.serve.run(ServeSettings(
        runs, host=host, port=port, token_file=token_file, batch=batch, gather=gather, queue=queue,
        longest_wait=longest_wait, megabytes=megabytes, megapixels=megapixels, receive=receive, drain=drain,
        examples=examples, engine=engine, precision=precision, device=device, threads=threads,
    ))  # fmt: skip


@for_people
@all_as_found()
def study(
    *names: str,
    list: bool = False,  # noqa: A002 - as the flag is called
    scale: Scale = "quick",
    seeds: int = 3,
    model: Place | None = None,
    data: DataPlace | None = None,
    shuffle: Shuffle | None = None,
    out: Place = "studies",
    device: Device = "auto",
    threads: int | None = None,
    on: TrainedOn = "here",
    address: str | None = None,
    at_once: int | None = None,
    gpus: float | None = None,
    slurm: Sequence[str] = (),
    dry_run: bool = False,
) -> Sequence[dict[str, Any]]:
    """Put the papers' claims to the test; return what each study found, its verdict, and the folder with its page."""
    return verbs.study.run(StudySettings(
        names, list=list, scale=scale, seeds=seeds, model=model, data=data, shuffle=shuffle, out=out, device=device,
        threads=threads, on=on, address=address, at_once=at_once, gpus=gpus, slurm=tuple(slurm), dry_run=dry_run,
    ))  # fmt: skip


@for_people
def model_table(
    names: Sequence[str] = (),
    *,
    classes: int | None = None,
    image_size: int | None = None,
    shortcut: Shortcut | None = None,
    order: Order | None = None,
    activation: Activation | None = None,
    stride_in: StrideIn | None = None,
    stem: Stem | None = None,
    blocks: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    groups: int | None = None,
    squeeze: int | None = None,
    projection_pool: bool | None = None,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    zero_init: bool | None = None,
) -> list[dict[str, Any]]:
    """Return depth, parameters and multiply-adds of the named nets, by default of all, with what is given changed.

    VGG-16, VGG-19 and GoogLeNet stand there for comparison: they are counted only, and `net` builds none of them.
    """
    if isinstance(names, str):
        raise UserError(f"model_table takes a list of names, not {names!r}", "", f"residuum.model_table([{names!r}])")
    rows = verbs.models.run(ModelsSettings(
        tuple(names), classes=classes, image_size=image_size, shortcut=shortcut, order=order, activation=activation,
        stride_in=stride_in, stem=stem, blocks=None if blocks is None else tuple(blocks),
        widths=None if widths is None else tuple(widths), groups=groups, squeeze=squeeze,
        projection_pool=projection_pool, dropout=dropout, stochastic_depth=stochastic_depth, zero_init=zero_init,
    ))  # fmt: skip
    assert isinstance(rows, list)
    return rows


def __getattr__(name: str) -> Any:
    """Import what the verbs return when it is first asked for."""
    homes = {
        "Answer": "residuum.prediction.answer",
        "Classifier": "residuum.loading",
        "Explanation": "residuum.explanation.explain",
        "Exported": "residuum.exchange.export_weights",
        "ExportedModel": "residuum.exporting.export",
        "Imported": "residuum.exchange.import_weights",
        "Predictor": "residuum.prediction.predictor",
        "Published": "residuum.publishing.publish",
        "RunRecord": "residuum.runs",
        "Unanswered": "residuum.prediction.answer",
    }
    if name not in homes:
        raise AttributeError(f"module residuum has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(homes[name]), name)
