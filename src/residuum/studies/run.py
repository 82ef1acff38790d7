"""The verb `study`: each study measured, judged, and written down for the report."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from residuum import machine, runs
from residuum.apart import refuse_below
from residuum.chinese import is_wanted
from residuum.console import say
from residuum.dispatch.job import Planned, fetching_nothing, open_pictures_of
from residuum.errors import UserError, nearest
from residuum.files import Json
from residuum.plain_data import read_off
from residuum.records.codec import from_json, read_record, to_json, write_record
from residuum.records.study import Chart, StudyRecord
from residuum.setting_parts import WhereTrained
from residuum.settings import StudySettings
from residuum.studies.catalogue import open_study, texts
from residuum.studies.frame import OWN_PICTURES, Findings, Setup, Study, refuse_several


def run_studies(settings: StudySettings) -> Iterator[Path]:
    """Run the named studies, in the catalogue's order; as each is done, give its folder, which holds study.json.

    Raises:
        UserError: there is no such study, it cannot examine a model, or the data or model are wrong.
        Stopped: a signal came; what was trained is kept, and the same command goes on.
    """
    wanted = chosen(settings)
    if settings.data and Path(settings.data).exists():
        refuse_below(Path(settings.out), str(Path(settings.data).resolve()))
    if settings.data:
        with fetching_nothing() if settings.dry_run else nullcontext():
            refuse_several(open_pictures_of(str(settings.data)))
    setup = Setup(
        scale=settings.scale,
        seeds=tuple(range(settings.seeds)),
        folder=Path(settings.out),
        data=str(settings.data) if settings.data else None,
        model=str(settings.model) if settings.model else None,
        shuffle=settings.shuffle,
        device=settings.device,
        threads=settings.threads,
        where=WhereTrained(**read_off(WhereTrained, settings)),
    )
    for name in wanted:
        if settings.dry_run:
            _plan(open_study(name), setup)
            continue
        yield _run(open_study(name), setup)


def chosen(settings: StudySettings) -> list[str]:
    """Return the names of the studies asked for.

    Raises:
        UserError: none was, one does not exist, or one cannot examine the model given.
    """
    known = texts()
    if settings.model is not None and settings.shuffle:
        raise UserError("a model that is given was trained already", "nothing is shuffled", "leave out --shuffle")
    if settings.model is not None and settings.seeds != StudySettings.seeds:
        raise UserError(
            "a model that is given has no seeds", "they are those of nets that studies train", "leave out --seeds"
        )
    if not settings.names:
        raise UserError("which study?", "", "residuum study --list shows them; residuum study NAME runs one")
    for name in settings.names:
        if name not in {*known, "all"}:
            raise UserError(f"there is no study {name!r}", nearest(name, known), "residuum study --list shows them")
    able = [name for name, told in known.items() if told.examines]
    if "all" in settings.names:
        return list(known) if settings.model is None else able
    found = [name for name in known if name in settings.names]
    for name in found:
        if settings.model is not None and name not in able:
            raise UserError(
                f"study {name} cannot examine a model",
                "it compares nets that it trains itself",
                f"leave --model out; a model can be examined by: {', '.join(able)}",
            )
    return found


def _plan(study: Study, setup: Setup) -> None:
    """Say what would be trained, and for how long; nothing is fetched, timed or measured."""
    say(f"\n{study.name}: {study.texts.question.en}")
    if setup.model or not study.texts.keeps_runs:
        say("to be trained: no runs")
    else:
        try:
            with fetching_nothing(), suppress(Planned):  # where it trains again by what it found, that is not known yet
                study.measure(setup)
        except UserError as error:
            if setup.data or setup.scale == "tiny" or _is_here(OWN_PICTURES):
                raise
            say(f"to be trained: not known before its pictures are here: {error.what}\n{error.mend}")
    if setup.scale == "quick" and setup.data is None and setup.model is None:
        minutes = study.texts.minutes * len(setup.seeds) / StudySettings.seeds
        say(f"all of it, on one core: {minutes:.2g} minutes where it was measured (2 cores of a Xeon)")


def _is_here(source: str) -> bool:
    with fetching_nothing(), suppress(UserError):
        return bool(open_pictures_of(source))
    return False


def _run(study: Study, setup: Setup) -> Path:
    say(f"\n{study.name}: {study.texts.question.en}")
    used, waits = list[runs.RunRecord](), list[float]()

    def watch(records: Sequence[runs.RunRecord], waited: float) -> None:
        used.extend(records)
        waits.append(waited)

    started = time.monotonic()
    findings = study.measure(replace(setup, watch=watch))
    seconds = time.monotonic() - started - sum(waits)
    found = record(study, setup, findings, seconds, used)
    folder = folder_of(study.name, setup)
    write_record(folder / runs.STUDY, found)
    say(f"{study.name}: {f'{found.answer} at this scale' if found.answer else 'measured'}")
    return folder


def folder_of(name: str, setup: Setup) -> Path:
    """Name a study's folder by what was asked and is not by default: model, scale, pictures, their order, seeds.

    Where a study that was asked for by another command has that name, as of pictures of the same name, a number
    follows: no study is written over but by its own command.
    """
    asked = [Path(setup.model).resolve().stem] if setup.model else []
    asked += [] if setup.scale == "quick" else [setup.scale]
    asked += [re.sub(r"[^\w.-]", "_", Path(setup.data).resolve().stem)] if setup.data else []
    asked += [setup.shuffle] if setup.shuffle else []
    seeds = len(setup.seeds)
    asked += [] if setup.model or seeds == StudySettings.seeds else [f"{seeds}-seed{'s' if seeds > 1 else ''}"]
    wanted, own = "-".join([name, *asked]), command(name, setup)
    numbered = (setup.folder / f"{wanted}{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(folder for folder in numbered if _is_free(folder / runs.STUDY, own))


def _is_free(file: Path, command: str) -> bool:
    """Say whether no study lies there, or what the same command found; what cannot be read is not written over."""
    if not file.exists():
        return True
    with suppress(UserError):
        return read_record(file, StudyRecord).command == command
    return False


def record(
    study: Study, setup: Setup, findings: Findings, seconds: float, used: Sequence[runs.RunRecord] = ()
) -> StudyRecord:
    """Judge the figures, but for those of a given model, and return what study.json says.

    `seconds` is what measuring took, besides training.
    """
    # with torch, which the list of studies need not wait for
    from residuum.studies.trained import common, in_small, told_apart, trained_on

    return StudyRecord(
        kind="study",
        name=study.name,
        title=study.texts.title,
        question=study.texts.question,
        claim=study.texts.claim,
        source=study.texts.source,
        predicate=str(study.rule),
        scale=setup.scale,
        seeds=() if setup.model else setup.seeds,
        examined=setup.model and Path(setup.model).name,
        command=command(study.name, setup),
        verdict=None if setup.model else study.rule.judge(findings.quantities),
        measured=findings.measured,
        quantities=dict(findings.quantities),
        charts=from_json(rounded(to_json(findings.charts)), tuple[Chart, ...], study.name),
        tables=findings.tables,
        notes=(*findings.notes, *in_small(used)),
        settings=common(used) | dict(findings.settings),
        seconds=round(seconds, 1),
        runs={run.path.name: round(sum(line.seconds for line in run.epochs), 2) for run in used},
        nets=told_apart(used),
        environment=machine.environment(),
        pictures=findings.pictures or trained_on(used),
    )


def rounded(charts: Any) -> Any:
    """Return the charts with five significant digits in every figure: a picture shows no more."""
    if isinstance(charts, dict):
        return {name: rounded(value) for name, value in charts.items()}
    if isinstance(charts, list | tuple):
        return [rounded(value) for value in charts]
    return float(f"{charts:.5g}") if isinstance(charts, float) else charts


def command(name: str, setup: Setup) -> str:
    """Return the line that repeats the study."""
    words = ["residuum", "study", name, "--scale", setup.scale]
    words += ["--model", setup.model] if setup.model else ["--seeds", str(len(setup.seeds))]
    words += ["--data", str(setup.data)] if setup.data else []
    words += ["--shuffle", setup.shuffle] if setup.shuffle else []
    return " ".join(words)


def listed() -> list[Json]:
    """Return name, question (in Chinese where that is asked for) and source of each study, without torch."""
    language = "zh" if is_wanted() else "en"
    return [
        {"name": name, "question": getattr(told.question, language), "source": told.source, "examines": told.examines}
        | {"minutes": told.minutes}
        for name, told in texts().items()
    ]
