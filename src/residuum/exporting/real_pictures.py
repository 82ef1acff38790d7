"""The real pictures that an export or a bench is held against, and others that int8's ranges are measured on.

Letters: N pictures, S the side of a view in pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from residuum.compute import Compute
from residuum.console import say
from residuum.data.class_names import OtherClasses
from residuum.data.contract import Pictures, Split, Subset
from residuum.data.decode import Pixels, decode, header
from residuum.data.folder import FolderPictures
from residuum.data.labels import Labels
from residuum.data.picture_files import pictures_below
from residuum.data.split import drawn
from residuum.data.threads import in_threads
from residuum.errors import UserError
from residuum.evaluation.known import count_known, count_learnt, read_known
from residuum.evaluation.opening import open_with_data
from residuum.loading import Classifier
from residuum.records.model import View

BATCH = 16
"""At most so many pictures are answered for at once,"""
PIXELS = 16_000_000
"""and at most so many pixels, but for a picture alone."""


class RealPictures(NamedTuple):
    """Pictures to judge by, and none of them among those to calibrate with."""

    where: str
    """What they are, in words."""
    judged: Pictures
    labels: Labels | None
    """What those judged show, where that is known: see data/labels.py."""
    calibration: Pictures
    seen: int = 0
    """How many of those judged the net was trained on."""


def open_pictures(
    classifier: Classifier, compute: Compute, source: str | Path | None, count: int, calibrating: int, verb: str
) -> RealPictures:
    """Open at most `count` pictures to judge by and `calibrating` others: of the data the model was trained with, of
    other data of its classes, or of a folder of any pictures, which then have no labels.

    Judged are test pictures where there are any, else those kept aside, else those trained on; calibrating are those
    trained on. `verb` is the one that asks. Of a folder without labels as many calibrate as are judged, if need be.

    Raises:
        UserError: none are known, or a picture cannot be read.
    """
    folder = Path(source) if source is not None and Path(source).is_dir() else None
    if folder and (names := _loose(folder)):
        return _without_labels(classifier, folder, names, count, calibrating)
    if source is None and classifier.about.data is None:
        raise UserError(
            f"which pictures should {classifier.file} be held against?",
            "it was not trained here, so none are known",
            "--data FOLDER, a folder of pictures",
        )
    try:
        opened = open_with_data(classifier, compute, source, call=verb + " {} --data DATA")
    except OtherClasses as error:
        if folder is None:
            raise
        say(f"{error.what}: answers are compared, and no accuracy is told")
        return _without_labels(classifier, folder, pictures_below(folder), count, calibrating)
    training = opened.training
    called = "test" if opened.data.test else "validation" if opened.validation else "training"
    judged = drawn(opened.data.test or opened.validation or training, count)
    calibration = drawn(training, calibrating, seed=1)
    if called == "training":
        rows = drawn(training, count + calibrating)
        judged, calibration = _parted(rows, min(count, (len(rows) + 1) // 2))
    where = f"{len(judged):,} {called} pictures of {opened.data.name}"
    is_learnt = opened.same and called == "training"
    seen = len(judged) if is_learnt else count_learnt(judged.pictures, opened, read_known(classifier.file.parent))
    return RealPictures(where, judged.pictures, judged.labels, calibration.pictures, seen)


def _loose(folder: Path) -> list[str]:
    """Return the pictures that lie in the folder itself, in no class's."""
    return [name for name in pictures_below(folder) if "/" not in name]


def _without_labels(
    classifier: Classifier, folder: Path, names: list[str], count: int, calibrating: int
) -> RealPictures:
    """Take both evenly from the whole folder: names beside each other are of one class, or of one day."""
    apart = _evenly(names, min(calibrating, len(names) // 2))
    rest = _evenly(sorted(set(names).difference(apart)), count)
    judged, calibration = (FolderPictures(str(folder), some) for some in (rest, apart))
    seen = count_known(judged, read_known(classifier.file.parent))
    return RealPictures(f"{len(rest):,} pictures in {folder.name}", judged, None, calibration, seen)


def _evenly(names: list[str], count: int) -> list[str]:
    return [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int).tolist()]


def _parted(split: Split, first: int) -> tuple[Split, Split]:
    rows = np.arange(len(split))
    return split.take(rows[::2][:first]), split.take(np.setdiff1d(rows, rows[::2][:first]))


def by_size(real: RealPictures) -> RealPictures:
    """Return the same pictures, those judged ordered by their sides: an exported graph, which takes whole ones, can be
    asked about many of one size at a time, and engines take time for each new size (BrokenPicture if one is none)."""
    headers = [header(real.judged.encoded(row), real.judged.name(row)) for row in range(len(real.judged))]
    order = np.array(sorted(range(len(headers)), key=lambda row: (headers[row].height, headers[row].width)), np.int64)
    return real._replace(judged=Subset(real.judged, order), labels=None if real.labels is None else real.labels[order])


def decoded(pictures: Pictures, view: View) -> Iterator[list[Pixels]]:
    """Yield the pictures in order, those that follow each other and are of one size together, at most BATCH."""

    def some(rows: range) -> list[Pixels]:
        return [decode(pictures.encoded(row), pictures.name(row), span=view.greys) for row in rows]

    waiting: list[Pixels] = []
    for chunk in in_threads(len(pictures), some):
        for picture in chunk:
            if waiting and (picture.shape != waiting[0].shape or len(waiting) == _most(picture)):
                yield waiting
                waiting = []
            waiting.append(picture)
    if waiting:
        yield waiting


def _most(picture: Pixels) -> int:
    return max(1, min(BATCH, PIXELS * 3 // picture.size))
