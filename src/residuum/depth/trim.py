"""A net made shallower: its least useful blocks taken out, and what each cut costs and saves, measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from residuum import machine, runs
from residuum.compute import Compute, choose_compute
from residuum.console import say
from residuum.data.batches import Feed
from residuum.depth.choose import asked, check_possible, choose
from residuum.depth.latency import latencies
from residuum.depth.measure import Bench, recalibrated
from residuum.depth.open_model import OpenModel, new_folder, open_model
from residuum.depth.open_pictures import (
    BATCH,
    OpenPictures,
    final_feed,
    measured_on,
    open_pictures,
    recalibration_feed,
    validation_feed,
    walkable,
)
from residuum.depth.remove import most_removable, spec_without
from residuum.depth.repair import UNREPAIRED, repair
from residuum.depth.search import (
    Cut,
    accuracies,
    accuracy_recalibrated,
    least_harmful_first,
    random_order,
)
from residuum.evaluation.evaluate import judge_feed, protocol, scores
from residuum.evaluation.metrics import judge
from residuum.loading import save_classifier
from residuum.models.count import cost
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.codec import write_record
from residuum.records.depth import Chosen, Draw, Point, Target, Trim
from residuum.records.evaluation import Figures
from residuum.records.model import Trimmed
from residuum.settings import TrimSettings


@dataclass(frozen=True)
class Work:
    """One call of `trim`: what it was told, the model, the pictures, and what everything is measured on."""

    settings: TrimSettings
    out: Path
    model: OpenModel
    pictures: OpenPictures
    validation: Feed
    bench: Bench

    @property
    def image_size(self) -> int:
        """Return the side of a picture in pixels."""
        return self.model.classifier.preprocessing.image_size

    @property
    def spec(self) -> NetSpec:
        """Return the whole net's specification."""
        return self.bench.net.spec


def trim(settings: TrimSettings) -> Path:
    """Take blocks out of a trained net; return the folder with the smaller model and trim.json, the whole curve.

    trim.json is written again after every part, so that what was measured outlives an interruption.

    Raises:
        UserError: no such model or data, or the net cannot be made as small or as fast as asked.
    """
    model = open_model(settings.model, "trim")
    target = asked(settings)
    check_possible(target, model.net.spec)
    work = _prepare(settings, model)
    record = _new_record(work, target)

    def keep(**parts: Any) -> None:
        nonlocal record
        record = structs.replace(record, **parts)
        write_record(work.out / runs.TRIM, record)

    for point in _curve(work):
        keep(curve=(*record.curve, point))
    deleted = [point.deleted for point in record.curve if point.deleted]
    for draw in _random_draws(work, record.curve[0]):
        keep(random=(*record.random, draw))
    keep(**_timed(work, deleted, record.curve))
    removed, why = choose(target, record.curve)
    say(f"{removed} blocks taken out: {why}")
    keep(chosen=Chosen(removed=removed, why=why))
    _write_model(work, deleted[:removed])
    if settings.repair:
        keep(repaired=repair(settings, work.pictures, work.out, _original_test_accuracy(work)))
    return work.out


# --- the parts of the sentence ------------------------------------------------------------------


def _prepare(settings: TrimSettings, model: OpenModel) -> Work:
    pictures = open_pictures(model, settings.data)
    compute = choose_compute(settings.device, settings.precision, threads=settings.threads)
    out = new_folder(settings.out, f"{model.name}-trim")
    validation = validation_feed(pictures, settings.images, model, compute)
    training = recalibration_feed(pictures, settings.seed, model, compute)
    compute.place(model.net)
    bench = Bench(model.net, walkable(validation), walkable(training, even=True), compute)
    return Work(settings, out, model, pictures, validation, bench)


def _new_record(work: Work, target: Target) -> Trim:
    return Trim(
        **measured_on(work.model, work.pictures, len(work.validation.split)),
        latency_protocol="",
        asked=target,
        curve=(),
        random=(),
        chosen=None,
        repaired=None,
    )


def _curve(work: Work) -> Iterator[Point]:
    """Yield the figures of the whole net, then of each smaller one, the least harmful block gone each time."""
    most, gone = most_removable(work.spec), list[str]()
    say(f"taking out up to {most} of {sum(work.spec.blocks)} blocks, the least harmful first")
    for cut in least_harmful_first(work.bench):
        gone += [cut.deleted] if cut.deleted else []
        accuracy = accuracy_recalibrated(work.bench, gone)
        if cut.deleted:
            say(
                f"{len(gone)} of {most}: {cut.deleted}; "
                f"accuracy {cut.score.accuracy:.2%}, recalibrated {accuracy:.2%}"
            )
        yield curve_point(work.spec, gone, cut, accuracy, work.image_size)


def curve_point(
    spec: NetSpec, gone: Sequence[str], cut: Cut, accuracy_recalibrated: float, image_size: int
) -> Point:
    """Return one point of the curve; latencies are measured later, all together."""
    smaller = spec_without(spec, gone)
    return Point(
        removed=len(gone),
        deleted=cut.deleted,
        blocks=smaller.blocks,
        **cost(smaller, image_size),
        loss=cut.score.loss,
        loss_batch_statistics=cut.searched,
        accuracy=cut.score.accuracy,
        accuracy_recalibrated=accuracy_recalibrated,
        latency_ms=None,
    )


def _random_draws(work: Work, whole: Point) -> Iterator[Draw]:
    """Yield the accuracies of random deletion, for as many blocks gone as the curve has, draw by draw."""
    generator = np.random.default_rng(work.settings.seed)
    for draw in range(work.settings.random):
        say(f"random deletion, draw {draw + 1} of {work.settings.random}")
        as_trained, again = accuracies(work.bench, random_order(work.spec, generator))
        yield Draw(
            draw=draw,
            accuracy=(whole.accuracy, *as_trained),
            accuracy_recalibrated=(whole.accuracy_recalibrated, *again),
        )


def _timed(work: Work, deleted: Sequence[str], curve: Sequence[Point]) -> dict[str, Any]:
    say("timing all nets side by side")
    figures, how = latencies(work.bench.net, deleted, work.image_size, work.bench.compute)
    points = tuple(structs.replace(one, latency_ms=ms) for one, ms in zip(curve, figures, strict=True))
    return {"curve": points, "latency_protocol": how}


# --- the smaller model --------------------------------------------------------------------------


def _write_model(work: Work, gone: Sequence[str]) -> None:
    """Write the net without the blocks `gone`, recalibrated; its figures are those of the validation pictures."""
    classifier, net = work.model.classifier, recalibrated(work.bench, gone) if gone else work.bench.net
    now = machine.environment()
    step = Trimmed(
        date=now.date,
        from_=work.model.digest,
        deleted=tuple(gone),
        blocks_before=work.spec.blocks,
        blocks=net.spec.blocks,
    )
    about = structs.replace(
        classifier.about,
        lineage=(*classifier.about.lineage, step),
        metrics=_metrics(work, net),
        versions=now,
    )
    path = work.out / (UNREPAIRED if work.settings.repair else runs.MODEL)
    save_classifier(path, net, net.spec, classifier.classes, classifier.preprocessing, about)


def _metrics(work: Work, net: ResNet) -> Figures:
    """Judge on the validation pictures, as `residuum evaluate` would."""
    answers = judge_feed(net, work.validation, exactly(work.bench.compute), BATCH)
    how, labels = work.model.classifier.preprocessing, work.validation.split.labels
    judged = judge(
        answers,
        labels,
        work.model.classifier.classes,
        split="validation",
        protocol=protocol(how.image_size, how.resize_to, how.interpolation),
    )
    return judged.figures()


def _original_test_accuracy(work: Work) -> float | None:
    """Return the whole net's accuracy on the test pictures, which nothing else here looks at."""
    compute = exactly(work.bench.compute)
    feed = final_feed(work.pictures, work.model, compute)
    if feed is None:
        return None
    answers = judge_feed(work.bench.net, feed, compute, BATCH)
    return scores(answers, feed.split.labels)["validation_accuracy"]


def exactly(compute: Compute) -> Compute:
    """Return the same in float32, in which final figures are computed."""
    return replace(compute, precision="float32")
