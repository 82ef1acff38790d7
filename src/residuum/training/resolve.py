"""From what was asked to what will be done: every "auto" gets its value, and pictures and weights are opened for it."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from residuum.choices import Device, Interpolation
from residuum.compute import Compute, choose_compute
from residuum.data.contract import ImageData
from residuum.data.split import ValidationCut, cut_validation
from residuum.data.windows import chosen_shuffle
from residuum.errors import UserError
from residuum.loading import Classifier
from residuum.models.resnet import is_folded
from residuum.models.spec import NetSpec
from residuum.plain_data import asked, check_known, read_off
from residuum.recipe import SMALL, Recipe, Task
from residuum.recipes.named import BY_FOLDS, RECIPES, default_net
from residuum.setting_parts import NetChoices, RecipeChoices
from residuum.settings import TrainSettings
from residuum.training.beginning import Beginning, begin, net_asked_for
from residuum.training.way import (
    fewer_passes,
    is_balanced,
    own_side,
    say_if_little_is_left,
    say_if_long,
)

check_known(NetChoices, NetSpec)
check_known(RecipeChoices, Recipe)


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
    called: str = ""
    """What the net was called when the run began, where it goes on."""

    @property
    def model(self) -> str:
        """Return what the net is called: its name, or that of the model it began with."""
        return self.called or self.settings.model or (self.start.name if self.start else "net")

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
    begun = begin(settings, looking=looking)
    settings, data, start = begun.settings, begun.data, begun.start
    cut = cut_validation(data.train.labels, settings.validation, settings.seed) if settings.validation else None
    image_size = settings.image_size or own_side(start, begun.recipe, data)
    if start is None:
        settings = replace(settings, model=settings.model or default_net(begun.recipe, image_size))
    spec = net_asked_for(settings, start, len(data.classes))
    task = _task(begun, spec, len(cut.training if cut else data.train), image_size)
    recipe = _recipe(begun, task, spec)
    spec = _with_stochastic_depth(spec, settings, recipe)
    compute = choose_compute(settings.device, settings.precision, settings.layout, settings.threads)
    if start is None:
        say_if_little_is_left(spec, image_size)
    say_if_long(task, spec, recipe, compute)
    resize_to = _resize_to(image_size, start, recipe)
    resolved = Resolved(settings, data, cut, spec, start, recipe, compute, image_size, resize_to)
    return replace(resolved, settings=_all_named(resolved))


# --- pictures, net and recipe ---------------------------------------------------------------------


def _resize_to(image_size: int, start: Classifier | None, recipe: Recipe) -> int:
    """The shorter side before the central cut: in the starting model's proportion, else none or as the recipe says."""
    if start is not None:
        return round(image_size * start.preprocessing.resize_to / start.preprocessing.image_size)
    return image_size if image_size <= SMALL else round(image_size / recipe.test_crop)


def _with_stochastic_depth(spec: NetSpec, settings: TrainSettings, recipe: Recipe) -> NetSpec:
    """The net with the recipe's stochastic depth, where it has shortcuts, and no other was asked for or is its own."""
    if settings.stochastic_depth is not None or spec.stochastic_depth or spec.shortcut == "none":
        return spec
    return replace(spec, stochastic_depth=recipe.stochastic_depth)


def _task(begun: Beginning, spec: NetSpec, num_training: int, image_size: int) -> Task:
    """What a recipe may know."""
    settings, start = begun.settings, begun.start
    return Task(
        num_pictures=num_training,
        image_size=image_size,
        depth=spec.depth,
        stages=len(spec.blocks),
        mirrors=begun.data.mirrors if settings.flip is None else settings.flip,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        folded=start is not None and is_folded(start.net),
        views=start.preprocessing.views if start else "single",
    )


def _recipe(begun: Beginning, task: Task, spec: NetSpec) -> Recipe:
    """The recipe, changed as was asked; shorter where a new net would take long and nobody asked for it."""
    recipe = _changed(begun, task)
    if begun.is_unasked and begun.start is None and (passes := fewer_passes(task, spec, recipe)):
        return _changed(begun, replace(task, epochs=passes))
    return recipe


def _changed(begun: Beginning, task: Task) -> Recipe:
    """Call the recipe, then change what was asked for, and what several labels a picture need."""
    if task.num_pictures < 2:
        raise UserError(f"{task.num_pictures} training pictures are too few", "batch normalisation needs two at a time")
    recipe = RECIPES[begun.recipe](task).changed(**asked(RecipeChoices, begun.settings))
    if recipe.rate_decay != 1 and recipe.optimizer == "muon":
        raise UserError(
            f"recipe {begun.recipe} has no use for --rate-decay", "Muon moves each convolution as far", "leave it out"
        )
    return _for_several(begun.settings, recipe) if begun.data.several else recipe


def _for_several(settings: TrainSettings, recipe: Recipe) -> Recipe:
    """Return the recipe as several labels a picture are learnt: by binary cross-entropy of the labels as they are.

    Raises:
        UserError: something else was asked for.
    """
    if settings.label_smoothing:
        why = "each of several labels is a yes or a no, and stays one"
        raise UserError("--label-smoothing is for one label a picture", why, "leave it out")
    return recipe.changed(loss="binary-cross-entropy", label_smoothing=0.0, target_threshold=None)


# --- every choice named -------------------------------------------------------------------------


def _all_named(resolved: Resolved) -> TrainSettings:
    """The settings that repeat the run: each that was left open has the value that was decided."""
    settings, data, recipe, compute = resolved.settings, resolved.data, resolved.recipe, resolved.compute
    streamed = resolved.image_size > SMALL
    return replace(
        settings,
        data=data.source,
        **({} if resolved.start else read_off(NetChoices, resolved.spec)),
        **_of_recipe(settings, recipe, resolved.num_training // recipe.batch_size),
        image_size=resolved.image_size,
        shuffle=chosen_shuffle(settings.shuffle, data.train.pictures, streamed=streamed),
        balance=is_balanced(settings.balance, data, by_folds=recipe.name in BY_FOLDS),
        device=cast(Device, compute.device.type),
        **{name: getattr(compute, name) for name in ("precision", "layout", "threads")},
        workers=compute.workers(settings.workers),
    )


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
