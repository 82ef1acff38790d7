"""A process that has loaded torch once and forks for every command: real processes, in a tenth of the time.

python -m corpus.warm        # a line of JSON in, a line of JSON out; Warm speaks with it

Warm.python is for whoever starts `sys.executable -m MODULE` or `-c CODE` himself.
"""

import contextlib
import ctypes
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

TESTS = Path(__file__).parent.parent


class Fault(NamedTuple):
    """Which call fails: the n-th write ('w'), fsync ('s') or rename ('r') below the folder, or all from it on."""

    folder: str
    kind: str
    n: int
    lasting: bool


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, below zero a signal's number; what it said; how many calls there were."""

    code: int
    said: str
    calls: int


class Process(NamedTuple):
    """The process: its number, and what it is asked through and answers by."""

    pid: int
    asked: IO[str]
    answers: IO[str]


def forked_now() -> Process:
    """Fork it from this process: to load torch and us anew takes two seconds.

    Call it before anything is loaded that a command does not load, and no thread of ours runs.
    """
    _load()
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    with warnings.catch_warnings():  # Python warns of other threads: execnet's waits for messages and holds no lock
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.dup2(their_in, 0)
        os.dup2(their_out, 1)
        os.closerange(3, 4096)
        sys.stdin, sys.stdout, sys.stderr = (open(place, how, closefd=False) for place, how in enumerate("rww"))  # noqa: SIM115
        gc.enable()
        _serve()
    os.close(their_in)
    os.close(their_out)
    return Process(pid, os.fdopen(our_out, "w"), os.fdopen(our_in))


def _started(preload: Path | None) -> Process:
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **({"LD_PRELOAD": str(preload)} if preload else {})}
    words = [sys.executable, "-m", "corpus.warm"]
    begun = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    begun.returncode = 0  # Warm.close waits for it
    assert begun.stdin is not None
    assert begun.stdout is not None
    return Process(begun.pid, begun.stdin, begun.stdout)


class Warm:
    """The process, from outside."""

    def __init__(self, folder: Path, preload: Path | None = None, process: Process | None = None) -> None:
        self.folder, self.count = folder, 0
        self.process = process or _started(preload)
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        assert self._ask(folder=str(folder), environment={**os.environ, "PYTHONPATH": path}) == "ready"
        self.python = folder / "python"
        client = shlex.join([sys.executable, "-IS", str(Path(__file__).with_name("forked.py")), str(folder)])
        self.python.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
        self.python.chmod(0o755)

    def _ask(self, **asked: Any) -> Any:
        print(json.dumps(asked), file=self.process.asked, flush=True)
        return json.loads(self.process.answers.readline())

    def start(self, words: Iterable[object], fault: Fault | None = None) -> "Started":
        """Begin a command."""
        self.count += 1
        log = self.folder / f"said-{self.count}"
        log.touch()
        return Started(self, self._ask(words=[*map(str, words)], fault=fault, log=str(log)), log)

    def run(self, words: Iterable[object], fault: Fault | None = None, seconds: float = 120) -> Ended:
        """Begin a command and wait for it."""
        return self.start(words, fault).wait(seconds)

    def close(self) -> None:
        """End the process."""
        self.process.asked.close()
        os.waitpid(self.process.pid, 0)
        self.process.answers.close()


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    warm: Warm
    pid: int
    log: Path

    def kill(self) -> None:
        """End it as kill -9 does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 120) -> Ended:
        """Wait for its end (TimeoutError if it does not come)."""
        code = self.warm._ask(wait=self.pid, seconds=seconds)
        if code is None:
            self.kill()
            raise TimeoutError(self.log.read_text(errors="replace"))
        calls = self.log.with_name(self.log.name + ".calls")
        return Ended(code, self.log.read_text(errors="replace"), int(calls.read_text() or 0) if calls.exists() else 0)


# --- inside -------------------------------------------------------------------------------------


def _child(words: list[str], fault: list[Any] | None, log: str) -> None:
    """Be the command; never return."""
    code = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        library = ctypes.CDLL(None) if fault else None
        if library and fault:
            library.fail_at(os.fsencode(fault[0]), ord(fault[1]), ctypes.c_long(fault[2]), int(fault[3]))
        code = _called(words)
        sys.stdout.flush()
        if library:
            Path(log + ".calls").write_text(str(library.how_many()))
    finally:
        os._exit(code)


def _called(words: list[str]) -> int:
    from residuum.cli import main

    sys.argv = ["residuum", *words]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _waited(pid: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def _open_door() -> NoReturn:
    """Be `python` for every caller of forked.py; end what a caller that has gone had begun."""
    door, calls = socket.socket(socket.AF_UNIX), dict[socket.socket, int]()
    door.bind("door")
    door.listen()
    while True:
        for ready in select.select([door, *calls], [], [], 0.02 if calls else None)[0]:
            if ready is door:
                call, _ = door.accept()
                calls[call] = _begun(call)
            else:
                os.kill(calls[ready], signal.SIGKILL)
        for call, pid in [*calls.items()]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with calls.pop(call) and call, contextlib.suppress(BrokenPipeError):
                    call.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _begun(call: socket.socket) -> int:
    text, handles, _, _ = socket.recv_fds(call, 1 << 16, 3)
    while not text.endswith(b"\n"):
        text += call.recv(1 << 16)
    if (pid := os.fork()) == 0:
        _python(json.loads(text), handles)
    for handle in handles:
        os.close(handle)
    call.sendall(str(pid).encode())
    return pid


def _python(asked: dict[str, Any], handles: list[int]) -> NoReturn:
    """Do what `python WORDS` does; never return."""
    code = 70
    try:
        os.setsid()
        for place, handle in enumerate(handles):
            os.dup2(handle, place)
        sys.stdin, sys.stdout, sys.stderr = (open(place, how) for place, how in enumerate("rww"))  # noqa: PTH123, SIM115
        sys.stderr.reconfigure(line_buffering=True)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        code = _ended(asked["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _ended(words: list[str]) -> int:
    how, what, *rest = words
    sys.argv = [what if how == "-m" else how, *rest]
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _load() -> None:
    import torch  # noqa: F401

    import residuum.cli
    import residuum.data.open
    import residuum.depth.trim
    import residuum.evaluation.evaluate
    import residuum.reporting.page
    import residuum.studies.run
    import residuum.training.run

    with contextlib.suppress(ImportError):  # without the extra serve
        import residuum.serving.run  # noqa: F401


def _serve() -> NoReturn:
    if not (line := sys.stdin.readline()):  # nobody wanted it
        os._exit(0)
    begin = json.loads(line)
    os.environ.update(begin["environment"])
    os.chdir(begin["folder"])
    gc.freeze()  # the collector need not walk what is there in every command anew
    if (door := os.fork()) == 0:
        _open_door()
    answers = os.fdopen(os.dup(1), "w")
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = _waited(asked["wait"], asked["seconds"])
        elif (answer := os.fork()) == 0:
            _child(asked["words"], asked["fault"], asked["log"])
        print(json.dumps(answer), file=answers, flush=True)
    os.kill(door, signal.SIGKILL)
    os._exit(0)  # to take torch apart would take a second


if __name__ == "__main__":
    _load()
    _serve()
