"""Run folders, checkpoints, exported models and files of settings, each damaged in every file they hold.

The runs are those that version 0.1.0 left, on the digits; a tuned one and an exported one are made once.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from corpus.case import Case, Make, Must, done, refused
from corpus.things import DAMAGES, colours_file, colours_model, photos, run_of, spoiled, text

NEVER_GUESSED = Must((0, 2))
"""Read where it is not needed, or refused: never a traceback."""
CONTENTS = {
    "empty": b"",
    "cut": b"{",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "not utf-8": b'{"a": "\xff"}',
    "nothing in it": b"{}",
    "deep": b"[" * 100_000,
    "a long number": b"1" * 5000,
    "zeros": bytes(300),
}
WRONG_TYPES = (None, [], {}, "x", -1, 1.5, 10**30)


def in_run(version: str, file: str, change: Callable[[bytes, Random], bytes | None]) -> Make:
    """A run in which one file is another; None takes it away."""

    def make(folder: Path, luck: Random) -> Path:
        run = run_of(version, folder)
        content = change((run / file).read_bytes(), luck)
        if content is None:
            (run / file).unlink()
        else:
            (run / file).write_bytes(content)
        return run

    return make


def _content(content: bytes) -> Callable[[bytes, Random], bytes]:
    return lambda _old, _luck: content


def _spoiled(how: str) -> Callable[[bytes, Random], bytes]:
    return lambda old, luck: spoiled(old, how, luck)


def _field(name: str, value: Any) -> Callable[[bytes, Random], bytes]:
    """Another value for a field, at any depth: "settings.seed"; ... takes it away."""

    def change(old: bytes, _: Random) -> bytes:
        content = inner = json.loads(old)
        *way, last = name.split(".")
        for step in way:
            inner = inner[step]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
        return json.dumps(content).encode()

    return change


FILES = {
    "settings.json": ("settings", "resolved", "asked", "settings.seed", "resolved.depth", "resolved.epochs"),
    "environment.json": ("date", "cores"),
    "data.json": ("classes", "counts", "fingerprint", "image_size", "source"),
    "split.json": ("validation", "share"),
    "evaluation.json": ("top1", "per_class", "confusion", "images"),
    "mistakes.json": (),
}
"""The files of a finished run, and fields of each."""
READ_BY_REPORT = ("settings.json", "environment.json", "data.json", "evaluation.json", "mistakes.json", "metrics.jsonl")
METRICS = {
    "not utf-8 at the end": lambda old, _: old + b"\xff\n",
    "a null": lambda old, _: old + b'{"kind": "step", "step": null}\n',
    "an unknown kind": lambda old, _: old + b'{"kind": "leap"}\n',
    "half a line in the middle": lambda old, _: b'{"kind"\n' + old,
    "a list": lambda old, _: old + b"[]\n",
    "zeros in the middle": lambda old, _: bytes(30) + b"\n" + old,
    "an empty line": lambda old, _: old + b"\n" + old,
}


def _checkpoint(change: Callable[[bytes, Random], bytes], *, before: bool) -> Make:
    """The newest checkpoint is damaged; the one before it is there or not."""

    def make(folder: Path, luck: Random) -> Path:
        run = run_of("interrupted", folder)
        newest = run / "checkpoint.safetensors"
        if before:
            shutil.copy(newest, run / "checkpoint-previous.safetensors")
        newest.write_bytes(change(newest.read_bytes(), luck))
        return run

    return make


def _another_nets(_old: bytes, _luck: Random) -> bytes:
    return colours_file()


CHECKPOINTS: dict[str, Callable[[bytes, Random], bytes]] = {
    **{how: _spoiled(how) for how in DAMAGES},
    "empty": _content(b""),
    "another net's": _another_nets,
    "a page": _content(b"<html>"),
}


def _edited(file: str, name: str, value: Any) -> Make:
    return in_run("interrupted", file, _field(name, value))


def _locked(content: bytes) -> Make:
    return lambda folder, _: text(run_of("interrupted", folder) / "lock.json", content).parent


def _bare(folder: Path, _: Random) -> Path:
    """Killed before its first checkpoint."""
    run = run_of("interrupted", folder)
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        (run / name).unlink()
    text(run / ".unfinished-abc", b"x" * 1000)
    return run


def _folder_for(file: str) -> Make:
    """A folder lies where a file should."""

    def make(folder: Path, _: Random) -> Path:
        run = run_of("finished", folder)
        (run / file).unlink()
        (run / file).mkdir()
        return run

    return make


# --- a tuned run, an exported one ---------------------------------------------------------------


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="corpus-")  # removed with the process


@cache
def _tuned() -> Path:
    """A head fitted to frozen features, with its review."""
    from residuum.verbs import review, train

    home = Path(_home().name)
    data = photos(home / "pictures", ("red", "green", "blue"), 4)
    run = train.python(data, start=colours_model(home), out=home / "tuned", threads=1, workers=0).path
    review.python(run)
    return run


@cache
def _exported() -> Path:
    from residuum.outward_verbs import export

    return export.python(_tuned(), to="onnx", out=_tuned().parent / "exported", threads=1).path


def _copy_of(source: Callable[[], Path], file: str, change: Callable[[bytes, Random], bytes | None]) -> Make:
    def make(folder: Path, luck: Random) -> Path:
        copy = Path(shutil.copytree(source(), folder / "run"))
        content = change((copy / file).read_bytes(), luck)
        (copy / file).unlink()
        if content is not None:
            (copy / file).write_bytes(content)
        return copy

    return make


TUNED = ("head.json", "out-of-fold.safetensors", "review.json", "data.json")
EXPORTED = ("model.onnx", "parity.json", "classes.txt")

# --- settings in a file -------------------------------------------------------------------------

CONFIGS: dict[str, tuple[str, bytes]] = {
    "empty": ("a.json", b""),
    "not JSON": ("a.json", b"{epochs: 3}"),
    "a list": ("a.json", b"[1, 2]"),
    "settings is a number": ("a.json", b'{"settings": 5}'),
    "settings is a list": ("a.json", b'{"settings": [1]}'),
    "unknown": ("a.json", b'{"epoch": 3}'),
    "a fraction": ("a.json", b'{"epochs": 1.5}'),
    "a word": ("a.json", b'{"epochs": "many"}'),
    "out of range": ("a.json", b'{"epochs": 0}'),
    "not utf-8": ("a.json", b'{"data": "\xff\xfe"}'),
    "deep": ("a.json", b"[" * 100_000),
    "no TOML": ("a.toml", b"epochs = = 3"),
    "YAML": ("a.yaml", b"epochs: 3\nlr: 0.1\n"),
    "an empty model": ("a.json", b'{"model": ""}'),
    "half a squeeze": ("a.json", b'{"squeeze": 0.5}'),
    "true": ("a.json", b'{"seed": true}'),
    "a huge number": ("a.json", b'{"seed": 1e400}'),
    "not a number": ("a.json", b'{"lr": NaN}'),
}


def _written(name: str, content: bytes) -> Make:
    return lambda folder, _: text(folder / name, content)


def cases() -> Iterator[Case]:
    """All of them, by name."""
    yield from _finished()
    for name, change in METRICS.items():
        must = {"report": refused("metrics.jsonl")}
        yield Case(f"run: metrics {name}", in_run("finished", "metrics.jsonl", change), must, ("report",))
        must = {"resume": Must((0, 2), (("metrics.jsonl", "run"),))}
        yield Case(f"resume: metrics {name}", in_run("interrupted", "metrics.jsonl", change), must)
    for name, change in CHECKPOINTS.items():
        yield Case(f"checkpoint: {name}, one before", _checkpoint(change, before=True), {"resume": done("before")})
        quick = ("resume",) if name == "another net's" else ()
        yield Case(f"checkpoint: {name}, none before", _checkpoint(change, before=False), {"resume": refused()}, quick)
    yield from _resumed()
    yield from _tuned_and_exported()
    for name, (file, content) in CONFIGS.items():
        yield Case(f"config: {name}", _written(file, content), {"config": refused(("{}", "--"))}, ("config",))


def _finished() -> Iterator[Case]:
    for file, fields in FILES.items():
        for how, content in CONTENTS.items():
            needed = refused(file) if file in READ_BY_REPORT else NEVER_GUESSED
            needed = done() if (file, how) == ("mistakes.json", "list") else needed
            must = {"report": needed, "evaluate run": NEVER_GUESSED, "card": NEVER_GUESSED, "compare": needed}
            yield Case(f"run: {file} {how}", in_run("finished", file, _content(content)), must)
        for name in fields:
            for value in WRONG_TYPES:
                must = {"report": NEVER_GUESSED, "evaluate run": NEVER_GUESSED}
                change = _field(name, value)
                yield Case(f"run: {file} {name} {value!r:.9}", in_run("finished", file, change), must)
        must = {"report": Must((0, 2)), "evaluate run": NEVER_GUESSED, "predict by": done()}
        yield Case(f"run: no {file}", in_run("finished", file, lambda _old, _luck: None), must)
    for file in (*FILES, "metrics.jsonl", "model.safetensors"):
        must = dict.fromkeys(("report", "evaluate run", "predict by"), NEVER_GUESSED)
        yield Case(f"run: a folder for {file}", _folder_for(file), must)


def _tuned_and_exported() -> Iterator[Case]:
    for file in TUNED:
        for how in ("empty", "cut", "null", "not utf-8", "zeros"):
            must = dict.fromkeys(("review", "report", "predict by"), NEVER_GUESSED)
            yield Case(f"tuned: {file} {how}", _copy_of(_tuned, file, _content(CONTENTS[how])), must)
        must = dict.fromkeys(("review", "report"), NEVER_GUESSED)
        yield Case(f"tuned: no {file}", _copy_of(_tuned, file, lambda _old, _luck: None), must)
    for file in EXPORTED:
        for how in DAMAGES:
            must = {"predict red": Must((0, 2), (("red", "model.onnx", "run"),)), "evaluate red": NEVER_GUESSED}
            yield Case(f"exported: {file} {how}", _copy_of(_exported, file, _spoiled(how)), must)


def _resumed() -> Iterator[Case]:
    edits = {
        "seed": 6,
        "lr": 0.5,
        "image_size": 16,
        "order": "preactivation",
        "batch_size": 16,
        "epochs": 9,
        "flip": True,
    }
    for name, value in edits.items():
        for part in ("settings", "resolved"):
            if part == "resolved" and name in ("lr", "flip"):
                continue
            make = _edited("settings.json", f"{part}.{name}", value)
            must = {"resume": refused(("settings", name)) if part == "settings" else NEVER_GUESSED}
            yield Case(
                f"resume: {part}.{name} edited", make, must, ("resume",) if (part, name) == ("settings", "seed") else ()
            )
    for name in ("settings.json", "data.json", "split.json", "environment.json"):
        for how, content in CONTENTS.items():
            must = {"resume": refused(name) if name in ("settings.json", "data.json") else NEVER_GUESSED}
            yield Case(f"resume: {name} {how}", in_run("interrupted", name, _content(content)), must)
    for name in ("settings.seed", "settings.blocks", "settings.threads", "settings.workers", "settings.save_seconds"):
        for value in WRONG_TYPES:
            must = {"resume": NEVER_GUESSED}
            yield Case(f"resume: {name} {value!r:.9}", _edited("settings.json", name, value), must)
    for name, content in {
        "empty": b"", "not utf-8": b"\xff", "a list": b"[]", "dead": b'{"pid": 4194309, "host": "elsewhere"}',
        "no number": b'{"pid": "x", "host": "y"}', "below zero": b'{"pid": -1, "host": "y"}',
    }.items():  # fmt: skip
        yield Case(f"lock: {name}", _locked(content), {"resume": Must((0, 2), (("lock.json", "run"),))})
    yield Case("resume: before its first checkpoint", _bare, {"resume": done()})
    again = {"resume": refused("finished"), "evaluate run": done("0."), "predict by": done(), "report": done()}
    yield Case("run: as 0.1.0 left it", lambda folder, _: run_of("finished", folder), again)
    yield Case("resume: as 0.1.0 left it", lambda folder, _: run_of("interrupted", folder), {"resume": done()})
