"""The sentences: what the figures say, and what someone should know before quoting them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from residuum.plain_data import quoted
from residuum.recipe import FEW, SMALL
from residuum.records import evaluation
from residuum.records.evaluation import Evaluation
from residuum.reporting import several_sentences
from residuum.reporting.points import last, points
from residuum.reporting.wording import NBSP, count, counted, interval, isolated, percent, shown
from residuum.runs import RunRecord

FEW_IMAGES = 30  # pictures of a class below which its figures are wide
SPLITS = {
    "test": "it never saw",
    "validation": "kept aside from training",
    "train": "it was trained on",
    "out-of-fold": "for training, each answered by a model fitted without it",
}
AVERAGED = {
    "also at half its side": "Also at half its side: the net is asked about the square in the middle of a picture and "
    "again about the same made half as wide and high, and its two answers are averaged.",
    "four views": "Four views: the net is asked about the square in the middle of a picture made smaller, about the "
    "middle of that square, and about both at half of that, and its four answers are averaged.",
    "and mirror image": "And mirror image: the net is asked about the square in the middle of a picture and about what "
    "a mirror would show of it, and its answers are averaged.",
}
"""What views are, by their terms in a protocol."""
AT_LEAST = (0.6, 0.8)
"""Probabilities, at ends of bins, of which it is said what `predict --at-least` would do."""
MEANT = {
    **AVERAGED,
    "single view": "Single view: the net is asked once, about the square in the middle of a picture.",
    "central": "Shorter side, central: a picture is resized until its shorter side has so many pixels, and the square "
    "is cut out of that.",
    "bfloat16": "Bfloat16: numbers that are quicker and a little less exact than float32, in which predict answers by "
    "default.",
    "folds": "Folds: the training pictures are dealt into as many parts, and each part is answered by a model fitted "
    "on the others.",
}
"""What terms in a protocol mean; the protocol itself says to the word whether two runs were judged alike."""


def pictures_of(images: int, split: str) -> str:
    """Write "153 validation pictures", "243 training pictures, out of fold"."""
    known = {"train": "training picture", "out-of-fold": "training picture"}
    words = counted(images, known.get(split, f"{isolated(split) if split not in SPLITS else split} picture"))
    return words + (", each by a net that had not seen it" if split == "out-of-fold" else "")


def verdict(found: Evaluation) -> str:
    """Say the headline figure in one plain sentence."""
    which = SPLITS.get(found.split, f"of the split {isolated(found.split)}")
    if found.seen and found.split == "out-of-fold":
        which = f"it was trained on, of which the weights it began with had learnt {found.seen:,}"
    elif found.seen:
        which = f"of the {found.split} split, {found.seen:,} of which it was trained on"
    if found.is_several:
        said = several_sentences.verdict(found, which)
        return f"{said} {_not_asked(found)}".rstrip()
    tail = f"(95{NBSP}% interval {interval(found.top1)})"
    named = f"Of {counted(found.images, 'picture')} {which}, it names {percent(found.top1.value)} correctly {tail}."
    return f"{named} {_not_asked(found)}".rstrip()


def _not_asked(found: Evaluation) -> str:
    return f"Not asked, as none of them shows it: {_names(found.unasked)}." if found.unasked else ""


def _names(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 5:,} more" if len(classes) > 5 else ""
    return ", ".join(map(isolated, classes[:5])) + more


def unfinished(record: RunRecord) -> str:
    """Say how far a run without final figures has come."""
    seen = last(points(record.epochs, "validation_map" if record.several else "validation_accuracy"))
    start = "There are no final figures: the run is still going, was stopped, or has not been evaluated."
    if not record.epochs:
        return start + " It has not finished an epoch yet."
    done = f" {progress(record)} done"
    if seen is None:
        return start + done + "."
    named = f"it named {percent(seen[1])} of the validation pictures correctly"
    if record.several:
        named = f"the mean average precision of the validation pictures was {percent(seen[1])}"
    return f"{start}{done}; after epoch {seen[0]:g} {named}."


def progress(record: RunRecord) -> str:
    """Write "12 of 30 epochs"."""
    asked, done = record.settings.summary.epochs, _done(record)
    return f"{done} of {counted(asked, 'epoch')}" if asked else counted(done, "epoch")


def head_alone(record: RunRecord) -> bool:
    """Say whether the run's net has a fitted last layer, and nothing before it was changed."""
    return record.head is not None and not record.steps


def no_curves(record: RunRecord) -> str:
    """Say why there are none."""
    alone = "the last layer alone was fitted, which takes no steps"
    why = alone if head_alone(record) else "the run folder holds no metrics yet"
    return f"No curves: {why}."


def curves_of(record: RunRecord) -> str:
    """Say which pictures the curves are of."""
    counts = record.data.counts if record.data else None
    if counts is None or not record.epochs:
        return ""
    kept = f"; those of validation are of the {count(counts.validation)} kept for it" if counts.validation else ""
    trained = f"the {count(counts.train)} pictures trained on, as they were shown, while the net changed"
    return f"Training figures are means over each epoch: of {trained}{kept}."


def _done(record: RunRecord) -> int:
    return len({line.epoch for line in record.epochs})


def scale(found: Evaluation | None) -> str:
    """Say what the laziest answer would score, and whether the net does better."""
    if found is None or found.commonest is None:
        return ""
    if found.is_several:
        return several_sentences.scale(found)
    name, share = found.commonest
    how_often = "the most frequent class" if found.has_one_commonest else "as frequent as any class"
    lazy = f"Always answering {isolated(name)}, {how_often}, would be right {percent(share)} of the time"
    if not found.is_lazy:
        return f"{lazy}."
    how = "no better" if found.top1.value <= share else "not better, as far as these pictures tell"
    return f"{lazy}: this net is {how}."


def too_few(record: RunRecord) -> str:
    """Say why a new net learnt nothing from few photographs, and what would; of others the cause is not known."""
    found, data = record.evaluation, record.data
    few = data.counts.train if data else 0
    if not found or not data or not 0 < few < FEW or not found.is_lazy or is_begun(record):
        return ""
    if not Path(data.source).is_absolute() or data.image_size <= SMALL or _is_plain(record):
        return ""
    begun = f"residuum train {quoted(shown(data.source))}"
    return (
        f"The net learnt nothing that would be of use: {counted(few, 'training picture')} are few for a net that "
        f"begins with nothing. Begun with trained weights it has a chance: {begun}, "
        "with nothing said of the net, starts from the best that this machine has (residuum weights fetch resnet50 "
        "gets better ones)."
    )


def _is_plain(record: RunRecord) -> bool:
    """Say whether the net has no shortcuts, which may be cause enough."""
    return record.settings.resolved.get("shortcut") == "none"


def lazy(record: RunRecord) -> str:
    """Say that the net does no better than the laziest answer, and why, where it does not; for the terminal."""
    if record.evaluation is None or not record.evaluation.is_lazy:
        return ""
    found = record.evaluation
    poor = several_sentences.lazy(found) if found.is_several else scale(found)
    said = " ".join(filter(None, (poor, too_few(record))))
    return said.replace(NBSP, " ").replace("\u2068", "").replace("\u2069", "")


def which_to_quote(record: RunRecord) -> str:
    """Say which figure to quote where training pictures were answered out of fold, too, or why none."""
    found, folds = record.evaluation, record.out_of_fold
    if found and found.seen:
        copies = "Take out the copies, which data check names, and train again."
        others = "Judge it on pictures that neither has seen, by residuum evaluate."
        return f"{evaluation.too_good(found)} {others if is_begun(record) else copies}"
    return evaluation.which_to_quote(found, folds) if found and folds else ""


def is_begun(record: RunRecord) -> bool:
    """Say whether training began with trained weights."""
    return record.settings.resolved.get("start") is not None


def calibration(found: Evaluation) -> str:
    """Say whether the model is as right as it is sure, from the bins' own means."""
    bins = [b for b in found.calibration if b.count]
    total = sum(b.count for b in bins)
    if not total:
        return ""
    sure = sum(b.count * (b.confidence or 0.0) for b in bins) / total
    right = sum(b.count * (b.accuracy or 0.0) for b in bins) / total
    gap = sure - right
    luck = 1.96 * math.sqrt(sum(b.count * (b.confidence or 0.0) * (1 - (b.confidence or 0.0)) for b in bins)) / total
    kind = "over-confident" if gap > 0 else "under-confident"
    if abs(gap) <= 0.01:
        kind = "as right as it is sure"
    elif abs(gap) <= luck:  # of labels drawn by what it claims, 19 in 20 differ by no more
        kind = "as right as it is sure, as far as these pictures tell"
    if found.is_several:
        return several_sentences.calibration(sure, right, kind)
    means = f"Its mean confidence is {percent(sure)} and it is right {percent(right)} of the time"
    return f"{means}: overall it is {kind}."


def by_probability(found: Evaluation) -> list[str]:
    """Say of the answers that `predict --at-least` would call unsure, and of the others, how many are right."""
    return [] if found.is_several else list(filter(None, (_at_least(found, limit) for limit in AT_LEAST)))


def _at_least(found: Evaluation, limit: float) -> str:
    """Say so from one limit on; "" where no answer has less. The bins end there."""
    below = [one for one in found.calibration if one.count and one.high <= limit + 1e-9]
    above = [one for one in found.calibration if one.count and one.high > limit + 1e-9]
    few, many = (sum(one.count for one in bins) for bins in (below, above))
    if not few:
        return ""
    right, others = (sum(one.count * (one.accuracy or 0.0) for one in bins) for bins in (below, above))
    rest = f"; of the others {percent(others / many)}" if many else "; none is left"
    which = f"{few:,} of these {few + many:,} answers unsure"
    return f"With --at-least {limit:g}, predict would call {which}: {percent(right / few)} of those are right{rest}."


# --- notes --------------------------------------------------------------------------------------


def notes(record: RunRecord) -> list[str]:
    """Say what someone should know before quoting a figure."""
    on_figures = _notes_on_figures(record.evaluation) if record.evaluation else ()
    return [*_notes_on_progress(record), *_notes_on_pictures(record), *on_figures]


def _notes_on_progress(record: RunRecord) -> Iterator[str]:
    if no_use := too_few(record):
        yield no_use
    asked = record.settings.summary.epochs
    losses = [line.loss for line in record.steps]
    losses += [line.train_loss + (line.validation_loss or 0.0) for line in record.epochs]
    broken = sum(not math.isfinite(loss) for loss in losses)
    if record.evaluation and asked and _done(record) < asked and not head_alone(record):
        yield f"Training was not complete: {progress(record)} done."
    if broken:
        reports = counted(broken, "report")
        yield f"The loss in {reports} of the training is not a finite number; the curves have gaps there."


def _notes_on_pictures(record: RunRecord) -> Iterator[str]:
    tested = record.data.counts.test if record.data else None
    unused = f"The {count(tested)} test pictures were not used for them." if tested else ""
    why = "The data has no test pictures." if record.data and not tested else unused
    split = record.evaluation.split if record.evaluation else ""
    if record.data and record.data.counts.validation:
        yield f"Validation pictures: {shown(record.data.validation_from)}."
    elif record.data:
        yield "No pictures were kept for validation."
    if record.data and record.data.conflicts:
        yield _conflicts(record.data.conflicts, several=record.several)
    if split == "out-of-fold":
        images, all_of_them = (
            record.evaluation.images if record.evaluation else 0,
            record.data and record.data.counts.train,
        )
        which = "all" if images == all_of_them else f"{count(images)} of the"
        fitted = "the model was fitted anew without each fifth, and answered that fifth"
        yield f"The final figures are for {which} training pictures: {fitted}. {why} Now it is fitted on all."
    if split == "validation":
        guided = "Settings may have been chosen by these figures, so expect somewhat less on new pictures."
        yield f"The final figures are for the validation pictures. {why} {guided}"
    yield from filter(None, [which_to_quote(record)])
    if split == "train":
        yield f"The final figures are for the training pictures. {why} They say nothing about new ones."


def _conflicts(pictures: int, *, several: bool) -> str:
    """Say that some pictures are there under several labels, which cannot all be right."""
    stand = "stands" if pictures == 1 else "stand"
    under = "with different labels" if several else "under more than one class"
    why = "of those labels some are wrong, and whoever names the picture rightly is called wrong by them"
    return f"{counted(pictures, 'picture')} {stand} {under}: {why}. Their names: residuum data check."


def _notes_on_figures(found: Evaluation) -> Iterator[str]:
    few = sum(0 < one.images < FEW_IMAGES for one in found.per_class)
    if found.unasked:
        yield f"The pictures judged show no {_names(found.unasked)}: nothing is known of how the model names those."
    classes = counted(len(found.per_class), "class", "classes")
    meant = [words for term, words in MEANT.items() if term in found.protocol]
    yield " ".join([f"How the pictures were shown to the model: {shown(found.protocol)}.", *meant])
    yield (
        "The intervals say how far the figures could differ had other pictures of the same kind been drawn. They do "
        "not cover training again with another seed."
    )
    if found.is_several and (silent := several_sentences.never_called(found)):
        yield (
            f"Never called, though there: {_names(silent)}. No answer reached one half, as is usual of classes that "
            "few pictures show; residuum predict --call-from 0.2 calls more of them, rightly and wrongly."
        )
    if few:
        yield f"{few:,} of {classes} have fewer than {FEW_IMAGES} pictures here; their intervals are wide."
