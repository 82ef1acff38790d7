"""The training pictures that are nearest to a picture, by the features that the last layer reads.

Letters: B pictures, S the side of a square view, N training pictures, D features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum.choices import Views
from residuum.compute import Compute
from residuum.data.batches import Loader
from residuum.data.labels import told
from residuum.data.preprocess import weighted
from residuum.evaluation.mistakes import thumbnail
from residuum.models.resnet import ResNet
from residuum.records.explained import Neighbour
from residuum.training.features import features
from residuum.training.signals import stop_requests


def nearest(
    net: ResNet,
    shown: tuple[Tensor, NDArray[np.uint8] | None],
    training: Loader,
    compute: Compute,
    count: int,
    classes: tuple[str, ...],
) -> list[tuple[Neighbour, ...]]:
    """Return for each of B pictures the `count` nearest training pictures, nearest first, by the net's own views.

    `shown`: what the net is given of them, (B, 3, S, S), and the same as pixels, (B, S, S, 3), by which a picture that
    the net was trained on is known again; None where the pictures looked through are not those it was trained on.

    Raises:
        Stopped: a signal came before the training pictures' features were there.
    """
    images, pixels = shown
    views: Views = "single" if training.preprocessing.views == "shifted" else training.preprocessing.views
    with stop_requests() as asked_to_stop:
        known = features(net, training, compute, asked_to_stop, views)
    with torch.inference_mode():
        parts = [weight * net.features(view) for weight, view in weighted(images, views)]
        seen = torch.stack(parts).sum(0).cpu().numpy()
    similar = cosines(seen, known)
    found = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    split = training.split
    return [
        tuple(
            Neighbour(
                name=split.pictures.name(row),
                truth=told(split.labels, row, classes),
                similarity=float(of_picture[row]),
                thumbnail=thumbnail(view),
                same=pixels is not None and np.array_equal(pixels[place], view),
            )
            for row in rows
            for view in [training.seen(row)]
        )
        for place, (of_picture, rows) in enumerate(zip(similar, found.tolist(), strict=True))
    ]


def cosines(x: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (B, N) cosines of (B, D) and (N, D) features; 0 where there is no direction."""
    one, other = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (x, others))
    return one @ other.T  # type: ignore[no-any-return]
