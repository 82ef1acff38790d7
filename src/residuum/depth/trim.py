"""A net made shallower: its least useful blocks taken out, and what each cut costs and saves, measured."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs
from torch import nn

from residuum import machine, runs
from residuum.choices import Views
from residuum.compute import Compute, choose_compute, say_if_busy
from residuum.console import say
from residuum.data.batches import Batch, Loader
from residuum.data.contract import ColumnNames
from residuum.depth.choose import asked, check_possible, choose
from residuum.depth.described import measured_on
from residuum.depth.latency import LEAST_ROUNDS, MOST_ROUNDS, latencies
from residuum.depth.measure import recalibrated, score
from residuum.depth.remove import most_removable, spec_without, without
from residuum.depth.repair import UNREPAIRED, repair
from residuum.depth.search import accuracies, least_harmful_first, random_order
from residuum.evaluation.evaluate import judged, probabilities, scores, to_judge
from residuum.evaluation.opening import NetWithData, open_with_data, with_validation
from residuum.loading import Classifier, load_for, save_classifier
from residuum.models.count import cost
from residuum.models.resnet import ResNet, is_folded, unfolded
from residuum.records.codec import write_record
from residuum.records.depth import Chosen, Draw, Point, Trim
from residuum.records.model import Trimmed
from residuum.settings import TrimSettings


class Work(NamedTuple):
    """One call of `trim`: what it was told, the net with its data, and the pictures everything is measured on."""

    settings: TrimSettings
    out: Path
    searching: Compute  # in what it searches and times: what is fastest, if nothing else is told
    opened: NetWithData  # in what it judges: float32, likewise
    loader: Loader  # validation pictures
    validation: Iterable[Batch]  # the same, held
    training: Iterable[Batch]

    @property
    def net(self) -> ResNet:
        """Return the whole net."""
        return self.opened.classifier.net

    @property
    def views(self) -> Views:
        """Return by which views of a picture the model is asked, here as elsewhere."""
        return self.opened.classifier.preprocessing.views

    @property
    def image_size(self) -> int:
        """Return the side of a picture in pixels."""
        return self.opened.classifier.preprocessing.image_size

    def recalibrated(self, gone: Sequence[str]) -> ResNet:
        """Return the net without those blocks, its BN statistics measured anew."""
        return recalibrated(self.net, gone, self.training, self.opened.compute, self.views)

    def accuracy_recalibrated(self, gone: Sequence[str]) -> float | None:
        """Return the accuracy of that net; None where all BN is folded, and recalibrating would change nothing."""
        if is_folded(self.net):
            return None
        return score(self.recalibrated(gone), self.validation, self.opened.compute, (), self.views).accuracy


def trim(settings: TrimSettings) -> Path:
    """Take blocks out of a trained net; return the folder with the smaller model and trim.json, the whole curve.

    trim.json is written again after every part, so that what was measured outlives an interruption.

    Raises:
        UserError: no such model or data, or the net cannot be made as small or as fast as asked.
    """
    classifier = load_for("trim", settings.model)
    target = asked(settings)
    check_possible(target, classifier.spec)
    work = _prepare(settings, classifier)
    record = Trim(
        **measured_on(work.opened, work.loader.split),
        latency_protocol="",
        asked=target,
        curve=(),
        random=(),
        chosen=None,
        repaired=None,
    )

    def keep(**parts: Any) -> None:
        nonlocal record
        record = structs.replace(record, **parts)
        write_record(work.out / runs.TRIM, record)

    for point in _curve(work):
        keep(curve=(*record.curve, point))
    deleted = [point.deleted for point in record.curve if point.deleted]
    for draw in _random_draws(work, record.curve[0]):
        keep(random=(*record.random, draw))
    say(f"timing {len(record.curve)} nets side by side: {LEAST_ROUNDS} to {MOST_ROUNDS} rounds, as 30 s allow")
    began, waited = time.perf_counter(), machine.seconds_waited()
    figures, how = latencies(work.net, deleted, work.image_size, work.searching)
    share = say_if_busy("trim", began, waited, deciding="speedup" in target)
    points = (structs.replace(one, latency_ms=ms) for one, ms in zip(record.curve, figures, strict=True))
    keep(curve=tuple(points), latency_protocol=how, share_waited=share)
    removed, why = choose(target, record.curve)
    chosen = Chosen(removed=removed, why=why, recalibrated=record.curve[removed].recalibrated)
    _write_model(work, deleted[:removed], chosen)
    keep(chosen=chosen)
    if settings.repair:
        keep(repaired=repair(settings, work.opened, work.out, _original_test_accuracy(work)))
    return work.out


# --- the parts of the sentence ------------------------------------------------------------------


def _prepare(settings: TrimSettings, classifier: Classifier) -> Work:
    searching = choose_compute(settings.device, settings.precision, threads=settings.threads)
    columns = ColumnNames.told(settings)
    opened = with_validation(
        open_with_data(classifier, to_judge(settings), settings.data, columns, call="trim {} DATA")
    )
    out = runs.folder_of_results(settings.out, settings.model or "", f"{classifier.name}-trim", opened.data.source)
    loader = opened.validation_loader(settings.images)
    training = opened.recalibration_loader(settings.seed, even=True)
    return Work(settings, out, searching, opened, loader, loader.held(), training.held())


def _curve(work: Work) -> Iterator[Point]:
    """Yield the figures of the whole net, then of each smaller one, the least harmful block gone each time."""
    spec, compute = work.net.spec, work.opened.compute
    most, gone = most_removable(spec), list[str]()
    ((name, value),) = asked(work.settings).items()
    say(
        f"measuring the whole curve, 1 to {most} of {sum(spec.blocks)} blocks out, the least harmful first; "
        f"--{name.replace('_', '-')} {value:g} then chooses on it"
    )
    _say_how_bn_works(work.net)
    for cut in least_harmful_first(work.net, work.validation, compute, work.views, work.searching):
        gone += [cut.deleted] if cut.deleted else []
        accuracy = work.accuracy_recalibrated(gone)
        if cut.deleted:
            again = "" if accuracy is None else f", recalibrated {accuracy:.2%}"
            say(f"{len(gone)} of {most}: {cut.deleted}; accuracy {cut.score.accuracy:.2%}{again}")
        smaller = spec_without(spec, gone)
        yield Point(
            removed=len(gone),
            deleted=cut.deleted,
            blocks=smaller.blocks,
            **cost(smaller, work.image_size),
            loss=cut.score.loss,
            loss_batch_statistics=cut.searched,
            accuracy=cut.score.accuracy,
            accuracy_recalibrated=accuracy,
            latency_ms=None,  # measured later, all together
        )


def _say_how_bn_works(net: ResNet) -> None:
    """Say by what the least harmful block is known, and what becomes of BN's statistics."""
    layers, own = sum(isinstance(one, nn.BatchNorm2d) for one in net.modules()), len(unfolded(net))
    if not own:
        say("least harmful: by the loss; BN's statistics are folded into the convolutions, so none are measured anew")
        return
    say(
        "least harmful: by the loss, BN working with each batch's statistics; recalibrated: BN's statistics measured "
        "anew on training pictures"
    )
    if own < layers:
        say(f"{layers - own} of {layers} BN layers are folded into their convolutions, or new, and stay as they are")


def _random_draws(work: Work, whole: Point) -> Iterator[Draw]:
    """Yield the accuracies of random deletion, for as many blocks gone as the curve has, draw by draw."""
    generator = np.random.default_rng(work.settings.seed)
    for draw in range(work.settings.random):
        say(f"random deletion, draw {draw + 1} of {work.settings.random}")
        order = random_order(work.net.spec, generator)
        pictures = work.validation, work.training
        as_trained, again = accuracies(work.net, order, *pictures, work.opened.compute, work.views)
        yield Draw(
            draw=draw,
            accuracy=(whole.accuracy, *as_trained),
            accuracy_recalibrated=None if again is None else (whole.accuracy_with(recalibrated=True), *again),
        )


# --- the smaller model --------------------------------------------------------------------------


def _write_model(work: Work, gone: Sequence[str], chosen: Chosen) -> None:
    """Write the net without the blocks `gone`, judged on the same pictures as `evaluate` would."""
    classifier = work.opened.classifier
    net = work.recalibrated(gone) if chosen.recalibrated else without(work.net, gone)
    split = work.opened.validation_split
    found = judged(net, work.loader, exactly(work.opened.compute), classifier.classes, split)
    now = machine.environment()
    step = Trimmed(
        date=now.date,
        from_=classifier.digest,
        deleted=tuple(gone),
        blocks_before=work.net.spec.blocks,
        blocks=net.spec.blocks,
    )
    lineage = (*classifier.about.lineage, step)
    about = structs.replace(classifier.about, lineage=lineage, metrics=found.figures(), versions=now)
    path = work.out / (UNREPAIRED if work.settings.repair else runs.MODEL)
    save_classifier(path, net, net.spec, classifier.classes, classifier.preprocessing, about)


def _original_test_accuracy(work: Work) -> float | None:
    """Return the whole net's accuracy on the test pictures, which nothing else here looks at."""
    test = work.opened.data.test
    if test is None:
        return None
    answers = probabilities(work.net, work.opened.loader(test), exactly(work.opened.compute), work.views)
    return scores(answers, test.labels)["validation_accuracy"]


def exactly(compute: Compute) -> Compute:
    """Return the same in float32, in which final figures are computed."""
    return replace(compute, precision="float32")
