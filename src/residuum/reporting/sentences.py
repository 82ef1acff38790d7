"""The sentences: what the figures say, and what someone should know before quoting them."""

from residuum.reporting.figures import Evaluation, History, last, mapping, number, points, whole
from residuum.reporting.wording import NBSP, count, counted, interval, isolated, percent, shown
from residuum.runs import RunRecord

FEW_IMAGES = 30  # pictures of a class below which its figures are wide
SPLITS = {
    "test": "it never saw",
    "validation": "kept aside from training",
    "train": "it was trained on",
}


def verdict(evaluation: Evaluation | None) -> str:
    """Say top-1 in one plain sentence, or nothing if there is none."""
    if evaluation is None or evaluation.top1 is None:
        return ""
    which = SPLITS.get(evaluation.split, f"of the split {isolated(evaluation.split)}")
    value = percent(evaluation.top1.value)
    span = interval(evaluation.top1)
    tail = f" (95{NBSP}% interval {span})" if span else ""
    return f"Of {counted(evaluation.images, 'picture')} {which}, it names {value} correctly{tail}."


def unfinished(record: RunRecord, history: History) -> str:
    """Say how far a run without final figures has come."""
    seen = last(points(history.epochs, "validation_accuracy"))
    start = "There are no final figures: the run is still going, was stopped, or has not been evaluated."
    if not history.epochs:
        return start + " It has not finished an epoch yet."
    done = f" {progress(record, history)} done"
    if seen is None:
        return start + done + "."
    named = f"it named {percent(seen[1])} of the validation pictures correctly"
    return f"{start}{done}; after epoch {seen[0]:g} {named}."


def progress(record: RunRecord, history: History) -> str:
    """Write "12 of 30 epochs"."""
    asked = whole(mapping(record.settings.get("resolved")).get("epochs"))
    done = len({line["epoch"] for line in history.epochs})
    return f"{done} of {counted(asked, 'epoch')}" if asked else counted(done, "epoch")


def commonest(evaluation: Evaluation | None) -> tuple[str, float] | None:
    """Return the most frequent class and its share of the pictures."""
    known = [(one.images, one.name) for one in evaluation.classes if one.images] if evaluation else []
    if not known:
        return None
    most = max(known, key=lambda one: one[0])
    return most[1], most[0] / sum(images for images, _ in known)


def scale(baseline: tuple[str, float] | None) -> str:
    """Say what the laziest answer would score."""
    if baseline is None:
        return ""
    name, share = baseline
    lazy = f"Always answering {isolated(name)}, the most frequent class,"
    return f"{lazy} would be right {percent(share)} of the time."


def calibration(evaluation: Evaluation | None) -> str:
    """Say whether the model is as right as it is sure, from the bins' own means."""
    bins = [b for b in evaluation.calibration if b.count] if evaluation else []
    total = sum(b.count for b in bins)
    if not total:
        return ""
    sure = sum(b.count * (b.confidence or 0.0) for b in bins) / total
    right = sum(b.count * (b.accuracy or 0.0) for b in bins) / total
    gap = sure - right
    kind = "over-confident" if gap > 0.01 else "under-confident" if gap < -0.01 else "as right as it is sure"
    means = f"Its mean confidence is {percent(sure)} and it is right {percent(right)} of the time"
    return f"{means}: overall it is {kind}."


# --- notes --------------------------------------------------------------------------------------


def notes(record: RunRecord, evaluation: Evaluation | None, history: History) -> list[str]:
    """Say what someone should know before quoting a figure."""
    return [
        *_notes_on_progress(record, evaluation, history),
        *_notes_on_pictures(record, evaluation),
        *(_notes_on_figures(evaluation) if evaluation else []),
    ]


def _notes_on_progress(record: RunRecord, evaluation: Evaluation | None, history: History) -> list[str]:
    asked = whole(mapping(record.settings.get("resolved")).get("epochs"))
    done = len({line["epoch"] for line in history.epochs})
    lines = [*history.epochs, *history.steps]
    keys = ("loss", "train_loss", "validation_loss")
    broken = sum(any(key in line and number(line[key]) is None for key in keys) for line in lines)
    notes = []
    if evaluation and asked and done < asked:
        notes.append(f"Training was not complete: {progress(record, history)} done.")
    if broken:
        reports = counted(broken, "report")
        notes.append(
            f"The loss in {reports} of the training is not a finite number; the curves have gaps there."
        )
    return notes


def _notes_on_pictures(record: RunRecord, evaluation: Evaluation | None) -> list[str]:
    counts, origin = mapping(record.data.get("counts")), record.data.get("validation_from")
    split = evaluation.split if evaluation else ""
    kept, tested = counts.get("validation"), number(counts.get("test"))
    unused = f"The {count(tested)} test pictures were not used for them." if tested else ""
    why = "The data has no test pictures." if "test" in counts and not tested else unused
    guided = "Settings may have been chosen by these figures, so expect somewhat less on new pictures."
    notes = []
    if isinstance(origin, str) and kept:
        notes.append(f"Validation pictures: {shown(origin)}.")
    if "validation" in counts and not kept:
        notes.append("No pictures were kept for validation.")
    if split == "validation":
        notes.append(f"The final figures are for the validation pictures. {why} {guided}")
    if split == "train":
        notes.append(
            f"The final figures are for the training pictures. {why} They say nothing about new ones."
        )
    return notes


def _notes_on_figures(evaluation: Evaluation) -> list[str]:
    few = [one for one in evaluation.classes if one.images is not None and one.images < FEW_IMAGES]
    classes = counted(len(evaluation.classes), "class", "classes")
    measures = (evaluation.top1, evaluation.macro_f1, evaluation.ece)
    notes = []
    if evaluation.protocol:
        notes.append(f"How the pictures were shown to the model: {shown(evaluation.protocol)}.")
    if any(one and one.low is not None for one in measures):
        notes.append(
            "The intervals say how far the figures could differ had other pictures of the same kind been "
            "drawn. They do not cover training again with another seed."
        )
    if few:
        notes.append(
            f"{len(few):,} of {classes} have fewer than {FEW_IMAGES} pictures here; their intervals are wide."
        )
    return notes
