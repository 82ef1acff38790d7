"""The splits of a data set: what people call them, and how validation is cut from training data."""

from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.errors import UserError

COMMON_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def split_called(name: str) -> SplitName | None:
    """Return the split that goes by `name`, in any case, or None."""
    return COMMON_NAMES.get(name.casefold())


def configuration(file: PurePath) -> str:
    """Return the folder of a file less the folders called like splits: "a" for a/x.png and a/train/x.png."""
    return PurePath(*(part for part in file.parent.parts if not split_called(part))).as_posix()


def cut_validation(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut (N,) labels into sorted training rows and validation rows, in the same shares in each class.

    A class of n >= 2 pictures gives round(fraction·n) of them, at least one, and keeps at least one.

    Raises:
        UserError: fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"cannot keep {fraction} of the training pictures for validation",
            "the share must lie between 0 and 1",
            "--validation 0.1 keeps a tenth",
        )
    counts = np.bincount(labels)
    rounded = np.floor(fraction * counts + 0.5).astype(np.int64)
    wanted = np.minimum(np.maximum(rounded, 1), np.maximum(counts - 1, 0))
    validation = draw_rows(labels, wanted, seed)
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def draw_rows(labels: NDArray[np.int64], wanted: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw `wanted[k]` rows of each class k without putting back; return all of them, sorted.

    Each row gets a random number and each class gives its smallest. The numbers are Philox's raw output,
    which no version of NumPy may change; how a Generator turns them into draws may change.
    """
    uniforms = np.random.Philox(key=seed).random_raw(len(labels))
    order = np.lexsort((uniforms, labels))
    counts = np.bincount(labels, minlength=len(wanted))
    first_of_class = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.arange(len(labels)) - first_of_class
    rows: NDArray[np.int64] = np.sort(order[rank < np.repeat(wanted, counts)])
    return rows
