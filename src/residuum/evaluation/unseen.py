"""out-of-fold.safetensors: what a head that has not seen it answered to each training picture, and what those pictures
look like to the net. Sealed, as a model file is.

Letters: N pictures, D features, K classes, M pictures kept to compare with.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from residuum.data.labels import Labels, is_several
from residuum.errors import UserError
from residuum.files import write_whole
from residuum.models.file import KEY, read_tensors, sealed
from residuum.records.codec import from_json, with_version
from residuum.records.review import OutOfFold


@dataclass(frozen=True)
class Unseen:
    """Each training picture's answer from a head that has not seen it."""

    about: OutOfFold
    labels: Labels  # (N,), or (N, K)
    probabilities: NDArray[np.float32]  # (N, K)
    distances: NDArray[np.float32]  # (N,), to the nearest pictures of other folds
    kept: NDArray[np.float16]  # (M, D), directions


def write_unseen(path: Path, unseen: Unseen) -> None:
    """Write the file, whole or not at all (UserError where it cannot be)."""
    arrays = {name: getattr(unseen, name) for name in ("labels", "probabilities", "distances", "kept")}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    write_whole(path, sealed(tensors, {KEY: json.dumps(with_version(unseen.about), ensure_ascii=False)}))


def read_unseen(path: Path) -> Unseen:
    """Read the file (UserError if it is missing, damaged or not such a file)."""
    tensors, metadata = read_tensors(path)
    try:
        about = from_json(json.loads(metadata.get(KEY, "")), OutOfFold, f"what {path} says of itself")
        unseen = Unseen(about, **{name: tensor.numpy() for name, tensor in tensors.items()})
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} does not hold answers out of fold", str(error), "train again") from error
    n, k = len(about.names), len(about.classes)
    of_labels = ((n, k), "u1") if is_several(unseen.labels) else ((n,), "i8")
    expected = {"labels": of_labels, "probabilities": ((n, k), "f4"), "distances": ((n,), "f4")}
    fit = all((getattr(unseen, name).shape, getattr(unseen, name).dtype) == its for name, its in expected.items())
    known = np.arange(2 if is_several(unseen.labels) else k)
    if not fit or unseen.kept.ndim != 2 or not np.isin(unseen.labels, known).all():
        raise UserError(f"{path} is damaged", "its answers do not fit its names and classes", "train again")
    return unseen
