"""Shards: tar and Parquet, here and at an address; the order by windows; what data pack writes."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_training import same_tensors, stop_after_step

from residuum import runs
from residuum.data import pack as packing
from residuum.data import packed, parquet, windows
from residuum.data.cache import fingerprint
from residuum.data.check import check
from residuum.data.contract import ImageData, Split
from residuum.data.open import open_data
from residuum.data.packed import PackedPictures
from residuum.data.parquet import ParquetPictures
from residuum.data.parquet_footer import chunks_of
from residuum.data.parquet_values import where_they_lie
from residuum.data.rng import uniform
from residuum.data.share import TrainingPlan
from residuum.data.tables import open_parquet
from residuum.data.tars import open_tars
from residuum.data.windows import Windows, blocks_of, chosen_shuffle, stretches
from residuum.errors import Stopped, UserError
from residuum.records.codec import read_record
from residuum.records.run import RunSettings
from residuum.settings import PackSettings, TrainSettings
from residuum.training.binding import own_settings, refuse_other_shards, shards_digest, with_shuffle
from residuum.training.run import train

CLASSES = ("cat", "dog", "eel")
COUNT = 60


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (number, 1, 2)).save(file, "PNG")
    return file.getvalue()


PICTURES = [picture(number) for number in range(COUNT)]


def label(number: int) -> int:
    return number % len(CLASSES)


def with_cls(number: int) -> dict[str, bytes]:
    return {"png": PICTURES[number], "cls": b"%d\n" % label(number)}


def tar(path: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for key, files in samples.items():
            for kind, content in files.items():
                member = tarfile.TarInfo(f"{key}.{kind}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return path


def tars(root: Path, sample: Callable[[int], dict[str, bytes]] = with_cls, shards: int = 4) -> Path:
    """Write the pictures as shards, every fourth into each, with the names of their classes beside them."""
    for shard in range(shards):
        tar(root / f"train-{shard:06}.tar", {f"{n:06}": sample(n) for n in range(shard, COUNT, shards)})
    (root / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    return root


def folder(root: Path) -> Path:
    for number, content in enumerate(PICTURES):
        (root / CLASSES[label(number)]).mkdir(parents=True, exist_ok=True)
        (root / CLASSES[label(number)] / f"{number:06}.png").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of the pictures in several shards of several row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK_BYTES", 500)
        patch.setattr(packing, "_mean_bytes", lambda _: 10**6)
        root = tmp_path_factory.mktemp("pack")
        packing.pack(PackSettings(folder(root / "photos"), root / "shards", shard_megabytes=20))
    return root / "shards"


def seen(data: ImageData) -> dict[bytes, str]:
    """Each picture with its class."""
    split = data.train
    return {split.pictures.encoded(row): data.classes[split.labels[row]] for row in range(len(split))}  # type: ignore[misc]


ALL = {content: CLASSES[label(number)] for number, content in enumerate(PICTURES)}


# --- tar shards ---------------------------------------------------------------------------------

SAMPLES: dict[str, Callable[[int], dict[str, bytes]]] = {
    "number": with_cls,
    "name": lambda n: {"cls": CLASSES[label(n)].encode(), "png": PICTURES[n]},
    "json": lambda n: {"json": json.dumps({"label": label(n), "x": 1}).encode(), "png": PICTURES[n]},
    "no suffix known": lambda n: {"PNG": PICTURES[n], "cls": b"%d" % label(n), "seg.npy": b"123", "txt": b"a cat"},
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_tar_shards_hold_the_pictures_that_were_put_there(tmp_path: Path, kind: str) -> None:
    root = tars(tmp_path, SAMPLES[kind])
    if kind == "name":
        (root / "classes.txt").unlink()
    data = open_data(str(root))
    assert seen(data) == ALL
    assert tuple(data.classes) == CLASSES
    assert data.train.pictures.name(1) == "train-000000.tar/000004." + ("PNG" if kind == "no suffix known" else "png")
    assert seen(open_data(str(root))) == ALL  # as remembered


def test_tars_of_other_splits_and_folders(tmp_path: Path) -> None:
    for split, numbers in {"train": range(40), "val": range(40, 60)}.items():
        tar(tmp_path / split / "a-0.tar", {f"deep/er/{n}": with_cls(n) for n in numbers})
    data = open_tars(tmp_path)
    assert list(data.classes) == ["0", "1", "2"]
    assert data.validation is not None
    assert [len(data.train), len(data.validation)] == [40, 20]
    assert data.validation.pictures.encoded(3) == PICTURES[43]


def test_a_tar_beside_pictures_is_none_of_the_data(tmp_path: Path) -> None:
    tar(folder(tmp_path) / "backup.tar", {"1": with_cls(1)})
    assert open_data(str(tmp_path)).train.pictures.name(0) == "cat/000000.png"


def test_missing_numbers_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tars(tmp_path) / "train-000002.tar").unlink()
    assert len(open_tars(tmp_path).train) == 45
    assert "these numbers are missing: '2'" in capsys.readouterr().err


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


def linked(path: Path) -> None:
    with tarfile.open(path, "w") as shard:
        member = tarfile.TarInfo("1.png")
        member.type, member.linkname = tarfile.SYMTYPE, "elsewhere.png"
        shard.addfile(member)


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut within a picture": (lambda path: cut(path, 1536), "unexpected end"),
    "cut between two": (lambda path: cut(path, 4 * 1024), "not written whole"),
    "a header in the middle": (lambda path: flip(path, 2048 + 3), "byte 2,048 is damaged"),
    "zeros in the middle": (
        lambda path: path.write_bytes(path.read_bytes()[:2048] + bytes(1 << 21) + path.read_bytes()[2048:]),
        "long before",
    ),
    "no tar": (lambda path: path.write_bytes(b"hello" * 400), "invalid header"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "a link": (linked, "is a link"),
    "two pictures": (lambda path: tar(path, {"1": {"png": b"1", "jpg": b"2", "cls": b"0"}}), "several pictures"),
    "no JSON": (lambda path: tar(path, {"1": {"png": b"1", "json": b"{"}}), "property name"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_all_broken_tars_are_named(tmp_path: Path, kind: str) -> None:
    damage, why = BROKEN[kind]
    root = tars(tmp_path)
    for broken in ("train-000001.tar", "train-000003.tar"):
        damage(root / broken)
    with pytest.raises(UserError, match=why) as error:
        open_data(str(root))
    assert error.value.what == "2 of 4 shards cannot be read"
    assert "train-000001.tar" in error.value.why
    assert "train-000003.tar" in error.value.why
    assert "000002" not in error.value.why


def test_pictures_without_a_class_are_refused_by_their_name(tmp_path: Path) -> None:
    tar(tmp_path / "train-0.tar", {"1": with_cls(1), "2": {"png": PICTURES[2]}})
    with pytest.raises(UserError, match="have no label") as error:
        open_tars(tmp_path)
    assert "first in train-0.tar/2" in error.value.why


def test_a_shard_that_was_replaced_is_not_read_at_the_old_places(tmp_path: Path) -> None:
    data = open_tars(tars(tmp_path))
    tar(tmp_path / "new.tar", {"9": with_cls(9)}).replace(tmp_path / "train-000000.tar")
    with pytest.raises(UserError, match="has changed since"):
        data.train.pictures.encoded(0)


# --- data pack -----------------------------------------------------------------------------------


def test_a_pack_is_read_by_pyarrow_and_by_us(pack: Path) -> None:
    files = sorted((pack / "data").iterdir())
    assert [file.name for file in files] == [f"train-{k:05}-of-00003.parquet" for k in range(3)]
    table = pa.concat_tables(map(pq.read_table, files))
    about = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert about == {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    rows = table.to_pylist()
    assert {row["image"]["bytes"]: CLASSES[row["label"]] for row in rows} == ALL
    assert sorted(row["image"]["path"] for row in rows)[0] == "cat/000000.png"
    assert [row["label"] for row in rows[:20]] != sorted(row["label"] for row in rows[:20])  # mixed
    data = open_data(str(pack))
    assert isinstance(data.train.pictures, PackedPictures)
    assert seen(data) == ALL
    assert data.train.pictures.name(7) == "train row 7"


def test_its_checksums_are_those_of_coreutils(pack: Path) -> None:
    for line in (pack / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((pack / name).read_bytes()).hexdigest() == digest


def test_an_interrupted_pack_goes_on(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK_BYTES", 500)
    monkeypatch.setattr(packing, "_mean_bytes", lambda _: 10**6)
    monkeypatch.setattr(packing.machine, "cores", lambda: 1)
    settings = PackSettings(folder(tmp_path / "photos"), tmp_path / "out", shard_megabytes=20)
    write = packing._write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_write", lambda *all: write(*all) if "00000-" in all[-1].file else interrupted())
        with pytest.raises(KeyboardInterrupt):
            packing.pack(settings)
    first = tmp_path / "out" / "data" / "train-00000-of-00003.parquet"
    before = first.stat().st_ino
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
    assert packing.pack(settings).there == 1
    assert first.stat().st_ino == before
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (pack / "SHA256SUMS").read_bytes()
    flip(first, 700)
    assert packing.pack(settings).there == 2  # what was damaged is written again
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (pack / "SHA256SUMS").read_bytes()


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_pack_never_writes_among_other_things(tmp_path: Path) -> None:
    photos, out = folder(tmp_path / "photos"), tmp_path / "out"
    with pytest.raises(UserError, match="lies within the pictures"):
        packing.pack(PackSettings(photos, photos / "out"))
    out.mkdir()
    (out / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(UserError, match="not an empty folder"):
        packing.pack(PackSettings(photos, out))
    (out / "thesis.tex").unlink()
    packing.pack(PackSettings(photos, out))
    (photos / "cat" / "new.png").write_bytes(picture(200))
    with pytest.raises(UserError, match="holds another pack"):
        packing.pack(PackSettings(photos, out))


def test_pixels_are_packed_as_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = open_data("digits")
    assert digits.test is not None
    few = replace(digits, train=digits.train.take(np.arange(30)), test=digits.test.take(np.arange(20)))
    monkeypatch.setattr(packing, "open_data", lambda *_, **__: few)
    packing.pack(PackSettings("digits", tmp_path / "out"))
    again = open_data(str(tmp_path / "out"))
    assert again.test is not None
    assert [len(again.train), len(again.test)] == [30, 20]
    pixels = np.array(Image.open(io.BytesIO(again.test.pictures.encoded(5))))  # type: ignore[arg-type]
    assert np.array_equal(pixels, few.test.pictures.encoded(5))  # type: ignore[union-attr]


def test_check_names_the_shard_that_was_damaged(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "copy")
    assert check(open_data(str(pack)))["shards"] == {"checked": 3, "broken": []}
    flip(tmp_path / "copy" / "data" / "train-00001-of-00003.parquet", 100)
    found = check(open_data(str(tmp_path / "copy")))
    assert [one["name"] for one in found["shards"]["broken"]] == ["data/train-00001-of-00003.parquet"]
    assert "train-00001-of-00003.parquet is broken" in found["problems"][0]


def test_all_broken_tables_are_named(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "copy")
    for number in (0, 2):
        cut(tmp_path / "copy" / "data" / f"train-0000{number}-of-00003.parquet", 900)
    with pytest.raises(UserError, match="2 of 3 shards cannot be read") as error:
        open_data(str(tmp_path / "copy"))
    assert "train-00000" in error.value.why
    assert "train-00002" in error.value.why


# --- Parquet read one by one ---------------------------------------------------------------------


def table(path: Path, contents: list[bytes | None], **how: Any) -> Path:
    named = [None if content is None else {"bytes": content, "path": "x"} for content in contents]
    image = pa.array(named, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(pa.table({"image": image, "label": [0, 1] * (len(contents) // 2)}), path, **how)
    return path


PLAIN = {"compression": "none", "use_dictionary": False}


@pytest.mark.parametrize("page", [64, 1 << 20])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_values_are_found_where_they_lie(tmp_path: Path, page: int, version: str) -> None:
    contents = [bytes([n]) * (n % 7) for n in range(40)]  # empty ones, and ones alike
    how = PLAIN | {"row_group_size": 16, "data_page_size": page, "data_page_version": version, "write_batch_size": 4}
    path = table(tmp_path / "train.parquet", list(contents), **how)
    found = where_they_lie({str(path): chunks_of(path, "image.bytes")}, "image.bytes", "train", in_windows=True)
    assert found is not None
    assert [found.encoded(row) for row in range(40)] == contents


@pytest.mark.parametrize("how", [{"compression": "snappy"}, {"use_dictionary": True}, {"column_encoding": "delta"}])
def test_what_does_not_lie_as_it_is_is_read_in_groups(tmp_path: Path, how: dict[str, Any]) -> None:
    if "column_encoding" in how:
        how = {"column_encoding": {"image.bytes": "DELTA_LENGTH_BYTE_ARRAY"}}
    contents = [b"same"] * 20 + [b"%d" % n for n in range(20)]
    path = table(tmp_path / "train.parquet", list(contents), **PLAIN | how, row_group_size=8)
    assert where_they_lie({str(path): chunks_of(path, "image.bytes")}, "image.bytes", "train", in_windows=True) is None
    pictures = open_parquet(tmp_path).train.pictures
    assert [pictures.encoded(row) for row in range(40)] == contents
    found = blocks_of(pictures)
    assert found is not None
    assert np.array_equal(found.of_rows, np.repeat(np.arange(5), 8))
    assert not found.by_default


def test_a_row_without_a_picture_is_read_in_groups(tmp_path: Path) -> None:
    path = table(tmp_path / "train.parquet", [b"a", None], **PLAIN)
    assert where_they_lie({str(path): chunks_of(path, "image.bytes")}, "image.bytes", "train", in_windows=True) is None


def test_large_tables_of_others_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path / "train.parquet", [b"%d" % n for n in range(40)], **PLAIN)
    assert isinstance(open_parquet(tmp_path).train.pictures, ParquetPictures)
    monkeypatch.setattr(parquet, "WINDOW_BYTES", 10)
    pictures = open_parquet(tmp_path).train.pictures
    assert isinstance(pictures, PackedPictures)
    assert chosen_shuffle(None, pictures, streamed=True) == "whole"
    monkeypatch.setattr(parquet, "KEPT_BYTES", 10)
    assert chosen_shuffle(None, open_parquet(tmp_path).train.pictures, streamed=True) == "windows"


# --- at an address -------------------------------------------------------------------------------


@pytest.fixture
def there(request: pytest.FixtureRequest) -> Any:
    """What puts files into fsspec's memory, and returns their address."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")

    def put(root: Path) -> str:
        for path in root.rglob("*"):
            if path.is_file():
                system.pipe(f"/bucket/{root.name}/{path.relative_to(root)}", path.read_bytes())
        return f"memory://bucket/{root.name}"

    yield put
    system.rm("/bucket", recursive=True)


def test_shards_at_an_address_are_the_same_data(pack: Path, tmp_path: Path, there: Callable[[Path], str]) -> None:
    for root in (pack, tars(tmp_path / "tars")):
        here, address = open_data(str(root)), there(root)
        data = open_data(address)
        assert data.source == address
        assert seen(data) == ALL
        assert fingerprint(data) == fingerprint(here)
        assert len(fingerprint(open_data(address))) == 64  # as remembered
    assert seen(open_data(f"file://{pack}")) == ALL


def test_an_address_is_fetched_a_stretch_at_a_time(
    tmp_path: Path, there: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "BLOCK_BYTES", 400)
    fetched = []
    fetch = packed.bytes_there
    monkeypatch.setattr(packed, "bytes_there", lambda *all: fetched.append(all) or fetch(*all))
    monkeypatch.setattr(packed, "KEPT_THERE", 1000)
    pictures = open_data(there(tars(tmp_path / "tars"))).train.pictures
    blocks = blocks_of(pictures)
    assert blocks is not None
    for row in range(COUNT):
        pictures.encoded(row)
    assert len(fetched) == len(blocks.sizes) > 4
    assert sum(map(len, pictures._there.values())) <= 1000 + max(last - first for _, first, last in fetched)  # type: ignore[attr-defined]


def test_addresses_of_shards_are_data_and_nothing_else() -> None:
    assert TrainSettings("s3://bucket/data").data == "s3://bucket/data"
    for asked in (lambda: TrainSettings("https://example.com/x"), lambda: TrainSettings(start="s3://bucket/net")):
        with pytest.raises(UserError, match="is an address"):
            asked()


def test_what_is_not_at_an_address_is_said(tmp_path: Path, there: Callable[[Path], str]) -> None:
    with pytest.raises(UserError, match="no shards at memory://bucket/nothing"):
        open_data("memory://bucket/nothing")
    with pytest.raises(UserError, match=r"cannot read nosuch://x") as error:
        open_data("nosuch://x")
    assert "[remote]" in error.value.mend
    address = there(tars(tmp_path / "tars"))
    cut(tmp_path / "tars" / "train-000001.tar", 1536)
    there(tmp_path / "tars")
    with pytest.raises(UserError, match=r"memory://bucket/tars/train-000001\.tar is broken"):
        open_data(address)


# --- the order by windows ------------------------------------------------------------------------


def laid_out(count: int, per_block: int, batch: int, lanes: int = 24, window: int = 30) -> Windows:
    return Windows(np.arange(count) // per_block, lanes, window, batch)


@pytest.mark.parametrize("count", [1, 23, 960, 1000])
@pytest.mark.parametrize("batch", [1, 7, 48, 100])
def test_every_epoch_sees_each_picture_once(count: int, batch: int) -> None:
    shuffle = laid_out(count, 10, batch)
    first, second = shuffle(3, 0, count), shuffle(3, 1, count)
    assert sorted(first) == list(range(count))
    assert count == 1 or not np.array_equal(first, second)
    assert np.array_equal(first, laid_out(count, 10, batch)(3, 0, count))


def test_the_order_says_nothing_of_how_pictures_are_cropped() -> None:
    rows = laid_out(4800, 10, 48, lanes=1, window=4800)(3, 1, 4800)
    first_draws = uniform(3, 1, rows, 4)
    assert all(abs(np.corrcoef(np.arange(4800), draws)[0, 1]) < 0.06 for draws in first_draws.T)  # 4 deviations


def test_the_order_is_the_same_for_good() -> None:
    assert laid_out(12, 2, 4, lanes=2, window=3)(7, 0, 12).tolist() == RECORDED


RECORDED = [0, 4, 3, 8, 1, 11, 2, 7, 10, 5, 9, 6]


def blocks_read(plan: TrainingPlan, of_rows: NDArray[np.int64]) -> set[int]:
    return {int(block) for step in range(len(plan)) for block in of_rows[plan[step][1]]}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 8, 24])
def test_any_number_of_ranks_sees_the_same_steps_and_reads_its_own_shards(ranks: int) -> None:
    shuffle = laid_out(4800, 10, 48)
    plans = [TrainingPlan(5, 4800, 48, 0, 100, rank, ranks, shuffle) for rank in range(ranks)]
    alone = TrainingPlan(5, 4800, 48, 0, 100, shuffle=shuffle)
    for step in (0, 37, 99):
        assert np.array_equal(np.concatenate([plan[step][1] for plan in plans]), alone[step][1])
    read = [blocks_read(plan, shuffle.of_rows) for plan in plans]
    assert sum(map(len, read)) <= 480 + ranks - 1  # two share no more than a block at the end of a lane


def test_a_run_goes_on_in_the_middle_of_a_shard() -> None:
    shuffle = laid_out(1000, 100, 20)
    whole = TrainingPlan(5, 1000, 20, 0, 120, shuffle=shuffle)
    rest = TrainingPlan(5, 1000, 20, 57, 120, shuffle=laid_out(1000, 100, 20))
    assert all(np.array_equal(rest[step][1], whole[57 + step][1]) for step in range(63))


def test_the_number_of_ranks_may_change_on_the_way() -> None:
    def plan(start: int, stop: int, rank: int = 0, ranks: int = 1) -> TrainingPlan:
        return TrainingPlan(5, 1000, 20, start, stop, rank, ranks, laid_out(1000, 100, 20))

    seen = [plan(0, 40)[step][1] for step in range(40)]
    seen += [np.concatenate([plan(40, 80, rank, 2)[step][1] for rank in (0, 1)]) for step in range(40)]
    seen += [plan(80, 120)[step][1] for step in range(40)]
    assert all(np.array_equal(rows, plan(0, 120)[step][1]) for step, rows in enumerate(seen))


def test_few_blocks_are_under_way_at_a_time() -> None:
    count, per_block, lanes, window, batch = 24_000, 50, 24, 60, 48
    rows = laid_out(count, per_block, batch, lanes, window)(1, 0, count)
    steps = np.arange(count) // batch
    block = rows // per_block
    first, last = np.full(count // per_block, count), np.zeros(count // per_block, np.int64)
    np.minimum.at(first, block, steps)
    np.maximum.at(last, block, steps)
    under_way = [np.count_nonzero((first <= step) & (step <= last)) for step in range(0, steps[-1], 10)]
    most = lanes * (window // per_block + 3)  # in each lane a window, and blocks that lie across its ends
    assert max(under_way) <= most < len(first) / 4
    shuffled = np.random.default_rng(0).permutation(count) // per_block
    assert len(np.unique(shuffled[: count // 10])) > most  # a whole shuffle has all under way


def test_windows_mix_what_lies_together() -> None:
    """Rows that lie side by side come far apart, in places that chance decides: no worse than within a window."""
    rows = laid_out(24_000, 50, 48, 24, 1000)(1, 0, 24_000)
    gaps = np.abs(np.diff(np.argsort(rows)))
    assert np.median(gaps) > 1000
    classes = rows[: 48 * 100].reshape(100, 48) // 2400  # ten classes, one after the other on disk
    assert all(len(np.unique(batch)) >= 5 for batch in classes)


def test_lanes_have_room_for_their_blocks() -> None:
    def lanes(block: int) -> int:
        sizes, shard = np.full(100, block, np.int64), np.arange(100)
        pictures = PackedPictures(["x"], ["y"], shard, np.zeros(100, np.int64), sizes, "train", True)
        return Windows.of(pictures, 32).lanes

    assert [lanes(1 << 20), lanes(20 << 20), lanes(100 << 20), lanes(1 << 30)] == [24, 12, 2, 1]


def test_stretches_end_with_their_shards() -> None:
    of_rows, sizes = stretches(np.full(6, 5 << 20), np.array([0, 0, 0, 0, 1, 1]))
    assert of_rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert sizes.tolist() == [10 << 20] * 3


def test_a_cut_of_shards_keeps_its_order_to_itself(tmp_path: Path) -> None:
    split = open_tars(tars(tmp_path)).train
    part = Split(split.pictures, split.labels).take(np.arange(0, COUNT, 2))
    shuffle = Windows.of(part.pictures, 8)
    assert sorted(shuffle(0, 0, len(part))) == list(range(len(part)))
    assert blocks_of(part.pictures).of_rows.tolist() == blocks_of(split.pictures).of_rows[::2].tolist()  # type: ignore[union-attr]


# --- which order a run takes ---------------------------------------------------------------------


def test_windows_are_for_shards_that_are_streamed(tmp_path: Path) -> None:
    pictures = open_tars(tars(tmp_path / "tars")).train.pictures
    assert chosen_shuffle(None, pictures, streamed=True) == "windows"
    assert chosen_shuffle(None, pictures, streamed=False) == "whole"
    assert chosen_shuffle("whole", pictures, streamed=True) == "whole"
    photos = open_data(str(folder(tmp_path / "photos"))).train.pictures
    assert chosen_shuffle(None, photos, streamed=True) == "whole"
    with pytest.raises(UserError, match="do not lie in shards"):
        chosen_shuffle("windows", photos, streamed=True)


def test_runs_from_before_there_was_a_choice_keep_their_order() -> None:
    files = sorted(Path(__file__).parent.glob("data/**/settings.json"))
    assert files
    for file in files:
        written = read_record(file, RunSettings)
        if "shuffle" not in written.settings:
            assert own_settings(file.parent, written).shuffle == "as-0.1"


def test_a_run_keeps_the_order_it_was_begun_with() -> None:
    begun = {"seed": 1, "shuffle": "all"}  # between two releases, when this was how the order of version 0.1 was called
    assert with_shuffle(begun) == with_shuffle({"seed": 1}) == {"seed": 1, "shuffle": "as-0.1"}
    for shuffle in ("whole", "windows", None):
        assert with_shuffle({"shuffle": shuffle}) == {"shuffle": shuffle}


def test_a_run_does_not_go_on_with_other_shards(tmp_path: Path) -> None:
    settings = replace(TrainSettings(), shuffle="windows", batch_size=8)
    digests = {
        shards: shards_digest(settings, open_tars(tars(tmp_path / str(shards), shards=shards)).train.pictures)
        for shards in (4, 5)
    }
    refuse_other_shards(tmp_path, digests[4], digests[4])
    with pytest.raises(UserError, match="other shards than it began with"):
        refuse_other_shards(tmp_path, digests[4], digests[5])
    assert shards_digest(TrainSettings(), open_tars(tmp_path / "4").train.pictures) == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_a_run_on_shards_goes_on_in_the_middle_of_one_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "BLOCK_BYTES", 2000)
    root = tars(tmp_path / "tars", shards=2)
    asked = TrainSettings(str(root), model="resnet20", blocks=(1, 1, 1), widths=(16, 16, 16), epochs=3, image_size=72)
    asked = replace(asked, batch_size=8, from_nothing=True, workers=0)
    whole = train(replace(asked, out=str(tmp_path / "whole")))
    with_workers = train(replace(asked, out=str(tmp_path / "workers"), workers=2))
    all_at_once = train(replace(asked, out=str(tmp_path / "all"), shuffle="whole"))
    stop_after_step(monkeypatch, 9)  # in the second epoch, whose first shard is not half read
    with pytest.raises(Stopped):
        train(replace(asked, out=str(tmp_path / "stopped")))
    monkeypatch.undo()
    monkeypatch.setattr(windows, "BLOCK_BYTES", 2000)
    again = train(TrainSettings(resume=str(tmp_path / "stopped")))
    assert whole.settings.resolved["shuffle"] == "windows"
    assert same_tensors(whole.path / runs.MODEL, again.path / runs.MODEL)
    assert same_tensors(whole.path / runs.MODEL, with_workers.path / runs.MODEL)
    assert not same_tensors(whole.path / runs.MODEL, all_at_once.path / runs.MODEL)
    assert whole.data.fingerprint == all_at_once.data.fingerprint
