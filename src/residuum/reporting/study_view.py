"""What the page about a study says, and what the table of all studies says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from residuum.reporting.study_charts import Picture, picture
from residuum.reporting.study_figures import ANSWERS, Answer, Part, Study
from residuum.reporting.study_wording import HOLDS, MARKS, amount_words, values_words
from residuum.reporting.wording import counted, duration, isolated

NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class AmountRow:
    """One quantity; `value` is what the table is sorted by."""

    label: str
    words: str
    unit: str
    count: int
    values: str
    value: float | None


@dataclass(frozen=True)
class StudyView:
    """All that a study's page shows; `parts` are (part, mark, word) each."""

    study: Study
    heading: str
    answer: str
    mark: str
    beside: str
    parts: list[tuple[Part, str, str]]
    pictures: list[Picture]
    amounts: list[AmountRow]


@dataclass(frozen=True)
class IndexRow:
    """One study among all; `link` is empty where there is no page, `fault` says why there are no figures."""

    name: str
    link: str
    study: Study | None
    answer: str = NO_VERDICT
    mark: str = "–"
    seeds: str = "–"
    fault: str = ""


def view_study(found: Study) -> StudyView:
    """Work out everything the page says."""
    return StudyView(
        study=found,
        heading=found.title or found.name or "A study",
        answer=answer_words(found.answer),
        mark=mark(found.answer),
        beside=_beside(found),
        parts=[(part, *HOLDS[part.holds]) for part in found.parts],
        pictures=[picture(chart, found.charts) for chart in found.charts],
        amounts=[
            AmountRow(
                one.label,
                amount_words(one),
                one.unit,
                len(one.values),
                values_words(one),
                one.mean,
            )
            for one in found.amounts
        ],
    )


def view_row(name: str, link: str, found: Study) -> IndexRow:
    """Work out a study's row among all."""
    seeds = "–" if found.examined else str(len(found.seeds) or "–")
    return IndexRow(name, link, found, answer_words(found.answer), mark(found.answer), seeds)


def counts(rows: Sequence[IndexRow]) -> list[tuple[str, str, int]]:
    """Return (verdict, its sign, how many); those not reached are counted only where there are any."""
    found = Counter(row.answer for row in rows)
    reached = [(answer_words(one), mark(one), found[one]) for one in ANSWERS]
    return reached + [(NO_VERDICT, mark(None), found[NO_VERDICT])] * (found[NO_VERDICT] > 0)


def answer_words(answer: Answer | None) -> str:
    """Return the verdict as one word or two."""
    return answer or NO_VERDICT


def mark(answer: Answer | None) -> str:
    """Return the sign that stands beside the word."""
    return MARKS[answer] if answer else "–"


def _beside(found: Study) -> str:
    """Say "at scale quick, 3 seeds", and what was examined and how long it took, where that is known."""
    parts = [f"at scale {found.scale}"] if found.scale else []
    parts += [counted(len(found.seeds), "seed")] if found.seeds and not found.examined else []
    parts += [f"examining {isolated(found.examined)}"] if found.examined else []
    if found.runs:
        parts += [f"{counted(len(found.runs), 'net')} trained in {duration(sum(found.runs.values()))} in all"]
    parts += [f"measured in {duration(found.seconds)}"] if found.seconds is not None else []
    return ", ".join(parts)
