"""The command `residuum`, made from the verbs. Nothing is computed here.

Figures go to stdout, everything else to stderr. Exit codes: 0 done, 2 a fault in what was given,
3 done but for some of it, 130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP after saving.
"""

import inspect
import json as json_format
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Dict
from rich.console import Console

from residuum import verbs
from residuum.console import secure_streams
from residuum.errors import Stopped, UserError
from residuum.plain_data import as_json, by_place
from residuum.printing import print_json, say_settings
from residuum.verb import Verb
from residuum.version import VERSION

Json = Annotated[bool, Parameter(negative=(), help="Print the figures as JSON, for scripts.")]
VERBS: list[Verb[..., Any, Any]] = [one for one in vars(verbs).values() if isinstance(one, Verb)]

app = App(
    name="residuum",
    help="Trains, judges and uses deep residual networks for images.",
    version=VERSION,
    version_flags=["--version"],
    result_action="return_value",
)
HOMES = {
    "data": App(name="data", help="Look at or fetch pictures."),
    "weights": App(name="weights", help="List or fetch trained weights."),
}
for _home in HOMES.values():
    app.command(_home)
app.register_install_completion_command()


# --- a verb as a command ------------------------------------------------------------------------


def _command(verb: Verb[..., Any, Any]) -> Callable[..., None]:
    grouped = _grouped(verb.settings)
    default = grouped()

    def command(settings: Any = default, *, json: bool = False) -> None:
        given = verb.settings(**vars(settings))
        if verb.announced:
            say_settings(verb.name, given)
        verb.show(given, verb.run(given), json)

    command.__doc__ = verb.run.__doc__
    named_alone = Parameter(name="*", consume_multiple=True)  # --epochs, not --settings.epochs; --blocks 3 5 9
    command.__annotations__ = {"settings": Annotated[grouped, named_alone], "json": Json}
    return command


def _grouped(settings: Any) -> Any:
    """The class of settings as the help shows it: what has a place first, each field in the group of its part."""
    hints, groups = {}, dict[str, Group]()
    for place, field in enumerate(fields(settings)):
        part = next(part for part in settings.__mro__ if field.name in inspect.get_annotations(part))
        if part.group:
            group = groups.setdefault(part.group, Group(part.group, sort_key=place))
            hints[field.name] = Annotated[field.type, Parameter(group=group)]
    in_order = {field.name: field for field in by_place(settings)}
    return type(settings.__name__, (settings,), {"__annotations__": hints, "__dataclass_fields__": in_order})


for _verb in VERBS:
    *_homes, _name = _verb.name.split()
    (HOMES[_homes[0]] if _homes else app).command(_command(_verb), name=_name)


# --- starting -----------------------------------------------------------------------------------


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="Settings from a JSON or TOML file; flags win.")] = None,
    print_config: Annotated[
        bool, Parameter(negative=(), help="Print the settings as JSON, for --config, and do nothing else.")
    ] = False,
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False,
) -> None:
    app.config = [Dict(_for_any_verb(_read_config(config)), source=str(config))] if config else []
    try:
        if print_config:
            return print_json(as_json(_settings_of(tokens)))
        app(tokens, exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        if debug:
            raise
        _fail(f"error: {error}", getattr(error, "exit_code", 2))
    except Stopped as stop:
        _fail(str(stop), stop.exit_code)
    return None


def _settings_of(tokens: tuple[str, ...]) -> Any:
    """What the verb would be called with."""
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    if "settings" not in bound.arguments:
        raise UserError("--print-config needs a verb", "", "residuum train --print-config")
    return bound.arguments["settings"]


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(message, markup=False, highlight=False)
    raise SystemExit(code)


def _read_config(path: Path) -> dict[str, Any]:
    """Read settings: a JSON or TOML table, or a run folder's settings.json."""
    import tomllib  # slow to import

    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json_format.loads(text)
    except (OSError, ValueError) as error:
        _fail(f"error: --config {path} cannot be read: {error}", 2)
    if not isinstance(content, dict):
        _fail(f"error: --config {path} holds no table of settings", 2)
    inner = content.get("settings", content)
    return {name.rstrip("_"): value for name, value in inner.items() if value is not None and value != []}


def _for_any_verb(settings: dict[str, Any]) -> dict[str, Any]:
    """Lay the settings where the verb that is run will look for its own."""
    within = {verb.name.split()[-1]: settings for verb in VERBS}
    return within | dict.fromkeys(HOMES, within)


def main() -> None:
    """Run the command line. A reader that has seen enough (`| head`) ends it without a word."""
    secure_streams()
    try:
        app.meta(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would write the rest at its end
        raise SystemExit(141) from None  # as a command that SIGPIPE ended
