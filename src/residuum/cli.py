"""The command `residuum`, made from the verbs. Nothing is computed here.

Figures go to stdout, everything else to stderr. Exit codes: 0 done, 2 a fault in what was given,
3 done but for some of it, 130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP after saving.
"""

import codecs
import inspect
import json as json_format
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter, Token, convert
from cyclopts.config import Dict
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from residuum import chinese, outward_verbs, ranks, verbs
from residuum.console import say, secure_streams, silence, tell_on_stderr
from residuum.errors import BEFORE_THE_RUN, Stopped, UserError, nearest
from residuum.plain_data import Range, as_json, by_place, command_line, flag, group_of
from residuum.printing import print_json
from residuum.verb import Verb, mend_by_quotes
from residuum.version import VERSION

Json = Annotated[bool, Parameter(negative=(), help="Print the figures as JSON, for scripts.")]
TOGETHER = {"train", "evaluate"}
"""Verbs that several processes do together, under torchrun."""
VERBS: list[Verb[..., Any, Any]] = [
    one for declared in (verbs, outward_verbs) for one in vars(declared).values() if isinstance(one, Verb)
]

EXAMPLE = re.compile(r"(?<=^Examples:) | {4}(?=residuum )", re.MULTILINE)
"""What stands before each example of a docstring; the help has a line for each."""

_assembled: dict[tuple[object, ...], ArgumentCollection] = {}


class _Command(App):
    """A command that reads its parameters from their annotations once, though one call looks at them several times."""

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        """What the command takes, with nothing given yet."""
        key = self.default_command, default_parameter, parse_docstring
        if key not in _assembled:
            how: dict[str, Any] = {"default_parameter": default_parameter, "parse_docstring": parse_docstring}
            _assembled[key] = super().assemble_argument_collection(**how)
        fresh, known = _assembled[key].copy(), _assembled[key]
        fresh[:] = map(copy, known)
        copies = {id(one): its_copy for one, its_copy in zip(known, fresh, strict=True)}
        for one in fresh:
            one.tokens, one.children = [], one.children.copy()
            one.children[:] = [copies[id(child)] for child in one.children]
        return fresh


app = _Command(
    name="residuum",
    help="Trains, judges and uses deep residual networks for images.",
    version=VERSION,
    version_flags=["--version"],
    result_action="return_value",
    default_parameter=Parameter(  # several are left out by naming none: no --empty-… for that, and no default ()
        negative_iterable=(), show_default=lambda value: None if value in (None, ()) else str(value)
    ),
)
FIRST = {"--help", "--version", "--config", "--print-config", "--debug", "--install-completion"}
"""Flags that may stand before a verb."""
HOMES = {
    "data": _Command(name="data", help="Look at or fetch pictures."),
    "weights": _Command(name="weights", help="List or fetch trained weights."),
}
if chinese.is_wanted():
    from residuum.chinese_help import ChineseHelp

    app.help_formatter = ChineseHelp()
for _home in HOMES.values():
    app.command(_home)
app.register_install_completion_command()


# --- a verb as a command ------------------------------------------------------------------------


def _command(verb: Verb[..., Any, Any]) -> Callable[..., None]:
    grouped = _grouped(verb.settings)
    default = grouped()

    def command(settings: Any = default, *, json: bool = False) -> None:
        given = verb.settings(**vars(settings))
        if ranks.launched() > 1 and verb.name not in TOGETHER:
            raise UserError(f"{verb.name} is for one process", "", "call it without torchrun")
        if verb.announced:
            say(command_line(verb.name, given))
        found = verb.run(given)
        if ranks.is_first_launched():
            verb.show(given, found, json)

    command.__doc__ = EXAMPLE.sub(r"\\\n", inspect.getdoc(verb.run) or "")
    named_alone = Parameter(name="*", consume_multiple=True)  # --epochs, not --settings.epochs; --blocks 3 5 9
    command.__annotations__ = {"settings": Annotated[grouped, named_alone], "json": Json}
    return command


def _grouped(settings: Any) -> Any:
    """The class of settings as the help shows it: what has a place first, each field in the group of its part."""
    hints, groups = {}, dict[str, Group]()
    for place, field in enumerate(fields(settings)):
        name = group_of(settings, field.name)
        group = groups.setdefault(name, Group(name, sort_key=place)) if name else None
        read = _whole_numbers if _is_of_numbers(field.type) else None
        if group or read:
            told = Parameter(converter=read, group=group) if group else Parameter(converter=read)  # None: in no group
            hints[field.name] = Annotated[field.type, told]
    in_order = {field.name: field for field in by_place(settings)}
    return type(settings.__name__, (settings,), {"__annotations__": hints, "__dataclass_fields__": in_order})


def _is_of_numbers(kind: Any) -> bool:
    """Say whether whole numbers are read, perhaps several, but no others."""
    within = get_args(kind)
    return kind is int or (float not in within and any(_is_of_numbers(one) for one in within))


def _takes_several(kind: Any) -> bool:
    """Say whether several numbers are read."""
    within = get_args(kind)
    return set(within) <= {int, float, ...} if get_origin(kind) is tuple else any(map(_takes_several, within))


def _no_number(token: Token, why: str) -> UserError:
    where = "" if token.source == "cli" else f"--config {token.source}: "
    return UserError(f"{where}{(token.keyword or 'a number').strip('[]')} cannot be {token.value!r}", why)


def _whole_numbers(kind: Any, tokens: Sequence[Token]) -> Any:
    """Read whole numbers as they are written, and round nothing: 1.5 epochs are a slip."""
    for token in tokens:
        if not re.fullmatch(r"[+-]?[0-9]+", token.value):
            raise _no_number(token, "it is a whole number")
    return convert(kind, [token.value for token in tokens])


_SEVERAL = {flag(field.name) for verb in VERBS for field in by_place(verb.settings) if _takes_several(field.type)}
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
        app(list(_without_commas(tokens)), exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        if debug:
            raise
        told = _in_our_words(error, tokens)
        told = mend_by_quotes(told, tokens) if isinstance(told, UserError) else told
        _fail(f"error: {told}", getattr(error, "exit_code", 2))
    except Stopped as stop:
        _fail(str(stop), stop.exit_code)
    finally:
        app.config = []
    return None


def _without_commas(tokens: Sequence[str]) -> Iterator[str]:
    """Take numbers apart that have commas between them, behind a flag of several: --mean 0.48,0.45,0.40."""
    name = ""
    for token in tokens:
        name = token.partition("=")[0] if token.startswith("--") else name
        value = token.removeprefix(f"{name}=")
        if name in _SEVERAL and re.fullmatch(r"(?=.*,)[\d\s.,eE+-]+", value):
            yield from [name] if value != token else []
            yield from re.split(r"[\s,]+", value.strip(" ,"))
        else:
            yield token


def _settings_of(tokens: tuple[str, ...]) -> Any:
    """What the verb would be called with."""
    _, bound, _ = app.parse_args(list(_without_commas(tokens)), exit_on_error=False, print_error=False)
    bound.apply_defaults()
    if "settings" not in bound.arguments:
        raise UserError("--print-config needs a verb", "", "residuum train --print-config")
    return bound.arguments["settings"]


def _in_our_words(error: Exception, tokens: Sequence[str]) -> Exception:
    """Return what cyclopts says of a flag's value, or of a word that belongs to none, as we say it."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _one_too_many(error.unused_tokens[0], tokens)
    if isinstance(error, UnknownOptionError) and error.token.source != "cli":
        known = {field.name for verb in VERBS for field in by_place(verb.settings)}
        name = (error.token.keyword or "").strip("[]")
        return UserError(f"--config {error.token.source}: {name} is no setting", nearest(name, sorted(known)))
    if isinstance(error, UnknownOptionError) and error.token.value == "-":
        return UserError("- names no file here", "standard input is not read", "write it to a file, and name that")
    if isinstance(error, CoercionError) and error.token is not None and _is_taken_along(error):
        return _taken_along(error.token.keyword or "", error.token.value)
    if isinstance(error, CoercionError) and error.target_type is float and error.token is not None:
        return _no_number(error.token, "it is a number")
    if not isinstance(error, MissingArgumentError) or error.argument is None:
        return error
    count, name = error.argument.token_count()[0], error.keyword or error.argument.name
    if count == 1:
        return UserError(f"{name} was given without a value", "", "residuum VERB --help says what it takes")
    limits = (one for one in get_args(error.argument.field_info.annotation) if isinstance(one, Range))
    what = f"{name} takes {count} values, but was given {len(error.tokens_so_far)}"
    return UserError(what, "", next(limits, Range(0, 0)).mend)


def _is_taken_along(error: CoercionError) -> bool:
    """Say whether the word is a file or a folder behind a flag that takes all words up to the next one."""
    takes_all = error.argument is not None and error.argument.token_count()[1]
    return takes_all and error.token is not None and Path(error.token.value).exists()


def _taken_along(name: str, word: str) -> UserError:
    why = f"all words behind {name}, up to the next flag, are taken for its values"
    return UserError(f"{name} cannot be {word!r}", why, f"write {word} before {name}")


def _one_too_many(word: str, tokens: Sequence[str]) -> UserError:
    """Say which flag it stands behind, where that takes several numbers."""
    words = list(_without_commas(tokens))
    last = max((place for place, one in enumerate(words) if one == word), default=0)
    flags = [one.partition("=")[0] for one in words[:last] if one.startswith("--")]
    behind = f"{flags[-1]} takes fewer numbers" if flags and flags[-1] in _SEVERAL else ""
    return UserError(f"{word} is one word too many", behind, "residuum VERB --help says what there is")


def _fail(message: str, code: int) -> NoReturn:
    say(message)
    raise SystemExit(code)


def _read_config(path: Path) -> dict[str, Any]:
    """Read settings: a JSON or TOML table, or a run folder's settings.json."""
    import tomllib  # slow to import

    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json_format.loads(text)
    except OSError as error:
        _fail(f"error: --config {path} cannot be read: {error.strerror or error}\n  mend: check its path", 2)
    except (ValueError, RecursionError) as error:
        kind = "YAML is not read" if path.suffix.lower() in {".yaml", ".yml"} else f"cannot be read: {error}"
        _fail(
            f"error: --config {path}: {kind}\n  why:  settings are JSON, or TOML in a file called ….toml\n"
            "  mend: residuum VERB --print-config writes such a file's content",
            2,
        )
    inner = content.get("settings", content) if isinstance(content, dict) else content
    if not isinstance(inner, dict):
        _fail(f"error: --config {path} holds no table of settings, but {type(inner).__name__}", 2)
    if tables := [name for name, value in inner.items() if _is_nested(value)]:
        _fail(
            f"error: --config {path}: {tables[0]!r} is no setting's value\n  why:  it holds tables or lists of lists", 2
        )
    return {name.rstrip("_"): value for name, value in inner.items() if value is not None and value != []}


def _is_nested(value: Any) -> bool:
    within = value if isinstance(value, list) else ()
    return isinstance(value, dict) or any(one is None or isinstance(one, dict | list) for one in within)


def _for_any_verb(settings: dict[str, Any]) -> dict[str, Any]:
    """Lay the settings where the verb that is run will look for its own."""
    within = {verb.name.split()[-1]: settings for verb in VERBS}
    return within | dict.fromkeys(HOMES, within)


# --- what surrounds it --------------------------------------------------------------------------


def main() -> None:
    """Run the command line. What cannot be shown is escaped; a reader that has seen enough (`| head`) ends it without
    a word, an output that takes no more with one.
    """
    secure_streams()
    tell_on_stderr()
    if ranks.launched() > 1:
        silence(not ranks.is_first_launched())
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what torch's C++ says of sockets, nobody can use
    _escape_what_cannot_be_shown()
    _refuse_no_folder()
    _refuse_unknown(sys.argv[1:])
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        app.help_format = "plaintext"  # the list of verbs has no more, and to load what reads markdown takes a while
    try:
        with _interruptible():
            app.meta(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
        raise SystemExit(141) from None  # as a command that SIGPIPE ended
    except OSError as error:
        _close_stdout()
        where = f": {error.filename}" if error.filename else ", so this could not be written"
        _fail(f"error: {error.strerror or error}{where}", 2)


def _refuse_unknown(words: Sequence[str]) -> None:
    """End where the first word is a flag that there is not: help, if it is asked for beside it, passes over that."""
    name = words[0].partition("=")[0] if words else ""
    if name.startswith("--") and name not in FIRST and {"--help", "-h"} & {*words}:
        mend = "RESIDUUM_LANG=zh residuum --help" if name.startswith("--lang") else "residuum --help says what there is"
        _fail(f"error: there is no {name}\n  mend: {mend}", 2)


def _refuse_no_folder() -> None:
    """End where the working folder has been removed: libraries abort the process there."""
    try:
        Path.cwd()
    except OSError as error:
        _fail(f"error: the folder that this was called in cannot be used: {error.strerror}\n  mend: cd to another", 2)


def _escape_what_cannot_be_shown() -> None:
    """Let letters that an output's encoding lacks, and bytes of names that are no text, become \\uXXXX, as in JSON."""

    def escaped(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
        pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
        return "".join(f"\\u{pair}" for pair in pairs), error.end

    codecs.register_error("residuum", escaped)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="residuum")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Say that it stopped, and end with 130, on Ctrl-C while no verb looks out for it, even where an import makes
    another error of it, or cyclopts an end without a word."""
    pressed = list[int]()

    def stop(number: int, _frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    except BaseException as error:
        if not pressed or (isinstance(error, SystemExit) and error.code != 130):
            raise
        is_loading = sys.argv[1:2] == ["train"] and not hasattr(sys.modules.get("residuum.training.run"), "train")
        _fail(BEFORE_THE_RUN if is_loading else "stopped", 130)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _close_stdout() -> None:
    """Let Python write the rest at its end to nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
