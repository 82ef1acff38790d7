"""What the page about explained pictures says of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from residuum.records.explained import FIRST_ALONE, Explained, ExplainedPicture, Heat, Said
from residuum.reporting import svg
from residuum.reporting.charts import Series, XAxis, YAxis, curves
from residuum.reporting.sentences import AVERAGED
from residuum.reporting.wording import are_opposite, clipped, counted, isolated, percent, shown, where

HALF = 0.5
"""Of its highest value: below it a map speaks against another's peak."""
SHARE = YAxis("probability", svg.percent_tick, percent, is_share=True)


@dataclass(frozen=True)
class PictureView:
    """One picture: the sentences and the chart about it. `id` is its heading's."""

    id: str
    found: ExplainedPicture
    verdict: str
    doubt: str
    """Why it is unsure; "" where it is not."""
    known: str
    """That the net was trained on the picture; "" where that is not known."""
    settled: str
    disagreement: str
    """Of the maps; "" where they agree."""
    chart: Markup
    legend: list[Series]


@dataclass(frozen=True)
class ExplainedView:
    """All that the page shows."""

    found: Explained
    pictures: list[PictureView]
    notes: list[str]


def view_explained(found: Explained) -> ExplainedView:
    """Work out everything the page says."""
    pictures = [_picture(one, found, f"p{place}") for place, one in enumerate(found.pictures, start=1)]
    return ExplainedView(found, pictures, list(_notes(found)))


def _picture(one: ExplainedPicture, found: Explained, key: str) -> PictureView:
    labels = [isolated(clipped(shown(each.name), 40)) for each in one.answers]
    legend = [Series(label, [], place) for place, label in enumerate(labels)]
    return PictureView(
        id=key,
        found=one,
        verdict=_verdict(one) if one.labels is None else _called(one, one.labels),
        doubt=f"It is unsure, as the picture is {one.doubt}." if one.doubt else "",
        known=trained_on(one, unseen=found.unseen),
        settled=_settled(one),
        disagreement=disagreement(one.heat),
        chart=_chart(one, found, labels),
        legend=legend if len(legend) > 1 else [],
    )


def _verdict(one: ExplainedPicture) -> str:
    return f"It answers {', then '.join(map(_in_words, one.answers))}."


def _in_words(said: Said) -> str:
    return f"{isolated(said.name)} ({percent(said.probability)})"


def _called(one: ExplainedPicture, called: tuple[str, ...]) -> str:
    """Say what is called of several labels a picture, what comes next, and which class the maps are of."""
    yes, no = ([said for said in one.answers if (said.name in called) is its] for its in (True, False))
    first = f"It calls: {'; '.join(map(_in_words, yes))}." if yes else "It calls nothing: no class reaches 50 %."
    behind = f" Less likely: {'; '.join(map(_in_words, no))}." if no else ""
    of = f" The maps are of {isolated(one.heat_of)}; --of names another class." if one.heat else ""
    return first + behind + of


def _settled(one: ExplainedPicture) -> str:
    names = [each.block for each in one.blocks]
    place, name = names.index(one.settled) + 1, isolated(one.answers[0].name)
    if one.labels is not None:
        return _called_from(names, place)
    if place == 1:
        return f"It would answer {name} behind every block."
    if place == len(names):
        return f"Only the last block, {isolated(names[-1])}, makes it answer {name}."
    return f"From {isolated(one.settled)} on, block {place} of {len(names)}, it would answer {name}."


def _called_from(names: list[str], place: int) -> str:
    """Say from which block on the same classes would be called."""
    if place == 1:
        return "It would call the same behind every block."
    if place == len(names):
        return f"Only behind the last block, {isolated(names[-1])}, it calls exactly these."
    return f"From {isolated(names[place - 1])} on, block {place} of {len(names)}, it would call the same."


def trained_on(one: ExplainedPicture, *, unseen: bool) -> str:
    """Say that the net was trained on this very picture, and whose answer tells more; "" where it is not known."""
    if not one.trained_on:
        return ""
    known = "The net was trained on this very picture, so that it answers so says little."
    return f"{known} By residuum data review a net answers it that had not seen it." if unseen else known


def disagreement(heat: Sequence[Heat]) -> str:
    """Say that one of two maps is low where the other is highest, or highest across the picture, and what follows."""
    if len(heat) != 2:
        return ""
    one, other = heat
    if min(_height(one, other), _height(other, one)) < HALF:
        both = f"both are strongest {where(one)}, but apart: " if where(one) == where(other) else ""
        how = f"{both}where one is strongest, the other is not half as strong as at its own peak"
    elif are_opposite(one, other):
        how = "they are strongest on opposite sides"
    else:
        return ""
    return (
        f"The two maps disagree about this picture: {how}. "
        "Trust neither alone: paint over each place in a copy of the picture and ask again."
    )


def _height(heat: Heat, other: Heat) -> float:
    """Return how high a map gets about where another is highest, its own highest value being 1; 1 where none are kept.

    "About": within one place of the coarser map, as no map says more exactly where it is highest.
    """
    if not (heat.values and other.values):
        return 1.0
    rows, columns = (_near(other, heat, upright=upright) for upright in (True, False))
    return max(heat.values[row][column] for row in rows for column in columns)


def _near(other: Heat, heat: Heat, *, upright: bool) -> list[int]:
    """Return which rows of a map, or columns, lie within one place of the coarser map from another's highest place."""
    counts = [len(one.values) if upright else len(one.values[0]) for one in (heat, other)]
    peak, reach = (other.y if upright else other.x), 1 / min(counts)
    return [at for at in range(counts[0]) if abs((at + 0.5) / counts[0] - peak) < reach + 1e-6]


def _chart(one: ExplainedPicture, found: Explained, labels: list[str]) -> Markup:
    """Draw the probability of each answer behind each block."""
    lines = [
        Series(label, [(float(at), min(1.0, each.probabilities[i])) for at, each in enumerate(one.blocks, start=1)], i)
        for i, label in enumerate(labels)
    ]
    names = [each.block for each in one.blocks]
    begins = len(names) - found.last_stage + 1
    marks = [(float(begins), "the last stage begins")] if begins > 1 else []
    x = XAxis("block", lambda at: f"behind {isolated(names[int(at) - 1])}", from_zero=False)
    return curves(lines, SHARE, marks, x)


def _notes(found: Explained) -> Iterator[str]:
    yield (
        "A map shows where what speaks for the class lies, not why it speaks for it. It has far fewer places than the "
        "picture has pixels, and is drawn smooth."
    )
    if found.maps.startswith(FIRST_ALONE):
        meant = [words for term, words in AVERAGED.items() if term in found.protocol]
        yield " ".join([*meant, "The maps are of the first view alone."])
    if any(len(one.heat) > 1 for one in found.pictures):
        yield (
            "RISE hides parts of the picture by chance and asks again, a hundred times: orange is where to be seen "
            "makes the class likelier. Grad-CAM asks once and reads within the net: orange is what its last layer adds "
            "up for the class. Where both are orange the evidence most likely lies; where one alone is, it may be the "
            "map's own doing."
        )
    if found.shortcut == "none":
        yield (
            "After a block: the blocks behind it are left out, and the net's last layer reads what is there. Without "
            "shortcuts it can only where no block behind changes the shape."
        )
    else:
        yield (
            "After a block: the branches of all blocks behind it are left out, their shortcuts stay, and the net's "
            f"last layer reads what arrives. In the last stage ({counted(found.last_stage, 'block')}) that is what the "
            "block gave; before it, what the later stages' shortcuts make of it, which the last layer never learnt to "
            "read."
        )
    if any(one.nearest for one in found.pictures):
        measure = "by the cosine between what the last layer reads of two pictures"
        yield f"Nearest training pictures: {measure}, among {shown(found.searched)}."
    else:
        yield f"No training pictures are shown: {shown(found.searched)}."
