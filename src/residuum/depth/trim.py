"""A net made shallower: its least useful blocks taken out, and what each cut costs and saves, measured."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET, structs
from torch import nn

from residuum import machine, runs
from residuum.apart import refuse_below
from residuum.choices import Views
from residuum.compute import Compute, choose_compute, say_if_busy
from residuum.console import say, show_progress
from residuum.data.batches import Batch, Loader
from residuum.data.contract import ColumnNames
from residuum.data.preprocess import weighted
from residuum.depth.choose import asked, check_possible, choose
from residuum.depth.described import measured_on, say_if_few
from residuum.depth.latency import LEAST_ROUNDS, MOST_ROUNDS, latencies
from residuum.depth.likeness import known_to
from residuum.depth.measure import recalibrated, score
from residuum.depth.progress import Told, passes_of_curve, passes_of_draw, telling
from residuum.depth.remove import most_removable, spec_without, without
from residuum.depth.repair import repair
from residuum.depth.search import accuracies, least_harmful_first, random_order
from residuum.depth.unfinished import REPAIR, UNREPAIRED, gone_on_with, is_stopped_trim, key_of
from residuum.depth.unfold import folded_again, unfold
from residuum.evaluation.evaluate import judged, probabilities, scores, to_judge
from residuum.evaluation.opening import NetWithData, open_with_data, with_validation
from residuum.files import Json, write_whole
from residuum.loading import Classifier, load_for, save_classifier
from residuum.lock import only_holder
from residuum.models.count import cost
from residuum.models.resnet import ResNet
from residuum.plain_data import quoted
from residuum.records.codec import write_record
from residuum.records.depth import Chosen, Draw, Point, Score, Target, Trim
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
    training_pictures: int
    call: str  # what was asked and of what, as a digest
    was_folded: bool  # whether all BN statistics were folded into the convolutions

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

    def score_recalibrated(self, gone: Sequence[str], told: Told) -> Score:
        """Score that net."""
        compute, views = self.opened.compute, self.views
        net = recalibrated(self.net, gone, self.training, compute, views, told)
        return score(net, self.validation, compute, (), views, told)


def trim(settings: TrimSettings) -> Path:
    """Take blocks out of a trained net; return the folder with the smaller model and trim.json, the whole curve.

    trim.json is written again after every part, so that what was measured outlives an interruption: the same call goes
    on from there.

    Raises:
        UserError: no such model or data, or the net cannot be made as small or as fast as asked.
        Stopped: a signal came during repair.
    """
    classifier = load_for("trim", settings.model)
    target = asked(settings)
    check_possible(target, classifier.spec)
    work = _prepare(settings, classifier)
    with only_holder(work.out / runs.LOCK):
        _trimmed(work, _begun(work, target))
    return work.out


def _trimmed(work: Work, record: Trim) -> None:
    """Do what the record does not have yet, and write it after each part."""

    def keep(**parts: Any) -> None:
        nonlocal record
        record = structs.replace(record, **parts)
        write_record(work.out / runs.TRIM, record)

    keep()
    if record.chosen is None:
        _announce(work)
        told, ended = _telling(work, record)
        for point in _curve(work, record.curve, told):
            keep(curve=(*record.curve, point))
        for draw in _random_draws(work, record, told):
            keep(random=(*record.random, draw))
        ended()
        keep(**_timed(work, record))
        removed, why = choose(record.asked, record.curve, times_say_something=record.speeds_say_something)
        chosen = Chosen(removed=removed, why=why, recalibrated=record.curve[removed].recalibrated)
        _write_model(work, record.deleted[:removed], chosen)
        keep(chosen=chosen)
    if work.settings.repair:
        repaired = repair(work.settings, work.opened, work.out, _original_test_accuracy(work))
        repaired = structs.replace(repaired, kept=record.is_better(repaired))
        keep(repaired=repaired)
        model = work.out / (f"{REPAIR}/{runs.MODEL}" if repaired.kept else UNREPAIRED)
        write_whole(work.out / runs.MODEL, model.read_bytes())


# --- the parts of the sentence ------------------------------------------------------------------


def _prepare(settings: TrimSettings, classifier: Classifier) -> Work:
    searching = choose_compute(settings.device, settings.precision, threads=settings.threads)
    columns = ColumnNames.told(settings)
    opened = with_validation(
        open_with_data(classifier, to_judge(settings), settings.data, columns, call="trim {} DATA")
    )
    out = _folder(settings, classifier, opened)
    loader = opened.validation_loader(settings.images)
    training = opened.recalibration_loader(settings.seed, even=True)
    folded = _unfold(opened, training)
    call = key_of(settings, classifier.digest, opened.fingerprint, *(["unfolded"] if folded else []))
    pictures = loader.held(), training.held(), len(training.split)
    return Work(settings, out, searching, opened, loader, *pictures, call, folded == _bn_layers(classifier.net))


def _unfold(opened: NetWithData, training: Loader) -> int:
    """Take folded BN statistics out of the net's convolutions again; say and return of how many layers."""
    net, views = opened.classifier.net, opened.classifier.preprocessing.views
    if folded := unfold(net, (view for batch in training for _, view in weighted(batch.images, views))):
        say(
            f"{folded} of {_bn_layers(net)} BN layers were folded into their convolutions, or new: they have "
            "statistics of training pictures now, and the answers are the same"
        )
    return folded


def _bn_layers(net: ResNet) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in net.modules())


def _folder(settings: TrimSettings, classifier: Classifier, opened: NetWithData) -> Path:
    """Return an empty folder, or that of a trim which was stopped (UserError as `runs.folder_of_results`)."""
    if settings.out and is_stopped_trim(Path(settings.out)):
        refuse_below(Path(settings.out), opened.data.source)
        return Path(settings.out)
    return runs.folder_of_results(settings.out, settings.model or "", f"{classifier.name}-trim", opened.data.source)


def _begun(work: Work, target: Target) -> Trim:
    """Return what there is already, of a call that was stopped, or a record of nothing yet; and say which."""
    new = Trim(
        **measured_on(work.opened, work.loader.split),
        latency_protocol="",
        call=work.call,
        asked=target,
        curve=(),
        random=(),
        chosen=None,
        repaired=None,
    )
    found = gone_on_with(new, work.out)
    say_if_few(len(work.loader.split))
    if found is new:
        same = "the same command" + ("" if work.settings.out else f" with --out {quoted(work.out)}")
        say(f"what is measured goes to {work.out / runs.TRIM} as it comes; stopped, {same} goes on")
    else:
        say(f"going on with the trim that was stopped in {work.out}; nets measured already: {len(found.curve)}")
    return found


def _telling(work: Work, record: Trim) -> tuple[Told, Callable[[], None]]:
    """Return what tells how far the curve and the random draws are, and what tells that they are done."""
    spec, pictures = work.net.spec, len(work.loader.split)
    training = work.training_pictures
    draws = work.settings.random - len(record.random)
    total = draws * passes_of_draw(spec, most_removable(spec), pictures, training)
    if len(record.curve) <= most_removable(spec):
        total += passes_of_curve(spec, record.deleted, pictures, training)
    told = telling("measuring", total)
    return told, lambda: told(total)


def _timed(work: Work, record: Trim) -> Json:
    """Time all nets of the curve; return those parts of the record."""
    doing = f"timing {len(record.curve)} nets side by side, {LEAST_ROUNDS} to {MOST_ROUNDS} rounds, as 30 s allow"
    began, waited = time.perf_counter(), machine.seconds_waited()
    figures, how = latencies(work.net, record.deleted, work.image_size, work.searching, progress=show_progress(doing))
    share = say_if_busy("trim, with another --out,", began, waited, deciding="speedup" in record.asked)
    points = (structs.replace(one, latency_ms=ms) for one, ms in zip(record.curve, figures, strict=True))
    return {"curve": tuple(points), "latency_protocol": how, "share_waited": share}


def _curve(work: Work, measured: Sequence[Point], told: Told) -> Iterator[Point]:
    """Yield the figures of the whole net, then of each smaller one, the least harmful block gone each time; but not of
    those measured already."""
    spec, compute = work.net.spec, work.opened.compute
    most, gone = most_removable(spec), [point.deleted for point in measured if point.deleted]
    before = gone.copy() if measured else None
    pictures = work.net, work.validation
    for cut in least_harmful_first(*pictures, compute, work.views, work.searching, before, told):
        gone += [cut.deleted] if cut.deleted else []
        found = work.score_recalibrated(gone, told)
        if cut.deleted:
            accuracy = f"accuracy {cut.score.accuracy:.2%}, recalibrated {found.accuracy:.2%}"
            say(f"{len(gone)} of {most}: {cut.deleted}; {accuracy}")
        smaller = spec_without(spec, gone)
        yield Point(
            removed=len(gone),
            deleted=cut.deleted,
            blocks=smaller.blocks,
            **cost(smaller, work.image_size),
            loss=cut.score.loss,
            loss_batch_statistics=cut.searched,
            accuracy=cut.score.accuracy,
            mean_ap=cut.score.mean_ap,
            accuracy_recalibrated=found.accuracy,
            mean_ap_recalibrated=found.mean_ap,
            latency_ms=None,  # measured later, all together
        )


def _announce(work: Work) -> None:
    """Say what is measured, by what the least harmful block is known, and what becomes of BN's statistics."""
    spec, ((name, value),) = work.net.spec, asked(work.settings).items()
    say(
        f"measuring the whole curve, 1 to {most_removable(spec)} of {sum(spec.blocks)} blocks out, the least harmful "
        f"first; --{name.replace('_', '-')} {value:g} then chooses on it"
    )
    say(
        "least harmful: by the loss, BN working with each batch's statistics; recalibrated: BN's statistics measured "
        "anew on training pictures"
    )


def _random_draws(work: Work, record: Trim, told: Told) -> Iterator[Draw]:
    """Yield the accuracies of random deletion, for as many blocks gone as the curve has, draw by draw, but not of those
    measured already."""
    generator, whole = np.random.default_rng(work.settings.seed), record.curve[0]
    for draw in range(work.settings.random):
        order = random_order(work.net.spec, generator)
        if draw < len(record.random):
            continue
        say(f"random deletion, draw {draw + 1} of {work.settings.random}")
        pictures = work.validation, work.training
        as_trained, again = accuracies(work.net, order, *pictures, work.opened.compute, work.views, told)
        yield Draw(
            draw=draw,
            accuracy=(whole.accuracy, *as_trained),
            accuracy_recalibrated=(whole.accuracy_with(recalibrated=True), *again),
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
    if work.was_folded:
        folded_again(net)
    like, kept = known_to(net, work.opened, work.settings.seed) or (UNSET, None)
    about = structs.replace(classifier.about, lineage=lineage, metrics=found.figures(), versions=now, likeness=like)
    path = work.out / (UNREPAIRED if work.settings.repair else runs.MODEL)
    save_classifier(path, net, net.spec, classifier.classes, classifier.preprocessing, about, kept)


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
