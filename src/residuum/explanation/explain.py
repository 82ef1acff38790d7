"""The verb `explain`: where in a picture lies what speaks for an answer, what the net would say after each block, and
which training pictures look alike to it.

Letters: B pictures, K classes, S the side of a square view.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray
from torch import Tensor

from residuum import errors, machine, runs
from residuum.compute import Compute, choose_compute
from residuum.console import say, show_progress
from residuum.data.contract import ColumnNames
from residuum.data.decode import decode
from residuum.data.labels import CALLED
from residuum.data.picture_files import picture_files, printable, read_picture
from residuum.data.preprocess import Preprocessing, normalise, whole, whole_side
from residuum.data.resize import evaluation_view
from residuum.data.split import drawn
from residuum.errors import UserError
from residuum.evaluation.evaluate import protocol
from residuum.evaluation.heat_maps import METHODS, Method, drawn_over
from residuum.evaluation.likeness import directions, distances
from residuum.evaluation.mistakes import thumbnail
from residuum.evaluation.opening import open_with_data
from residuum.explanation.blocks import answers_with_blocks_off
from residuum.explanation.nearest import nearest
from residuum.loading import Classifier, load
from residuum.records.codec import to_json, write_record
from residuum.records.explained import FIRST_ALONE, Explained, ExplainedPicture, Neighbour, Reading, Said
from residuum.settings import ExplainSettings, TrainSettings

BATCH = 8
MOST = 100
"""Pictures on one page."""
SIDE = 224
"""Longest side of a picture on the page, in pixels."""
DRAWINGS = {"seen", "picture", "thumbnail"}
"""Fields of the records that hold pictures for the page."""


@dataclass(frozen=True)
class Explanation:
    """What was found of each picture, in the order given, and the folder with explained.json and the page."""

    path: Path
    pictures: tuple[ExplainedPicture, ...]
    unread: tuple[UserError, ...] = ()
    """Why others cannot be read."""
    protocol: str = ""
    """How each was shown to the net for its answers."""
    maps: str = ""
    """Which of those views the maps are of."""
    unseen: bool = False
    """Whether the run keeps answers to its training pictures of nets that had not seen them."""

    def as_json(self) -> dict[str, Any]:
        """Return {"folder", "protocol", "maps", "pictures": […], "unread": […]}, without what is drawn."""
        pictures = [_less_drawings(to_json(one)) for one in self.pictures]
        how = {"folder": str(self.path), "protocol": self.protocol, "maps": self.maps}
        return {**how, "pictures": pictures, "unread": [str(one) for one in self.unread]}


def explain(settings: ExplainSettings) -> Explanation:
    """Explain each picture that can be read and write explained.json.

    Raises:
        UserError: no such model, picture or class, too many pictures, or none of them can be read.
        Stopped: a signal came while the training pictures were looked through.
    """
    if settings.run is None or not settings.images:
        raise UserError("which model, and which pictures?", "", "residuum explain RUN PICTURE...")
    classifier = load(settings.run)
    of = class_number(settings.of, classifier.classes)
    how = classifier.preprocessing
    files, views, unread = _views(_files(settings), how)
    compute = choose_compute(settings.device, threads=settings.threads)
    compute.place(classifier.net)
    images = normalise(torch.from_numpy(views).to(compute.device), how)
    out = _new_folder(settings, Path(settings.run), classifier, files[0].stem)
    like, searched = _nearest(settings, classifier, _as_trained(classifier, compute), images, views)
    pictures, progress = list[ExplainedPicture](), show_progress("pictures explained")
    for start in range(0, len(files), BATCH):
        stop = start + BATCH
        seen = Seen([printable(str(file)) for file in files[start:stop]], views[start:stop], images[start:stop])
        pictures += explained(classifier, seen, of, settings.top, like[start:stop], compute=compute)
        progress(len(pictures), len(files))
    found = Explained(
        model=classifier.name,
        shortcut=classifier.spec.shortcut,
        last_stage=classifier.spec.blocks[-1],
        protocol=protocol(how, how.views),
        maps=_mapped(how),
        unseen=(Path(settings.run) / runs.OUT_OF_FOLD).is_file(),
        searched=searched,
        pictures=tuple(pictures),
        environment=machine.environment(),
    )
    write_record(out / runs.EXPLAINED, found)
    return Explanation(out, found.pictures, unread, found.protocol, found.maps, found.unseen)


def _mapped(how: Preprocessing) -> str:
    """Say which of the views the maps are of."""
    if how.views == "single":
        return "the same view"
    side = whole_side(how)
    return f"{FIRST_ALONE}, {side}×{side}"


def _views(files: list[Path], how: Preprocessing) -> tuple[list[Path], NDArray[np.uint8], tuple[UserError, ...]]:
    """Return the files that can be read, their views (B, S, S, 3), and why others cannot be, or raise that."""
    read, views, unread = list[Path](), list[NDArray[np.uint8]](), list[UserError]()
    for file in files:
        try:
            pixels = decode(read_picture(file), str(file), span=how.greys)
        except UserError as error:
            unread.append(error)
        else:
            read.append(file)
            views.append(evaluation_view(pixels, how.image_size, how.resize_to, how.interpolation))
    if not read:
        raise unread[0]
    return read, np.stack(views), tuple(unread)


def _files(settings: ExplainSettings) -> list[Path]:
    files = [file for image in settings.images for file in picture_files(Path(image))]
    if len(files) > MOST:
        raise UserError(
            f"{len(files)} pictures are too many to explain at once",
            f"one page shows at most {MOST}",
            "name those that matter; residuum evaluate judges them all",
        )
    return files


def class_number(name: str | None, classes: tuple[str, ...]) -> int | None:
    """Return the number of the class asked for (UserError if there is none of this name)."""
    if name is None:
        return None
    if name not in classes:
        raise UserError(f"there is no class {name!r}", errors.nearest(name, classes), "give --of a class of the net")
    return classes.index(name)


def _less_drawings(tree: Any) -> Any:
    """Return the plain data without pictures in it."""
    if isinstance(tree, dict):
        return {name: _less_drawings(each) for name, each in tree.items() if name not in DRAWINGS}
    return [_less_drawings(each) for each in tree] if isinstance(tree, list | tuple) else tree


# --- one batch ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """B pictures: their names, views (B, S, S, 3) uint8, and what the net is given of them (B, 3, S, S)."""

    names: list[str]
    views: Any
    images: Tensor


def explained(
    classifier: Classifier,
    seen: Seen,
    of: int | None,
    top: int,
    like: list[tuple[Neighbour, ...]],
    methods: Mapping[str, Method] = METHODS,
    compute: Compute | None = None,
) -> list[ExplainedPicture]:
    """Explain B pictures at once; `of` is the class whose evidence is shown, by default each one's likeliest. Of
    several labels a picture all that are called are among the answers.

    The answers are computed in float32, the maps, for which a net answers a hundred times, as `compute` says.
    """
    net, classes, views = classifier.net, classifier.classes, classifier.preprocessing.views
    several = classifier.several
    behind = answers_with_blocks_off(net, seen.images, (), views, several=several)
    steps = [(name, found.cpu()) for name, found in behind]
    order = steps[-1][1].argsort(dim=1, descending=True, stable=True)
    apart, limit = _apart(classifier, seen.images)
    wanted = order[:, 0] if of is None else torch.full((len(seen.names),), of)
    shown = whole(seen.images, views)
    with compute.autocast() if compute else nullcontext():
        maps = {name: method(net, shown, wanted, several=several).float() for name, method in methods.items()}
    pictures = []
    for i, name in enumerate(seen.names):
        labels = _called(steps[-1][1][i], classes) if several else None
        numbers = order[i, : max(top, len(labels or ()))]
        drawn_maps = (drawn_over(seen.views[i], found[i], method, SIDE, values=True) for method, found in maps.items())
        pictures.append(
            ExplainedPicture(
                name=name,
                seen=thumbnail(seen.views[i], SIDE),
                answers=tuple(_said(steps[-1][1][i], number, classes) for number in numbers.tolist()),
                heat_of=classes[int(wanted[i])],
                heat=tuple(one for one in drawn_maps if one is not None),
                blocks=tuple(_behind(block, found[i], numbers, classes, several=several) for block, found in steps),
                nearest=like[i],
                distance=apart[i],
                threshold=limit,
                labels=labels,
            )
        )
    return pictures


@torch.inference_mode()
def _apart(classifier: Classifier, images: Tensor) -> tuple[list[float] | list[None], float | None]:
    """Return how far (B, 3, S, S) pictures are from those trained on, and the limit; None where it is not known."""
    known = classifier.about.likeness
    if known is UNSET or classifier.kept is None:
        return [None] * len(images), None
    x = directions(classifier.features(images).cpu().numpy())
    return distances(x, classifier.kept, known.neighbours).tolist(), known.threshold


def _said(probabilities: Tensor, number: int, classes: tuple[str, ...]) -> Said:
    return Said(name=classes[number], probability=float(probabilities[number]))


def _called(probabilities: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is called of several labels a picture, the likeliest first."""
    order = probabilities.argsort(dim=0, descending=True, stable=True)
    return tuple(classes[number] for number in order.tolist() if probabilities[number] >= CALLED)


def _behind(block: str, probabilities: Tensor, numbers: Tensor, classes: tuple[str, ...], *, several: bool) -> Reading:
    said = _said(probabilities, int(probabilities.argmax()), classes)
    labels = _called(probabilities, classes) if several else None
    return Reading(block=block, said=said, probabilities=tuple(probabilities[numbers].tolist()), labels=labels)


# --- training pictures --------------------------------------------------------------------------


def _new_folder(settings: ExplainSettings, run: Path, classifier: Classifier, name: str) -> Path:
    below = f"{runs.EXPLANATIONS}/" if runs.is_run(run) else f"{classifier.name}-explained-"
    return runs.folder_of_results(settings.out, run, below + name, classifier.source)


def _nearest(
    settings: ExplainSettings, classifier: Classifier, compute: Compute, images: Tensor, views: NDArray[np.uint8]
) -> tuple[list[tuple[Neighbour, ...]], str]:
    """Return the nearest training pictures of each picture, and among which they were looked for, or why none was."""
    none: list[tuple[Neighbour, ...]] = [()] * len(images)
    if not settings.nearest:
        return none, "they were not asked for"
    try:
        return _looked_through(settings, classifier, compute, images, views)
    except UserError as error:  # they are gone, or some cannot be read any more
        if settings.data is not None:
            raise
        say(f"no training pictures are shown: {error.what}")
        return none, error.what


def _looked_through(
    settings: ExplainSettings, classifier: Classifier, compute: Compute, images: Tensor, views: NDArray[np.uint8]
) -> tuple[list[tuple[Neighbour, ...]], str]:
    columns = ColumnNames.told(settings)
    opened = open_with_data(classifier, compute, settings.data, columns, call="explain {} PICTURE --data DATA")
    if opened.same is False and settings.data is None:
        say("note: the data have changed since the run was trained")
    whole = opened.training
    training = opened.loader(drawn(whole, settings.among) if settings.among < len(whole) else whole)
    shown = (images, views if opened.same else None)
    found = nearest(classifier.net, shown, training, opened.compute, settings.nearest, classifier.classes)
    are_all = len(training.split) == len(whole)
    of = f"all {len(whole):,}" if are_all else f"{len(training.split):,} of the {len(whole):,}"
    return found, f"{of} training pictures of {opened.data.name}"


def _as_trained(classifier: Classifier, compute: Compute) -> Compute:
    """Return how the run computed, so that the features it left in the cache are found."""
    precision = TrainSettings(precision=(classifier.about.settings or {}).get("precision", "float32")).precision
    return choose_compute(compute.device.type, precision, threads=compute.threads)  # type: ignore[arg-type]
