"""What the page about depth is made of, whichever of the two files it is about."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from residuum.records.depth import FEW, Measured
from residuum.records.evaluation import Measure
from residuum.records.numbers import wilson
from residuum.reporting.charts import Picture
from residuum.reporting.sentences import pictures_of
from residuum.reporting.wording import NBSP, NONE, interval, percent

Tile = tuple[str, str, str]  # what it is, the figure, a note
Cell = tuple[str, float | None]  # what is shown, and what it is sorted by


@dataclass(frozen=True)
class TableRow:
    """One block, or one net on the curve; `chosen` is set apart."""

    number: int
    name: str
    cells: list[Cell]
    chosen: bool = False


@dataclass(frozen=True)
class Table:
    """All figures; `heads` name the number, the name and the cells."""

    title: str
    lead: str
    heads: list[str]
    rows: list[TableRow]
    is_sorting: bool = False
    """Whether the lead is about the headings, which narrow windows do not show."""


@dataclass(frozen=True, kw_only=True)
class DepthView:
    """All that the page shows."""

    measured: Measured
    heading: str
    headline: str
    beside: str
    verdict: str
    notes: list[str]
    title: str
    lead: str
    charts: list[Picture]
    table: Table
    how: list[tuple[str, object]]
    tiles: list[Tile] = field(default_factory=list)
    kinds: list[tuple[int, str]] = field(default_factory=list)
    """What the colours of bars mean: (style, words)."""


def pictures(measured: Measured) -> str:
    """Write "5,000 validation pictures"."""
    return pictures_of(measured.data.images, measured.data.split)


def trained_on(measured: Measured) -> Iterator[str]:
    """Say it where the net had learnt the pictures."""
    if measured.data.split == "train":
        yield "The net was trained on these pictures, for none were kept aside: the figures say little about new ones."
    if measured.data.may_be_learnt:
        yield (
            "Which pictures this net has learnt is not known, and these were cut from the training pictures: it may "
            "have learnt them, and then the figures say little about new ones. A folder validation beside train has "
            "pictures that it has not."
        )


def of_several(measured: Measured) -> Iterator[str]:
    """Say what the figures are where pictures show several classes."""
    if measured.data.several:
        yield (
            "A picture may show several classes here: accuracy is the share whose likeliest label is right, and the "
            "loss the mean binary cross-entropy over all labels."
        )


def precision(value: float | None) -> str:
    """Write a mean average precision behind an accuracy; nothing where there is none."""
    return "" if value is None else f", mean average precision {value:.2%}"


def no_better(measured: Measured) -> str:
    """Say that the whole net does no better than the laziest answer, so that its blocks' worth shows little."""
    if not measured.is_lazy:
        return ""
    lazy = f"Always answering the most frequent class would be right {percent(measured.data.commonest)} of the time"
    return f"{lazy}: this net is no better, so its blocks have little to lose."


def few(measured: Measured) -> Iterator[str]:
    """Say what it means that blocks are judged on few pictures."""
    if 0 < measured.data.images < FEW:
        yield (
            "So few pictures hardly tell blocks apart: which block costs least is partly luck. To judge by more: "
            f"residuum {measured.kind} MODEL DATA, where DATA has a validation split of more pictures that the net has "
            "not learnt."
        )


def noted(measured: Measured) -> Iterator[str]:
    """Say it for the terminal."""
    if said := no_better(measured):
        yield f"note     {said.replace(NBSP, ' ')}"
    yield from (f"note     {said}" for said in trained_on(measured))
    yield from (f"note     {said}" for said in of_several(measured))
    for said in few(measured):
        if measured.whole is not None:
            yield f"note     {uncertainty(measured, measured.whole).replace(NBSP, ' ')}"
        yield f"note     {said}"


def shown(measured: Measured) -> str:
    """Say how pictures were shown to the net."""
    return f"Shown to the net: {measured.protocol}. Accuracies by another protocol may differ."


def uncertainty(measured: Measured, accuracy: float) -> str:
    """Say how sure an accuracy on so many pictures is."""
    images = measured.data.images
    low, high = wilson(round(accuracy * images), images)
    between = interval(Measure(value=accuracy, low=low, high=high))
    return (
        f"On {pictures(measured)}, {percent(accuracy)} has the 95{NBSP}% interval {between}, and one picture is "
        f"{100 / images:.2f} points; between nets judged on the same pictures, differences are surer than that."
    )


def cell(write: Callable[[float | None], str], value: float | None) -> Cell:
    """Show a value as `write` writes it."""
    return write(value), value


def points(value: float | None) -> str:
    """Write points of accuracy: a loss as "0.42", a gain as "−0.42"."""
    if value is None:
        return NONE
    text = f"{abs(value):.2f}"
    return "−" + text if value < 0 and float(text) else text


def milliseconds(value: float | None) -> str:
    """Write a time as "3.21 ms" or "54.9 ms"."""
    if value is None:
        return NONE
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}{NBSP}ms"
