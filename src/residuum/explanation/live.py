"""One picture put to a net with blocks switched off: what the server's /v1/blocks gives, and its page draws.

Letters: S the side of a square view, in pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum.data.labels import CALLED
from residuum.data.preprocess import normalise
from residuum.errors import UserError, nearest
from residuum.evaluation.mistakes import thumbnail
from residuum.explanation.blocks import (
    answers_with_blocks_off,
    block_names,
    check_off,
    going_off,
    layers_in_block,
    off_at_depth,
)
from residuum.loading import Classifier
from residuum.models.spec import NetSpec


@dataclass(frozen=True)
class Switched:
    """What a net answers for one picture with the blocks `off`, and would behind each block.

    `of` is the class that is followed; `layers` are left on the longest path; `seen` is what the net was shown.
    """

    off: tuple[str, ...]
    layers: int
    of: str
    answers: tuple[tuple[str, float], ...]
    after: tuple[tuple[str, float, tuple[tuple[str, float], ...]], ...]
    """Block, probability of the class `of`, the likeliest answers."""
    seen: NDArray[np.uint8]

    def as_json(self) -> dict[str, Any]:
        """Return {"answers": [{"class", "probability"}, …], "after": [{"block", "probability", "answers"}, …], "of",
        "off", "layers", "seen"}, the last a PNG as a data URI.
        """
        after = [{"block": name, "probability": p, "answers": _as_json(said)} for name, p, said in self.after]
        where = {"of": self.of, "off": list(self.off), "layers": self.layers}
        seen = thumbnail(self.seen, max(self.seen.shape))
        return {"answers": _as_json(self.answers), "after": after, **where, "seen": seen}


def switched(
    classifier: Classifier,
    view: NDArray[np.uint8],
    off: Collection[str] = (),
    depth: int | None = None,
    of: str | None = None,
    top: int = 5,
) -> Switched:
    """Answer for one view (S, S, 3), in float32, with blocks off and, if `depth` is given, those a shallower net lacks.

    `of`: the class whose probability is followed; by default the answer.

    Raises:
        UserError: no such block or class, a block cannot be off, or the net cannot be so deep.
    """
    net, classes, spec = classifier.net, classifier.classes, classifier.spec
    check_off(spec, off)
    gone = {*off, *(off_at_depth(spec, depth) if depth is not None else ())}
    if of is not None and of not in classes:
        raise UserError(f"there is no class {of!r}", nearest(of, classes), "name a class of the model")
    device = next(net.parameters()).device
    images = normalise(torch.from_numpy(view[None]).to(device), classifier.preprocessing)
    views, several = classifier.preprocessing.views, classifier.several
    answered = answers_with_blocks_off(net, images, gone, views, several=several)
    behind = [(name, found[0].cpu()) for name, found in answered]
    answers = _likeliest(behind[-1][1], classes, top, several)
    of = answers[0][0] if of is None else of
    number = classes.index(of)
    after = tuple((name, float(found[number]), _likeliest(found, classes, top, several)) for name, found in behind)
    in_order = tuple(name for name in block_names(spec) if name in gone)
    return Switched(in_order, _layers(spec, len(in_order)), of, answers, after, view)


def _likeliest(
    probabilities: Tensor, classes: tuple[str, ...], top: int, several: bool
) -> tuple[tuple[str, float], ...]:
    """Of several labels a picture all that are called are among them."""
    most = max(top, int((probabilities >= CALLED).sum())) if several else top
    best = probabilities.topk(min(most, len(classes)))
    return tuple((classes[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _as_json(said: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in said]


def _layers(spec: NetSpec, gone: int) -> int:
    """Return how many layers are left on the longest path without `gone` blocks' branches."""
    return spec.depth - gone * layers_in_block(spec)


def net_as_json(spec: NetSpec) -> dict[str, Any]:
    """Return what the page draws of a net: {"depth", "layers_in_block", "shortcut", "blocks"}, the last in order:
    {"name", "can_be_off", "goes", "channels"}.

    `goes`: its place among those that go as the net is made shallower, 1 the first; None for one that stays.
    """
    going = {name: place for place, name in enumerate(going_off(spec), start=1)}
    width = {f"stage{number}": channels for number, channels in enumerate(spec.out_channels, start=1)}
    blocks = [
        {"name": name, "can_be_off": name in going, "goes": going.get(name), "channels": width[name.split(".")[0]]}
        for name in block_names(spec)
    ]
    own = {"depth": spec.depth, "layers_in_block": layers_in_block(spec), "shortcut": spec.shortcut}
    return {**own, "blocks": blocks}
