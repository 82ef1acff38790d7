"""From what was asked to what will be done: every "auto" and None gets its value, before any work begins."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from residuum import runs
from residuum.choices import Device, Interpolation, RecipeName, Tune
from residuum.compute import Compute, choose_compute
from residuum.console import say, show_progress
from residuum.data.cache import fingerprint
from residuum.data.contract import ColumnNames, ImageData
from residuum.data.look import is_looked_at, readable
from residuum.data.open import open_data
from residuum.data.split import ValidationCut, cut_validation
from residuum.data.windows import chosen_shuffle
from residuum.errors import UserError, listed
from residuum.loading import Classifier, load
from residuum.models.named import named
from residuum.models.resnet import is_folded
from residuum.models.spec import NetSpec
from residuum.plain_data import asked, check_known, explicit, flag, read_off
from residuum.recipe import FEW, SMALL, Recipe, Task
from residuum.recipes.named import OWN_NETS, RECIPES, recipe_name
from residuum.records.codec import read_record, write_record
from residuum.records.run import Data, SplitRows
from residuum.setting_parts import NetChoices, RecipeChoices, WhichRecipe
from residuum.settings import TrainSettings
from residuum.training.binding import own_settings, refuse_other_shards, shards_digest
from residuum.training.way import (
    HARDLY,
    chosen_start,
    fewer_passes,
    is_balanced,
    is_few_photographs,
    own_side,
    refuse_lone_pictures,
    say_if_little_is_left,
    say_if_long,
    say_if_nothing_is_kept_aside,
)
from residuum.weights.fetched import start_file

check_known(NetChoices, NetSpec)
check_known(RecipeChoices, Recipe)

_COURSE = {field.name for part in (WhichRecipe, RecipeChoices) for field in fields(part)}
"""Settings of the course that training takes."""

BY_FOLDS: dict[str, Tune] = {"head": "head", "tune_last": "last", "tune_all": "all"}
"""Recipes that judge training pictures by nets that have not seen them, and what they tune."""


@dataclass(frozen=True)
class Resolved:
    """A run decided to the last choice. `settings` names them all, so it repeats the run."""

    settings: TrainSettings
    data: ImageData
    cut: ValidationCut | None
    """How validation was cut from the training pictures, where it was."""
    spec: NetSpec
    start: Classifier | None
    """What the net begins with; None for a new net."""
    recipe: Recipe
    compute: Compute
    image_size: int
    resize_to: int

    @property
    def model(self) -> str:
        """Return what the net is called: its name, or that of the model it began with."""
        return self.settings.model or (self.start.name if self.start else "net")

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """Return what a picture of each class counts, (K,), so that classes count alike, pictures one in the mean; or
        None where each picture counts alike."""
        if not self.settings.balance:
            return None
        labels = self.data.train.labels[self.cut.training] if self.cut else self.data.train.labels
        counts = np.bincount(labels, minlength=len(self.data.classes))
        return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)

    @property
    def training_size(self) -> int:
        """Return the side of what the net sees in training, in pixels: some recipes judge larger views."""
        small = self.image_size <= SMALL
        return self.image_size if small else round(self.image_size * self.recipe.training_side)

    @property
    def interpolation(self) -> Interpolation:
        """Return how pictures are resized: as those that the starting model was trained on."""
        return self.start.preprocessing.interpolation if self.start else "bilinear"

    @property
    def num_training(self) -> int:
        """Return the number of pictures trained on."""
        return len(self.cut.training if self.cut else self.data.train)


def resolve(settings: TrainSettings, *, looking: bool = True) -> Resolved:
    """Open the data and decide everything (UserError if there are no such data or net, or too few pictures).

    Without `looking` it is not seen to that every picture can be read, unless that is remembered.
    """
    unasked = not _asked_of_net(settings)
    settings, data, start, named_recipe = _opened(settings, looking)
    if named_recipe in BY_FOLDS:
        settings = replace(settings, tune=BY_FOLDS[named_recipe])
    if named_recipe in BY_FOLDS or data.validation is not None:
        say_if_nothing_is_kept_aside(settings.validation, data)
        settings = replace(settings, validation=0.0)
    share = settings.validation
    cut = cut_validation(data.train.labels, share, settings.seed) if share else None
    num_training = len(cut.training if cut else data.train)
    image_size = settings.image_size or own_side(start, named_recipe, data)
    model = settings.model or OWN_NETS.get(named_recipe) or ("resnet20" if image_size <= SMALL else "resnet18")
    spec = _net(settings, start, model, len(data.classes))
    task = _task(settings, start, data, spec, num_training, image_size)
    recipe = _recipe(settings, named_recipe, task)
    if unasked and start is None and (passes := fewer_passes(task, spec, recipe)):
        recipe = _recipe(settings, named_recipe, replace(task, epochs=passes))
    if settings.stochastic_depth is None and not spec.stochastic_depth and spec.shortcut != "none":
        spec = replace(spec, stochastic_depth=recipe.stochastic_depth)
    compute = choose_compute(settings.device, settings.precision, settings.layout, settings.threads)
    if start is None:
        say_if_little_is_left(spec, image_size)
    say_if_long(task, spec, recipe, compute)
    return Resolved(
        settings=replace(
            settings,
            data=data.source,
            **({} if start else {"model": model, **read_off(NetChoices, spec)}),
            **_of_recipe(settings, recipe, num_training // recipe.batch_size),
            image_size=image_size,
            shuffle=chosen_shuffle(settings.shuffle, data.train.pictures, streamed=image_size > SMALL),
            balance=is_balanced(settings.balance, data, by_folds=named_recipe in BY_FOLDS),
            device=cast(Device, compute.device.type),
            **{name: getattr(compute, name) for name in ("precision", "layout", "threads")},
            workers=compute.workers(settings.workers),
        ),
        data=data,
        cut=cut,
        spec=spec,
        start=start,
        recipe=recipe,
        compute=compute,
        image_size=image_size,
        resize_to=_resize_to(image_size, start, recipe),
    )


def _opened(settings: TrainSettings, looking: bool) -> tuple[TrainSettings, ImageData, Classifier | None, RecipeName]:
    """Open the pictures and the weights to begin with, and choose the recipe; few photographs are given weights."""
    named_recipe = recipe_name(_asked_recipe(settings), settings.target)
    start = load(start_file(str(settings.start)), backbone=True) if settings.start is not None else None
    if settings.model is not None or start is not None:
        _net(settings, start, settings.model or "", 10)  # a typing error, before the data are opened
    if settings.data is None:
        say("no pictures given: training on the built-in digits (residuum train PHOTOS for your own)")
    columns = ColumnNames(settings.image_column, settings.label_column)
    unsaid, progress = settings.data is None, show_progress("fetching")
    data = open_data(str(settings.data or "digits"), progress=progress, columns=columns, recorded=unsaid)
    if looking or all(is_looked_at(split.pictures) for split in data.splits().values()):
        data = readable(data, skip_broken=settings.skip_broken)
    if not _asked_of_net(settings) and not settings.from_nothing and is_few_photographs(data):
        name = chosen_start(data, settings)
        settings = replace(settings, start=name, from_nothing=name is None)
        start, named_recipe = load(start_file(name), backbone=True) if name else None, _asked_recipe(settings)
    if start is None and is_few_photographs(data):
        say(f"{len(data.train):,} photographs are few for a new net: {HARDLY}")
    if start is None and (settings.tune or named_recipe in BY_FOLDS):
        raise UserError("what is to be tuned?", "there are no trained weights", "name a model with --start")
    if start is not None and _is_few(start, data):
        named_recipe = _for_few(settings, named_recipe, len(data.train))
    if named_recipe in BY_FOLDS:
        refuse_lone_pictures(data)
    return settings, data, start, named_recipe


def _asked_of_net(settings: TrainSettings) -> bool:
    """Say whether anything was said of the net, its weights or the steps it takes."""
    said = (_COURSE - {"tune"}) | {field.name for field in fields(NetChoices)} | {"model", "start"}
    return bool(said & set(explicit(settings)))


def _asked_recipe(settings: TrainSettings) -> RecipeName:
    """Return the recipe that was asked for, or the default where nothing is known of the data yet.

    Raises:
        UserError: what is tuned is not there, contradicts the recipe, or has no use for what else was given.
    """
    by_tune: dict[Tune | None, RecipeName] = {"head": "head", "last": "tune_last", "all": "fine_tune"}
    default: RecipeName = "fine_tune" if settings.start else "quick"
    name = settings.recipe or by_tune.get(settings.tune, default)
    if settings.from_nothing and settings.start is not None:
        raise UserError("--from-nothing and --start contradict each other", "", "leave one out")
    if settings.tune and settings.tune != BY_FOLDS.get(name, "all"):
        raise UserError(f"--tune {settings.tune} and --recipe {name} contradict each other", "", "leave one out")
    _refuse_idle(settings, name)
    return name


def _refuse_idle(settings: TrainSettings, name: RecipeName) -> None:
    """Raise UserError for settings that a recipe which judges by folds has no use for."""
    course = _COURSE - {"recipe", "tune"} if name == "head" else set()
    idle = (course | ({"validation"} if settings.validation else set())) & set(explicit(settings))
    if name in BY_FOLDS and idle:
        flags, steps = ", ".join(map(flag, sorted(idle))), "it takes no steps, and " if course else ""
        raise UserError(
            f"recipe {name} has no use for {flags}",
            f"{steps}each training picture is judged by a net that has not seen it",
            "leave it out" + (", or train everything with --tune all" if course else ""),
        )
    if name in BY_FOLDS and (settings.mixup or settings.cutmix):
        why = "what the frozen part makes of each picture is computed once, and of that picture alone"
        raise UserError(f"recipe {name} cannot mix pictures", why, "--recipe fine_tune can")


def _is_few(start: Classifier, data: ImageData) -> bool:
    """Say whether there are few pictures, of other classes than the weights know."""
    return set(start.classes) != set(data.classes) and len(data.train) < FEW


def _for_few(settings: TrainSettings, name: RecipeName, num_pictures: int) -> RecipeName:
    """Return the recipe for few pictures: where nothing was said of the course of training, the head alone; everything
    is tuned from the head on."""
    if not _COURSE & set(explicit(settings)):
        say(
            f"{num_pictures} pictures of other classes than the weights know: the last layer alone is fitted, on "
            "features of the frozen net (--tune last or --tune all tunes more, and takes longer)"
        )
        return "head"
    if settings.tune == "all" and settings.recipe is None:
        name = "tune_all"
    _refuse_idle(settings, name)
    return name


def _net(settings: TrainSettings, start: Classifier | None, model: str, num_classes: int) -> NetSpec:
    """The net that was asked for: the one named `model` with its choices, or the one to begin with.

    Raises:
        UserError: no such name, choices that contradict, or choices for a net that is there already.
    """
    choices = asked(NetChoices, settings)
    if start is None:
        return named(model, num_classes, **choices)
    if settings.model is not None or choices:
        flags = [flag(name) for name in (*(["model"] if settings.model else []), *choices)]
        raise UserError(
            f"--start brings its own net, but {', '.join(flags)} was given",
            "trained weights fit one net only",
            "leave the one or the other out",
        )
    return replace(start.spec, num_classes=num_classes)


def _task(
    settings: TrainSettings,
    start: Classifier | None,
    data: ImageData,
    spec: NetSpec,
    num_training: int,
    image_size: int,
) -> Task:
    """What a recipe may know."""
    return Task(
        num_pictures=num_training,
        image_size=image_size,
        depth=spec.depth,
        stages=len(spec.blocks),
        mirrors=data.mirrors if settings.flip is None else settings.flip,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        folded=start is not None and is_folded(start.net),
        views=start.preprocessing.views if start else "single",
    )


def _resize_to(image_size: int, start: Classifier | None, recipe: Recipe) -> int:
    """The shorter side before the central cut: in the starting model's proportion, else none or as the recipe says."""
    if start is not None:
        return round(image_size * start.preprocessing.resize_to / start.preprocessing.image_size)
    return image_size if image_size <= SMALL else round(image_size / recipe.test_crop)


def _recipe(settings: TrainSettings, name: RecipeName, task: Task) -> Recipe:
    """Call the recipe, then change what was asked for."""
    if task.num_pictures < 2:
        raise UserError(f"{task.num_pictures} training pictures are too few", "batch normalisation needs two at a time")
    recipe = RECIPES[name](task).changed(**asked(RecipeChoices, settings))
    if recipe.rate_decay != 1 and recipe.optimizer == "muon":
        raise UserError(
            f"recipe {name} has no use for --rate-decay", "Muon moves each convolution as far", "leave it out"
        )
    return recipe


# --- every choice named -------------------------------------------------------------------------


def _of_recipe(settings: TrainSettings, recipe: Recipe, steps_an_epoch: int) -> dict[str, Any]:
    if recipe.name == "head":
        return {"recipe": recipe.name}
    whole_epochs = recipe.iterations % steps_an_epoch == 0
    return {
        **read_off(RecipeChoices, recipe),
        "recipe": recipe.name,
        "epochs": recipe.iterations // steps_an_epoch if whole_epochs else settings.epochs,
        "batch_size": recipe.batch_size,
        "flip": recipe.augmentation.flip,
    }


# --- going on -----------------------------------------------------------------------------------


def reopen(settings: TrainSettings) -> Resolved:
    """Resolve a stopped run again from what it wrote down, and check that its data, wherever they lie, are the same.

    Raises:
        UserError: not a run; already finished; other settings than its own were given, besides the data's place; or
            the data have changed.
    """
    assert settings.resume is not None
    run = Path(settings.resume)
    record = runs.read_begun(run)
    again = own_settings(run, record.settings)
    own = {**vars(again), "out": settings.out if Path(settings.out or "") == run else None}
    asked_for = {name: one for name, one in explicit(settings).items() if name not in {"resume", "data", "skip_broken"}}
    if others := sorted(flag(name) for name, one in asked_for.items() if one != own[name]):
        why = f"otherwise than the run has it: {', '.join(others)}, as a flag or in --config"
        raise UserError("a run is continued with its own settings", why, f"residuum train --resume {run}")
    refuse_finished(run)
    again = replace(again, skip_broken=again.skip_broken or settings.skip_broken)
    if again.start is not None:  # the run's own copy stands in for the original
        again = replace(again, start=str(run / runs.START))
    if record.data is not None:
        again = replace(again, data=settings.data or _there(run, record.data.source))
    resolved = resolve(again)
    if record.data is None:
        raise UserError(
            f"there is no {run / runs.DATA}", "whether the data are still the same cannot be told", "bring it back"
        )
    if fingerprint(resolved.data) != record.data.fingerprint:
        raise _other_data(run, record.data, resolved.data)
    if resolved.data.source != record.data.source:
        say(f"the data of this run have moved, and are the same: from {record.data.source} to {resolved.data.source}")
        write_record(run / runs.DATA, structs.replace(record.data, source=resolved.data.source))
    _refuse_other_rows(run / runs.SPLIT, resolved.cut)
    refuse_other_shards(run, record.data.shards, shards_digest(resolved.settings, resolved.data.train.pictures))
    return resolved


def _other_data(run: Path, before: Data, now: ImageData) -> UserError:
    what = f"the data in {now.source} are no longer those the run in {run} began with"
    there = {name for split in now.splits().values() for name in map(split.pictures.name, range(len(split)))}
    if mended := [one.name for one in before.skipped if one.name in there]:
        why = f"it went on without {listed(mended, 5)}, which can be read now"
        return UserError(what, why, "move them elsewhere until it has finished, or start a new run with them")
    return UserError(
        what,
        "pictures, labels or class names have changed",
        f"bring the old data back, give their place (residuum train DATA --resume {run}), or start a new run",
    )


def refuse_finished(run: Path) -> None:
    """Raise UserError where a run has its model."""
    if (run / runs.MODEL).exists():
        raise UserError(f"the run in {run} has finished", "", f"see it with: residuum report {run}")


def _refuse_other_rows(file: Path, cut: ValidationCut | None) -> None:
    """Refuse a file that says that other pictures were kept aside than were (UserError)."""
    if file.exists() and cut is not None and read_record(file, SplitRows).validation != tuple(cut.validation.tolist()):
        raise UserError(
            f"{file} does not hold the rows that were kept aside in training",
            "it was edited, or is another run's",
            "bring the old one back, or remove it: the rows follow from --seed and --validation",
        )


def _there(run: Path, source: str) -> str:
    """Return where a run's data lie (UserError if that is a folder that is gone)."""
    if Path(source).is_absolute() and not Path(source).exists():
        raise UserError(
            f"the data of the run in {run} are no longer in {source}",
            "the folder has been moved, or is not mounted",
            f"if it has moved: residuum train NEW_PLACE --resume {run}",
        )
    return source
