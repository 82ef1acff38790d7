"""The report: run folders in, one HTML file out that needs nothing else, not even a network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from residuum import runs as run_folders
from residuum.errors import UserError
from residuum.reporting import charts, comparison, wording
from residuum.reporting.figures import number
from residuum.reporting.one_run import OneRun, flat, read_one

WORDING = ("percent", "interval", "count", "counted", "short", "duration", "plain", "shown", "isolated")


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one run, or of several compared, and return where it is.

    It goes to `out`; by default into the run folder, or for several runs to report.html here.

    Raises:
        UserError: no run was given, one is not a run folder or cannot be read, or `out` cannot be written.
    """
    if not runs:
        raise UserError("no run was given", "a report needs one run folder or several", "name a run folder")
    records = [run_folders.read_run(Path(run)) for run in runs]
    several = len(records) > 1
    letters = [comparison.letters(i) if several else "" for i in range(len(records))]
    views = [read_one(record, f"r{i}", letters[i], i) for i, record in enumerate(records)]
    place = out or (Path(run_folders.REPORT) if several else Path(runs[0]) / run_folders.REPORT)
    # A name may hold half a character (undecodable bytes in a file name): it is shown as "?".
    run_folders.write_whole(place, render(views).encode("utf-8", errors="replace"))
    return place


def render(views: Sequence[OneRun]) -> str:
    """Return the whole page."""
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            runs=views,
            compared=comparison.compare(views) if len(views) > 1 else None,
            style=Markup(_part("style.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


@cache
def _environment() -> Environment:
    """Everything a template prints is escaped unless a chart made it."""
    made = Environment(
        loader=FunctionLoader(_part),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(wording, name) for name in WORDING}
    made.filters |= {
        "figure": lambda raw: "–" if (value := number(raw)) is None else f"{value:.4g}",
        "share": lambda raw: wording.percent(number(raw)),
        "time": lambda raw: wording.duration(number(raw)),
        "json": lambda raw: json.dumps(raw, separators=(",", ":"), ensure_ascii=False),
        "swatch": _swatch,
        "repeats": comparison.seed_words,
        "flat": flat,
    }
    made.globals |= {"level_limits": charts.LEVELS, "few": charts.FEW}
    return made


def _swatch(style: int, faint: bool = False) -> Markup:
    """Return the piece of line that stands for a series in a legend."""
    drawn = charts.sample(style, faint)
    return Markup('<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true">{}</svg>').format(drawn)


def _part(name: str) -> str:
    """Return a file of this folder as text, with the line ends a browser will see."""
    text = files("residuum.reporting").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
