"""pictures.safetensors: by what each picture of a run is known again, under whatever name, label or folder.

Letters: N pictures of a split.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import runs
from residuum.data.cache import count_seen, picture_digests
from residuum.data.contract import Pictures
from residuum.data.labels import Labels
from residuum.data.split import KEPT_ASIDE, ValidationCut
from residuum.errors import UserError
from residuum.evaluation.opening import NetWithData
from residuum.files import write_whole
from residuum.models.file import read_tensors, sealed
from residuum.records.run import Contents

BYTES = 16
"""Of a picture's SHA-256 that are kept: enough to tell all pictures that there are apart."""

Digests = NDArray[np.bytes_]
"""(N,), of a split's pictures in their order."""
NONE: Digests = np.zeros(0, f"S{BYTES}")
BEFORE = "before"
"""Beside the splits: what the weights had learnt that training started from."""


def digests_of(pictures: Pictures) -> Digests:
    """Return what each picture is known by (UserError: a file cannot be read)."""
    return _known_by(picture_digests(pictures)[:, :BYTES])


def count_conflicts(known: Iterable[Digests], labels: Iterable[Labels]) -> int:
    """Return how many pictures of some splits stand under more than one class, or under different labels."""
    every = np.concatenate(list(known))
    told = [row.tobytes() for of_split in labels for row in of_split]
    each, number, counts = np.unique(every, return_inverse=True, return_counts=True)
    under: list[set[bytes]] = [set() for _ in each]
    for row in np.flatnonzero(counts[number] > 1).tolist():
        under[number[row]].add(told[row])
    return sum(len(kinds) > 1 for kinds in under)


def write_known(run: Path, known: Mapping[str, Digests], before: Digests = NONE) -> Contents:
    """Write what the pictures of each split are known by, and those that were learnt `before`; return what the splits'
    are together."""
    tensors = {name: torch.from_numpy(_rows(each)) for name, each in known.items()}
    tensors |= {BEFORE: torch.from_numpy(_rows(np.unique(before)))} if len(before) else {}
    write_whole(run / runs.PICTURES, sealed(tensors, {}))
    whole = {name: _together(each) for name, each in known.items()}
    return Contents(train=whole["train"], validation=whole.get("validation"), test=whole.get("test"))


def read_known(run: Path) -> dict[str, Digests]:
    """Return what the pictures of each split are known by, and those learnt BEFORE, if any; of a run of 0.1.0, or no
    run, nothing.

    Raises:
        UserError: the file is damaged.
    """
    path = run / runs.PICTURES
    if not (runs.is_run(run) and path.exists()):
        return {}
    tensors, _ = read_tensors(path)
    if any(each.shape[1:] != (BYTES,) or each.dtype != torch.uint8 for each in tensors.values()):
        raise UserError(
            f"{path} is damaged", "it does not hold what pictures are known by", "bring it back, or remove it"
        )
    return {name: _known_by(each.numpy()) for name, each in tensors.items()}


def learnt_by(known: Mapping[str, Digests]) -> Digests:
    """Return what all pictures are known by that a run's net has learnt: in training, or before."""
    return np.concatenate([known["train"], known.get(BEFORE, NONE)])


def are_among(asked: Digests, known: Digests | None) -> NDArray[np.bool_]:
    """Say of each picture asked whether it is one of those known, (N,)."""
    return np.zeros(len(asked), bool) if known is None else np.isin(asked, known)


def rows_among(asked: Digests, known: Digests) -> NDArray[np.int64]:
    """Return where each picture asked, which are all known, stands among these, (N,): at the first of several alike."""
    each, first = np.unique(known, return_index=True)
    found: NDArray[np.int64] = first[np.searchsorted(each, asked)]
    return found


def count_learnt(asked: Pictures, opened: NetWithData, known: Mapping[str, Digests]) -> int:
    """Return how many of the pictures the net was trained on, also before with the weights that training started from:
    by what is known of its run's, or by its own data.

    Raises:
        UserError: a file cannot be read.
    """
    return count_seen(asked, opened.training.pictures) if opened.same and not known else count_known(asked, known)


def count_known(asked: Pictures, known: Mapping[str, Digests]) -> int:
    """Return how many of the pictures a run's net has learnt (UserError as above)."""
    return int(are_among(digests_of(asked), learnt_by(known)).sum()) if known else 0


def with_pictures_kept_aside(opened: NetWithData, known: Mapping[str, Digests]) -> NetWithData:
    """Cut the pictures of a run, where they have other labels now, as training did: those kept aside are not learnt."""
    if opened.same or opened.data.validation is not None or "validation" not in known:
        return opened
    each = digests_of(opened.data.train.pictures)
    learnt, aside = are_among(each, known["train"]), are_among(each, known["validation"])
    if not (learnt | aside).all() or not learnt.any() or not (aside & ~learnt).any():
        return opened
    training, validation = np.flatnonzero(learnt | ~aside), np.flatnonzero(aside & ~learnt)
    return opened._replace(cut=ValidationCut(training, validation, 0.0, 0, KEPT_ASIDE))


def _known_by(rows: NDArray[np.uint8]) -> Digests:
    found: Digests = np.ascontiguousarray(rows).view(f"S{BYTES}").reshape(-1)
    return found


def _rows(each: Digests) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = each.view(np.uint8).reshape(-1, BYTES)
    return found


def _together(each: Digests) -> str:
    return hashlib.sha256(np.sort(each).tobytes()).hexdigest()
