"""A study in Chinese: what its record says in English alone, by the words of study_chinese.json.

So a record that is older than these words is in Chinese, too; what has no words there stays English.
"""

import re
from collections.abc import Iterable

from msgspec.structs import replace

from residuum.chinese import STUDIES
from residuum.chinese import said as said_by
from residuum.records.study import Bars, Chart, Lines, Part, Quantity, StudyRecord, Table, Verdict, Words

COMPARED = re.compile(r"(.+) \(([^()]+)\) (not above|above|below) (.+?)(?: \(([^()]+)\))?(?: by more than (\S+))?")
"""A part of a claim as studies/verdict.py writes it: one figure, a relation, another figure or a number, how much."""
OLDER = {"捷径连接": "快捷连接", "捷径": "快捷连接", "支路": "分支", "分类层": "最后一层"}
RELATIONS = {"above": "高于", "below": "低于", "not above": "至多为"}


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
    return replace(verdict, parts=tuple(Part(_compared(part.words), part.holds) for part in verdict.parts))


def _compared(words: str) -> str:
    found = COMPARED.fullmatch(words)
    if not found:
        return said(words)
    one, figure, relation, other, others, by = found.groups()
    space = " " if said(other)[0].isascii() else ""
    against = space + said(other) + (f"（{said(others)}）" if others else space)
    limit = f"{'至多 ' if relation == 'not above' else '超过 '}{by}" if by else ""
    named = RELATIONS[relation.removeprefix("not ") if by else relation]
    return f"{said(one)}（{said(figure)}）{named}{against}{limit}".rstrip()


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
