"""The verb `bench`: how fast each engine answers for a model here, how well, and which one answers from now on."""

import math
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.choices import EngineName, EnginePrecision
from residuum.compute import choose_compute, say_if_busy
from residuum.console import say
from residuum.engines import kept
from residuum.engines.choose import open_engine
from residuum.engines.contract import Engine
from residuum.engines.versions import versions
from residuum.evaluation.exported import views_of
from residuum.exporting.export import own_answers
from residuum.exporting.parity import Answering, agreement, answers, refused
from residuum.exporting.quantise import CALIBRATION, write_int8
from residuum.exporting.real_pictures import RealPictures, open_pictures
from residuum.files import CannotWrite
from residuum.loading import Classifier, load_for
from residuum.outward_settings import BenchSettings
from residuum.records.engines import EngineChoice, EngineTiming

WAYS: tuple[tuple[EngineName, EnginePrecision], ...] = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)
BATCHES = (1, 16)
SECONDS = 1.0
"""So long a batch is timed, and at least this often:"""
TIMES = 5
HOPELESS = 8
"""A way that takes so many times as long as the best so far is timed once."""


def bench(settings: BenchSettings) -> EngineChoice:
    """Time every engine that is installed, and remember the fastest whose answers agree with the run's own: to
    rounding, in float32, or as far as their bound asks in the numbers that are allowed besides.

    Raises:
        UserError: there is no such model, or a picture cannot be read.
    """
    classifier = load_for("bench", settings.model)
    compute = choose_compute("cpu", "float32", threads=settings.threads)
    real = _pictures(classifier, settings)
    compute.place(classifier.net)
    view, threads = classifier.about.preprocessing, settings.threads or machine.cores()
    views = views_of(real.judged, view) if real else _noise(view.image_size)
    batches = [views[start : start + BATCHES[-1]] for start in range(0, len(views), BATCHES[-1])]
    own = own_answers(classifier, compute, batches)
    timings: list[EngineTiming] = []
    began, waited = time.perf_counter(), machine.seconds_waited()
    for name, precision in _possible(classifier, real):
        say(f"timing {name} in {precision}")
        if precision == "int8" and real:
            _int8(classifier, name, views_of(real.calibration, view))
        engine = open_engine(classifier.file, name, precision, "cpu", threads).engine
        timings.append(_timed(engine, views, batches, own, real, timings))
    say_if_busy("bench", began, waited)
    return _chosen(classifier, real, timings, threads, {"float32", *settings.allow})


def _pictures(classifier: Classifier, settings: BenchSettings) -> RealPictures | None:
    if settings.data is None and classifier.about.data is None:
        say("no pictures are known for this model: only float32 is chosen from; name some with --data")
        return None
    compute = choose_compute("cpu", "float32", threads=settings.threads)
    return open_pictures(classifier, compute, settings.data, settings.pictures, CALIBRATION, "bench")


def _noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (BATCHES[-1], side, side, 3), np.uint8)


def _possible(classifier: Classifier, real: RealPictures | None) -> list[tuple[EngineName, EnginePrecision]]:
    """Return the ways that what is installed allows; int8 needs pictures."""
    installed = versions()
    ways = [way for way in WAYS if way[0] == "torch" or {way[0], "onnx"} <= installed.keys()]
    return [way for way in ways if way[1] != "int8" or (real is not None and "nncf" in installed)]


def _int8(classifier: Classifier, engine: EngineName, calibration: NDArray[np.uint8]) -> None:
    to = kept.folder(classifier.digest) / kept.INT8[engine]
    if not kept.is_whole(to):
        graph = kept.graph(classifier.file, classifier.digest)
        write_int8(graph, engine, calibration, classifier.spec.activation, to)
        kept.seal_graph(to)


def _timed(
    engine: Engine,
    views: NDArray[np.uint8],
    batches: list[NDArray[np.uint8]],
    own: NDArray[np.float32],
    real: RealPictures | None,
    before: list[EngineTiming],
) -> EngineTiming:
    """Time one engine, and hold its answers against the run's own."""
    ms = {}
    for batch in BATCHES:
        best = min((one.ms[batch] for one in before), default=math.inf)
        ms[batch] = _milliseconds(engine, np.resize(views, (batch, *views.shape[1:])), best)
    is_own = (engine.name, engine.precision) == ("torch", "float32")
    found, why = None, None
    if not is_own and real is None and engine.precision != "float32":
        why = "no pictures say whether its answers agree"
    elif not is_own:
        answering: Answering = lambda some: engine(some).probabilities  # noqa: E731
        found = agreement(engine.precision, own, answers(batches, answering), real.labels if real else None)
        why = refused(found)
    return EngineTiming(engine=engine.name, precision=engine.precision, ms=ms, agreement=found, refused=why)


def _milliseconds(engine: Engine, views: NDArray[np.uint8], best: float) -> float:
    """Return the median time that a batch takes, once it has been warmed up."""
    times, began = list[float](), time.perf_counter()
    while len(times) <= TIMES or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        engine(views)
        times.append(1000 * (time.perf_counter() - start))
        if len(times) > 1 and min(times) > HOPELESS * best:
            break
    return statistics.median(times[1:])


def _chosen(
    classifier: Classifier,
    real: RealPictures | None,
    timings: list[EngineTiming],
    threads: int,
    allowed: set[EnginePrecision],
) -> EngineChoice:
    """Remember the fastest of those allowed, by the product of both batches' times."""
    fastest_first = sorted(timings, key=lambda one: math.prod(one.ms.values()))
    best = next(one for one in fastest_first if one.refused is None and one.precision in allowed)
    choice = EngineChoice(
        model=classifier.name,
        digest=classifier.digest,
        pictures=real.where if real else "noise",
        timings=tuple(fastest_first),
        engine=best.engine,
        precision=best.precision,
        threads=threads,
        environment=machine.environment(),
        versions=versions(),
    )
    try:
        kept.keep_choice(choice)
    except CannotWrite as error:
        say(f"the choice is not kept, torch answers as before: {error.what}")
    return choice
