"""From what was asked to what will be done: every "auto" and None gets its value, before any work begins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from residuum.compute import Compute, choose_compute
from residuum.console import say, told
from residuum.data.batches import SMALL, natural_size
from residuum.data.contract import ImageData
from residuum.data.open import open_data
from residuum.data.split import cut_validation
from residuum.errors import UserError
from residuum.models.named import named
from residuum.models.spec import NetSpec
from residuum.recipe import OneCycle, Recipe, Task
from residuum.recipes.he2015_cifar import he2015_cifar
from residuum.recipes.he2015_imagenet import he2015_imagenet
from residuum.recipes.quick import quick
from residuum.settings import Device, RecipeName, TrainSettings

RECIPES: dict[RecipeName, Callable[[Task], Recipe]] = {
    "quick": quick,
    "he2015_cifar": he2015_cifar,
    "he2015_imagenet": he2015_imagenet,
}


@dataclass(frozen=True)
class Resolved:
    """A run decided to the last choice. `settings` names them all, so it repeats the run."""

    settings: TrainSettings
    data: ImageData
    train_rows: NDArray[np.int64] | None
    validation_rows: NDArray[np.int64] | None
    """Rows of the training pictures, where validation was cut from them; else None."""
    spec: NetSpec
    recipe: Recipe
    compute: Compute
    image_size: int
    resize_to: int

    @property
    def num_training(self) -> int:
        """Return the number of pictures trained on."""
        return len(self.data.train) if self.train_rows is None else len(self.train_rows)


def resolve(settings: TrainSettings) -> Resolved:
    """Open the data and decide everything.

    Raises:
        UserError: no such data or model, or too few pictures.
    """
    if settings.model is not None:
        named(
            settings.model, shortcut=settings.shortcut, stride_in=settings.stride_in
        )  # a typing error, before the data
    if settings.data is None:
        say("no pictures given: training on the built-in digits (residuum train PHOTOS for your own)")
    data = open_data(settings.data or "digits", progress=told("fetching"))
    train_rows, validation_rows = _cut(data, settings)
    num_training = len(data.train) if train_rows is None else len(train_rows)
    image_size = settings.image_size or _natural(data)
    model = settings.model or ("resnet20" if image_size <= SMALL else "resnet18")
    spec = named(model, len(data.classes), shortcut=settings.shortcut, stride_in=settings.stride_in)
    recipe = _recipe(settings, Task(
        num_pictures=num_training,
        image_size=image_size,
        depth=spec.depth,
        mirrors=data.mirrors if settings.flip is None else settings.flip,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
    ))  # fmt: skip
    compute = choose_compute(settings.device, settings.precision, settings.layout, settings.threads)
    return Resolved(
        settings=_filled_in(settings, data, model, spec, recipe, compute, image_size, num_training),
        data=data,
        train_rows=train_rows,
        validation_rows=validation_rows,
        spec=spec,
        recipe=recipe,
        compute=compute,
        image_size=image_size,
        resize_to=image_size if image_size <= SMALL else round(image_size * 256 / 224),
    )


def _natural(data: ImageData) -> int:
    """Small pictures keep their size; large ones are seen at 128 px, which any computer can train on."""
    size = natural_size(data.train)
    return max(8, size) if size <= SMALL else 128


def _cut(
    data: ImageData, settings: TrainSettings
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    if data.validation is not None or settings.validation == 0:
        return None, None
    train, validation = cut_validation(data.train.labels, settings.validation, settings.seed)
    return (train, validation) if len(validation) else (None, None)


def _recipe(settings: TrainSettings, task: Task) -> Recipe:
    """Call the recipe, then change what was asked for."""
    if task.num_pictures < 2:
        raise UserError(
            f"{task.num_pictures} training pictures are too few", "batch normalisation needs two at a time"
        )
    recipe = RECIPES[settings.recipe](task)
    changes: dict[str, Any] = {
        name: value
        for name in ("weight_decay", "label_smoothing")
        if (value := getattr(settings, name)) is not None
    }
    if settings.lr is not None:
        schedule = recipe.schedule
        changes["schedule"] = (
            replace(schedule, peak=settings.lr)
            if isinstance(schedule, OneCycle)
            else replace(schedule, base=settings.lr)
        )
    return replace(recipe, **changes)


def _filled_in(
    settings: TrainSettings,
    data: ImageData,
    model: str,
    spec: NetSpec,
    recipe: Recipe,
    compute: Compute,
    image_size: int,
    num_training: int,
) -> TrainSettings:
    """The same settings with every choice named."""
    schedule = recipe.schedule
    per_epoch = num_training // recipe.batch_size
    whole_epochs = recipe.iterations % per_epoch == 0
    return replace(
        settings,
        data=data.source,
        model=model,
        shortcut=spec.shortcut,
        stride_in=spec.stride_in,
        epochs=recipe.iterations // per_epoch if whole_epochs else settings.epochs,
        batch_size=recipe.batch_size,
        lr=schedule.peak if isinstance(schedule, OneCycle) else schedule.base,
        weight_decay=recipe.weight_decay,
        label_smoothing=recipe.label_smoothing,
        flip=recipe.augmentation.flip,
        image_size=image_size,
        device=cast(Device, compute.device.type),
        precision=compute.precision,
        layout=compute.layout,
        threads=compute.threads,
        workers=compute.threads if settings.workers is None else settings.workers,
    )
