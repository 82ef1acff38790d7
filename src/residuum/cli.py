"""The command `residuum`: a verb, its settings, one function. Nothing is computed here.

Figures go to stdout, everything else to stderr. Exit codes: 0 done, 2 a fault in what was given,
130 and 143 stopped by Ctrl-C and SIGTERM after saving.
"""

import json as json_format
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from rich.console import Console

from residuum.console import say, told
from residuum.errors import Stopped, UserError
from residuum.runs import MODEL
from residuum.settings import (
    CheckSettings,
    EvaluateSettings,
    FetchSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    TrainSettings,
    as_json,
)

Json = Annotated[bool, Parameter(negative=(), help="Print the figures as JSON, for scripts.")]
PrintConfig = Annotated[
    bool, Parameter(negative=(), help="Print the settings as JSON, for --config, and do nothing else.")
]

app = App(
    name="residuum",
    help="Trains, judges and uses deep residual networks for images.",
    version_flags=["--version"],
    result_action="return_value",
)
data = App(name="data", help="Look at or fetch pictures.")
app.command(data)
app.register_install_completion_command()


# --- the verbs ----------------------------------------------------------------------------------


@app.command
def train(
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a net on pictures and leave a run folder: model, figures, settings.

    Examples: residuum train PHOTOS    residuum train digits    residuum train cifar10 --model resnet20 --epochs 10
    """
    if print_config:
        return _print_json(as_json(settings))
    from residuum.training.run import train as train_run

    record = train_run(settings)
    if json:
        figures = record.evaluation or {}
        _print_json({"run": str(record.path), "settings": record.settings["settings"], **_main(figures)})
    else:
        _print_figures(record.evaluation)
        print(f"model    {record.path / MODEL}")
        print(f"next     residuum report {record.path}")
        print(f"         residuum predict {record.path} PICTURE...")
    return None


@app.command
def evaluate(
    settings: Annotated[EvaluateSettings, Parameter(name="*")] = EvaluateSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Judge a run or model on a split of its own data, or on other data with the same classes."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.evaluation.evaluate import evaluate as evaluate_run

    _say_settings("evaluate", settings)
    figures = evaluate_run(settings)
    if json:
        return _print_json(figures)
    if not figures["same_data_as_training"] and settings.data is None:
        say("note: the data have changed since the run was trained")
    return _print_figures(figures)


@app.command
def predict(
    settings: Annotated[PredictSettings, Parameter(name="*")] = PredictSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Say what pictures show. With --json, one line of JSON a picture."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.prediction.predict import predict as predict_pictures

    _say_settings("predict", settings)
    for answer in predict_pictures(settings):
        if json:
            print(json_format.dumps(answer.as_json(), ensure_ascii=False))
        else:
            pairs = zip(answer.classes, answer.probabilities, strict=True)
            print(answer.picture + "  " + "  ".join(f"{name} {p:.1%}" for name, p in pairs))
    return None


@app.command
def report(
    settings: Annotated[ReportSettings, Parameter(name="*")] = ReportSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Write one HTML page about a run, or one that compares several; it opens offline."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.reporting.page import write_report

    if not settings.runs:
        raise UserError("which run?", "", "residuum report RUN...")
    path = write_report([Path(run) for run in settings.runs], Path(settings.out) if settings.out else None)
    return _print_json({"report": str(path)}) if json else print(f"report   {path}")


@app.command
def models(
    settings: Annotated[ModelsSettings, Parameter(name="*")] = ModelsSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """List the named nets: depth, parameters, multiply-adds."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.models.count import table

    rows = table(settings)
    if json:
        return _print_json(rows)
    print(
        f"{'model':<12}{'depth':>6}{'shortcut':>10}{'parameters':>13}{'multiply-adds':>16}{'px':>5}{'classes':>9}"
    )
    for row in rows:
        print(
            f"{row['model']:<12}{row['depth']:>6}{row['shortcut']:>10}{row['parameters']:>13,}"
            f"{row['multiply_adds']:>16,}{row['image_size']:>5}{row['classes']:>9}"
        )
    return None


@data.command
def check(
    settings: Annotated[CheckSettings, Parameter(name="*")] = CheckSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Look at a data set: counts, sizes, modes, broken files, duplicates across splits."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.data.check import check as check_data
    from residuum.data.open import open_data

    if settings.data is None:
        raise UserError("which pictures?", "", "residuum data check DATA")
    _say_settings("data check", settings)
    findings = check_data(open_data(settings.data, progress=told("fetching")), told("looking"))
    return _print_json(findings) if json else _print_findings(findings)


@data.command
def fetch(
    settings: Annotated[FetchSettings, Parameter(name="*")] = FetchSettings(),
    *,
    json: Json = False,
    print_config: PrintConfig = False,
) -> None:
    """Download a data set by name, checksummed. The only verb that uses the network unasked."""
    if print_config:
        return _print_json(as_json(settings))
    from residuum.data.hub import fetch as fetch_data

    if settings.name is None:
        raise UserError("which data set?", "", "residuum data fetch cifar10")
    folder = fetch_data(settings.name, progress=told("fetching"))
    return _print_json({"data": str(folder)}) if json else print(f"data     {folder}")


# --- printing -----------------------------------------------------------------------------------


def _say_settings(verb: str, settings: Any) -> None:
    """Print what the verb will work with, so that it can be repeated."""
    named = [(field.name, getattr(settings, field.name)) for field in fields(settings)]
    say(f"{verb}: " + ", ".join(f"{name} {value}" for name, value in named if value not in {None, ()}))


def _print_json(content: Any) -> None:
    print(json_format.dumps(content, ensure_ascii=False, indent=1))


def _main(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures without their long tables."""
    return {
        name: value
        for name, value in figures.items()
        if name not in {"per_class", "confusion", "calibration"}
    }


def _print_figures(figures: dict[str, Any] | None) -> None:
    if figures is None:
        return
    print(f"judged   {figures['images']:,} {figures['split']} pictures, {figures['protocol']}")
    for name, label in (("top1", "top-1"), ("top5", "top-5"), ("macro_f1", "macro F1"), ("ece", "ECE")):
        value = figures[name]
        if value is not None:
            print(
                f"{label:<9}{value['value']:.2%}  (95 % interval {value['low']:.2%} to {value['high']:.2%})"
            )


def _print_findings(findings: dict[str, Any]) -> None:
    for name, split in findings["splits"].items():
        print(f"{name:<11}{split['pictures']:,} pictures")
    for problem in findings["problems"] or ["nothing wrong was found"]:
        print(problem)


# --- starting -----------------------------------------------------------------------------------


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="Settings from a JSON or TOML file; flags win.")] = None,
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False,
) -> None:
    app.config = [Dict(_for_any_verb(_read_config(config)), source=str(config))] if config else []
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except UserError as error:
        if debug:
            raise
        _fail(f"error: {error}", 2)
    except CycloptsError as error:
        if debug:
            raise
        _fail(f"error: {error}", 2)
    except Stopped as stop:
        _fail(str(stop), stop.exit_code)


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(message, markup=False, highlight=False)
    raise SystemExit(code)


def _read_config(path: Path) -> dict[str, Any]:
    """Read settings: a JSON or TOML table, or a run folder's settings.json."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json_format.loads(text)
    except (OSError, ValueError) as error:
        _fail(f"error: --config {path} cannot be read: {error}", 2)
    if not isinstance(content, dict):
        _fail(f"error: --config {path} holds no table of settings", 2)
    inner = content.get("settings", content)
    return {name: value for name, value in inner.items() if value is not None and value != []}


def _for_any_verb(settings: dict[str, Any]) -> dict[str, Any]:
    """Lay the settings where the verb that is run will look for its own."""
    verbs = ("train", "evaluate", "predict", "report", "models")
    return dict.fromkeys(verbs, settings) | {"data": {"check": settings, "fetch": settings}}


def main() -> None:
    """Run the command line."""
    app.meta(sys.argv[1:])
