"""One process at a time: a lock that ends with the process that has it, however it ends.

The file names the process, for people; what counts is that the process holds the open file. So a process id that
another process got, or a container that came back under another name, keeps nobody out.
"""

import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from residuum.errors import UserError
from residuum.files import cannot_write, hold
from residuum.records.codec import line as as_line
from residuum.records.codec import parse_line
from residuum.records.run import Lock

ENDING = 5.0
"""Seconds in which the workers of a process that was killed have ended."""


@contextmanager
def only_holder(path: Path) -> Iterator[None]:
    """Hold the lock at `path` for this process, until it ends or leaves here.

    Raises:
        UserError: another live process has it, or it cannot be written.
    """
    handle = _locked(path)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone; Windows removes no open file, and nobody minds
            if os.path.samestat(os.fstat(handle), path.stat()):
                path.unlink()
        os.close(handle)


def _locked(path: Path) -> int:
    """Return the lock, open and ours, as soon as those that are ending have let go of it (UserError as above)."""
    began = time.monotonic()
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        except OSError as error:
            raise cannot_write(path, 0, error) from error
        try:
            if (me := _taken(handle, path, time.monotonic() - began > ENDING)) is not None:
                os.ftruncate(handle, 0)
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, (as_line(me) + "\n").encode())
                return handle
        except OSError as error:
            os.close(handle)
            raise cannot_write(path, 0, error) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _taken(handle: int, path: Path, waited: bool) -> Lock | None:
    """Return what to write into the lock, which is ours now; None if it is to be tried again, a moment later.

    Raises:
        UserError: a live process has it, or nobody lets go of it although it was `waited` for.
    """
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise UserError(f"{path} is not a file", "something else has that name", "move it away")
    held, holder = hold(handle), None
    with suppress(UserError):  # whatever else stands there, no writer is at work that wrote it
        os.lseek(handle, 0, os.SEEK_SET)
        holder = parse_line(os.read(handle, 4096), Lock, str(path))
    if held is False:
        if waited or (holder is not None and _alive(holder)):
            raise _is_written(path, holder, "wait for it, or stop that process")
        time.sleep(0.1)  # workers of a process that was killed end a moment after it
        return None
    if holder is not None and _may_write(holder, account=held is True):
        raise _is_written(path, holder, f"wait for it, or delete {path} if you are sure it is gone")
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), path.stat()):
            return Lock(pid=os.getpid(), host=socket.gethostname(), held=held is True)
    return None  # whoever had it has removed it


def _is_written(path: Path, holder: Lock | None, mend: str) -> UserError:
    who = f"process {holder.pid} on {holder.host} holds it" if holder else "a process holds it"
    return UserError(f"another process is writing {path.parent}", who, mend)


def _may_write(holder: Lock, *, account: bool) -> bool:
    """Say whether the process that wrote the lock, which nobody holds, may be at work all the same: where it could not
    hold it. Where there is an account of who holds files, other machines' processes (or this one's, in a container that
    had another name) keep to it."""
    if account and (holder.held or holder.host != socket.gethostname()):
        return False
    return holder.pid != os.getpid() and _alive(holder)


def _alive(holder: Lock) -> bool:
    """Say whether the lock's process lives; one on another machine is taken to."""
    try:
        if holder.host == socket.gethostname() and os.name == "posix":
            os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, and lives
        return True
    return True
