"""What every source of pictures gives, and all that the rest of residuum knows of one.

Letters: N pictures, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.data.labels import Labels, is_several
from residuum.data.picture_files import PassedOver
from residuum.records.run import Skipped
from residuum.setting_parts import OfTable


class ColumnNames(NamedTuple):
    """Which columns of a table to read, and how; None: the usual ones."""

    image: str | None = None
    label: str | None = None
    separator: str | None = None
    """What parts the labels of a picture that shows several classes; None: a text is one label."""

    @staticmethod
    def told(settings: OfTable) -> "ColumnNames":
        """Return those that a verb was told."""
        return ColumnNames(settings.image_column, settings.label_column, settings.label_separator)

    @staticmethod
    def of(settings: Mapping[str, Any] | None) -> "ColumnNames":
        """Return those that a run's settings name."""
        told = settings or {}
        return ColumnNames(told.get("image_column"), told.get("label_column"), told.get("label_separator"))


USUAL_COLUMNS = ColumnNames()


class Pictures(Protocol):
    """N pictures that can be fetched one by one, in any order, from any process."""

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
        """Return the file's bytes, or H×W(×3) uint8 pixels where a source has no files."""
        ...

    def name(self, index: int) -> str:
        """Return what a person would call picture `index`: a path below the root, or a row."""
        ...

    def files(self) -> Sequence[str] | None:
        """Return every file that the pictures are read from, in order, as absolute paths; None: they lie in memory.

        While files stay as they are, what was worked out from them is remembered; pictures in memory are hashed anew.
        """
        ...


@dataclass(frozen=True)
class Subset:
    """The pictures of `whole` at `indices`, in that order."""

    whole: Pictures
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
        """See Pictures."""
        return self.whole.encoded(int(self.indices[index]))

    def name(self, index: int) -> str:
        """See Pictures."""
        return self.whole.name(int(self.indices[index]))

    def files(self) -> Sequence[str] | None:
        """See Pictures; the files of the whole."""
        return self.whole.files()


@dataclass(frozen=True)
class Readable(Subset):
    """Those of `whole` that can be read, where some can not: the others are never looked at again."""

    @property
    def has_own_files(self) -> bool:
        """Say whether each picture is a file, so that others need not be read for these."""
        return len(self.whole.files() or ()) == len(self.whole)

    def files(self) -> Sequence[str] | None:
        """See Pictures."""
        files = self.whole.files()
        return [files[row] for row in self.indices] if files and self.has_own_files else files


@dataclass(frozen=True)
class Split:
    """One split: pictures and what they show, by class numbers, which index the data set's `classes`."""

    pictures: Pictures
    labels: Labels
    """(N,), or (N, K) of several classes a picture: see data/labels.py."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """Return the split made of these rows, in this order."""
        return Split(Subset(self.pictures, indices), self.labels[indices])


@dataclass(frozen=True)
class ImageData:
    """A data set: its class names and up to three splits.

    `classes` comes from the training split alone, so a class number means the same everywhere.
    `source` says where it is: "digits", a folder's absolute path, or a hub name.
    """

    name: str
    source: str
    classes: Sequence[str]
    train: Split
    validation: Split | None = None
    test: Split | None = None
    mirrors: bool = True
    """Whether a picture and its mirror image show the same class (not so for digits and letters)."""
    passed_over: Sequence[PassedOver] = ()
    """Files beside the pictures that are taken for none."""
    skipped: Sequence[Skipped] = ()
    """Pictures that cannot be read, and that it goes on without."""
    greys: tuple[int, int] | None = None
    """The span of the training pictures' greys of more than 8 bits, where it is far below 16 (data/deep.py)."""

    @staticmethod
    def of(name: str, source: str, classes: Sequence[str], splits: Mapping[SplitName, Split]) -> "ImageData":
        """Return the data set of these splits, of which training is one."""
        return ImageData(name, source, classes, splits["train"], splits.get("validation"), splits.get("test"))

    @property
    def several(self) -> bool:
        """Say whether each picture shows any number of classes, instead of one."""
        return is_several(self.train.labels)

    def splits(self) -> dict[str, Split]:
        """Return the splits that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}
