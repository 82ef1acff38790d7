"""A model that is served: from a picture's bytes to what is said of it. None of it is about HTTP.

Letters: S the side of a square view, K classes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray

from residuum.compute import choose_compute
from residuum.data.decode import BrokenPicture, decode, evaluation_view
from residuum.data.preprocess import normalise
from residuum.engines.contract import Engine
from residuum.engines.with_torch import TorchEngine
from residuum.errors import UserError
from residuum.evaluation.heat_maps import METHODS, drawn_over
from residuum.evaluation.likeness import directions, distances
from residuum.loading import Classifier, load
from residuum.records.explained import Heat
from residuum.records.model import View
from residuum.serving.desk import Work
from residuum.serving.replies import Model
from residuum.settings import ServeSettings

MOST_SCANS = 100
"""A JPEG of more passes is refused: each may go over the whole picture, for minutes in all."""
HEAT_SIDE = 224
"""Longest side of a heat map, in pixels."""

Views = Sequence[NDArray[np.uint8]]


class Found(NamedTuple):
    """A picture's probabilities (K,), and why it is unlike those trained on; "" where it is like them or none knows."""

    probabilities: NDArray[np.float32]
    unlike: str


class HeatFound(NamedTuple):
    """Probabilities (K,), the number of the class whose map this is, and the map; None where all of it is zero."""

    probabilities: NDArray[np.float32]
    of: int
    heat: Heat | None


@dataclass(frozen=True, eq=False)
class Served:
    """A model, ready to answer: what computes, and each thing it does, as work for the desk."""

    name: str
    place: Path
    digest: str
    classes: tuple[str, ...]
    seen: View
    engine: Engine
    classifier: Classifier | None
    """The net itself, which heat maps and blocks need; None where only an engine's form of it is here."""
    pixels: int
    predict: Work
    heat: dict[str, Work] = field(default_factory=dict)
    """By method."""

    def view(self, encoded: bytes) -> NDArray[np.uint8]:
        """Return the square (S, S, 3) that the net sees of an encoded picture.

        Raises:
            BrokenPicture: the bytes are no picture, are damaged, announce too many pixels, or too many passes.
        """
        if encoded[:2] == b"\xff\xd8" and encoded.count(b"\xff\xda") > MOST_SCANS:  # FF DA begins a pass, nothing else
            raise BrokenPicture(
                "cannot read the picture", f"it is stored in more than {MOST_SCANS} passes", "save it anew"
            )
        pixels = decode(encoded, "that was sent", self.pixels)
        return evaluation_view(pixels, self.seen.image_size, self.seen.resize_to, self.seen.interpolation)

    def about(self) -> Model:
        """Return what there is to know of it."""
        return Model(
            name=self.name,
            classes=list(self.classes),
            digest=self.digest,
            engine=self.engine.name,
            precision=self.engine.precision,
            image_size=self.seen.image_size,
            blocks=[],
            examples=[],
        )

    def class_number(self, name: str) -> int:
        """Return the class's number (UserError if there is none of this name)."""
        if name not in self.classes:
            raise UserError(f"there is no class {name!r}", "", "GET /v1/models lists the classes")
        return self.classes.index(name)


def open_served(name: str, place: Path, settings: ServeSettings) -> Served:
    """Open a run folder or a model file, and time what it does (UserError if it cannot be opened)."""
    classifier = load(place)
    compute = choose_compute(settings.device, "float32", threads=settings.threads)
    compute.place(classifier.net)
    engine = TorchEngine(classifier, compute)
    served = Served(
        name=name or classifier.name,
        place=place,
        digest=classifier.digest,
        classes=classifier.classes,
        seen=classifier.about.preprocessing,
        engine=engine,
        classifier=classifier,
        pixels=round(settings.megapixels * 1e6),
        predict=Work(partial(_predicted, engine, classifier), settings.batch),
        heat={method: Work(partial(_heated, classifier, method), 1) for method in METHODS},
    )
    _warm_up(served)
    return served


def _warm_up(served: Served) -> None:
    """Let each kind of work be done once, so that its time is known and the first request waits for no preparation."""
    side = served.seen.image_size
    view = np.zeros((side, side, 3), np.uint8)
    for work, payload in [(served.predict, view), *((work, (view, None)) for work in served.heat.values())]:
        for pictures in sorted({1, work.most}):
            work.run([payload] * pictures)
            began = time.perf_counter()
            work.run([payload] * pictures)
            work.seconds = (time.perf_counter() - began) / pictures


def _predicted(engine: Engine, classifier: Classifier, views: Views) -> list[Found]:
    output = engine(np.stack(views))
    return [Found(p, why) for p, why in zip(output.probabilities, _unlike(classifier, output.features), strict=True)]


def _unlike(classifier: Classifier, features: NDArray[np.float32]) -> list[str]:
    likeness = classifier.about.likeness
    if likeness is UNSET or classifier.kept is None:
        return [""] * len(features)
    limit = likeness.threshold
    apart = distances(directions(features), classifier.kept, likeness.neighbours)
    why = "unlike the training pictures: {:.3f} from the nearest, {:.3f} is the limit"
    return [why.format(one, limit) if one > limit else "" for one in apart.tolist()]


def _heated(classifier: Classifier, method: str, payloads: Sequence[Any]) -> list[HeatFound]:
    """Return the map of each (view, class number or None), of the likeliest class where none is asked for."""
    found = []
    for view, of in payloads:
        device = next(classifier.net.parameters()).device
        images = normalise(torch.from_numpy(view[None]).to(device), classifier.preprocessing)
        probabilities = classifier(images)[0].cpu().numpy()
        number = int(probabilities.argmax()) if of is None else of
        heat = METHODS[method](classifier.net, images, torch.tensor([number]))[0]
        found.append(HeatFound(probabilities, number, drawn_over(view, heat, method, HEAT_SIDE)))
    return found
