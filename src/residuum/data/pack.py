"""`residuum data pack`: pictures written as Parquet shards in the layout that Hugging Face gives image data sets.

The files are copied as they are and nothing is compressed, so that each picture can be read where it lies
(parquet_values.py). Training pictures come in chance order, for data are read a stretch at a time. Letters: N pictures.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from residuum import machine
from residuum.console import show_progress
from residuum.data.contract import ColumnNames, ImageData, Split
from residuum.data.decode import as_file
from residuum.data.labels import Labels, as_bytes, is_several, shown_by
from residuum.data.open import open_data
from residuum.data.parquet_values import OWN_PACK
from residuum.data.rng import order
from residuum.data.sums import SUMS
from residuum.data.threads import in_order
from residuum.data.windows import BLOCK_BYTES
from residuum.errors import UserError
from residuum.files import cannot_write, replacing, write_whole
from residuum.lock import only_holder
from residuum.records.codec import read_record, write_record
from residuum.records.pack import Pack, Packed, Shard
from residuum.settings import PackSettings

MANIFEST, LOCK = "pack.json", "lock.json"
_SAMPLE = 256
"""So many pictures of a split say how large one is."""
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@dataclass(frozen=True)
class _Planned:
    """A shard to be written: which rows of which split, in which order."""

    file: str
    split: Split
    rows: NDArray[np.int64]


def pack(settings: PackSettings) -> Packed:
    """Write a data set's pictures as shards into `out`; what a call before has written whole is kept.

    Raises:
        UserError: there is no such data set, or `out` holds something else, or cannot be written.
    """
    columns = ColumnNames.told(settings)
    data = open_data(str(settings.data), progress=show_progress("fetching"), columns=columns, judging=True)
    out = Path(str(settings.out)).absolute()
    _refuse_within(data, out)
    planned = _plan(data, settings.shard_megabytes * 10**6)
    plan = _digest(data, planned)
    before = _before(out, plan)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, 0, error) from error
    with only_holder(out / LOCK):
        done = _write_all(data, planned, Pack(source=data.source, plan=plan, shards=before, complete=False), out)
    sums = "".join(f"{shard.sha256}  {shard.file}\n" for shard in done.shards)
    write_whole(out / SUMS, sums.encode())
    write_record(out / MANIFEST, done)
    pictures, size = (sum(getattr(shard, what) for shard in done.shards) for what in ("pictures", "bytes"))
    there = len({shard.file for shard in before} & {one.file for one in planned})
    return Packed(folder=str(out), shards=len(done.shards), pictures=pictures, bytes=size, there=there)


def _refuse_within(data: ImageData, out: Path) -> None:
    root = Path(data.source).resolve()
    root = root.parent if root.is_file() else root  # a table beside its pictures
    if Path(data.source).is_absolute() and out.resolve().is_relative_to(root):
        raise UserError(
            f"{out} lies within the pictures in {data.source}", "nothing is written there", "choose another"
        )


def _before(out: Path, plan: str) -> tuple[Shard, ...]:
    """Return the shards that are there, whole, of the same plan (UserError: the folder holds something else)."""
    if not out.exists() or (out.is_dir() and {entry.name for entry in out.iterdir()} <= {LOCK}):
        return ()
    if not (out / MANIFEST).is_file():
        what = f"{out} exists and is not an empty folder"
        raise UserError(what, "shards are never written among other files", "give a new folder")
    written = read_record(out / MANIFEST, Pack)
    if written.plan != plan:
        why = f"it holds shards of {written.source}, which are others than these, or other sizes"
        raise UserError(f"{out} holds another pack", why, "give a new folder, or remove that one")
    work, ahead = partial(_is_whole, out), 2 * machine.cores()
    return tuple(
        shard for shard, whole in zip(written.shards, in_order(written.shards, work, ahead), strict=True) if whole
    )


def _is_whole(out: Path, shard: Shard) -> bool:
    try:
        with (out / shard.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except OSError:
        return False


# --- what goes where ----------------------------------------------------------------------------


def _plan(data: ImageData, shard_bytes: int) -> list[_Planned]:
    planned = []
    for name, split in data.splits().items():
        if not len(split):
            continue
        rows = order(0, 0, len(split)) if name == "train" else np.arange(len(split))
        each = max(1, shard_bytes // _mean_bytes(split))
        count = -(-len(rows) // each)
        parts = np.array_split(rows, count)
        planned += [_Planned(f"data/{name}-{k:05}-of-{count:05}.parquet", split, part) for k, part in enumerate(parts)]
    return planned


def _mean_bytes(split: Split) -> int:
    rows = np.unique(np.linspace(0, len(split) - 1, _SAMPLE).astype(np.int64))
    return max(1, sum(len(as_file(split.pictures.encoded(int(row)))) for row in rows) // len(rows))


def _digest(data: ImageData, planned: Sequence[_Planned]) -> str:
    """Return a SHA-256 of the plan: names, labels and files' states; of pixels in memory their number alone."""
    whole = hashlib.sha256(json.dumps(list(data.classes)).encode())
    for split in data.splits().values():
        for path in split.pictures.files() or ():
            status = Path(path).stat() if Path(path).exists() else None
            state = (status.st_size, status.st_mtime_ns) if status else ()
            whole.update(f"{path} {state}\n".encode(errors="surrogateescape"))
        whole.update(as_bytes(split.labels))
    for one in planned:
        whole.update(f"{one.file} {len(one.rows)}\n".encode())
    return whole.hexdigest()


# --- writing -------------------------------------------------------------------------------------


def _write_all(data: ImageData, planned: Sequence[_Planned], done: Pack, out: Path) -> Pack:
    """Write the shards that are not there, several at a time; each is noted as soon as it is whole."""
    write_record(out / MANIFEST, done)
    there = {shard.file: shard for shard in done.shards}
    missing = [one for one in planned if one.file not in there]
    progress, count = show_progress("writing shards"), len(planned) - len(missing)
    for shard in in_order(missing, partial(_write, out, data.classes), machine.cores()):
        there[shard.file] = shard
        done = Pack(source=done.source, plan=done.plan, shards=tuple(there.values()), complete=False)
        write_record(out / MANIFEST, done)
        count += 1
        progress(count, len(planned))
    shards = tuple(there[one.file] for one in planned)
    return Pack(source=done.source, plan=done.plan, shards=shards, complete=True)


def _write(out: Path, classes: Sequence[str], one: _Planned) -> Shard:
    """Write one shard, whole or not at all."""
    several = is_several(one.split.labels)
    of_one = {"names": list(classes), "_type": "ClassLabel"}
    label = {"feature": of_one, "_type": "Sequence"} if several else of_one
    features = {"image": {"_type": "Image"}, "label": label}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode(), OWN_PACK: b"1"}
    schema = pa.schema({"image": _IMAGE, "label": pa.list_(pa.int64()) if several else pa.int64()}, about)
    path = out / one.file
    try:
        with (
            replacing(path) as file,
            pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
        ):
            for rows in _groups(one):
                writer.write_table(rows.cast(schema))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Shard(file=one.file, pictures=len(one.rows), bytes=path.stat().st_size, sha256=digest)
    except OSError as error:
        raise cannot_write(path, 0, error) from error


def _groups(one: _Planned) -> Any:
    """Yield the rows as tables of about a block each."""
    pictures, kept, size = one.split.pictures, list[int](), 0
    files = list[bytes]()
    for row in one.rows.tolist():
        files.append(as_file(pictures.encoded(row)))
        kept.append(row)
        size += len(files[-1])
        if size >= BLOCK_BYTES or row == one.rows[-1]:
            named = [{"bytes": content, "path": pictures.name(row)} for content, row in zip(files, kept, strict=True)]
            yield pa.table({"image": pa.array(named, _IMAGE), "label": _as_column(one.split.labels[kept])})
            kept, files, size = [], [], 0


def _as_column(labels: Labels) -> Any:
    """Return labels as numbers, or of several a picture as lists of them."""
    return [shown_by(labels, row) for row in range(len(labels))] if is_several(labels) else labels
