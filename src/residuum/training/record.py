"""What a run writes down about itself before it begins and when it is judged, and says to the person."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from msgspec import structs

from residuum import machine, runs
from residuum.choices import Views
from residuum.data.batches import Loader
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.data.labels import is_several
from residuum.data.split import training_and_validation
from residuum.evaluation.heat_maps import heat_beside
from residuum.evaluation.known import count_conflicts, digests_of, write_known
from residuum.evaluation.metrics import judge
from residuum.evaluation.mistakes import most_confident_mistakes
from residuum.evaluation.shares import Probabilities
from residuum.files import write_json
from residuum.models.count import cost
from residuum.models.resnet import ResNet
from residuum.plain_data import as_json, command_line, explicit
from residuum.recipes.named import BY_FOLDS
from residuum.records.codec import to_json, write_record
from residuum.records.evaluation import Evaluation
from residuum.records.run import Counts, Data, RunSettings, SplitRows
from residuum.settings import TrainSettings
from residuum.training.binding import shards_digest
from residuum.training.learnt import learnt_before
from residuum.training.resolve import Resolved
from residuum.training.together import processes


def run_name(resolved: Resolved) -> str:
    """Return the name of the run folder, less its date."""
    return f"{resolved.data.name}-{resolved.model}-s{resolved.settings.seed}"


def record_start(run: Path, asked: TrainSettings, resolved: Resolved) -> None:
    """Write environment, the rows cut for validation and, last, the settings: with them the folder is a run."""
    settings = as_json(replace(resolved.settings, out=None, resume=None))
    written = RunSettings(
        command=command(with_start(asked, resolved)),
        asked=explicit(asked),
        settings=settings,
        resolved={
            **settings,
            **cost(resolved.spec, resolved.image_size),
            "model": resolved.model,
            "net": resolved.spec.as_json(),
            "recipe_details": as_json(resolved.recipe),
            "fused": resolved.compute.uses_kernels,
        },
    )
    write_record(run / runs.ENVIRONMENT, machine.environment())
    if resolved.cut is not None:
        write_record(run / runs.SPLIT, SplitRows(validation=tuple(resolved.cut.validation.tolist())))
    write_record(run / runs.SETTINGS, written)


def record_data(run: Path, resolved: Resolved) -> None:
    """Write what the data are, so that figures can be traced to them."""
    data, cut = resolved.data, resolved.cut
    train, validation = training_and_validation(data, cut)
    splits = {name: one for name, one in (("train", train), ("validation", validation), ("test", data.test)) if one}
    known = {name: digests_of(split.pictures) for name, split in splits.items()}
    before = learnt_before(resolved.start, data, by_folds=resolved.recipe.name in BY_FOLDS)
    described = Data(
        name=data.name,
        source=data.source,
        classes=tuple(data.classes),
        fingerprint=fingerprint(data),
        counts=Counts(
            train=resolved.num_training,
            validation=len(validation) if validation else None,
            test=len(data.test) if data.test else None,
        ),
        contents=write_known(run, known, before),
        conflicts=count_conflicts(known.values(), (split.labels for split in splits.values())),
        validation_from=cut.origin if cut else "the data's own validation split" if validation else "none",
        image_size=resolved.image_size,
        skipped=tuple(data.skipped),
        several=data.several,
        shards=shards_digest(resolved.settings, data.train.pictures),
    )
    write_record(run / runs.DATA, described)


def record_judged(
    run: Path,
    net: ResNet,
    answers: Probabilities,
    loader: Loader,
    classes: Sequence[str],
    split: str,
    protocol: str,
    views: Views = "single",
    seen: int = 0,
) -> Evaluation:
    """Write the final figures of (N, K) `answers` for the loader's pictures, with the worst mistakes, and return them.

    Figures and pictures go by the name `split`; `protocol` says how each was shown, by which `views`; `seen` of
    them were trained on. The heat maps are of the finished `net`, which is put into evaluation mode.
    """
    labels = loader.split.labels
    judged = structs.replace(judge(answers, labels, classes, split=split, protocol=protocol), seen=seen)
    write_record(run / runs.EVALUATION, judged)
    heat_of = partial(heat_beside, net, loader, views)
    mistakes = most_confident_mistakes(answers, labels, classes, loader.split.pictures.name, loader.seen, heat_of)
    write_json(run / runs.MISTAKES, to_json(mistakes))
    return judged


def with_start(asked: TrainSettings, resolved: Resolved) -> TrainSettings:
    """Name what the run began with, though nobody asked for it: other weights may be on the machine another time."""
    return replace(asked, start=resolved.settings.start, from_nothing=resolved.settings.from_nothing)


def command(asked: TrainSettings) -> str:
    """Return the command line that asks for the same; not where the run went, so that it can be repeated."""
    return command_line("train", replace(asked, out=None, resume=None))


def describe(run: Path, resolved: Resolved) -> str:
    """Say in a few lines what will be done."""
    recipe, compute, numbers = resolved.recipe, resolved.compute, cost(resolved.spec, resolved.image_size)
    passes = recipe.iterations / (resolved.num_training // recipe.batch_size)
    course = f"{passes:.4g} epochs, {recipe.iterations} steps of {recipe.batch_size}, lr {resolved.settings.lr or 0:g}"
    if recipe.name == "head":
        course = "the last layer alone, on features of the frozen net"
    shared = f"; {said}" if (said := processes(resolved.settings)) else ""
    return (
        f"data     {resolved.data.name}: {resolved.num_training} training pictures, "
        f"{len(resolved.data.classes)} classes{_how_many(resolved.data)}, {resolved.image_size} px\n"
        f"model    {resolved.model}: {numbers['depth']} layers, {numbers['parameters']:,} parameters, "
        f"{numbers['multiply_adds'] / 1e6:,.1f} M multiply-adds, shortcut {resolved.spec.shortcut}\n"
        f"recipe   {recipe.name}: {course}, seed {resolved.settings.seed}\n"
        f"compute  {compute.device.type}, {compute.precision}, {compute.layout}, {compute.threads} threads{shared}\n"
        f"run      {run}"
    )


def _how_many(data: ImageData) -> str:
    """Say how many labels a training picture has in the mean, where it may have several."""
    labels = data.train.labels
    return f", {labels.sum() / len(labels):.3g} labels a picture in the mean" if is_several(labels) else ""
