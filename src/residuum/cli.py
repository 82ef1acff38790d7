"""The command `residuum`: a verb, its settings, one function. Nothing is computed here.

Figures go to stdout, everything else to stderr. Exit codes: 0 done, 2 a fault in what was given,
130 and 143 stopped by Ctrl-C and SIGTERM after saving.
"""

import json as json_format
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from rich.console import Console

from residuum.console import say, show_progress
from residuum.errors import Stopped, UserError
from residuum.files import read_json
from residuum.plain_data import as_json
from residuum.printing import (
    print_figures,
    print_findings,
    print_json,
    print_lesion,
    print_models,
    print_studies,
    print_trim,
    print_verdicts,
    say_settings,
)
from residuum.records.codec import read_record, to_json
from residuum.records.depth import Lesion, Trim
from residuum.runs import LESION, MODEL, STUDY, TRIM
from residuum.settings import (
    CheckSettings,
    EvaluateSettings,
    ExportWeightsSettings,
    FetchSettings,
    GrowSettings,
    ImportSettings,
    LesionSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    StudySettings,
    TrainSettings,
    TrimSettings,
)

Json = Annotated[bool, Parameter(negative=(), help="Print the figures as JSON, for scripts.")]

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
) -> None:
    """Train a net on pictures and leave a run folder: model, figures, settings.

    Examples: residuum train PHOTOS    residuum train digits    residuum train cifar10 --model resnet20 --epochs 10
    """
    from residuum.training.run import train as train_run

    record = train_run(settings)
    if json:
        figures = to_json(record.evaluation.figures()) if record.evaluation else {}
        print_json({"run": str(record.path), "settings": record.settings.settings, **figures})
    else:
        print_figures(record.evaluation)
        print(f"model    {record.path / MODEL}")
        print(f"next     residuum report {record.path}")
        print(f"         residuum predict {record.path} PICTURE...")


@app.command
def evaluate(
    settings: Annotated[EvaluateSettings, Parameter(name="*")] = EvaluateSettings(),
    *,
    json: Json = False,
) -> None:
    """Judge a run or model on a split of its own data, or on other data with the same classes."""
    from residuum.evaluation.evaluate import evaluate as evaluate_run

    say_settings("evaluate", settings)
    found = evaluate_run(settings)
    if json:
        return print_json(to_json(found))
    if not found.same_data_as_training and settings.data is None:
        say("note: the data have changed since the run was trained")
    return print_figures(found)


@app.command
def predict(
    settings: Annotated[PredictSettings, Parameter(name="*")] = PredictSettings(),
    *,
    json: Json = False,
) -> None:
    """Say what pictures show. With --json, one line of JSON a picture."""
    from residuum.prediction.predict import predict as predict_pictures

    say_settings("predict", settings)
    for answer in predict_pictures(settings):
        if json:
            print(json_format.dumps(answer.as_json(), ensure_ascii=False))
        else:
            pairs = zip(answer.classes, answer.probabilities, strict=True)
            print(answer.picture + "  " + "  ".join(f"{name} {p:.1%}" for name, p in pairs))


@app.command
def report(
    settings: Annotated[ReportSettings, Parameter(name="*")] = ReportSettings(),
    *,
    json: Json = False,
) -> None:
    """Write one HTML page about a run, or one that compares several; it opens offline."""
    from residuum.reporting.page import write_report

    if not settings.runs:
        raise UserError("which run?", "", "residuum report RUN...")
    path = write_report([Path(run) for run in settings.runs], Path(settings.out) if settings.out else None)
    return print_json({"report": str(path)}) if json else print(f"report   {path}")


@app.command(name="import")
def import_(
    settings: Annotated[ImportSettings, Parameter(name="*")] = ImportSettings(), *, json: Json = False
) -> None:
    """Turn other people's weights into a model file: torchvision, timm, transformers, CIFAR checkpoints.

    Examples: residuum import resnet20.th    residuum import torchvision:resnet50    residuum import hf:OWNER/NAME
    """
    from residuum.exchange.import_weights import import_weights

    if settings.source is None:
        raise UserError("which weights?", "", "residuum import FILE")
    imported = import_weights(settings)
    for assumption in imported.assumptions:
        say(f"assumed: {assumption}")
    if json:
        about = {"layout": imported.layout, "assumptions": list(imported.assumptions)}
        return print_json({"model": str(imported.path), **about, "net": imported.spec.as_json()})
    print(f"model    {imported.path}")
    print(f"net      {imported.spec.depth} layers, from the layout of {imported.layout}")
    print(f"next     residuum evaluate {imported.path} DATA")
    return None


@app.command
def export_weights(
    settings: Annotated[ExportWeightsSettings, Parameter(name="*")] = ExportWeightsSettings(),
    *,
    json: Json = False,
) -> None:
    """Write a model's weights under torchvision's or timm's names, as safetensors."""
    from residuum.exchange.export_weights import export_weights as export

    if settings.model is None:
        raise UserError("which model?", "", "residuum export-weights MODEL --layout timm")
    exported = export(settings)
    if json:
        return print_json({"weights": str(exported.path), "how_to_load": exported.how_to_load})
    print(f"weights  {exported.path}\nto load  {exported.how_to_load}")
    return None


@app.command
def study(
    settings: Annotated[StudySettings, Parameter(name="*")] = StudySettings(), *, json: Json = False
) -> None:
    """Put a claim of the papers to the test: what is measured, with its spread, and a verdict.

    Examples: residuum study --list    residuum study degradation    residuum study lesions --model RUN
    """
    from residuum.reporting.study_page import INDEX, write_study_pages
    from residuum.study.run import listed, run_studies

    if settings.list:
        rows = listed()
        return print_json(rows) if json else print_studies(rows)
    out = Path(settings.out)
    folders = write_study_pages(run_studies(settings), out)
    found = [read_json(folder / STUDY) for folder in folders]
    return print_json(found) if json else print_verdicts(found, folders, out / INDEX)


# --- depth is a dial ----------------------------------------------------------------------------


@app.command
def grow(
    settings: Annotated[GrowSettings, Parameter(name="*")] = GrowSettings(), *, json: Json = False
) -> None:
    """Make a trained net deeper without changing its output: the new blocks are the identity.

    Examples: residuum grow RUN --to 56    residuum grow RUN --blocks 3 5 9
    """
    from residuum.depth.grow import grow as grow_model

    if settings.model is None:
        raise UserError("which model?", "", "residuum grow MODEL --to 56")
    path = grow_model(settings)
    if json:
        return print_json({"model": str(path)})
    print(f"model    {path}\nnext     residuum train DATA --start {path}")
    return None


@app.command
def lesion(
    settings: Annotated[LesionSettings, Parameter(name="*")] = LesionSettings(), *, json: Json = False
) -> None:
    """Show what each block is worth: how much is lost when it alone is taken out."""
    from residuum.depth.lesion import lesion as lesion_model
    from residuum.reporting.depth_page import write_depth_report

    if settings.model is None:
        raise UserError("which model?", "", "residuum lesion MODEL DATA")
    say_settings("lesion", settings)
    folder = lesion_model(settings)
    report_path = write_depth_report(folder)
    found = read_record(folder / LESION, Lesion)
    return print_json(to_json(found)) if json else print_lesion(found, report_path)


@app.command
def trim(
    settings: Annotated[TrimSettings, Parameter(name="*")] = TrimSettings(), *, json: Json = False
) -> None:
    """Take out the blocks that matter least, measured on validation pictures, and write a smaller model.

    Examples: residuum trim RUN --keep 0.75 --repair 1    residuum trim RUN --max-drop 0.5
    """
    from residuum.depth.trim import trim as trim_model
    from residuum.reporting.depth_page import write_depth_report

    if settings.model is None:
        raise UserError("which model?", "", "residuum trim MODEL DATA --keep 0.75")
    say_settings("trim", settings)
    folder = trim_model(settings)
    report_path = write_depth_report(folder)
    found = read_record(folder / TRIM, Trim)
    return print_json(to_json(found)) if json else print_trim(found, folder / MODEL, report_path)


@app.command
def models(
    settings: Annotated[ModelsSettings, Parameter(name="*")] = ModelsSettings(),
    *,
    json: Json = False,
) -> None:
    """List the named nets: depth, parameters, multiply-adds, memory, published accuracy.

    Examples: residuum models    residuum models resnet50 plain50 vgg16
    """
    from residuum.models.count import table

    rows = table(settings, settings.names)
    return print_json(rows) if json else print_models(rows)


@data.command
def check(
    settings: Annotated[CheckSettings, Parameter(name="*")] = CheckSettings(),
    *,
    json: Json = False,
) -> None:
    """Look at a data set: counts, sizes, modes, broken files, duplicates across splits."""
    from residuum.data.check import check as check_data
    from residuum.data.open import open_data

    if settings.data is None:
        raise UserError("which pictures?", "", "residuum data check DATA")
    say_settings("data check", settings)
    findings = check_data(
        open_data(settings.data, progress=show_progress("fetching")), show_progress("looking")
    )
    return print_json(findings) if json else print_findings(findings)


@data.command
def fetch(
    settings: Annotated[FetchSettings, Parameter(name="*")] = FetchSettings(),
    *,
    json: Json = False,
) -> None:
    """Download a data set by name, checksummed; this, and import by name, alone use the network unasked."""
    from residuum.data.hub import fetch as fetch_data

    if settings.name is None:
        raise UserError("which data set?", "", "residuum data fetch cifar10")
    folder = fetch_data(settings.name, progress=show_progress("fetching"))
    return print_json({"data": str(folder)}) if json else print(f"data     {folder}")


# --- starting -----------------------------------------------------------------------------------


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="Settings from a JSON or TOML file; flags win.")] = None,
    print_config: Annotated[
        bool, Parameter(negative=(), help="Print the settings as JSON, for --config, and do nothing else.")
    ] = False,
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False,
) -> None:
    app.config = [Dict(_for_any_verb(_read_config(config)), source=str(config))] if config else []
    try:
        if print_config:
            return print_json(as_json(_settings_of(tokens)))
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
    return None


def _settings_of(tokens: tuple[str, ...]) -> Any:
    """What the verb would be called with."""
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    if "settings" not in bound.arguments:
        raise UserError("--print-config needs a verb", "", "residuum train --print-config")
    return bound.arguments["settings"]


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
    verbs = (
        "train", "evaluate", "predict", "report", "models", "import", "export-weights", "grow", "lesion", "trim",
        "study",
    )  # fmt: skip
    return dict.fromkeys(verbs, settings) | {"data": {"check": settings, "fetch": settings}}


def main() -> None:
    """Run the command line."""
    app.meta(sys.argv[1:])
