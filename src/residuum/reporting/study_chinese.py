"""A study in Chinese: what its record says in English alone, by the words of study_chinese.json.

So a record that is older than these words is in Chinese, too; what has no words there stays English.
"""

import re
from collections.abc import Iterable
from itertools import takewhile

from msgspec.structs import replace

from residuum.chinese import STUDIES
from residuum.chinese import said as said_by
from residuum.records.study import Bars, Chart, Compared, Lines, Part, Quantity, StudyRecord, Table, Verdict, Words

OLDER = {"捷径连接": "快捷连接", "捷径": "快捷连接", "支路": "分支", "分类层": "最后一层"}
RELATIONS = {"above": "高于", "below": "低于"}
UNSPACED = re.compile("(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9-])|(?<=[A-Za-z0-9%])(?=[\u4e00-\u9fff])")
"""Where Chinese and Latin letters meet: a space belongs there."""


def in_chinese(study: StudyRecord) -> StudyRecord:
    """Return the study with all that a page shows of it in Chinese, but for the name of its source."""
    return replace(
        study,
        title=_own(study.title),
        question=_own(study.question),
        claim=_own(study.claim),
        measured=_own(study.measured),
        predicate=said(study.predicate),
        verdict=study.verdict and _verdict(study.verdict),
        quantities={name: _quantity(one) for name, one in study.quantities.items()},
        charts=tuple(map(_chart, study.charts)),
        tables=tuple(map(_table, study.tables)),
        notes=_all(study.notes),
        pictures=said(study.pictures),
    )


def said(text: str) -> str:
    """Return one of a study's texts in Chinese."""
    return said_by(text, STUDIES)


def _own(words: Words) -> Words:
    """Return the Chinese of both, in the terms of docs/zh/terms.md, which are younger than some records."""
    text = words.zh
    for older, term in OLDER.items():
        text = text.replace(older, term)
    text = re.sub(r"(?<=\d) (points|nats)\b", lambda unit: f" {said(unit[1])}", text)
    return Words(text, text)


def _all(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(said, texts))


def _verdict(verdict: Verdict) -> Verdict:
    return replace(verdict, parts=tuple(Part(_part(part), part.holds) for part in verdict.parts))


def _part(part: Part) -> str:
    told = part.compared
    if told is None:
        return said(part.words)
    first, second = _told_apart(told.one, told.other)
    return UNSPACED.sub(" ", f"{first}（{said(told.figure)}）{_against(second, told)}")


def _against(other: str, told: Compared) -> str:
    """Return what a figure is held against, behind its name; without a "not", as English has it (records/study.py)."""
    other += f"（{said(told.other_figure)}）" if told.other_figure else ""
    if told.relation != "not above":
        return f"{RELATIONS[told.relation]}{other}" + (f"超过 {told.by}" if told.by else "")
    if told.by:
        return f"至多比{other}高 {told.by}"
    return f"至多与{other}相同" if told.other_figure else f"至多为{other}"


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Return what two figures are called, what they share said once: "plain56 的训练误差", "plain20".

    A name is that of a measure and, behind commas, what it is of; what is said first holds of both.
    """
    ours, theirs = one.split(", "), other.split(", ")
    end = _alike(ours[::-1], theirs[::-1])
    ours, theirs, around = ours[: len(ours) - end], theirs[: len(theirs) - end], ours[len(ours) - end :]
    begin = _alike(ours, theirs)
    measure, theirs = ours[0], theirs[begin:]
    if begin:
        first = f"{_joined(ours[begin:])}的{said(measure)}"
        around = [*ours[1:begin], *around]
    elif said(measure) != measure and len(theirs) == 1:
        first, around = said(measure), [*ours[1:], *around]
    else:
        first = said(", ".join(ours))
    return "，".join([_joined(around), first] if around else [first]), _joined(theirs) if begin or end else said(other)


def _alike(ours: list[str], theirs: list[str]) -> int:
    """Return how many first parts are the same, of each one being left."""
    pairs = zip(ours[:-1], theirs[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _joined(parts: list[str]) -> str:
    """Return parts of a name in Chinese; what is a number alone beside others is a depth."""
    return said(", ".join(f"{part} layers" if part.isdigit() else part for part in parts))


def _quantity(one: Quantity) -> Quantity:
    return replace(one, label=said(one.label), unit=said(one.unit))


def _chart(chart: Chart) -> Chart:
    named = replace(chart, title=said(chart.title), y=said(chart.y))
    if isinstance(named, Lines):
        return replace(named, x=said(named.x), lines=tuple(replace(one, label=said(one.label)) for one in named.lines))
    if isinstance(named, Bars):
        return replace(named, bars=tuple(replace(one, label=said(one.label)) for one in named.bars))
    return replace(named, x=said(named.x), reading=said(named.reading))


def _table(table: Table) -> Table:
    return Table(said(table.title), _all(table.heads), tuple(map(_all, table.rows)))
