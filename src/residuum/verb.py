"""What a verb is: one declaration, from which the command, Python and the completion are made."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import update_wrapper
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

from residuum.as_found import all_as_found
from residuum.errors import Stopped, UserError, in_python, nearest
from residuum.plain_data import by_place, command_line, quoted
from residuum.version import installing

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Verb(Generic[P, S, R]):
    """One thing that residuum does."""

    name: str
    """Its words on the command line."""
    settings: Callable[P, S]
    """The class of its settings."""
    run: Callable[[S], R]
    show: Callable[[S, R, bool], None]
    """Prints what came of it: for people, or as JSON for scripts."""
    announced: bool
    """Whether the command first says what was asked of it."""

    @property
    def python(self) -> Callable[P, R]:
        """The same as a function that takes the settings by name, returns what came of it, and leaves the program it
        is called in its generators, warnings and threads."""

        @all_as_found()
        def call(*given: P.args, **named: P.kwargs) -> R:
            return self.run(self.settings(*given, **named))

        update_wrapper(call, self.run)
        returned = inspect.signature(self.run).return_annotation
        signature = inspect.signature(self.settings).replace(return_annotation=returned)
        call.__signature__ = signature  # type: ignore[attr-defined]
        return for_people(call)


def for_people(function: Callable[P, R]) -> Callable[P, R]:
    """Make a wrong name or number of arguments a UserError; let each stand alone, and name settings as Python does."""
    signature = inspect.signature(function)

    def call(*given: P.args, **named: P.kwargs) -> R:
        unknown = [name for name in named if name not in signature.parameters]
        if unknown:
            raise UserError(
                f"{function.__name__} has no setting {unknown[0]}", nearest(unknown[0], signature.parameters)
            )
        try:
            signature.bind(*given, **named)
        except TypeError as error:
            raise UserError(f"{function.__name__}: {error}", "", f"help(residuum.{function.__name__})") from None
        try:
            return function(*given, **named)
        except UserError as error:
            in_python(error, signature.parameters)
            raise error from None  # it says why: what it was made of would show its words twice

    return update_wrapper(call, function)


def verb(
    settings: Callable[P, S], show: Callable[[S, R, bool], None], *, name: str | None = None, announced: bool = False
) -> Callable[[Callable[[S], R]], Verb[P, S, R]]:
    """Declare a verb by the function below, whose docstring is the help."""

    def declared(run: Callable[[S], R]) -> Verb[P, S, R]:
        called = name or run.__name__.replace("_", "-")

        def checked(given: S) -> R:
            refuse_swapped(called, given)
            return run(given)

        return Verb(called, settings, update_wrapper(checked, run), show, announced)

    return declared


MODEL_FIRST = {"data": "pictures go", "images": "pictures go", "repository": "OWNER/NAME goes"}
"""What stands behind the model, by the name of its place, in the words of a message."""


def refuse_swapped(verb: str, settings: object) -> None:
    """Refuse a model that stands behind what it is to be used on (UserError with the command that was meant)."""
    first, second = [*(field.name for field in by_place(settings) if not field.kw_only), "", ""][:2]
    if first not in {"run", "model"} or second not in MODEL_FIRST:
        return
    model, other = getattr(settings, first), getattr(settings, second)
    if model is None or _is_model(model):
        return
    behind = list(other if isinstance(other, tuple) else [other])
    models = [one for one in behind if _is_model(one)]
    if len(models) != 1:
        return
    behind[behind.index(models[0])] = model
    rest = tuple(behind) if isinstance(other, tuple) else behind[0]
    meant = replace(settings, **{first: models[0], second: rest})  # type: ignore[type-var]
    raise UserError(
        f"{models[0]} is a model, and stands where {MODEL_FIRST[second]}",
        f"{verb} takes the model first, and {model} is none",
        f"the other way round: {command_line(verb, meant)}",
    )


def _is_model(place: object) -> bool:
    """Say whether a run folder, a model file or an export lies there, by its names alone."""
    from residuum import runs

    path = Path(str(place))
    with suppress(OSError, ValueError):  # a name that no file can have
        is_file = path.suffix == ".safetensors" and path.is_file()
        return place is not None and (is_file or runs.is_run(path) or bool(runs.exported_file(path)))
    return False


MOST_WORDS = 8
"""So many words of a command may be one name that was given without quotes."""


def mend_by_quotes(error: UserError, words: Sequence[str]) -> UserError:
    """Return the error, its mend quotes where some of the command's words, not all of which name something, do so
    together: a name with spaces."""
    names, begin = list[str](), 0
    while begin < len(words):
        ends = range(min(begin + MOST_WORDS, len(words)), begin + 1, -1)
        end = next((end for end in ends if _is_one_name(words[begin:end])), begin + 1)
        names += [" ".join(words[begin:end])] * (end > begin + 1)
        begin = end
    if names:
        error.mend = f"a name with spaces needs quotes: {quoted(*names)}"
    return error


def _is_one_name(words: Sequence[str]) -> bool:
    return os.path.exists(" ".join(words)) and not all(map(os.path.exists, words))  # noqa: PTH110 - of any text


@contextmanager
def packages_of(name: str) -> Iterator[None]:
    """Say which extra a verb needs, where one of its packages is absent (UserError)."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("residuum"):
            raise
        raise UserError(f"{name} needs the package {error.name}", "", installing("serve")) from error


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end what is begun here (Stopped, 143 or 130), even where an import swallows that or makes
    another error of it."""
    heard = list[int]()

    def stop(number: int, _frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        if not heard or isinstance(error, Stopped):
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Stopped("stopped", 128 + heard[0])


def refuse_taken(out: str | Path | None) -> None:
    """Refuse a folder for results that is not empty (UserError), before torch is imported, which takes seconds."""
    from residuum import runs  # not for --help

    runs.refuse_taken(out)


def refuse_taken_by_trim(out: str | Path | None) -> None:
    """Refuse the same, but for a folder in which a trim may have been stopped, which trim looks into."""
    from residuum import runs  # not for --help

    if not (out and any((Path(out) / name).is_file() for name in (runs.TRIM, runs.LOCK))):
        runs.refuse_taken(out)


def refuse_existing(out: str | Path | None, why: str) -> None:
    """Refuse a file for results that exists (UserError), as early."""
    from residuum import runs

    runs.refuse_existing(out, why)
