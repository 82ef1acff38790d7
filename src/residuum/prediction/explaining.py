"""Why a net that is held answers so: `explanation` without its page and without the training pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from residuum.data.preprocess import normalise
from residuum.errors import UserError, nearest
from residuum.evaluation.heat_maps import METHODS
from residuum.explanation.explain import Seen, class_number, explained
from residuum.loading import Classifier
from residuum.records.explained import ExplainedPicture


def explained_pictures(
    classifier: Classifier,
    names: list[str],
    views: Sequence[NDArray[np.uint8]],
    of: str | None,
    top: int,
    methods: Sequence[str] | None,
) -> list[ExplainedPicture]:
    """Explain B pictures by their views (S, S, 3) (UserError if there is no such class or method)."""
    for name in methods or ():
        if name not in METHODS:
            raise UserError(f"there is no heat map {name!r}", nearest(name, METHODS))
    chosen = METHODS if methods is None else {name: METHODS[name] for name in methods}
    together = np.stack(views)
    images = normalise(torch.from_numpy(together), classifier.preprocessing)
    seen = Seen(names, together, images)
    return explained(classifier, seen, class_number(of, classifier.classes), top, [()] * len(names), chosen)
