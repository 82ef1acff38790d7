"""From what was asked to what will be done: every "auto" gets its value, and pictures and weights are opened for it."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from residuum.choices import Device, Interpolation, RecipeName
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
from residuum.recipes.named import OWN_NETS, RECIPES
from residuum.setting_parts import NetChoices, RecipeChoices
from residuum.settings import TrainSettings
from residuum.training.beginning import BY_FOLDS, begin, net_asked_for
from residuum.training.way import (
    fewer_passes,
    is_balanced,
    own_side,
    say_if_little_is_left,
    say_if_long,
    say_if_nothing_is_kept_aside,
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
    data, start, named_recipe, is_unasked = begun.data, begun.start, begun.recipe, begun.is_unasked
    settings = replace(begun.settings, tune=BY_FOLDS.get(named_recipe, begun.settings.tune))
    if begun.judges_by_folds or data.validation is not None:
        say_if_nothing_is_kept_aside(settings.validation, data)
        settings = replace(settings, validation=0.0)
    share = settings.validation
    cut = cut_validation(data.train.labels, share, settings.seed) if share else None
    num_training = len(cut.training if cut else data.train)
    image_size = settings.image_size or own_side(start, named_recipe, data)
    model = settings.model or OWN_NETS.get(named_recipe) or ("resnet20" if image_size <= SMALL else "resnet18")
    spec = net_asked_for(settings, start, model, len(data.classes))
    task = _task(settings, start, data, spec, num_training, image_size)
    recipe = _recipe(settings, named_recipe, task, several=data.several)
    if is_unasked and start is None and (passes := fewer_passes(task, spec, recipe)):
        recipe = _recipe(settings, named_recipe, replace(task, epochs=passes), several=data.several)
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
            balance=is_balanced(settings.balance, data, by_folds=begun.judges_by_folds),
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


def _recipe(settings: TrainSettings, name: RecipeName, task: Task, *, several: bool) -> Recipe:
    """Call the recipe, then change what was asked for; `several` labels a picture are answered yes or no, each."""
    if task.num_pictures < 2:
        raise UserError(f"{task.num_pictures} training pictures are too few", "batch normalisation needs two at a time")
    recipe = RECIPES[name](task).changed(**asked(RecipeChoices, settings))
    if recipe.rate_decay != 1 and recipe.optimizer == "muon":
        raise UserError(
            f"recipe {name} has no use for --rate-decay", "Muon moves each convolution as far", "leave it out"
        )
    return _for_several(settings, recipe) if several else recipe


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
