"""The verb `bench`: how fast each engine answers for a model here, how well, and which one answers from now on.

Letters: N pictures, S the side of a view in pixels, K classes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.choices import EngineName, EnginePrecision
from residuum.compute import choose_compute, say_if_busy
from residuum.console import say, show_progress
from residuum.data.labels import Labels
from residuum.engines import kept
from residuum.engines.choose import open_engine
from residuum.engines.contract import Engine
from residuum.engines.versions import EXTRAS, versions
from residuum.errors import UserError
from residuum.evaluation.exported import views_of
from residuum.exporting.deciding import NOISE, better_founded, decided
from residuum.exporting.parity import agreement, answers, refused
from residuum.exporting.quantise import CALIBRATION, write_int8
from residuum.exporting.race import BATCHES, Turns, Way, race, warmed_up
from residuum.exporting.real_pictures import RealPictures, open_pictures
from residuum.files import CannotWrite, short_digest
from residuum.loading import Classifier, load_for
from residuum.outward_settings import BenchSettings
from residuum.plain_data import command_line, explicit, flag
from residuum.records.engines import Agreement, EngineChoice, EngineTiming
from residuum.runs import model_path
from residuum.version import installing

WAYS: tuple[Way, ...] = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)
"""The run's own first: the others are held against it."""
HOPELESS = 8
"""A way that takes so many times as long as the fastest in float32 before it, for each batch, is neither asked nor
timed further."""


@dataclass(frozen=True)
class Tried:
    """One way to compute, opened, and held against the run's own answers."""

    engine: Engine
    ms: dict[int, float]
    """Of a batch, by how many views it has, once it was warmed up."""
    agreement: Agreement | None = None
    refused: str | None = None


def bench(settings: BenchSettings) -> EngineChoice:
    """Time every engine that is installed, and remember the fastest whose answers agree with the run's own: to
    rounding, in float32, or as far as their bound asks in the numbers that are allowed besides. What answered before
    stays where nothing was faster in every round, or where it was chosen on better grounds. With `forget` nothing is
    timed; what is forgotten is returned.

    Raises:
        UserError: there is no such model, a picture cannot be read, or what is allowed cannot be tried; or nothing was
            chosen that could be forgotten.
    """
    if settings.forget:
        return _forgotten(settings)
    classifier = load_for("bench", settings.model)
    real = _pictures(classifier, settings)
    ways = _possible(real)
    _refuse_what_cannot_be_tried(settings, real, ways)
    view, threads = classifier.about.preprocessing, settings.threads or machine.cores()
    views = views_of(real.judged, view) if real else _noise(view.image_size)
    tried = _tried(classifier, ways, views, real, threads)
    allowed: set[EnginePrecision] = {"float32", *settings.allow}
    racing = {way: one.engine for way, one in tried.items() if one.refused is None}
    began, waited = time.perf_counter(), machine.seconds_waited()
    rounds = race(racing, views, {way for way in racing if way[1] in allowed})
    share = min(1.0, say_if_busy("bench", began, waited))
    timings = [_timing(way, one, rounds.get(way, {})) for way, one in tried.items()]
    timings.sort(key=lambda one: _mean(one.ms))
    return _chosen(classifier, real, timings, threads, allowed, share)


def _forgotten(settings: BenchSettings) -> EngineChoice:
    if others := [flag(name) for name in explicit(settings) if name not in {"model", "forget"}]:
        raise UserError(f"--forget times nothing, so {', '.join(others)} cannot be heeded", "", "leave one of them out")
    if settings.model is None:
        raise UserError("which model?", "", "residuum bench MODEL --forget")
    found = kept.forget_choice(short_digest(model_path(Path(settings.model))))
    if found is None:
        why = "bench has chosen nothing on this machine with these versions: torch answers in float32"
        raise UserError(f"nothing is kept of {settings.model} to forget", why)
    return found


def _pictures(classifier: Classifier, settings: BenchSettings) -> RealPictures | None:
    if settings.data is None and classifier.about.data is None:
        if not settings.allow:
            say("no pictures are known for this model: only float32 is chosen from; name some with --data")
        return None
    compute = choose_compute("cpu", "float32", threads=settings.threads)
    return open_pictures(classifier, compute, settings.data, settings.pictures, CALIBRATION, "bench")


def _noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (BATCHES[-1], side, side, 3), np.uint8)


def _possible(real: RealPictures | None) -> list[Way]:
    """Return the ways that what is installed allows; int8 needs pictures to measure its ranges on."""
    installed = versions()
    ways = [way for way in WAYS if way[0] == "torch" or {way[0], "onnx"} <= installed.keys()]
    ranges = real is not None and len(real.calibration) > 0 and "nncf" in installed
    return [way for way in ways if way[1] != "int8" or ranges]


def _refuse_what_cannot_be_tried(settings: BenchSettings, real: RealPictures | None, ways: list[Way]) -> None:
    """Refuse to allow numbers in which nothing would be tried (UserError)."""
    for precision in settings.allow:
        what = f"--allow {precision}: there is nothing to try it on"
        if real is None:
            why = "no pictures are known for this model, and only they tell how many answers stay"
            raise UserError(what, why, command_line("bench", replace(settings, data="PICTURES")))
        if precision in {way[1] for way in ways}:
            continue
        if not len(real.calibration):
            raise UserError(what, "a single picture leaves none to measure its ranges on", "--data with more pictures")
        absent = next(package for package in ("nncf", "onnx", "openvino") if package not in versions())
        raise UserError(f"--allow {precision}: {absent} is not here", "", installing(EXTRAS[absent]))


# --- opening and asking --------------------------------------------------------------------------


def _tried(
    classifier: Classifier, ways: list[Way], views: NDArray[np.uint8], real: RealPictures | None, threads: int
) -> dict[Way, Tried]:
    """Open each way to compute, and hold its answers to the views (N, S, S, 3) against the run's own."""
    progress = show_progress(f"asking {len(ways)} ways to compute about {real.where if real else NOISE}")
    found, own, total = dict[Way, Tried](), np.zeros(0, np.float32), len(ways) * len(views)
    for number, (name, precision) in enumerate(ways):
        progress(number * len(views), total)
        if precision == "int8" and real:
            _int8(classifier, name, real)
        engine = open_engine(classifier.file, name, precision, "cpu", threads).engine
        one = Tried(engine, warmed_up(engine, views))
        if why := _no_use(one, list(found.values()), real):
            found[name, precision] = replace(one, refused=why)
            continue
        batches = _batches(views, number * len(views), total, progress)
        theirs = answers(batches, partial(_probabilities, engine))
        own = own if found else theirs
        labels = real.labels if real else None
        found[name, precision] = _held(one, own, theirs, labels, classifier.several) if found else one
    progress(total, total)
    return found


def _int8(classifier: Classifier, engine: EngineName, real: RealPictures) -> None:
    to = kept.folder(classifier.digest) / kept.INT8[engine]
    if not kept.is_whole(to):
        say(f"measuring the ranges of int8 for {engine} on {len(real.calibration)} pictures")
        graph = kept.graph(classifier.file, classifier.digest)
        calibration = views_of(real.calibration, classifier.about.preprocessing)
        write_int8(graph, engine, calibration, classifier.spec.activation, to)
        kept.seal_graph(to)


def _no_use(one: Tried, before: list[Tried], real: RealPictures | None) -> str | None:
    """Return why a way to compute is not asked; None if it is."""
    exact = [other.ms for other in before if other.engine.precision == "float32"]
    if real is None and one.engine.precision != "float32":
        return "no pictures say whether its answers agree"
    if exact and all(ms > HOPELESS * min(other[batch] for other in exact) for batch, ms in one.ms.items()):
        return f"not asked: it takes more than {HOPELESS} times as long as another"
    return None


def _batches(
    views: NDArray[np.uint8], before: int, total: int, progress: Callable[[int, int], None]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the views in batches, and tell how many of all have been answered, those before them too."""
    for start in range(0, len(views), BATCHES[-1]):
        progress(before + start, total)
        yield views[start : start + BATCHES[-1]]


def _probabilities(engine: Engine, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    return engine(views).probabilities


def _held(
    one: Tried, own: NDArray[np.float32], theirs: NDArray[np.float32], labels: Labels | None, several: bool
) -> Tried:
    """Hold answers (N, K) against the run's own."""
    found = agreement(one.engine.precision, own, theirs, labels, several=several)
    return replace(one, agreement=found, refused=refused(found))


# --- choosing ------------------------------------------------------------------------------------


def _timing(way: Way, one: Tried, rounds: Turns) -> EngineTiming:
    return EngineTiming(
        engine=way[0],
        precision=way[1],
        ms={batch: statistics.median(times) for batch, times in rounds.items()} or one.ms,
        agreement=one.agreement,
        refused=one.refused,
        rounds={batch: tuple(times) for batch, times in rounds.items()},
    )


def _mean(ms: dict[int, float]) -> float:
    return statistics.geometric_mean(ms.values())


def _chosen(
    classifier: Classifier,
    real: RealPictures | None,
    timings: list[EngineTiming],
    threads: int,
    allowed: set[EnginePrecision],
    waited: float,
) -> EngineChoice:
    """Decide what answers from now on, and remember it, unless what was chosen before is better founded."""
    before, pictures = kept.choice(classifier.digest), real.where if real else NOISE
    best, why = decided(timings, allowed, before, pictures, waited)
    is_as_before = before is not None and best.way == (before.engine, before.precision)
    stays = is_as_before and better_founded(before, pictures, waited) is not None
    choice = EngineChoice(
        model=classifier.name,
        digest=classifier.digest,
        pictures=pictures,
        timings=tuple(timings),
        engine=best.engine,
        precision=best.precision,
        threads=before.threads if before and stays else threads,
        environment=machine.environment(),
        versions=versions(),
        waited=waited,
        before=(before.engine, before.precision) if before else None,
        stays=why,
    )
    if not stays:
        _keep(choice)
    return choice


def _keep(choice: EngineChoice) -> None:
    try:
        kept.keep_choice(choice)
    except CannotWrite as error:
        say(f"the choice is not kept, torch answers as before: {error.what}")
