"""A smaller net sees other features than the whole one did: those of the training pictures, computed anew, so that it
still says "unsure".

Letters: M training pictures that are compared with, D features.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from residuum.console import say
from residuum.evaluation.likeness import NEIGHBOURS, UNSURE, directions, distances, kept_rows, threshold
from residuum.evaluation.opening import NetWithData
from residuum.models.resnet import ResNet
from residuum.records.review import Likeness

Directions = NDArray[np.floating[Any]]


@torch.inference_mode()
def known_to(net: ResNet, opened: NetWithData, seed: int) -> tuple[Likeness, Directions] | None:
    """Return from where on a picture is unlike those trained on, to a net made of the `opened` one by leaving out
    blocks, and the (M, D) directions compared with. Each of the M was looked up among the others.

    None where the whole net did not know it either, or these are not the pictures that it was trained with.
    """
    if opened.classifier.kept is None:
        return None
    if not opened.same:
        say('the smaller net never says "unsure": these are not the pictures that the whole net was trained with')
        return None
    rows = kept_rows(opened.data.train.labels, seed)
    if len(rows) < 2:
        return None
    shown = replace(opened.classifier, net=net.eval())
    found = [shown.features(batch.images).float().cpu() for batch in opened.loader(opened.data.train.take(rows))]
    kept = directions(np.concatenate([each.numpy() for each in found]))
    apart = distances(kept, kept, NEIGHBOURS, np.eye(len(kept), dtype=np.bool_))
    limit = threshold(apart, UNSURE)
    known = float((apart > limit).mean())
    say(f'answers to pictures unlike those trained on are called "unsure", as before: {known:.1%} of such as these')
    return Likeness(neighbours=NEIGHBOURS, threshold=limit, known=known), kept
