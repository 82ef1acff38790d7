"""The first step of a training: its pictures and its weights are opened, and its recipe is chosen."""

from dataclasses import dataclass, fields, replace

from residuum.choices import RecipeName
from residuum.console import say, show_progress
from residuum.data.contract import ColumnNames, ImageData
from residuum.data.look import is_looked_at, readable
from residuum.data.open import open_data
from residuum.errors import UserError
from residuum.loading import Classifier, load
from residuum.models.named import named
from residuum.models.spec import NetSpec
from residuum.plain_data import asked, explicit, flag
from residuum.recipe import FEW
from residuum.recipes.named import BY_FOLDS, recipe_asked_for, recipe_name
from residuum.setting_parts import NetChoices, RecipeChoices, WhichRecipe
from residuum.settings import TrainSettings
from residuum.training.learnt import has_fitted_last_layer
from residuum.training.way import (
    HARDLY,
    chosen_start,
    is_few_photographs,
    refuse_lone_pictures,
    say_if_classes_are_absent,
    say_if_names_are_near,
    say_if_nothing_is_kept_aside,
)
from residuum.weights.fetched import start_file

_COURSE = {field.name for part in (WhichRecipe, RecipeChoices) for field in fields(part)}
"""Settings of the course that training takes."""


@dataclass(frozen=True)
class Beginning:
    """What a training begins with."""

    settings: TrainSettings
    """As they were asked for, with the weights that few photographs are given, what is tuned, and the share kept aside
    for validation."""
    data: ImageData
    start: Classifier | None
    """None for a new net."""
    recipe: RecipeName
    is_unasked: bool
    """Whether nothing was said of the net, its weights or the course of training."""

    @property
    def judges_by_folds(self) -> bool:
        """Say whether each training picture is judged by a net that has not seen it."""
        return self.recipe in BY_FOLDS


def begin(settings: TrainSettings, *, looking: bool) -> Beginning:
    """Open pictures and weights and choose the recipe (UserError where they do not go together); see `resolve`."""
    recipe, start = recipe_name(_asked_recipe(settings), settings.target), _weights(settings.start)
    if settings.model is not None or start is not None:
        net_asked_for(settings, start, 10)  # a typing error, before the data are opened
    data = _pictures(settings, looking)
    if looking:
        say_if_names_are_near(data)
        say_if_classes_are_absent(data)
    begun = Beginning(settings, data, start, recipe, is_unasked=not _asked_of_net(settings))
    is_chosen = begun.is_unasked and not settings.from_nothing and is_few_photographs(data)
    if is_chosen:
        begun = _given_weights(begun)
    if begun.start is None:
        _check_new(begun, is_told=is_chosen)
    elif _is_few_for_last_layer(begun.start, data):
        begun = replace(begun, recipe=_for_few(begun, begun.start))
    if begun.judges_by_folds:
        refuse_lone_pictures(data)
    return replace(begun, settings=_judged_settings(begun))


def _weights(start: object) -> Classifier | None:
    """Open the model of this name or place, its last layer aside."""
    return None if start is None else load(start_file(str(start)), backbone=True)


def _pictures(settings: TrainSettings, looking: bool) -> ImageData:
    """Open the pictures; those that cannot be read are refused or left out, if `looking` or remembered from before."""
    unsaid = settings.data is None
    if unsaid:
        say("no pictures given: training on the built-in digits (residuum train PHOTOS for your own)")
    columns, progress = ColumnNames.told(settings), show_progress("fetching")
    data = open_data(str(settings.data or "digits"), progress=progress, columns=columns, recorded=unsaid)
    if looking or all(is_looked_at(split.pictures) for split in data.splits().values()):
        return readable(data, skip_broken=settings.skip_broken)
    return data


def _given_weights(begun: Beginning) -> Beginning:
    """Choose the weights that few photographs start from, where there are any, and the recipe with them."""
    name = chosen_start(begun.data, begun.settings)
    settings = replace(begun.settings, start=name, from_nothing=name is None)
    return replace(begun, settings=settings, start=_weights(name), recipe=_asked_recipe(settings))


def _check_new(begun: Beginning, *, is_told: bool) -> None:
    """Say that photographs are few for a new net, unless that is told (UserError where there is nothing to tune)."""
    if is_few_photographs(begun.data) and not is_told:
        say(f"{len(begun.data.train):,} photographs are few for a new net: {HARDLY}")
    if begun.settings.tune or begun.judges_by_folds:
        raise UserError("what is to be tuned?", "there are no trained weights", "name a model with --start")


def _judged_settings(begun: Beginning) -> TrainSettings:
    """Return the settings with what the recipe tunes, and no share kept aside for validation where the data have such
    pictures, or folds judge all."""
    settings = replace(begun.settings, tune=BY_FOLDS.get(begun.recipe, begun.settings.tune))
    if not begun.judges_by_folds and begun.data.validation is None:
        return settings
    say_if_nothing_is_kept_aside(settings.validation, begun.data)
    return replace(settings, validation=0.0)


def _asked_of_net(settings: TrainSettings) -> bool:
    """Say whether anything was said of the net, its weights or the steps it takes."""
    said = (_COURSE - {"tune"}) | {field.name for field in fields(NetChoices)} | {"model", "start"}
    return bool(said & set(explicit(settings)))


def _asked_recipe(settings: TrainSettings) -> RecipeName:
    """Return the recipe that was asked for, or the default for what is known by then.

    Raises:
        UserError: what is tuned is not there, contradicts the recipe, or has no use for what else was given.
    """
    name = recipe_asked_for(settings.recipe, settings.tune, is_started=bool(settings.start))
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


def _is_few_for_last_layer(start: Classifier, data: ImageData) -> bool:
    """Say whether there are few pictures, of other classes than the weights know, or answered in another way, or for
    weights whose last layer alone was fitted."""
    return len(data.train) < FEW and (_knows_others(start, data) or has_fitted_last_layer(start))


def _knows_others(start: Classifier, data: ImageData) -> bool:
    return set(start.classes) != set(data.classes) or start.several != data.several


def _for_few(begun: Beginning, start: Classifier) -> RecipeName:
    """Return the recipe for few pictures: where nothing was said of the course of training, the head alone; where all
    is to be tuned, from the head on."""
    settings, name = begun.settings, begun.recipe
    if not _COURSE & set(explicit(settings)):
        of = "of other classes than the weights know" if _knows_others(start, begun.data) else "for these weights"
        say(
            f"{len(begun.data.train)} pictures {of}: the last layer alone is fitted, on "
            "features of the frozen net (--tune last or --tune all tunes more, and takes longer)"
        )
        return "head"
    if settings.tune == "all" and settings.recipe is None:
        name = "tune_all"
    _refuse_idle(settings, name)
    return name


def net_asked_for(settings: TrainSettings, start: Classifier | None, num_classes: int) -> NetSpec:
    """The net that was asked for: the one named with its choices, or the one to begin with.

    Raises:
        UserError: no such name, choices that contradict, or choices for a net that is there already.
    """
    choices = asked(NetChoices, settings)
    if start is None:
        return named(settings.model or "", num_classes, **choices)
    if settings.model is not None or choices:
        flags = [flag(name) for name in (*(["model"] if settings.model else []), *choices)]
        raise UserError(
            f"--start brings its own net, but {', '.join(flags)} was given",
            "trained weights fit one net only",
            "leave the one or the other out",
        )
    return replace(start.spec, num_classes=num_classes)
