"""Every picture of a data set decoded once before a run begins: which cannot be read, and what greys they use.

So a run of hours does not die of one of them. What was found is remembered in the cache folder. Letters: N pictures.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import PIL

from residuum import machine
from residuum.choices import SplitName
from residuum.console import say, show_progress
from residuum.data.cache import DECODE_VERSION, Progress, are_digests_kept, content_key, keep_bytes, kept_bytes
from residuum.data.contract import ImageData, Pictures, Readable, Split
from residuum.data.decode import BrokenPicture, decode, grey_extremes, heif_version
from residuum.data.deep import span_of
from residuum.data.labels import counts
from residuum.data.threads import PICTURES_A_TASK, in_threads
from residuum.errors import UserError, listed
from residuum.records.run import Skipped

NAMED = 100
"""Of pictures that cannot be read, so many are named in a message; `residuum data check` names all."""

MEND = "mend or remove them; or let train, or evaluate, go on without them by --skip-broken"


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in N pictures."""

    broken: dict[int, str]
    """The rows of those that cannot be read, and why."""
    greys: tuple[float, float] | None = None
    """The least and the greatest of greys of more than 8 bits, of 16, where there are such."""


def look(pictures: Pictures, progress: Progress | None = None) -> Looked:
    """Decode each picture once, or remember what was found in the same ones."""
    if len(pictures) == 0 or pictures.files() is None:  # pixels in memory
        return Looked(broken={})
    try:
        content = content_key(pictures)
    except UserError:  # a file cannot be read
        return _looked(pictures, progress)
    path = _file(content)
    try:
        return msgspec.json.decode(kept_bytes(path), type=Looked)
    except (OSError, ValueError):  # not there, or damaged
        found = _looked(pictures, progress)
        keep_bytes(path, msgspec.json.encode(found))
        return found


def is_looked_at(pictures: Pictures) -> bool:
    """Say whether `look` has to decode no picture."""
    return pictures.files() is None or (are_digests_kept(pictures) and _file(content_key(pictures)).exists())


def _file(content: str) -> Path:
    versions = f"{DECODE_VERSION} {PIL.__version__} {heif_version()}"
    key = hashlib.sha256(f"{content} {versions}".encode()).hexdigest()
    return machine.cache_folder() / "looked" / f"{key}.json"


def _looked(pictures: Pictures, progress: Progress | None) -> Looked:
    broken, greys = dict[int, str](), list[tuple[float, float]]()
    for done, (some, found) in enumerate(in_threads(len(pictures), partial(look_at, pictures)), 1):
        broken |= some
        greys += found
        if progress:
            progress(min(done * PICTURES_A_TASK, len(pictures)), len(pictures))
    ends = (min(low for low, _ in greys), max(high for _, high in greys)) if greys else None
    return Looked(broken=broken, greys=ends)


def look_at(pictures: Pictures, rows: range) -> tuple[dict[int, str], list[tuple[float, float]]]:
    """Return why some of these rows cannot be read, and each other's least and greatest grey of 16 bits, if it has."""
    broken = {row: why for row in rows if (why := why_broken(pictures, row))}
    sound = (row for row in rows if row not in broken)
    found = (grey_extremes(pictures.encoded(row), pictures.name(row)) for row in sound)
    return broken, [one for one in found if one is not None]


def why_broken(pictures: Pictures, row: int) -> str:
    """Say why a picture cannot be read; empty if it can be."""
    try:
        decode(pictures.encoded(row), pictures.name(row))
    except UserError as error:
        return error.why if isinstance(error, BrokenPicture) else f"{error.what}: {error.why}"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def all_broken(pictures: Pictures, first: UserError) -> UserError:
    """Return the error that names all pictures that cannot be read, where the `first` was met on the way."""
    found = [f"{pictures.name(row)}: {why}" for row, why in look(pictures).broken.items()]
    if len(found) == 1:
        mend = f"{first.mend}; or let train, or evaluate, go on without it by --skip-broken"
        return BrokenPicture(first.what, first.why, mend)
    if not found:
        return first
    return BrokenPicture(f"{_count(len(found))} of {len(pictures):,} cannot be read", _lines(found), MEND)


# --- what a run goes on with --------------------------------------------------------------------


def readable(data: ImageData, *, skip_broken: bool) -> ImageData:
    """Look at every picture of every split; return the data without those that cannot be read, if they may be skipped.

    Raises:
        UserError: there are such, and they may not be; or nothing is left of a class, or of a split.
    """
    progress = show_progress("reading every picture once, later runs remember it")
    found = {name: look(split.pictures, progress) for name, split in data.splits().items()}
    broken = list(_named(data, {name: one.broken for name, one in found.items()}))
    if greys := span_of(found["train"].greys):
        say(f"the training pictures' greys of 16 bits lie within {greys[0]} to {greys[1]}, and are scaled by that")
    data = replace(data, greys=greys)
    if not broken:
        return data
    if not skip_broken:
        total = sum(map(len, data.splits().values()))
        raise UserError(
            f"{_count(len(broken))} of {total:,} cannot be read",
            _listed(broken),
            MEND,
        )
    say(f"{_count(len(broken))} cannot be read, and are gone on without:\n        {_listed(broken)}")
    return without(data, {name: list(one.broken) for name, one in found.items()}, broken)


def without_skipped(data: ImageData, skipped: Sequence[Skipped]) -> ImageData:
    """Return the data without those pictures that were skipped before and still cannot be read."""
    names: dict[tuple[str, str], Skipped] = {(one.split, one.name): one for one in skipped}
    rows: dict[str, list[int]] = {}
    gone = list[Skipped]()
    for name, split in data.splits().items() if names else ():
        for row in range(len(split)):
            one = names.get((name, split.pictures.name(row)))
            if one is not None and why_broken(split.pictures, row):
                rows.setdefault(name, []).append(row)
                gone.append(one)
    return without(data, rows, gone) if gone else data


def without(data: ImageData, rows: dict[str, list[int]], skipped: Sequence[Skipped]) -> ImageData:
    """Return the data without these rows of each split (UserError: nothing is left of a class or split)."""
    splits: dict[str, Any] = {}
    for name, split in data.splits().items():
        kept = np.delete(np.arange(len(split)), rows.get(name, []))
        if len(kept) < len(split):
            splits[name] = Split(Readable(split.pictures, kept), split.labels[kept])
            _refuse_nothing_left(data, name, split, splits[name])
    return replace(data, **splits, skipped=(*data.skipped, *skipped))


def _refuse_nothing_left(data: ImageData, name: str, before: Split, after: Split) -> None:
    had, has = (counts(split.labels, len(data.classes)) > 0 for split in (before, after))
    gone = [name for name, is_gone in zip(data.classes, had & ~has, strict=True) if is_gone]
    if (gone and name == "train") or not len(after):
        of = f" of {listed(gone)}" if gone else ""
        raise UserError(f"no picture{of} in {name} can be read", "", "residuum data check says why of each")


def _named(data: ImageData, broken: dict[str, dict[int, str]]) -> Iterator[Skipped]:
    for name, split in data.splits().items():
        called: SplitName = name  # type: ignore[assignment]
        for row, why in broken[name].items():
            yield Skipped(split=called, name=split.pictures.name(row), why=why)


def _listed(broken: Sequence[Skipped]) -> str:
    return _lines([f"{one.name}: {one.why}" for one in broken])


def _lines(found: Sequence[str]) -> str:
    more = [f"and {len(found) - NAMED:,} more: residuum data check names all"] if len(found) > NAMED else []
    return "\n        ".join([*found[:NAMED], *more])


def _count(number: int) -> str:
    return f"{number:,} picture" + "s" * (number != 1)
