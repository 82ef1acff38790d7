"""Which way a training takes where nobody said: what few photographs start from, how long a new net may take on few
pictures, and what cannot work at all.
"""

import math
from pathlib import Path

import numpy as np

from residuum.choices import RecipeName
from residuum.compute import Compute, choose_compute
from residuum.console import say
from residuum.data.batches import natural_size
from residuum.data.check import said_of_no_picture
from residuum.data.contract import ImageData
from residuum.data.labels import counts
from residuum.data.misspelt import nearly_named, said_of_names
from residuum.data.preprocess import whole_side
from residuum.errors import UserError, listed
from residuum.fastest import busy_when_timed, multiply_adds_per_s
from residuum.loading import Classifier
from residuum.models.count import cost
from residuum.models.spec import NetSpec
from residuum.recipe import FEW, SMALL, Recipe, Task
from residuum.records.weights import Fetched
from residuum.settings import TrainSettings
from residuum.weights.catalogue import find
from residuum.weights.fetched import STARTER, fetched, starter

VERY_FEW = 1000
"""Below so many pictures no new net is trained for longer than LONG unasked, or on a processor without a word."""
LONG = 300.0
"""Seconds."""
BOUND = 15e12
"""Multiply-adds that a new net may take on very few pictures unasked: LONG, on two cores with AVX2."""
NOTHING = 1e12
"""Multiply-adds that take no while on any machine; nothing is timed for less."""
UNEVEN = 3
"""From so many times the pictures of the smallest class in the largest on, classes of few pictures count alike."""
LITTLE = 8
"""So many places on a side, before the first block, are little: the stages behind it halve them three times."""
BETTER = "better, as a rule: residuum weights fetch resnet50, then this command again with --start resnet50"
BY_FILE = "; without network, --start FILE takes weights that you have (others' once residuum import has read them)"
HARDLY = (
    "it learns far less from them than one that starts from trained weights, and of a few hundred hardly anything "
    "(name weights with --start, or say nothing of the net and its training)"
)


def own_side(start: Classifier | None, recipe: RecipeName, data: ImageData) -> int:
    """Return at which side, in pixels, pictures are seen: that of the starting model, of whose views steps are shown
    the first alone. For a new net small ones keep their size, and large ones take 128 px, for any computer.
    """
    if start is not None:
        return start.preprocessing.image_size if recipe == "head" else whole_side(start.preprocessing)
    size = natural_size(data.train)
    return max(8, size) if size <= SMALL else 128


def refuse_lone_pictures(data: ImageData) -> None:
    """Raise UserError where each training picture is judged by a net that has not seen it, and is its class's only.

    Of several labels a picture, rare ones are usual, and the others can be judged: it is said.
    """
    pictures = counts(data.train.labels, len(data.classes))
    alone = [name for name, count in zip(data.classes, pictures, strict=True) if count == 1]
    if alone and data.several:
        say(f"only one picture shows {listed(alone, 5)}: how well such are found cannot be told")
    elif alone and not (data.validation or data.test):
        raise UserError(
            f"only one picture shows {listed(alone, 5)}",
            "what was learnt of a class is judged on pictures that were not learnt from, so it needs two at least",
            "add pictures, or take the class out",
        )


def say_if_classes_are_absent(data: ImageData) -> None:
    """Say which classes a split lacks, as `residuum data check` does."""
    for name, split in data.splits().items():
        pictures = counts(split.labels, len(data.classes)) if len(split) else ()
        if absent := [each for each, count in zip(data.classes, pictures, strict=False) if not count]:
            say(f"note: {said_of_no_picture(name, absent)}")


def say_if_names_are_near(data: ImageData) -> None:
    """Say so where a class of few pictures may be another, misspelt, as `residuum data check` does."""
    pictures = sum(counts(split.labels, len(data.classes)) for split in data.splits().values())
    if near := nearly_named(dict(zip(data.classes, np.asarray(pictures).tolist(), strict=True))):
        say(f"note: {said_of_names(near)}")


def is_balanced(asked: bool | None, data: ImageData, *, by_folds: bool) -> bool:
    """Say whether classes are to count alike: as was asked, or where the few pictures that folds judge are uneven.

    Raises:
        UserError: it is asked of several labels a picture.
    """
    if data.several and asked:
        why = "each class is told from pictures that do not show it, and weighs as often as it is asked for"
        raise UserError("--balance is for one label a picture", why, "leave it out")
    if data.several or asked is not None or not by_folds:
        return bool(asked)
    pictures = counts(data.train.labels, len(data.classes))
    most, fewest = pictures.max(), pictures[pictures > 0].min()
    uneven = most >= UNEVEN * fewest
    if uneven:
        say(
            f"the largest class has {most} pictures, the smallest {fewest}: every class counts alike "
            "(--no-balance: every picture does)"
        )
    return bool(uneven)


# --- what to start from -------------------------------------------------------------------------


def is_few_photographs(data: ImageData) -> bool:
    """Say whether these are fewer than FEW pictures of one's own, too large to be trained on as they are."""
    own = Path(data.source).is_absolute()  # neither the built-in digits nor a data set of the hub
    return own and len(data.train) < FEW and natural_size(data.train) > SMALL


def chosen_start(data: ImageData, settings: TrainSettings) -> str | None:
    """Return the name of the weights that few photographs start from, and say why; None for a new net.

    Of fetched weights those trained with the plain recipe go first (see `Weights.plain`), then those of the highest
    published accuracy; the first is taken that sees all pictures in less than LONG. The starter comes after them, and
    where it is not there the quickest.
    """
    few = f"{len(data.train):,} photographs are few"
    undo = "--from-nothing begins with a new net"
    again = " and another --out" * (settings.out is not None)  # a run never writes over another
    better = BETTER + again + BY_FILE
    there = fetched()
    if there:
        name, which = _of_fetched(there, sum(map(len, data.splits().values())), settings)
        say(f"{few}: the net starts from {name}, {which} (--start names others, {undo})")
        return name
    if starter():
        say(f"{few}, and no weights were fetched: the net starts from residuum's own starter ({undo}); {better}")
        return STARTER
    say(f"{few} for a new net, and no trained weights are on this machine; {better}")
    return None


def _of_fetched(there: dict[str, Fetched], pictures: int, settings: TrainSettings) -> tuple[str, str]:
    """Return the best of the fetched weights that see all pictures in time, and what it is; where none does, the
    starter, or the quickest if there is none."""
    known = {name: find(name) for name in there}
    best = sorted(there, key=lambda name: (known[name].plain, known[name].top1 or 0.0), reverse=True)
    compute = choose_compute(settings.device, settings.precision, settings.layout, settings.threads)
    rate = multiply_adds_per_s() if compute.device.type == "cpu" else math.inf
    in_time = [name for name in best if pictures * there[name].multiply_adds < LONG * rate]
    if in_time:
        is_best = in_time[0] == best[0]
        return in_time[0], "the best of the weights fetched here" + ("" if is_best else " that are quick enough")
    if starter():
        timed = f" (or seemed so: {busy})" if (busy := busy_when_timed()) else ""
        return STARTER, f"residuum's own, since the weights fetched here would take long{timed}"
    return min(best, key=lambda name: there[name].multiply_adds), "the quickest of the weights fetched here"


# --- how long it takes --------------------------------------------------------------------------


def fewer_passes(task: Task, spec: NetSpec, recipe: Recipe) -> int | None:
    """Return the passes that a new net may take over very few pictures unasked, and say it; None: all of the recipe's.

    They take at most BOUND, so that they are the same on every machine.
    """
    one = 3 * cost(spec, task.image_size)["multiply_adds"] * task.num_pictures
    passes = round(recipe.iterations * recipe.batch_size / task.num_pictures)
    if task.num_pictures >= VERY_FEW or passes * one <= BOUND:
        return None
    say(f"so that it does not take long, {max(1, int(BOUND / one))} passes instead of {passes} (--epochs {passes})")
    return max(1, int(BOUND / one))


def say_if_long(task: Task, spec: NetSpec, recipe: Recipe, compute: Compute) -> None:
    """Say how long it will take, where training on very few pictures takes long."""
    work = 3 * cost(spec, task.image_size)["multiply_adds"] * recipe.iterations * recipe.batch_size
    if task.num_pictures < VERY_FEW and work > NOTHING and compute.device.type == "cpu":
        minutes = work / multiply_adds_per_s() / 60
        if minutes > LONG / 60:
            less = f" (or far less: {busy})" if (busy := busy_when_timed()) else ""
            how = "fewer --epochs, a smaller --image-size or net take less"
            say(f"this takes about {minutes:,.0f} minutes here{less}: {how}")


def say_if_nothing_is_kept_aside(asked: float, data: ImageData) -> None:
    """Say that a share of the pictures was asked for in vain: there are validation pictures, or folds judge all."""
    if asked not in {0.0, TrainSettings.validation}:
        judged = "each picture is judged by a net that has not seen it"
        why = judged if data.validation is None else "the data have validation pictures"
        say(f"--validation {asked:g} keeps nothing aside: {why}")


def say_if_little_is_left(spec: NetSpec, image_size: int) -> None:
    """Say where a stem that halves pictures twice leaves little of small ones."""
    left = math.ceil(image_size / 4)
    if spec.stem in {"imagenet", "deep"} and left <= LITTLE:
        say(
            f"this net's stem is for photographs: of pictures of {image_size} px it leaves {left}×{left} places to the "
            "first block; --stem cifar leaves all"
        )
