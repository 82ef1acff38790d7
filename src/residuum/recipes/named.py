"""The table of recipes: by name, the function that makes each, what of a trained net it tunes, the net it is made for,
and which recipe is taken where none is named.
"""

from collections.abc import Callable

from residuum.choices import RecipeName, Tune
from residuum.errors import UserError
from residuum.recipe import SMALL, Recipe, Task
from residuum.recipes import fast, fast_95
from residuum.recipes.fine_tune import fine_tune
from residuum.recipes.he2015_cifar import he2015_cifar
from residuum.recipes.he2015_imagenet import he2015_imagenet
from residuum.recipes.head import head
from residuum.recipes.quick import quick
from residuum.recipes.rsb import rsb_a1, rsb_a2, rsb_a3
from residuum.recipes.sgd_one_cycle import sgd_one_cycle
from residuum.recipes.tune import tune_all, tune_last

RECIPES: dict[str, Callable[[Task], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        quick,
        fast.fast,
        fast_95.fast_95,
        fine_tune,
        head,
        tune_last,
        tune_all,
        sgd_one_cycle,
        he2015_cifar,
        he2015_imagenet,
        rsb_a1,
        rsb_a2,
        rsb_a3,
    )
}

BY_FOLDS: dict[RecipeName, Tune] = {"head": "head", "tune_last": "last", "tune_all": "all"}
"""Recipes that judge training pictures by nets that have not seen them, and what they tune."""
AFTER_THE_HEAD = BY_FOLDS.keys() - {"head"}
"""Those of them that begin from a fitted last layer, and end with it where tuning does no better."""

BY_TUNE: dict[Tune, RecipeName] = {"head": "head", "last": "tune_last", "all": "fine_tune"}
"""What tunes so much, where no recipe is named and pictures are not few."""

OWN_NETS: dict[RecipeName, str] = {"fast": fast.NET, "fast_95": fast_95.NET}
"""The nets of recipes that are made for one; the others train any."""

BY_TARGET: dict[RecipeName, dict[int, RecipeName]] = {
    "fast": {94: "fast", 95: "fast_95"},
    "fast_95": {95: "fast_95"},
}
"""Which recipe reaches which accuracy, in per cent, where a recipe takes a target."""


def recipe_asked_for(name: RecipeName | None, tune: Tune | None, *, is_started: bool) -> RecipeName:
    """Return the recipe of this name; where there is none, the one that tunes so much; else the default for a net that
    is new, or that starts from trained weights.
    """
    default: RecipeName = "fine_tune" if is_started else "quick"
    return name or (BY_TUNE[tune] if tune else default)


def default_net(recipe: RecipeName, image_size: int) -> str:
    """Return the name of the net that is trained where none is asked for, on pictures of this side, in pixels."""
    return OWN_NETS.get(recipe) or ("resnet20" if image_size <= SMALL else "resnet18")


def recipe_name(name: RecipeName, target: int | None) -> RecipeName:
    """Return the recipe that reaches the target; `name` where there is none.

    Raises:
        UserError: the recipe takes no target, or not this one.
    """
    if target is None:
        return name
    targets = BY_TARGET.get(name)
    if targets is None:
        raise UserError("--target is recipe fast's", "", "add --recipe fast, or leave --target out")
    if target not in targets:
        known = " or ".join(map(str, targets))
        raise UserError(f"recipe {name} does not reach {target} %", f"it is made for {known} %")
    return targets[target]
