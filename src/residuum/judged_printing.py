"""What the command prints of how nets were judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum.console import one_line, say
from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.errors import listed
from residuum.plain_data import quoted
from residuum.printing import print_json

if TYPE_CHECKING:
    from residuum.records.evaluation import ClassFigures, DataEvaluation, Evaluation, Measure, MeasureName, Together
    from residuum.runs import RunRecord
    from residuum.settings import EvaluateSettings

MOST_CLASSES = 50
"""Classes up to which the figures of each are printed."""
LONGEST_NAME = 40


def print_figures(figures: Evaluation | None, which: str = "") -> None:
    """Print how a net was judged, on `which` pictures, and the figures with their intervals."""
    if figures is None:
        return
    kind = "training" if figures.split == "out-of-fold" else figures.split
    print(f"judged   {figures.images:,} {which or f'{kind} pictures'}, {figures.protocol}")
    for meant in _meant(figures.protocol):
        print(f"meaning  {meant}")
    if figures.unasked:
        how = f"{figures.asked} were asked: no picture of {listed(figures.unasked, 5)}, of which nothing is known"
        print(f"classes  {how}")
    if figures.is_several:
        called = f"called: answered with {_from(figures.call_from)} or more"
        print(f"labels   {figures.labels_a_picture:.3g} a picture in the mean; {called}")
    over = f"; over {figures.asked}" if figures.asked else ""
    luck = f"; by luck alone, were it calibrated, {figures.ece_by_chance:.2%}"
    by_chance = f"; in an order by chance {figures.mean_ap_by_chance:.2%}" if figures.is_several else ""
    notes, words = {"mean average precision": over + by_chance, "macro F1": over, "ECE": luck}, _words(figures)
    width = 1 + max(map(len, words.values()))
    for label, one in figures.named(words).items():
        interval = f"95 % interval {one.low:.2%} to {one.high:.2%}{notes.get(label, '')}"
        print(f"{label:<{width}}{one.value:.2%}  ({interval})")
    if figures.is_several:
        print(f"{'loss':<{width}}{figures.loss:.4g} nats  (binary cross-entropy, the mean over pictures and classes)")


def _from(call_from: float) -> str:
    return "one half" if call_from == 0.5 else f"{call_from:g}"


def _words(figures: Evaluation) -> dict[MeasureName, str]:
    """Return what figures are called here, in the order in which they are told."""
    first: dict[MeasureName, str] = {"top1": "top-1", "top5": "top-5"}
    if figures.is_several:
        first = {"mean_ap": "mean average precision", "top1": "likeliest label right"}
    return {**first, "macro_f1": "macro F1", "ece": "ECE"}


def _meant(protocol: str) -> list[str]:
    """Say in plain words what is averaged, where a picture is shown in several ways."""
    from residuum.reporting.sentences import AVERAGED

    return [words.partition(": ")[2].rstrip(".") for term, words in AVERAGED.items() if term in protocol]


def print_run(settings: object, record: RunRecord, json: bool) -> None:
    """Print the final figures of a run, and what to do with it."""
    from residuum.records.codec import to_json
    from residuum.reporting import sentences
    from residuum.runs import MODEL

    if json:
        figures = to_json(record.evaluation.figures()) if record.evaluation else {}
        return print_json({"run": str(record.path), "settings": record.settings.settings, **figures})
    print_figures(record.evaluation)
    for said in filter(None, (sentences.lazy(record), sentences.which_to_quote(record))):
        print(f"note     {said}")
    print(f"model    {record.path / MODEL}")
    print(f"next     residuum report {quoted(record.path)}")
    if record.head is not None:
        print(f"         residuum data review {quoted(record.path)}")
    return print(f"         residuum predict {quoted(record.path)} PICTURE...")


def print_evaluation(settings: EvaluateSettings, found: DataEvaluation, json: bool) -> None:
    """Print how a net was judged, and whether on pictures that have changed since it was trained."""
    if json:
        return print_json(found)
    if not found.same_data_as_training and settings.data is None:
        say("note: the data have changed since the run was trained")
    is_given = settings.split is None and found.split in {"train", "all"} and not found.same_data_as_training
    if found.engine:
        say(f"computed by {found.engine} in {found.precision}")
    print_figures(found, f"pictures of {found.data}" if is_given else "")
    _print_classes(found)
    if found.seen and found.split != "train":  # of which a note says it already
        from residuum.records.evaluation import too_good

        say(f"note: {too_good(found)}{_out_of_fold(found)}")
    if found.beside:
        _print_side_by_side(found)
    if found.not_kept:
        say(f"the figures are not kept in the run: {found.not_kept}")
    return None


def _out_of_fold(found: DataEvaluation) -> str:
    """Say of how many of the pictures that it has learnt the answers out of fold are judged beside."""
    known = next((one.images for one in found.beside if one.split == "out-of-fold"), 0)
    return f" Below stand its answers out of fold, to the {known:,} that it knows." if known else ""


def _print_classes(found: Evaluation) -> None:
    """Print a line for each class, where they are few enough to be read."""
    from residuum.reporting.wording import clipped, text_width

    if len(found.per_class) > MOST_CLASSES:
        return print(f"classes  {len(found.per_class):,}, too many for a line each: --json has the figures of each")
    names = [clipped(one_line(one.name), LONGEST_NAME) for one in found.per_class]
    width = max(5, *(round(text_width(name)) for name in names))
    ap = f"{'AP':>10}" if found.is_several else ""
    print(f"\n{'class':<{width}}{'pictures':>10}{ap}{'recall':>10}{'precision':>11}{'F1':>10}")
    for name, one in zip(names, found.per_class, strict=True):
        print(
            f"{name}{'':<{width - round(text_width(name))}}{one.images:>10,}{_of_class(one, several=found.is_several)}"
        )
    return None


def _of_class(one: ClassFigures, *, several: bool) -> str:
    """Write a class's figures, "–" for those of which the pictures tell nothing."""
    ap = [_percent(one.average_precision)] if several else []
    measures: list[Measure | None] = [one.known("recall"), one.known("precision"), one.known("f1")]
    words = ap + [_percent(found.value if found else None) for found in measures]
    return "".join(f"{word:>{11 if place == len(ap) + 1 else 10}}" for place, word in enumerate(words))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _print_side_by_side(found: DataEvaluation) -> None:
    """Print a line for each protocol and net, those of the figures above first."""
    from residuum.records.evaluation import headline

    first, second = ("mean AP", "likeliest label right") if found.is_several else ("top-1", "top-5")
    wide = len(second) + 3
    print(f"\n{first:>8}  {'95 % interval':<19}{second:>{wide}}{'loss':>8}   protocol, net")
    lines: tuple[DataEvaluation | Together, ...] = (found, *found.beside)
    for one in lines:
        best, beside = headline(one), one.top1 if found.is_several else one.top5
        interval = f"{best.low:.2%} to {best.high:.2%}"
        also = f"{beside.value:.2%}" if beside else ""
        named = " + ".join(one.models) + (f", {one.images:,} pictures" if one.images != found.images else "")
        print(f"{best.value:>8.2%}  {interval:<19}{also:>{wide}}{one.loss:>8.3f}   {one.protocol}, {named}")
