"""A net and batches in, probabilities out; and the verb `evaluate` for a finished run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import Tensor, nn

from residuum import machine, ranks, runs
from residuum.choices import EvaluationViews, Precision, SplitName, Views
from residuum.compute import Compute, choose_compute
from residuum.console import say, show_progress
from residuum.data.batches import Batch, Loader
from residuum.data.cache import Progress
from residuum.data.contract import ColumnNames, ImageData, Split
from residuum.data.labels import CALLED, Labels, is_right, is_several
from residuum.data.preprocess import Preprocessing, weighted
from residuum.errors import UserError
from residuum.evaluation.known import (
    BEFORE,
    Digests,
    are_among,
    count_learnt,
    digests_of,
    read_known,
    rows_among,
    with_pictures_kept_aside,
)
from residuum.evaluation.many_views import frame, is_framed, mean_over_views, refuse_what_means_nothing, sides
from residuum.evaluation.metrics import judge, mean_loss
from residuum.evaluation.opening import NetWithData, open_with_data, with_other_net
from residuum.evaluation.several_labels import mean_average_precision
from residuum.evaluation.unseen import read_unseen
from residuum.evaluation.views import SAID
from residuum.files import CannotWrite, short_digest
from residuum.loading import load
from residuum.models.answers import answered
from residuum.plain_data import as_json
from residuum.records.codec import write_record
from residuum.records.evaluation import ALL, OUT_OF_FOLD, DataEvaluation, Evaluation, KeptEvaluation, Together
from residuum.records.model import View
from residuum.runs import model_path
from residuum.setting_parts import InPrecision
from residuum.settings import EvaluateSettings


@torch.inference_mode()
def probabilities(
    net: nn.Module,
    batches: Iterable[Batch],
    compute: Compute,
    views: Views = "single",
    forward: Callable[[Tensor], Tensor] | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return (N, K) probabilities of the net, put into evaluation mode, for all pictures served.

    They come from the mean logits of each picture's views. `forward` computes net(x) in the net's place (its plan).
    `progress` hears of pictures done, and of all, of a loader's.
    Processes that train together deal a loader's batches among them: each picture counts once, in the same batch.
    """
    if ranks.ranks() > 1 and isinstance(batches, Loader):
        dealt = batches.of_rank(ranks.rank(), ranks.ranks())
        own = list(_answers(net, _told(dealt, len(batches.split), progress), compute, views, forward))
        return ranks.gathered(torch.cat([torch.zeros(0), *map(torch.flatten, own)]), len(batches.split)).numpy()
    if isinstance(batches, Loader):
        batches = _told(batches, len(batches.split), progress)
    return torch.cat(list(_answers(net, batches, compute, views, forward))).numpy()


def _told(batches: Iterable[Batch], pictures: int, progress: Progress | None) -> Iterator[Batch]:
    """Hand the batches on, and tell how many pictures are done whenever the next is asked for."""
    tell, done = progress or (lambda _done, _total: None), 0
    tell(done, pictures)
    for batch in batches:
        yield batch
        done += len(batch.images) * ranks.ranks()
        tell(min(done, pictures), pictures)


def _answers(
    net: nn.Module,
    batches: Iterable[Batch],
    compute: Compute,
    views: Views,
    forward: Callable[[Tensor], Tensor] | None,
) -> Iterator[Tensor]:
    """Yield the (B, K) probabilities of each batch: of several labels a picture where the batch has such."""
    net.eval()
    forward = forward or net
    for batch in batches:
        with compute.autocast():
            answers = [weight * forward(view).float() for weight, view in weighted(batch.images, views)]
            logits = torch.stack(answers).sum(0)
        yield answered(logits, several=batch.labels.ndim == 2).cpu()


def scores(probabilities: NDArray[np.float32], labels: Labels) -> dict[str, float]:
    """Return the figures shown after each epoch: mean loss, the share whose likeliest class is theirs, and of several
    labels a picture the mean average precision."""
    found = {
        "validation_loss": mean_loss(probabilities, labels),
        "validation_accuracy": float(is_right(probabilities, labels).mean()),
    }
    precise = mean_average_precision(probabilities, labels) if is_several(labels) else None
    return found if precise is None else {**found, "validation_map": precise}


def to_judge(settings: InPrecision) -> Compute:
    """Return where and in what a net is judged: in float32 unless told otherwise."""
    precision: Precision = "float32" if settings.precision == "auto" else settings.precision
    return choose_compute(settings.device, precision, threads=settings.threads)


def computed_in(how: str, precision: str) -> str:
    """Add to how pictures are shown what they are judged in, where what answers later computes in another."""
    return how if precision == "float32" else f"{how}, computed in {precision}"


def protocol(shown: Preprocessing | View, views: EvaluationViews = "single") -> str:
    """Say how each picture was shown to the net, so that figures are compared like with like."""
    how = "" if shown.interpolation == "bilinear" else f" ({shown.interpolation})"
    square = f"{shown.image_size}×{shown.image_size}"
    if views == "multi-scale":
        return f"whole pictures, shorter sides {', '.join(map(str, sides(shown)))}{how}"
    if views == "ten-crop" and is_framed(shown):
        return f"ten crops of {square} from a frame of {frame(shown)} px of zeros{how}"
    if views == "ten-crop":
        return f"ten crops of {square}, shorter side {shown.resize_to}{how}"
    if shown.resize_to == shown.image_size:
        return f"{SAID[views]}, {square}{how}"
    return f"{SAID[views]}, shorter side {shown.resize_to}{how}, central {square}"


def evaluate(settings: EvaluateSettings) -> DataEvaluation:
    """Judge a run or model on a split and keep the figures in the run's `evaluations` folder.

    It computes in float32 unless told otherwise: a net scores what was published for it. With several nets the
    figures are those of all together; with several protocols, of the first; the others stand beside them. Where they
    cannot be kept, they say so.

    Raises:
        UserError: no such run, data or split; or the data's classes are not the model's; or a protocol means nothing
            for these pictures; or a net was trained on pictures that another's training kept aside.
    """
    if settings.run is None:
        raise UserError("which run or model?", "", "residuum evaluate RUN [DATA]")
    with ranks.joined():
        return _evaluate(settings, settings.run)


def _evaluate(settings: EvaluateSettings, given: str | Path) -> DataEvaluation:
    classifier, *others = [load(one) for one in (given, *settings.with_)]
    refuse_calling(settings, several=classifier.several)
    compute = to_judge(settings)
    columns = ColumnNames.told(settings)
    skip = settings.skip_broken
    opened = open_with_data(classifier, compute, settings.data, columns, judging=True, skip_broken=skip)
    known = read_known(classifier.file.parent)
    opened = with_pictures_kept_aside(opened, known)
    name, split = choose_split(opened.data, opened.training, opened.validation, settings.split)
    is_own_training = opened.same and name == "train"  # which its name says
    seen = 0 if is_own_training else count_learnt(split.pictures, opened, known)
    which = _called(name, len(split), seen, settings) if not opened.same else name
    if which == "train" and settings.split is None:
        _say_learnt(Path(given), seen)
    nets = [opened, *(with_other_net(opened, other) for other in others)]
    _refuse_seen(nets, name)
    first, *beside = _by_protocol(nets, which, split, settings)
    about: dict[str, Any] = {
        "data": str(settings.data) if settings.data else opened.data.source,
        "fingerprint": opened.fingerprint,
        "same_data_as_training": opened.same,
    }
    folds = _out_of_fold(opened, known, split, settings) if known and not opened.same else None
    beside += [((classifier.name,), folds)] if folds else []
    found = DataEvaluation(
        **structs.asdict(structs.replace(first[1], seen=seen)),
        **about,
        models=first[0],
        beside=tuple(Together(**structs.asdict(one.figures()), models=models) for models, one in beside),
    )
    alone = [DataEvaluation(**structs.asdict(folds), **about, models=(classifier.name,))] if folds else []
    try:
        for one in (found, *alone):
            _keep(Path(given), classifier.file.name, one, settings)
    except CannotWrite as error:  # what was asked for is the figures
        return structs.replace(found, not_kept="; ".join(filter(None, (error.what, error.why))))
    return found


def refuse_calling(settings: EvaluateSettings, *, several: bool) -> None:
    """Refuse to say from where on labels are called, of a net that always answers one (UserError)."""
    if settings.call_from != CALLED and not several:
        why = f"{settings.run} answers one class a picture, the likeliest"
        raise UserError("--call-from is for several labels a picture", why, "leave it out")


def _called(name: str, images: int, seen: int, settings: EvaluateSettings) -> str:
    """Return what to call a split of data that are not the run's own: "train" only pictures that it has learnt, or a
    split that was asked for; data without splits are judged whole."""
    return ALL if name == "train" and settings.split is None and seen < images else name


def _out_of_fold(
    opened: NetWithData, known: Mapping[str, Digests], split: Split, settings: EvaluateSettings
) -> Evaluation | None:
    """Judge what a net that had not seen them answered, in training, to those of the run's training pictures that are
    in the split, by the labels that they have now; None where there are none, or that was not kept."""
    classifier, trained = opened.classifier, known["train"]
    path = classifier.file.parent / runs.OUT_OF_FOLD
    unseen = read_unseen(path) if path.exists() and not settings.with_ else None
    if unseen is None or len(unseen.about.names) != len(trained) or unseen.about.classes != classifier.classes:
        return None
    asked = digests_of(split.pictures)
    is_known = are_among(asked, trained)
    if not is_known.any():
        return None
    answers = unseen.probabilities[rows_among(asked[is_known], trained)]
    before = int(are_among(asked[is_known], known.get(BEFORE)).sum())
    how: dict[str, Any] = {"split": OUT_OF_FOLD, "protocol": unseen.about.protocol, "call_from": settings.call_from}
    return structs.replace(judge(answers, split.labels[is_known], classifier.classes, **how), seen=before)


def _keep(run: Path, model: str, found: DataEvaluation, settings: EvaluateSettings) -> None:
    """Keep figures beside the run, never over the run's own evaluation (CannotWrite)."""
    if runs.is_run(run) and ranks.rank() == 0:
        told, here = as_json(settings), machine.environment()
        kept = KeptEvaluation(**structs.asdict(found), model=model, settings=told, environment=here)
        write_record(run / runs.EVALUATIONS / _kept_as(found, settings), kept)


def _say_learnt(run: Path, seen: int) -> None:
    """Say that the pictures judged are those that were learnt, and where others' figures are."""
    has_folds = (run / runs.OUT_OF_FOLD).exists()
    if seen:
        better = "; below stand its answers out of fold, by the same labels" if has_folds else ""
        known = "it was trained on all of these pictures, whatever names and labels they have here"
        return say(f"note: {known}, so it is judged on those it has learnt, which flatters it{better}")
    better = "; residuum report has those of answers out of fold" if has_folds else ""
    return say(
        f"note: no pictures were kept from training, so it is judged on those it has learnt, which flatters it{better}"
    )


def _kept_as(found: DataEvaluation, settings: EvaluateSettings) -> str:
    """Return a file name for what was asked, so that no other protocol's figures are written over."""
    parts = [found.split, found.fingerprint[:12], *settings.views]
    parts += [f"from{settings.call_from:g}"] if settings.call_from != CALLED else []
    parts += [short_digest(model_path(Path(one)))[:8] for one in settings.with_]
    return "-".join(parts) + ".json"


# --- nets and protocols side by side -------------------------------------------------------------


def _refuse_seen(nets: Sequence[NetWithData], split: str) -> None:
    """Refuse pictures that one net's training kept aside where another's has learnt them (UserError)."""
    first = nets[0]
    if split != "validation" or first.cut is None:
        return
    for other in nets[1:]:
        if other.same and (other.cut is None or not np.array_equal(first.cut.validation, other.cut.validation)):
            raise UserError(
                f"{other.classifier.file} was trained on pictures that {first.classifier.file} kept aside",
                "together they would look better than they are",
                "judge on other pictures, with --split test or residuum evaluate RUN DATA",
            )


def _by_protocol(
    nets: Sequence[NetWithData], name: str, split: Split, settings: EvaluateSettings
) -> list[tuple[tuple[str, ...], Evaluation]]:
    """Return figures, with the names of the nets they are of: for each protocol of all together, then of each alone."""
    classes, names, found = nets[0].classifier.classes, _names(nets, settings), []
    asked_from = settings.call_from
    for asked in settings.views or (None,):
        answers, said = [], []
        for net in nets:
            loader = net.loader(split, settings.batch_size, settings.workers)
            views = asked or loader.preprocessing.views
            refuse_what_means_nothing(views, loader, mirrors=_mirrors(net))
            how = protocol(loader.preprocessing, views)
            progress = show_progress(f"judging {len(split):,} pictures by {net.classifier.name}, {how}")
            theirs = answers_by(net, loader, views, progress)
            answers.append(theirs[:, [net.classifier.classes.index(one) for one in classes]])
            said.append(how)
        if len(nets) > 1:
            how = f"{len(nets)} nets averaged, {'; '.join(dict.fromkeys(said))}"
            together = np.stack(answers).mean(axis=0)
            found.append(
                (names, judge(together, split.labels, classes, split=name, protocol=how, call_from=asked_from))
            )
        for i, (theirs, how) in enumerate(zip(answers, said, strict=True)):
            by_itself = judge(theirs, split.labels, classes, split=name, protocol=how, call_from=asked_from)
            found.append((names[i : i + 1], by_itself))
    return found


def answers_by(
    net: NetWithData, loader: Loader, views: EvaluationViews, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return the (N, K) probabilities of a net for all pictures served, by a protocol."""
    match views:
        case "ten-crop" | "multi-scale":
            return mean_over_views(net.classifier.net, loader, net.compute, views, progress)
        case _:
            return probabilities(net.classifier.net, loader, net.compute, views, progress=progress)


def _mirrors(net: NetWithData) -> bool:
    """Say whether a picture's mirror image shows the same class, as far as data and training said."""
    return net.data.mirrors and (net.classifier.about.settings or {}).get("flip") is not False


def _names(nets: Sequence[NetWithData], settings: EvaluateSettings) -> tuple[str, ...]:
    """Return what the nets are called: as results are, or as they were given where that is not enough."""
    names = tuple(net.classifier.name for net in nets)
    return names if len(set(names)) == len(names) else tuple(map(str, (settings.run, *settings.with_)))


# --- one net on one split -------------------------------------------------------------------------


def judged(net: nn.Module, loader: Loader, compute: Compute, classes: Sequence[str], split: str) -> Evaluation:
    """Return the figures of a net, asked by its own views, on a split that goes by this name."""
    views = loader.preprocessing.views
    answers, how = probabilities(net, loader, compute, views), protocol(loader.preprocessing, views)
    return judge(answers, loader.split.labels, classes, split=split, protocol=how)


def choose_split(
    data: ImageData, training: Split, validation: Split | None, asked: SplitName | None
) -> tuple[SplitName, Split]:
    """Return the split asked for; else test, else validation, else the pictures trained on, or all that were given.

    Raises:
        UserError: the data have no such split.
    """
    splits: dict[SplitName, Split | None] = {"test": data.test, "validation": validation, "train": training}
    present = {name: split for name, split in splits.items() if split is not None and len(split)}
    name = asked or next(iter(present))
    if name not in present:
        raise UserError(
            f"{data.source} has no {name} split", "it has: " + ", ".join(present), "choose one with --split"
        )
    return name, present[name]
