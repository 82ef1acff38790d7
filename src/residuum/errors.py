"""The one error a user sees: what happened, why, and how to mend it."""

import difflib
import keyword
import re
from collections.abc import Collection, Iterable

MOST_LISTED = 40
"""Names to choose from, where none is near what was given; of more, a message would be a wall."""


class UserError(Exception):
    """A fault in what we were given, not in residuum: the command prints it and exits with 2.

    Args:
        what: the fault, in one sentence.
        why: its cause, or what was expected; may be empty.
        mend: what to do next, as exactly as we know it; may be empty.
    """

    exit_code = 2

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.mend = what, why, mend

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  why:  {self.why}"] if self.why else []
        lines += [f"  mend: {self.mend}"] if self.mend else []
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """Survive the trip out of a worker process with all three parts."""
        return type(self), (self.what, self.why, self.mend)


FLAG = re.compile(r"(?<![\w-])--(no-)?([a-z][a-z0-9-]*)")
COMMAND = re.compile(r"\bresiduum [a-z]")


def in_python(error: UserError, settings: Collection[str]) -> None:
    """Let the message name settings as Python does: `shortcut` for --shortcut, `balance=False` for --no-balance.

    What stands behind a command, up to the text's end, belongs to it and stays as it is.
    """

    def named(flag: re.Match[str]) -> str:
        name = flag[2].replace("-", "_")
        name = f"{name}_" if keyword.iskeyword(name) else name
        if name not in settings or COMMAND.search(flag.string, 0, flag.start()):
            return flag[0]
        return f"{name}=False" if flag[1] else name

    error.what, error.why, error.mend = (FLAG.sub(named, text) for text in (error.what, error.why, error.mend))
    error.args = (error.what,)


class PartlyDone(UserError):  # noqa: N818 - the rest is done
    """Something given was at fault, and all else is done: the command exits with 3."""

    exit_code = 3


BEFORE_THE_RUN = "stopped before the run had begun: nothing was kept, and the same command begins it again"


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """Training ended early on Ctrl-C, SIGTERM or SIGHUP, after saving; `exit_code` is 130, 143 or 129."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Return the names for a message, the first `limit` of them spelled out."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def _number_at_the_end(name: str) -> tuple[str, int | None]:
    """Split resnet9 into resnet and 9; None where no number is at the end."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :]) if stem != name and name[len(stem) :].isascii() else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with the closest known names, or the list of them all; of a long one, how many."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    stem, number = _number_at_the_end(name)
    if number is not None:  # resnet9 is nearer to resnet18 than to resnet50, which has as many letters in common
        numbered = [
            (abs(theirs - number), one)
            for one in known
            for s, theirs in [_number_at_the_end(one)]
            if s == stem and theirs is not None
        ]
        close = [one for _, one in sorted(numbered)[:3]] or close
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(known) > MOST_LISTED:
        return f"none of the {len(known)} names is like it"
    return "choose from: " + ", ".join(known)
