"""The page at / of the server: one file that needs nothing else and asks nobody but the server it came from."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

MODULES = ("words", "drawing", "net", "server", "state", "link", "shown", "asking", "saved", "source", "main")
"""In the order in which they use each other."""
STYLES = (("residuum.reporting", "style.css"), ("residuum.page", "style.css"))


@cache
def page() -> str:
    """Return the page. Its content policy lets this one script run, and lets it ask this server alone."""
    script = "(() => {\n" + "\n".join(_without_imports(_part(f"{name}.js")) for name in MODULES) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return made.get_template("page.html").render(
        style=Markup("".join(_part(name, room) for room, name in STYLES)),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        words=Markup(_part("words.json").replace("</", "<\\/")),
    )


def _without_imports(module: str) -> str:
    """Return a module as a part of one script, in which every name is known."""
    return re.sub(r"^import [^;]*;\n|^export ", "", module, flags=re.MULTILINE)


def _part(name: str, room: str = "residuum.page") -> str:
    """Return a file as text, with the line ends a browser will see."""
    return files(room).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
