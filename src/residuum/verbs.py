"""The verbs, each declared once: its settings, what it does, what is printed of it. The command, Python and the shell's
completion are made from these declarations; what a verb needs is imported when it runs, so that help is instant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum import depth_printing, explained_printing, judged_printing, models_printing, pictures_printing, printing
from residuum.console import show_progress
from residuum.errors import UserError
from residuum.settings import (
    CheckSettings,
    EvaluateSettings,
    ExplainSettings,
    FetchSettings,
    GrowSettings,
    LesionSettings,
    MachineSettings,
    ModelsSettings,
    PackSettings,
    PlanSettings,
    PredictSettings,
    ReportSettings,
    ReviewSettings,
    StudySettings,
    SweepSettings,
    TrainSettings,
    TrimSettings,
)
from residuum.verb import refuse_existing, refuse_taken, refuse_taken_by_trim, verb

if TYPE_CHECKING:
    from residuum.explanation.explain import Explanation
    from residuum.prediction.answer import Answer, Unanswered
    from residuum.records.evaluation import DataEvaluation
    from residuum.records.forecast import Forecast
    from residuum.records.machine import Machine
    from residuum.records.pack import Packed
    from residuum.records.review import Review
    from residuum.runs import RunRecord


# --- train, judge, use --------------------------------------------------------------------------


@verb(TrainSettings, judged_printing.print_run)
def train(settings: TrainSettings) -> RunRecord:
    """Train a net on pictures and leave a run folder: model, figures, settings.

    Examples: residuum train PHOTOS    residuum train digits    residuum train cifar10 --model resnet20 --epochs 10
    """
    from residuum.runs import refuse_taken_by_run

    if settings.out and settings.resume is None and "RANK" not in os.environ:  # torchrun may go on with what is there
        refuse_taken_by_run(settings.out)
    from residuum.training.run import train as train_run

    return train_run(settings)


@verb(PlanSettings, printing.print_forecast)
def plan(settings: PlanSettings) -> Forecast:
    """Say what a run will cost before it begins, measured here in seconds, or on the machine that a profile describes:
    hours, energy, memory, disk, checkpoints, and what holds it up. It takes the settings of train.

    Examples: residuum plan PHOTOS --model resnet50    residuum plan PHOTOS --epochs 90 --on eight-gpus.json
    """
    from residuum.forecast.run import plan as plan_run

    return plan_run(settings)


@verb(EvaluateSettings, judged_printing.print_evaluation, announced=True)
def evaluate(settings: EvaluateSettings) -> DataEvaluation:
    """Judge a run, model or export on a split of its own data, or on other data with the same classes."""
    from residuum.evaluation.exported import evaluate_run_or_export

    return evaluate_run_or_export(settings)


@verb(PredictSettings, printing.print_answers)
def predict(settings: PredictSettings) -> Iterator[Answer | Unanswered]:
    """Say what pictures show, of any number of them; those that cannot be read are listed at the end.

    Examples: residuum predict RUN PICTURE    residuum predict RUN FOLDER --out answers.csv --sort-into SORTED
    """
    refuse_existing(settings.out, "answers never write over a file")
    from residuum.prediction.predict import predict as predict_pictures

    return predict_pictures(settings)


@verb(ExplainSettings, explained_printing.print_explained)
def explain(settings: ExplainSettings) -> Explanation:
    """Show why pictures are answered so: where the evidence lies, the answer after each block, the nearest training
    pictures. Writes one HTML page; it opens offline.

    Examples: residuum explain RUN PICTURE    residuum explain RUN PICTURE --of bee
    """
    refuse_taken(settings.out)
    from residuum.explanation.explain import explain as explain_pictures
    from residuum.reporting.explained_page import write_explained_report

    found = explain_pictures(settings)
    write_explained_report(found.path)
    return found


@verb(ReportSettings, printing.prints_path("report", "report   {}"))
def report(settings: ReportSettings) -> Path:
    """Write one HTML page about a run, or one that compares several; it opens offline."""
    from residuum.reporting.page import write_report

    if not settings.runs:
        raise UserError("which run?", "", "residuum report RUN...")
    return write_report([Path(run) for run in settings.runs], Path(settings.out) if settings.out else None)


@verb(StudySettings, printing.print_study)
def study(settings: StudySettings) -> list[dict[str, Any]]:
    """Put a claim of the papers to the test: what is measured, with its spread, and a verdict.

    Examples: residuum study --list    residuum study degradation    residuum study lesions --model RUN
    """
    from residuum.files import read_json
    from residuum.reporting.study_page import write_study_pages
    from residuum.runs import STUDY
    from residuum.studies.run import listed, run_studies

    if settings.list:
        return listed()
    folders = write_study_pages(run_studies(settings), Path(settings.out))
    return [{**read_json(folder / STUDY), "folder": str(folder)} for folder in folders]


@verb(SweepSettings, printing.print_sweep)
def sweep(settings: SweepSettings) -> Path:
    """Train a grid of settings with several seeds: one table and one page, with spread and what accuracy costs.

    Runs that are there already are not trained again; those that fail are named, and hinder no other.

    Examples: residuum sweep digits --over lr=0.05,0.1 model=resnet20,plain20    residuum sweep DATA --seeds 5 --on ray
    """
    from residuum.reporting.sweep_page import write_sweep_report
    from residuum.sweeps.run import sweep as sweep_settings

    return write_sweep_report(sweep_settings(settings)).parent


# --- depth is a dial ----------------------------------------------------------------------------


@verb(GrowSettings, printing.prints_path("model", "model    {0}\nnext     residuum train DATA --start {1}"))
def grow(settings: GrowSettings) -> Path:
    """Make a trained net deeper without changing its output: the new blocks are the identity.

    Examples: residuum grow RUN --to 56    residuum grow RUN --blocks 3 5 9
    """
    if settings.model is None:
        raise UserError("which model?", "", "residuum grow MODEL --to 56")
    refuse_existing(settings.out, "a model is never written over another")
    from residuum.depth.grow import grow as grow_model

    return grow_model(settings)


@verb(LesionSettings, depth_printing.print_lesion, announced=True)
def lesion(settings: LesionSettings) -> Path:
    """Show what each block is worth: how much is lost when it alone is taken out."""
    if settings.model is None:
        raise UserError("which model?", "", "residuum lesion MODEL DATA")
    refuse_taken(settings.out)
    from residuum.depth.lesion import lesion as lesion_model
    from residuum.reporting.depth_page import write_depth_report

    return write_depth_report(lesion_model(settings)).parent


@verb(TrimSettings, depth_printing.print_trim, announced=True)
def trim(settings: TrimSettings) -> Path:
    """Take out the blocks that matter least, measured on validation pictures, and write a smaller model.

    Examples: residuum trim RUN --keep 0.75 --repair 1    residuum trim RUN --max-drop 0.5
    """
    if settings.model is None:
        raise UserError("which model?", "", "residuum trim MODEL DATA --keep 0.75")
    refuse_taken_by_trim(settings.out)
    from residuum.depth.trim import trim as trim_model
    from residuum.reporting.depth_page import write_depth_report

    return write_depth_report(trim_model(settings)).parent


# --- nets and pictures --------------------------------------------------------------------------


@verb(ModelsSettings, models_printing.print_models)
def models(settings: ModelsSettings) -> list[dict[str, Any]] | dict[str, list[str]]:
    """List the named nets: depth, parameters, multiply-adds, memory, published accuracy.

    Examples: residuum models    residuum models resnet50 --stride-in 1x1    residuum models resnet20 --plan
    """
    if settings.plan:
        from residuum.models.plan import plans

        return plans(settings)
    from residuum.models.table import table

    return table(settings, settings.names)


@verb(MachineSettings, printing.print_machine, name="machine")
def this_machine(settings: MachineSettings) -> Machine:
    """Show what this machine is, how fast it computes in each way, and what is used."""
    from residuum.compute import this_machine as look

    return look(anew=settings.anew)


@verb(CheckSettings, pictures_printing.print_findings, name="data check", announced=True)
def check(settings: CheckSettings) -> dict[str, Any]:
    """Look at a data set: counts, sizes, modes, broken files, duplicates across splits."""
    from residuum.data.check import check as check_data
    from residuum.data.contract import ColumnNames
    from residuum.data.open import open_data

    if settings.data is None:
        raise UserError("which pictures?", "", "residuum data check DATA")
    columns = ColumnNames.told(settings)
    data = open_data(str(settings.data), progress=show_progress("fetching"), columns=columns, judging=True)
    return check_data(data, show_progress("looking"))


@verb(PackSettings, pictures_printing.print_packed, name="data pack", announced=True)
def pack(settings: PackSettings) -> Packed:
    """Write pictures as Parquet shards in Hugging Face's layout, with checksums, for data larger than memory.

    A call that was interrupted goes on when it is repeated. `train` reads shards each picture where it lies.

    Examples: residuum data pack PHOTOS SHARDS
    """
    from residuum.data.pack import pack as pack_data

    if settings.data is None or settings.out is None:
        raise UserError("which pictures, and where to?", "", "residuum data pack FOLDER OUT")
    return pack_data(settings)


@verb(ReviewSettings, pictures_printing.print_review, name="data review", announced=True)
def review(settings: ReviewSettings) -> Review:
    """Look for what is wrong with a run's pictures: likely wrong labels, copies, pictures like no other.

    Each with its reason, in the run folder as a table and on the report's page. Nothing is moved or deleted.
    """
    from residuum.training.review import review as review_run

    return review_run(settings)


@verb(FetchSettings, printing.prints_path("data", "data     {}"), name="data fetch")
def fetch(settings: FetchSettings) -> Path:
    """Download a data set by name, checksummed; it, weights fetch, publish and import by name alone use the network."""
    from residuum.data.hub import fetch as fetch_data

    if settings.name is None:
        raise UserError("which data set?", "", "residuum data fetch cifar10")
    return fetch_data(settings.name, progress=show_progress("fetching"))
