"""The verb `study`: each study measured, judged, and written down for the report."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from residuum import machine, runs
from residuum.console import say
from residuum.errors import UserError, nearest
from residuum.files import Json, write_json
from residuum.records.codec import to_json
from residuum.settings import StudySettings
from residuum.study.catalogue import STUDIES
from residuum.study.frame import Findings, Means, Study
from residuum.study.trained import seconds_of
from residuum.study.verdict import Verdict


def run_studies(settings: StudySettings) -> Iterator[Path]:
    """Run the named studies, in the catalogue's order; as each is done, give its folder, which holds study.json.

    Raises:
        UserError: there is no such study, it cannot examine a model, or the data or model are wrong.
        Stopped: a signal came; what was trained is kept, and the same command goes on.
    """
    wanted = chosen(settings)
    means = Means(
        scale=settings.scale,
        seeds=tuple(range(settings.seeds)),
        folder=Path(settings.out),
        data=settings.data,
        model=settings.model,
        device=settings.device,
        threads=settings.threads,
    )
    for study in wanted:
        yield _run(study, means)


def chosen(settings: StudySettings) -> list[Study]:
    """Return the studies asked for.

    Raises:
        UserError: none was, one does not exist, or one cannot examine the model given.
    """
    known = {study.name: study for study in STUDIES}
    if not settings.names:
        raise UserError("which study?", "", "residuum study --list shows them; residuum study NAME runs one")
    for name in settings.names:
        if name not in {*known, "all"}:
            raise UserError(
                f"there is no study {name!r}", nearest(name, known), "residuum study --list shows them"
            )
    names = set(known) if "all" in settings.names else set(settings.names)
    found = [study for study in STUDIES if study.name in names]
    if settings.model is not None and "all" in settings.names:
        return [study for study in found if study.examines]
    for study in found:
        if settings.model is not None and not study.examines:
            able = ", ".join(one.name for one in STUDIES if one.examines)
            raise UserError(
                f"study {study.name} cannot examine a model",
                "it compares nets that it trains itself",
                f"leave --model out; a model can be examined by: {able}",
            )
    return found


def _run(study: Study, means: Means) -> Path:
    say(f"\n{study.name}: {study.question.en}")
    started = time.monotonic()
    means = replace(means, used=[], waited=[])
    findings = study.measure(means)
    verdict = study.judge(findings.quantities)
    folder = means.folder / _folder_name(study, means)
    seconds = time.monotonic() - started - sum(means.waited)
    content = written(study, means, findings, verdict, seconds)
    write_json(folder / runs.STUDY, content)
    say(f"{study.name}: {verdict.answer} at this scale. {findings.measured.en}")
    return folder


def _folder_name(study: Study, means: Means) -> str:
    of = "" if means.model is None else f"-{Path(means.model).resolve().stem}"
    return study.name + of + ("" if means.scale == "quick" else f"-{means.scale}")


def written(study: Study, means: Means, findings: Findings, verdict: Verdict, seconds: float) -> Json:
    """Return study.json's content; `seconds` is what measuring took, besides the training of `runs`."""
    texts = {name: asdict(getattr(study, name)) for name in ("title", "question", "claim")}
    return {
        "kind": "study",
        "name": study.name,
        **texts,
        "source": study.source,
        "predicate": study.predicate,
        "scale": means.scale,
        "seeds": list(means.seeds),
        "examined": means.model and Path(means.model).name,
        "command": command(study, means),
        "verdict": asdict(verdict),
        "measured": asdict(findings.measured),
        "quantities": {name: one.as_json() for name, one in findings.quantities.items()},
        "charts": rounded([asdict(chart) for chart in findings.charts]),
        "tables": [asdict(table) for table in findings.tables],
        "notes": list(findings.notes),
        "settings": dict(findings.settings),
        "seconds": round(seconds, 1),
        "runs": seconds_of(means.used),
        "environment": to_json(machine.environment()),
    }


def rounded(charts: Any) -> Any:
    """Return the charts with five significant digits in every figure: a picture shows no more."""
    if isinstance(charts, dict):
        return {name: rounded(value) for name, value in charts.items()}
    if isinstance(charts, list | tuple):
        return [rounded(value) for value in charts]
    return float(f"{charts:.5g}") if isinstance(charts, float) else charts


def command(study: Study, means: Means) -> str:
    """Return the line that repeats the study."""
    words = ["residuum", "study", study.name, "--scale", means.scale, "--seeds", str(len(means.seeds))]
    words += ["--model", str(means.model)] if means.model else []
    words += ["--data", str(means.data)] if means.data else []
    return " ".join(words)


def listed(studies: Iterable[Study] = STUDIES) -> list[Json]:
    """Return name, question and source of each study."""
    return [
        {
            "name": study.name,
            "question": study.question.en,
            "source": study.source,
            "examines": study.examines,
        }
        for study in studies
    ]
