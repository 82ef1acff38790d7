"""Names of classes: their order, and how one data set's are matched to another's or to a net's."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.console import say
from residuum.data.contract import ImageData, Split
from residuum.data.labels import Labels, counts, is_several
from residuum.errors import UserError, listed


class OtherClasses(UserError):  # noqa: N818 - as UserError is what people see
    """Pictures have classes that a model does not know."""


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key to sort names by in which numbers count as numbers: 1, 2, 10."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name))
    # A number is compared by its length, then its digits: no number is too long for that.
    numbers = (part.lstrip("0") for part in parts)
    key = [(len(n), n) if i % 2 else (0, part) for i, (part, n) in enumerate(zip(parts, numbers, strict=True))]
    return key, name


def differences(ours: Iterable[str], theirs: Iterable[str]) -> str:
    """Say which names are missing from `theirs` and which it has too many; empty where they agree."""
    missing = sorted(set(ours) - set(theirs), key=natural_key)
    extra = sorted(set(theirs) - set(ours), key=natural_key)
    said = [f"it lacks {listed(missing)}"] if missing else []
    said += [f"training lacks {listed(extra)}"] if extra else []
    return "; ".join(said)


def refuse_one_class(place: object, classes: Sequence[str]) -> None:
    """Refuse a data set with less than two classes (UserError)."""
    if len(classes) == 1:
        raise UserError(
            f"{place} holds only one class, {classes[0]!r}",
            "with one class every answer is right, so there is nothing to learn",
            "put it beside another class, in one folder: a net knows the classes that it is trained on, all of them",
        )


def refuse_nothing_to_learn(place: object, classes: Sequence[str], labels: Labels) -> None:
    """Refuse training pictures that all show the same: one class, or of several labels the same ones (UserError)."""
    shown = counts(labels, len(classes))
    if not is_several(labels):
        refuse_one_class(place, [name for name, count in zip(classes, shown, strict=True) if count])
    elif not ((shown > 0) & (shown < len(labels))).any():
        what = "show no class" if not shown.any() else f"show {listed(classes, 3)}"
        raise UserError(
            f"all training pictures of {place} {what}",
            "so there is nothing to learn",
            "give pictures that show a class and others that do not",
        )


def numbered_as(data: ImageData, classes: Sequence[str]) -> ImageData:
    """Number the labels of all splits as `classes` are, by name; some of these may be missing.

    Raises:
        OtherClasses: pictures have classes that are not among them.
    """
    if tuple(data.classes) == tuple(classes):
        return data
    place = {name: number for number, name in enumerate(classes)}
    shown = [counts(split.labels, len(data.classes)) for split in data.splits().values()]
    used = {name for each in shown for name, count in zip(data.classes, each, strict=True) if count}
    if unknown := sorted(used - set(classes), key=natural_key):
        known = {name.casefold(): name for name in classes}
        alike = [f"{name!r} is there spelled {known[low]!r}" for name in unknown if (low := name.casefold()) in known]
        raise OtherClasses(
            f"the model does not know all classes of {data.source}",
            f"it knows {listed(classes, 10)}, but not {listed(unknown, 10)}",
            "; ".join(alike[:5]) or "give pictures of its classes alone, called as these are in folders or table",
        )
    numbers = np.array([place.get(name, -1) for name in data.classes], np.int64)
    splits: dict[str, Any] = {
        name: Split(split.pictures, _renumbered(split.labels, numbers, len(classes)))
        for name, split in data.splits().items()
    }
    if data.several and (absent := [name for name in classes if name not in used]):
        say(f"note: no picture of {data.source} shows {listed(absent, 5)}: where such are called, it counts as wrong")
    return replace(data, classes=classes, **splits)


def _renumbered(labels: Labels, numbers: NDArray[np.int64], num_classes: int) -> Labels:
    """Give each class the number that stands in its place, -1 where no picture shows it."""
    if not is_several(labels):
        return numbers[labels]
    found = np.zeros((len(labels), num_classes), labels.dtype)
    found[:, numbers[numbers >= 0]] = labels[:, numbers >= 0]
    return found
