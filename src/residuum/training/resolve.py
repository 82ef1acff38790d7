"""From what was asked to what will be done: every "auto" and None gets its value, before any work begins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from residuum.choices import Device, RecipeName
from residuum.compute import Compute, choose_compute
from residuum.console import say, show_progress
from residuum.data.batches import SMALL, natural_size
from residuum.data.contract import ImageData
from residuum.data.open import open_data
from residuum.data.split import ValidationCut, cut_validation
from residuum.errors import UserError
from residuum.loading import Classifier, load
from residuum.models.named import named
from residuum.models.spec import NetSpec
from residuum.recipe import OneCycle, Recipe, Task
from residuum.recipes.fast import fast, way_to
from residuum.recipes.fine_tune import fine_tune
from residuum.recipes.he2015_cifar import he2015_cifar
from residuum.recipes.he2015_imagenet import he2015_imagenet
from residuum.recipes.quick import quick
from residuum.recipes.sgd_one_cycle import sgd_one_cycle
from residuum.settings import TrainSettings

RECIPES: dict[RecipeName, Callable[[Task], Recipe]] = {
    "quick": quick,
    "fast": fast,
    "fine_tune": fine_tune,
    "sgd_one_cycle": sgd_one_cycle,
    "he2015_cifar": he2015_cifar,
    "he2015_imagenet": he2015_imagenet,
}

NET_CHOICES = (
    "shortcut", "order", "activation", "stride_in", "stem", "blocks", "widths", "groups", "squeeze", "projection_pool",
    "dropout", "stochastic_depth", "zero_init",
)  # fmt: skip
"""The settings that are choices of the net, by their names in NetSpec."""


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
        return self.settings.model or f"{Path(self.settings.start or '').stem or 'net'}"

    @property
    def num_training(self) -> int:
        """Return the number of pictures trained on."""
        return len(self.cut.training if self.cut else self.data.train)


def resolve(settings: TrainSettings) -> Resolved:
    """Open the data and decide everything.

    Raises:
        UserError: no such data or model, or too few pictures.
    """
    start = load(settings.start) if settings.start is not None else None
    if settings.model is not None or start is not None:
        _net(settings, start, "resnet20", 10)  # a typing error, before the data are opened
    if settings.data is None:
        say("no pictures given: training on the built-in digits (residuum train PHOTOS for your own)")
    data = open_data(settings.data or "digits", progress=show_progress("fetching"))
    cut = None
    if data.validation is None and settings.validation != 0:
        cut = cut_validation(data.train.labels, settings.validation, settings.seed)
    num_training = len(cut.training if cut else data.train)
    image_size = settings.image_size or (start.preprocessing.image_size if start else _natural(data))
    spec = _net(settings, start, _default_net(settings, image_size), len(data.classes))
    recipe = _recipe(settings, Task(
        num_pictures=num_training,
        image_size=image_size,
        depth=spec.depth,
        mirrors=data.mirrors if settings.flip is None else settings.flip,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        target=settings.target,
    ))  # fmt: skip
    compute = choose_compute(settings.device, settings.precision, settings.layout, settings.threads)
    return Resolved(
        settings=_filled_in(settings, data, spec, recipe, compute, image_size, num_training),
        data=data,
        cut=cut,
        spec=spec,
        start=start,
        recipe=recipe,
        compute=compute,
        image_size=image_size,
        resize_to=_resize_to(image_size, start),
    )


def _default_net(settings: TrainSettings, image_size: int) -> str:
    if settings.recipe == "fast":
        return way_to(settings.target).net
    return "resnet20" if image_size <= SMALL else "resnet18"


def _net(settings: TrainSettings, start: Classifier | None, default: str, num_classes: int) -> NetSpec:
    """The net that was asked for: a named one with its choices, or the one to begin with.

    Raises:
        UserError: no such name, choices that contradict, or choices for a net that is there already.
    """
    asked = {name: value for name in NET_CHOICES if (value := getattr(settings, name)) is not None}
    asked |= {name: tuple(asked[name]) for name in ("blocks", "widths") if name in asked}  # JSON has lists
    if start is None:
        return named(settings.model or default, num_classes, **asked)
    if settings.model is not None or asked:
        flags = [
            "--" + name.replace("_", "-") for name in ("model", *asked) if getattr(settings, name) is not None
        ]
        raise UserError(
            f"--start brings its own net, but {', '.join(flags)} was given",
            "trained weights fit one net only",
            "leave the one or the other out",
        )
    return replace(start.spec, num_classes=num_classes)


def _resize_to(image_size: int, start: Classifier | None) -> int:
    """The shorter side before the central cut: the starting model's proportion, else none or 256 to 224."""
    if start is not None:
        return round(image_size * start.preprocessing.resize_to / start.preprocessing.image_size)
    return image_size if image_size <= SMALL else round(image_size * 256 / 224)


def _natural(data: ImageData) -> int:
    """Small pictures keep their size; large ones are seen at 128 px, which any computer can train on."""
    size = natural_size(data.train)
    return max(8, size) if size <= SMALL else 128


def _recipe(settings: TrainSettings, task: Task) -> Recipe:
    """Call the recipe, then change what was asked for."""
    if task.num_pictures < 2:
        raise UserError(
            f"{task.num_pictures} training pictures are too few", "batch normalisation needs two at a time"
        )
    recipe = RECIPES[settings.recipe or ("fine_tune" if settings.start else "quick")](task)
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
    default = _default_net(settings, image_size)
    net: dict[str, Any] = {}
    if settings.start is None:
        net = {"model": settings.model or default} | {name: getattr(spec, name) for name in NET_CHOICES}
    return replace(
        settings,
        data=data.source,
        **net,
        recipe=cast(RecipeName, recipe.name),
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
