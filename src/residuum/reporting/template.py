"""What every page is made with: the templates, and the shell that holds style, script and content policy."""

import base64
import hashlib
import json
import math
import re
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from residuum import chinese
from residuum.files import write_whole
from residuum.records.study import SPREAD
from residuum.reporting import charts, study_wording, wording
from residuum.reporting.one_run import flat, is_picture, is_small

STUDY_WORDING = ("quantity_words", "values_words", "finite")
WORDING = ("percent", "interval", "count", "counted", "short", "duration", "plain", "shown", "isolated", "where")


def filled(template: str, **values: object) -> str:
    """Return a whole page: one file that needs nothing else, in Chinese where that is asked for."""
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    around = {"style": Markup(_part("style.css")), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    page = _environment().get_template(template).render(**values, **around)
    return chinese.page(page) if chinese.is_wanted() else page


def write_page(place: Path, page: str) -> Path:
    """Write a whole page and return where it is (UserError if it cannot be written)."""
    # A name may hold half a character (undecodable bytes in a file name): it is shown as "?".
    write_whole(place, page.encode("utf-8", errors="replace"))
    return place


@cache
def _environment() -> Environment:
    """Everything a template prints is escaped unless a chart made it."""
    made = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {name: getattr(wording, name) for name in WORDING}
    made.filters["file_name"] = partial(_broken_behind, "/_-")
    made.filters["setting_name"] = partial(_broken_behind, "._")
    made.filters["class_name"] = partial(_broken_behind, "/_-.")
    made.filters |= {name: getattr(study_wording, name) for name in STUDY_WORDING}
    made.filters |= {
        "figure": lambda value: f"{value:.4g}" if value is not None and math.isfinite(value) else "–",
        "json": lambda raw: json.dumps(raw, separators=(",", ":"), ensure_ascii=False),
        "swatch": charts.swatch,
        "flat": flat,
        "is_picture": is_picture,
        "is_small": is_small,
    }
    made.globals |= {"level_limits": charts.LEVELS, "few": charts.FEW}
    made.globals |= {"marks": study_wording.MARKS, "holds": study_wording.HOLDS, "spread": SPREAD}
    return made


def _broken_behind(marks: str, name: object) -> Markup:
    """Show a name so that it is broken behind these marks before it is within a word."""
    return Markup(re.sub(f"(?<=[{re.escape(marks)}])", "<wbr>", escape(wording.shown(name))))


def _part(name: str) -> str:
    """Return a file of this folder as text, with the line ends a browser will see."""
    text = files("residuum.reporting").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
