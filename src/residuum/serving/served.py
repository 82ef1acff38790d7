"""A model that is served: from a picture's bytes to what is said of it. None of it is about HTTP.

Letters: B pictures, S the side of a square view.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from msgspec import convert, structs
from numpy.typing import NDArray

from residuum import machine
from residuum.data.decode import BrokenPicture, decode
from residuum.data.labels import CALLED
from residuum.data.resize import evaluation_view
from residuum.errors import UserError
from residuum.outward_settings import ServeSettings
from residuum.prediction.answer import Answer
from residuum.prediction.predictor import Predictor, load
from residuum.runs import EXPORTED, exported_file
from residuum.serving.desk import Work
from residuum.serving.replies import Example, Model, Net

if TYPE_CHECKING:
    from residuum.explanation.live import Switched
    from residuum.records.explained import ExplainedPicture
    from residuum.serving.examples import Picture

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
MOST_SCANS = 100
"""A JPEG of more passes is refused: each may go over the whole picture, for minutes in all."""
LONGEST_TRIED = 1.0
"""Seconds after which what is timed is not tried again."""
HEAT_MAPS = {"Grad-CAM": 1, "RISE": 100}
"""Heat maps by name, and how many passes of the net each takes; the first is drawn where none is named."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model, ready to answer, and each thing it does as work for the desk.

    `predict` takes (view, top, call_from), `heat` (view, class or None, top), by the map's name, and `switch` a view
    and what else explanation/live.py's `switched` is told. Where the net is not here, but only what an engine makes of
    it, there is only the first.
    """

    name: str
    place: Path
    predictor: Predictor
    digest: str
    """Of the file as it was read."""
    pixels: int
    predict: Work
    heat: dict[str, Work] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)
    """How many answers' time of the processor each map took when the model was opened."""
    least: dict[str, float] = field(default_factory=dict)
    """The seconds that each map takes at the least, on all cores of a machine that does nothing else."""
    switch: Work | None = None
    net: Net = field(default_factory=Net)
    examples: tuple[Picture, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by class number."""
        return self.predictor.classes

    @property
    def blank(self) -> tuple[NDArray[np.uint8], int, float]:
        """Return what `predict` can be timed with."""
        side = self.predictor.model.view.image_size
        return np.zeros((side, side, 3), np.uint8), 1, CALLED

    def expected(self, kind: str) -> float:
        """Return how many seconds a map is expected to take: by its own last times, or by what answers take now.

        The less: a map that was timed while others computed, and refused since, is not timed again.
        """
        return min(self.heat[kind].seconds, self.answers[kind] * self.predict.seconds)

    def view(self, encoded: bytes, *, is_cut: bool = False) -> NDArray[np.uint8]:
        """Return the square (S, S, 3) that the net sees of an encoded picture; `is_cut`: the picture is that square.

        Raises:
            BrokenPicture: the bytes are no picture, are damaged, announce too many pixels, or too many passes.
        """
        if encoded[:2] == b"\xff\xd8" and encoded.count(b"\xff\xda") > MOST_SCANS:  # FF DA begins a pass, nothing else
            why = f"it is stored in more than {MOST_SCANS} passes"
            raise BrokenPicture("cannot read the picture that was sent", why)
        how = self.predictor.model.view
        pixels = decode(encoded, "that was sent", self.pixels, how.greys)
        if is_cut and pixels.shape[:2] == (how.image_size, how.image_size):
            return pixels
        return evaluation_view(pixels, how.image_size, how.resize_to, how.interpolation)

    def about(self) -> Model:
        """Return what there is to know of it."""
        at = f"/v1/models/{quote(self.name, safe='')}/examples/"
        return Model(
            name=self.name,
            classes=list(self.classes),
            several=self.predictor.several,
            digest=self.digest,
            engine=self.predictor.engine.name,
            precision=self.predictor.engine.precision,
            image_size=self.predictor.model.view.image_size,
            **structs.asdict(self.net),
            examples=[Example(name=one.name, url=f"{at}{i}") for i, one in enumerate(self.examples)],
        )


def open_served(name: str, place: Path, settings: ServeSettings) -> Served:
    """Open a model, and time what it does (UserError if it cannot be opened)."""
    predictor = load(
        place,
        engine=settings.engine,
        precision=settings.precision,
        device=settings.device,
        threads=settings.threads,
    )
    computes_on = 0 if predictor.leaves_the_processor else min(predictor.threads or machine.cores(), machine.cores())
    predict = Work(partial(_predicted, predictor), settings.batch, cores=computes_on)
    pixels = round(settings.megapixels * 1e6)
    served = Served(name or _called(place, predictor), place, predictor, predictor.digest, pixels, predict)
    answering = _time(predict, served.blank)
    blank = served.blank[0]
    try:
        spec = predictor.spec
    except UserError:  # what an engine makes of a net, without the net
        return served
    from residuum.explanation.live import net_as_json  # torch comes with these
    from residuum.serving.examples import examples_of

    heat = {kind: Work(partial(_heated, predictor, kind), 1, cores=machine.cores()) for kind in HEAT_MAPS}
    switch = Work(partial(_switched, predictor), 1, cores=machine.cores())
    mapping, switching = _time(heat["Grad-CAM"], (blank, None, 1)), _time(switch, {"view": blank})
    passes = HEAT_MAPS["RISE"] / 2  # till it has been done
    heat["RISE"].seconds = passes * switch.seconds
    taken = {"Grad-CAM": mapping, "RISE": passes * switching}
    answers = {kind: seconds / max(answering, 1e-9) for kind, seconds in taken.items()}
    return replace(
        served,
        net=convert(net_as_json(spec), Net),
        examples=examples_of(predictor, settings.examples),
        heat=heat,
        answers=answers,
        least={kind: seconds / machine.cores() for kind, seconds in taken.items()},
        switch=switch,
    )


def _called(place: Path, predictor: Predictor) -> str:
    """Return what a model is called after: as results of it are; an export after its folder, as it stands beside the
    run."""
    export = exported_file(place)
    if export is None:
        return predictor.name
    file = export[1].resolve()
    return file.parent.name if file.name in EXPORTED.values() else file.stem


def _time(work: Work, payload: Any) -> float:
    """Have the work done before it is asked for: its time is known, and the first request waits for no preparation.

    Return the processor's seconds for a picture, which what others compute meanwhile hardly changes.
    """
    busy = 0.0
    for pictures in sorted({1, work.most}):
        work.run([payload] * pictures)
        tries = [*_tried(partial(work.run, [payload] * pictures))]
        work.seconds, busy = (min(each) / pictures for each in zip(*tries, strict=True))
    return busy


def _tried(work: Callable[[], object]) -> Iterator[tuple[float, float]]:
    """Yield the seconds, and the processor's, of up to three tries, of which no busy moment spoils all; of slow work,
    of fewer.
    """
    until = time.perf_counter() + LONGEST_TRIED
    for _ in range(3):
        began, busy = time.perf_counter(), time.process_time()
        work()
        now = time.perf_counter()
        yield now - began, time.process_time() - busy
        if now > until:
            return


def _predicted(predictor: Predictor, asked: Sequence[tuple[NDArray[np.uint8], int, float]]) -> list[Answer]:
    views, tops, lowest = zip(*asked, strict=True)
    predictor = replace(predictor, call_from=min(lowest))
    return predictor.answers_of([""] * len(asked), np.stack(views), max(tops))


def _heated(
    predictor: Predictor, kind: str, asked: Sequence[tuple[NDArray[np.uint8], str | None, int]]
) -> list[ExplainedPicture]:
    from residuum.prediction.explaining import explained_pictures

    classifier = predictor.classifier
    return [one for view, of, top in asked for one in explained_pictures(classifier, [""], [view], of, top, [kind])]


def _switched(predictor: Predictor, asked: Sequence[dict[str, Any]]) -> list[Switched]:
    from residuum.explanation.live import switched

    return [switched(predictor.classifier, **one) for one in asked]
