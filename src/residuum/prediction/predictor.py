"""The object to hold: a trained model, ready to answer, from any number of threads.

Letters: B pictures, K classes, S the side of a square view, D features.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residuum import machine
from residuum.choices import Device, EngineWanted, PrecisionWanted
from residuum.data.labels import CALLED, separator_of
from residuum.data.threads import in_order
from residuum.engines.choose import open_engine
from residuum.engines.described import Described
from residuum.errors import UserError
from residuum.evaluation.likeness import directions, distances
from residuum.prediction.answer import Answer, Unanswered, called_of
from residuum.prediction.pictures import Picture, Source, are_many, fetched_source, sources, view_of
from residuum.runs import exported_file
from residuum.settings import PredictSettings

if TYPE_CHECKING:
    from torch import Tensor

    from residuum.data.preprocess import Preprocessing
    from residuum.engines.contract import Engine, Output
    from residuum.loading import Classifier
    from residuum.models.resnet import ResNet
    from residuum.models.spec import NetSpec
    from residuum.records.explained import ExplainedPicture
    from residuum.records.model import About

BATCH = 16
"""Views in one step of an engine."""
_LOADING = threading.Lock()

Views = NDArray[np.uint8]
Pixels = bytes | Image.Image | NDArray[np.uint8]
T = TypeVar("T")


class Seen(NamedTuple):
    """What an engine is shown of a picture: (S, S, 3)."""

    name: str
    view: Views


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model and the engine that computes its answers: opened once, then asked for as long as it is held.

    Every method may be called from several threads at once. `predict`, `features`, `preprocess` and `explain` take one
    picture (a path, a file's bytes, an image of Pillow's, pixels (H, W, 3)), several, or a folder. For one picture they
    return one thing; for a folder or several a list, or rows of an array.

    What an engine does not need is read when it is first asked for: `classifier`, and with it `net`.
    """

    engine: Engine
    model: Described
    path: Path
    """What was opened: a run folder, a model file or an exported one."""
    threads: int | None = None
    """How many decode pictures; by default as many as there are cores."""
    call_from: float = CALLED
    """Of several labels a picture those are called whose probability is at least this."""
    at_least: float | None = None
    """Of one label a picture an answer is unsure, too, whose likeliest class has less than this."""

    @overload  # NumPy's arrays and text can be iterated over, too
    def predict(self, pictures: Pixels, *, top: int = 5) -> Answer: ...  # type: ignore[overload-overlap]
    @overload  # a path may be a folder's
    def predict(self, pictures: str | Path, *, top: int = 5) -> Answer | Any: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, pictures: Iterable[Picture], *, top: int = 5) -> list[Answer]: ...
    def predict(self, pictures: Picture | Iterable[Picture], *, top: int = 5) -> Answer | list[Answer]:
        """Say what a picture shows: the `top` likeliest classes. A folder's path gives a list.

        A model of several labels a picture answers each class for itself; its answer's `labels` are those called, of a
        probability of `call_from` or more, and all of them are among its classes, though they be more than `top`.

        Raises:
            UserError: a picture cannot be read (`answers` goes on with the others), or is none (BrokenPicture).
        """
        if are_many(pictures):
            return [answered(one) for one in self.answers(pictures, top=top)]
        (source,) = sources(pictures)
        return self.answers_of([source.name], view_of(source, self.model.view)[None], top)[0]

    def answers(self, pictures: Picture | Iterable[Picture], *, top: int = 5) -> Iterator[Answer | Unanswered]:
        """Yield what each picture shows, in their order, or why there is no answer: it cannot be read.

        Files are read ahead and decoded by several threads: of any number of pictures, few are in memory.

        Raises:
            UserError: a folder holds no pictures or cannot be read.
        """
        return self.answers_to(sources(pictures), top)

    def answers_to(self, named: Iterable[Source], top: int = 5) -> Iterator[Answer | Unanswered]:
        """Do the same for pictures that have names already."""
        for batch in self._batches(named):
            good = [one for one in batch if isinstance(one, Seen)]
            views = [one.view for one in good]
            found = iter(self.answers_of([one.name for one in good], np.stack(views), top) if good else ())
            for one in batch:
                yield one if isinstance(one, Unanswered) else next(found)

    def answers_of(self, names: Sequence[str], views: Views, top: int = 5) -> list[Answer]:
        """Answer for B views (B, S, S, 3), cut already, in one step of the engine."""
        output = self.engine(views)
        apart, limit = self._distances(output)
        said = self.engine.name, self.engine.precision
        separator = separator_of(self.classes, self.model.columns.separator)
        kind = partial(
            Answer, several=self.several, separator=separator, call_from=self.call_from, at_least=self.at_least
        )
        return [
            kind(name, *self._likeliest(row, top), far, limit, *said)
            for name, row, far in zip(names, output.probabilities, apart, strict=True)
        ]

    def _likeliest(self, row: NDArray[np.float32], top: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Return the `top` likeliest classes by their probabilities (K,), and of several all called; and theirs."""
        most = max(top, called_of(row.tolist(), self.call_from)) if self.several else top
        best = np.argsort(-row, kind="stable")[:most]
        return tuple(self.classes[number] for number in best.tolist()), tuple(row[best].tolist())

    def features(self, pictures: Picture | Iterable[Picture]) -> NDArray[np.float32]:
        """Return what the last layer reads of a picture, (D,), or of several, (B, D).

        Raises:
            UserError: as `predict`, or there are no pictures.
        """
        if not are_many(pictures):
            (source,) = sources(pictures)
            return np.asarray(self.engine(view_of(source, self.model.view)[None]).features[0])
        steps = [self.engine(np.stack([one.view for one in batch])) for batch in self._views(pictures)]
        return np.concatenate([step.features for step in _some(steps)])

    def view(self, picture: Picture) -> Views:
        """Return the square (S, S, 3) that the engine is shown of a picture (UserError as `predict`)."""
        (source,) = sources(picture)
        return view_of(source, self.model.view)

    def preprocess(self, pictures: Picture | Iterable[Picture]) -> Tensor:
        """Return what `net` is given: of a picture (1, 3, S, S), of several (B, 3, S, S).

        Raises:
            UserError: as `predict`, or there are no pictures.
        """
        import torch

        from residuum.data.preprocess import normalise

        views = np.stack(_some([one.view for batch in self._views(pictures) for one in batch]))
        return normalise(torch.from_numpy(views), self.preprocessing)

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, pictures: Pixels, *, of: str | None = None, top: int = 3, methods: Sequence[str] | None = None
    ) -> ExplainedPicture: ...
    @overload
    def explain(  # type: ignore[overload-overlap]
        self, pictures: str | Path, *, of: str | None = None, top: int = 3, methods: Sequence[str] | None = None
    ) -> ExplainedPicture | Any: ...
    @overload
    def explain(
        self, pictures: Iterable[Picture], *, of: str | None = None, top: int = 3, methods: Sequence[str] | None = None
    ) -> list[ExplainedPicture]: ...
    def explain(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        of: str | None = None,
        top: int = 3,
        methods: Sequence[str] | None = None,
    ) -> ExplainedPicture | list[ExplainedPicture]:
        """Say why a picture is answered so: heat maps by `methods`, the answer after each block; nothing is written.

        torch computes it in float32. `of`: the class whose evidence is shown, by default the likeliest. `methods`: by
        default RISE, the most faithful, of a hundred passes, and Grad-CAM, of one. The training pictures alike are for
        the verb alone (`residuum.explain`).

        Raises:
            UserError: as `predict`; or there is no such class or method, or no net (an exported model).
        """
        from residuum.prediction.explaining import explained_pictures

        found = [
            one
            for batch in self._views(pictures)
            for one in explained_pictures(
                self.classifier, [one.name for one in batch], [one.view for one in batch], of, top, methods
            )
        ]
        return found if are_many(pictures) else found[0]

    def _views(self, pictures: Picture | Iterable[Picture]) -> Iterator[list[Seen]]:
        """Yield views, as many as an engine takes in one step (UserError if one cannot be read)."""
        return ([answered(one) for one in batch] for batch in self._batches(sources(pictures)))

    def _batches(self, named: Iterable[Source]) -> Iterator[list[Seen | Unanswered]]:
        """Yield views, or why there is none, as many as an engine takes in one step.

        Files are read ahead. An engine on the processor wants all cores, and its threads wait for each other: so
        pictures are decoded by all cores between its steps. Beside one that computes elsewhere they are decoded ahead.
        """
        read = in_order(named, _or_why_not(fetched_source), 2 * BATCH)
        see = _or_why_not(lambda source: Seen(source.name, view_of(source, self.model.view)))
        if self.leaves_the_processor:
            yield from _batched(in_order(read, see, 2 * BATCH), BATCH)
            return
        with ThreadPoolExecutor(self.threads or machine.cores()) as pool:
            for batch in _batched(read, BATCH):
                yield list(pool.map(see, batch))

    def _distances(self, output: Output) -> tuple[Sequence[float | None], float | None]:
        """Return each view's distance from the nearest trained on, and the limit; None where neither is known."""
        like, kept = self.model.likeness, self.model.kept
        if like is None or kept is None:
            return [None] * len(output.features), None
        return distances(directions(output.features), kept, like.neighbours).tolist(), like.threshold

    # --- the model, and its net ------------------------------------------------------------------

    @property
    def leaves_the_processor(self) -> bool:
        """Say whether its engine computes elsewhere: torch's alone may."""
        compute = getattr(self.engine, "compute", None)
        return compute is not None and compute.device.type != "cpu"

    @property
    def name(self) -> str:
        """Return what results are called after."""
        return self.model.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by class number."""
        return self.model.classes

    @property
    def several(self) -> bool:
        """Say whether a picture may show any number of the classes, each answered for itself."""
        return self.model.several

    @property
    def digest(self) -> str:
        """Return what a lineage calls the model file."""
        return self.model.digest

    @property
    def file(self) -> Path:
        """Return the model file (UserError where there is none: an exported model)."""
        return self.classifier.file

    @property
    def classifier(self) -> Classifier:
        """Return the net with all that its file says (UserError where there is none: an exported model)."""
        with _LOADING:
            return self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        """The engine's own where torch computes on the processor, else read anew."""
        from residuum.engines.with_torch import TorchEngine
        from residuum.loading import load as load_classifier

        if isinstance(self.engine, TorchEngine) and self.engine.compute.device.type == "cpu":
            return self.engine.classifier
        if exported_file(self.path):
            raise UserError(
                f"{self.path} is an export: it has classes, but no net and no preprocessing to call",
                "its engine does both; how pictures are cut stands in .model.view",
                "load the run or model file that it was exported from",
            )
        return load_classifier(self.path)

    @property
    def net(self) -> ResNet:
        """Return the net as a torch module, on the processor, in evaluation mode."""
        return self.classifier.net

    @property
    def spec(self) -> NetSpec:
        """Return the net's specification."""
        return self.classifier.spec

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how a decoded picture becomes the net's input."""
        return self.classifier.preprocessing

    @property
    def about(self) -> About:
        """Return all that the model file says of itself."""
        return self.classifier.about

    @property
    def kept(self) -> NDArray[np.float32] | None:
        """Return the (M, D) directions that pictures are compared with, where the model knows what they are like."""
        return self.model.kept

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed images to (B, K) probabilities, by `net`."""
        return self.classifier(images)


def load(
    path: str | Path,
    *,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
    call_from: float = CALLED,
    at_least: float | None = None,
) -> Predictor:
    """Open a run folder, a model file or an exported model (UserError if there is none, or no such engine here, or
    `call_from` or `at_least` is no probability, or the latter is told of several labels a picture)."""
    told = PredictSettings(call_from=call_from, at_least=at_least)
    opened = open_engine(Path(path), engine, precision, device, threads)
    if opened.model.several and told.at_least is not None:
        why = f"{path} answers each label of a picture for itself"
        raise UserError(
            "--at-least is for one label a picture", why, "--call-from says from where on labels are called"
        )
    return Predictor(opened.engine, opened.model, Path(path), threads, told.call_from, told.at_least)


def answered(one: T | Unanswered) -> T:
    """Return an answer, or raise why there is none (UserError)."""
    if isinstance(one, Unanswered):
        raise one.error
    return one


def _some(found: Sequence[T]) -> Sequence[T]:
    if not found:
        raise UserError("there are no pictures in what was given", "", "give at least one")
    return found


def _or_why_not(work: Callable[[Source], T]) -> Callable[[Source | Unanswered], T | Unanswered]:
    def done(one: Source | Unanswered) -> T | Unanswered:
        if isinstance(one, Unanswered):
            return one
        try:
            return work(one)
        except UserError as error:
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold the picture
            return Unanswered(one.name, error)

    return done


def _batched(each: Iterator[T], count: int) -> Iterator[list[T]]:
    while some := list(islice(each, count)):
        yield some
