"""Which pictures the weights that a training starts from have learnt already: of new ones those say nothing."""

from pathlib import Path

import numpy as np

from residuum import runs
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.data.split import kept_aside
from residuum.evaluation.known import BEFORE, NONE, Digests, digests_of, learnt_by, read_known
from residuum.files import Json
from residuum.loading import Classifier
from residuum.records.model import Trained


def learnt_before(start: Classifier | None, data: ImageData, *, by_folds: bool) -> Digests:
    """Return what the pictures are known by, (N,), that the starting weights have learnt, as far as is known: from the
    run that they lie in, or because they were trained with these data.

    `by_folds`: the last layer is fitted anew for each fold, so that what counts is what the part before it has learnt.
    """
    if start is None:
        return NONE
    known = read_known(start.file.parent) if start.file.name == runs.MODEL else {}
    if by_folds and has_fitted_last_layer(start):
        return known.get(BEFORE, NONE)
    return learnt_by(known) if known else _of_the_same_data(start, data)


def has_fitted_last_layer(start: Classifier) -> bool:
    """Say whether the last that was done to a model was to fit its last layer, the rest being frozen."""
    last = start.about.lineage[-1:]
    return bool(last) and isinstance(last[0], Trained) and last[0].recipe == "head"


def _of_the_same_data(start: Classifier, data: ImageData) -> Digests:
    """Return what was trained on of these data, by share and seed of what was kept aside; nothing of others."""
    if start.about.data is None or start.about.data.fingerprint != fingerprint(data):
        return NONE
    asked: Json = start.about.settings or {}
    share = 0.0 if data.validation is not None else asked.get("validation", 0.0)
    cut = kept_aside(data.train.labels, share, asked.get("seed", 0), Path(start.file.parent / runs.SPLIT))
    rows = np.arange(len(data.train)) if cut is None else cut.training
    return digests_of(data.train.take(rows).pictures)
