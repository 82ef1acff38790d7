"""The cache: what it holds equals what is worked out anew, and without it everything still works."""

import functools
import hashlib
import io
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from residuum import machine
from residuum.data import cache
from residuum.data.cache import content_key, decoded, fingerprint, picture_digests
from residuum.data.contract import ImageData, Pictures, Split, Subset
from residuum.data.decode import decode
from residuum.data.digits import digits
from residuum.data.folder import open_folder
from residuum.data.open import open_data
from residuum.data.resize import evaluation_view
from residuum.data.tables import open_parquet
from residuum.errors import UserError

DATA = Path(os.environ.get("RESIDUUM_DATA", Path(__file__).parents[2] / "shared" / "data"))
CIFAR10 = DATA / "cifar10"
needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"CIFAR-10 is not in {DATA}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """Give each test a cache of its own, in which files just written count at once."""
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SETTLED_NS", 0)
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path) -> Path:
    """Write a small data set of pictures of many sizes."""
    for kind in ("cat", "dog", "eel"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
    for name, encoded in encoded_pets().items():
        (tmp_path / "pets" / name).write_bytes(encoded)
    return tmp_path / "pets"


@functools.cache
def encoded_pets() -> dict[str, bytes]:
    uniforms, found = np.random.default_rng(0), {}
    for i in range(150):
        height, width = uniforms.integers(8, 20, 2)
        file = io.BytesIO()
        Image.fromarray(uniforms.integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
        found[f"{('cat', 'dog', 'eel')[i % 3]}/{i}.png"] = file.getvalue()
    return found


def by_hand(split: Split, image_size: int, resize_to: int):
    encoded = ((split.pictures.encoded(i), split.pictures.name(i)) for i in range(len(split)))
    return np.stack([evaluation_view(decode(*one), image_size, resize_to) for one in encoded])


def tree_hash(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        whole.update(f"{path} {status.st_mode} {status.st_mtime_ns} {status.st_size}\n".encode())
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()


def kept_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def refuse(*_arguments):
    raise AssertionError("this should have been remembered")


# --- decoded pictures --------------------------------------------------------------------------


def test_a_hit_equals_a_miss_equals_decoding_by_hand(pets, own_cache, monkeypatch):
    train = open_folder(pets).train
    expected = by_hand(train, 8, 10)
    np.testing.assert_array_equal(decoded(train.pictures, 8, 10), expected)
    monkeypatch.setattr(cache, "decode", refuse)
    again = decoded(open_folder(pets).train.pictures, 8, 10)
    np.testing.assert_array_equal(again, expected)
    assert isinstance(again, np.memmap)
    assert again.dtype == np.uint8


def test_another_size_or_other_pictures_are_another_entry(pets):
    train = open_folder(pets).train
    some = train.take(np.arange(100)[::-1])
    np.testing.assert_array_equal(decoded(train.pictures, 8, 10), by_hand(train, 8, 10))
    np.testing.assert_array_equal(decoded(train.pictures, 8, 8), by_hand(train, 8, 8))
    np.testing.assert_array_equal(decoded(train.pictures, 6, 8), by_hand(train, 6, 8))
    np.testing.assert_array_equal(decoded(some.pictures, 8, 10), by_hand(train, 8, 10)[99::-1])


def test_another_interpolation_is_another_entry(pets, own_cache):
    train = open_folder(pets).train
    bilinear = np.array(decoded(train.pictures, 8, 10))
    before = set(kept_files(own_cache))
    bicubic = decoded(train.pictures, 8, 10, interpolation="bicubic")
    assert (bicubic != bilinear).any()
    one = evaluation_view(decode(train.pictures.encoded(3), ""), 8, 10, "bicubic")
    np.testing.assert_array_equal(bicubic[3], one)
    after = set(kept_files(own_cache))
    np.testing.assert_array_equal(decoded(train.pictures, 8, 10), bilinear)
    assert len(after - before) == 1
    assert set(kept_files(own_cache)) == after


def test_the_entry_of_before_there_was_a_choice_still_counts(pets, own_cache):
    train = open_folder(pets).train
    decoded(train.pictures, 8, 10)
    key = f"{cache.content_key(train.pictures)} 8 10 {cache.DECODE_VERSION} {PIL.__version__}"
    assert (own_cache / "decoded" / f"{hashlib.sha256(key.encode()).hexdigest()}.npy").is_file()


def test_another_version_of_the_decoder_decodes_anew(pets, monkeypatch):
    train = open_folder(pets).train
    decoded(train.pictures, 8, 8)
    monkeypatch.setattr(cache, "DECODE_VERSION", -1)
    monkeypatch.setattr(cache, "decode", lambda *_, **__: np.full((8, 8, 3), 7, np.uint8))
    assert (decoded(train.pictures, 8, 8) == 7).all()


def test_writing_into_the_array_leaves_the_cache_as_it_was(pets):
    train = open_folder(pets).train
    first = decoded(train.pictures, 8, 8)
    before = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(decoded(train.pictures, 8, 8), before)


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "noise", "zeros", "a bit", "another shape"])
def test_a_damaged_entry_is_made_anew(pets, own_cache, damage):
    train = open_folder(pets).train
    expected = np.array(decoded(train.pictures, 8, 8))
    (entry,) = (own_cache / "decoded").iterdir()
    content = entry.read_bytes()
    changed = {"cut": content[:-1], "longer": content + b"x", "empty": b"", "noise": b"\x93NUMPY" * 50}
    changed |= {"zeros": content[:5000] + bytes(1000) + content[6000:], "a bit": content[:-9] + b"?" + content[-8:]}
    if damage == "another shape":
        np.save(entry, expected.reshape(-1, 4, 8, 3))
    else:
        entry.write_bytes(changed[damage])
    np.testing.assert_array_equal(decoded(train.pictures, 8, 8), expected)
    assert entry.read_bytes() == content


def test_progress_counts_every_picture(pets):
    seen = []
    decoded(open_folder(pets).train.pictures, 8, 8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 150), (128, 150), (150, 150)]


def test_no_pictures_give_no_views():
    assert decoded(digits().train.take(np.empty(0, np.int64)).pictures, 8, 8).shape == (0, 8, 8, 3)


def build(split: Split, size: int) -> bytes:
    return decoded(split.pictures, size, size).tobytes()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_threads_and_processes_may_build_the_same_entry_at_once(pets, own_cache):
    train = open_folder(pets).train
    with ThreadPoolExecutor(3) as threads:
        built = list(threads.map(build, [train] * 3, [8] * 3))
    with ProcessPoolExecutor(2, get_context("fork")) as processes:
        built += list(processes.map(build, [train] * 2, [7] * 2))
    assert built[:3] == [by_hand(train, 8, 8).tobytes()] * 3
    assert built[3:] == [by_hand(train, 7, 7).tobytes()] * 2
    assert sorted(path.suffix for path in (own_cache / "decoded").iterdir()) == [".npy", ".npy"]


def test_all_broken_pictures_are_named_and_nothing_is_kept(pets, own_cache):
    for i in range(0, 90, 3):
        (pets / "cat" / f"{i}.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match="30 of 150 pictures cannot be read") as caught:
        decoded(open_folder(pets).train.pictures, 8, 8)
    assert caught.value.why.startswith("'cat/0.png', 'cat/12.png'")
    assert caught.value.why.count(".png") == 20
    assert caught.value.why.endswith("and 10 more")
    assert "residuum data check" in caught.value.mend
    assert kept_files(own_cache / "decoded") == []


# --- without a place to keep things ------------------------------------------------------------


def test_without_a_cache_folder_pictures_are_decoded_into_memory(pets, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "file" / "cache"))
    train, said = open_folder(pets).train, []
    views = decoded(train.pictures, 8, 8, warn=said.append)
    np.testing.assert_array_equal(views, by_hand(train, 8, 8))
    assert not isinstance(views, np.memmap)
    assert len(said) == 1
    assert "not kept" in said[0]


def test_a_disk_too_small_is_noticed_beforehand(pets, own_cache, monkeypatch):
    usage = shutil.disk_usage(pets)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    train, said = open_folder(pets).train, []
    np.testing.assert_array_equal(decoded(train.pictures, 8, 8, warn=said.append), by_hand(train, 8, 8))
    assert len(said) == 1
    assert "no room" in said[0]
    assert kept_files(own_cache / "decoded") == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(pets, own_cache, monkeypatch):
    train, said = open_folder(pets).train, []
    content_key(train.pictures)  # its digests are kept before the disk is full

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    np.testing.assert_array_equal(decoded(train.pictures, 8, 8, warn=said.append), by_hand(train, 8, 8))
    assert "No space left on device" in said[0]
    assert kept_files(own_cache / "decoded") == []


def test_too_little_memory_as_well_is_an_error_with_a_way_out(pets, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "file" / "cache"))
    train = open_folder(pets).train

    def no_memory(*_arguments):
        raise MemoryError

    monkeypatch.setattr(
        cache.np, "empty", lambda shape, kind: no_memory() if len(shape) == 4 else np.zeros(shape, kind)
    )
    with pytest.raises(UserError, match="set RESIDUUM_CACHE"):
        decoded(train.pictures, 8, 8)


def test_what_killed_processes_left_is_removed_after_a_day(pets, own_cache):
    train = open_folder(pets).train
    old, new = own_cache / "decoded/.unfinished-old", own_cache / "decoded/.unfinished-new"
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    decoded(train.pictures, 8, 8)
    assert (old.exists(), new.exists()) == (False, True)


# --- what is in a data set ---------------------------------------------------------------------


def test_digests_are_sha256_of_the_files_and_remembered(pets, monkeypatch):
    pictures = open_folder(pets).train.pictures
    expected = [hashlib.sha256(pictures.encoded(i)).digest() for i in range(len(pictures))]
    assert [bytes(d) for d in picture_digests(pictures)] == expected
    monkeypatch.setattr(cache, "_digest", refuse)
    assert [bytes(d) for d in picture_digests(Subset(pictures, np.array([3, 1])))] == [
        expected[3],
        expected[1],
    ]


def test_a_source_that_does_not_say_its_files_is_refused():
    """Else its pictures would be hashed anew in every run, and nobody would know."""

    class Forgetful:
        def __len__(self):
            return 1

        def encoded(self, index):
            return b"it"

        def name(self, index):
            return "it"

    split = Split(Forgetful(), np.zeros(1, np.int64))
    for whole in (split, split.take(np.zeros(1, np.int64))):
        with pytest.raises(AttributeError, match="'Forgetful' object has no attribute 'files'"):
            fingerprint(ImageData("it", "it", ["it"], whole))


def test_every_source_says_its_files(pets, tmp_path):
    table = pa.table({"image": pa.array([b"x", b"y"], pa.binary()), "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    scans, folder = digits().train.pictures, open_folder(pets).train.pictures
    assert scans.files() is None  # in memory
    assert [Path(file).read_bytes() for file in folder.files()] == list(map(folder.encoded, range(len(folder))))
    assert Subset(folder, np.array([3])).files() == folder.files()
    assert open_parquet(tmp_path).train.pictures.files() == [str(tmp_path / "train.parquet")]
    assert {"__len__", "encoded", "name", "files"} <= set(vars(Pictures))


def test_a_changed_file_is_read_again(pets):
    data = open_folder(pets)
    before, path = fingerprint(data), pets / "dog/1.png"
    status, changed = path.stat(), bytearray(path.read_bytes())
    changed[-20] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same date: the change still shows
    assert fingerprint(data) != before


def test_files_just_written_are_not_remembered(pets, own_cache, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_NS", 10**12)
    content_key(open_folder(pets).train.pictures)
    assert kept_files(own_cache) == []


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"noise", "zeros"])
def test_damaged_digests_are_worked_out_anew(pets, own_cache, damage):
    train = open_folder(pets).train
    before = content_key(train.pictures)
    (entry,) = (own_cache / "digests").iterdir()
    entry.write_bytes(damage if damage != "zeros" else entry.read_bytes()[:200] + bytes(len(entry.read_bytes()) - 200))
    assert content_key(train.pictures) == before


def test_the_fingerprint_does_not_depend_on_the_place(pets, tmp_path):
    before = fingerprint(open_folder(pets))
    shutil.copytree(pets, tmp_path / "copy")
    shutil.rmtree(pets)
    assert fingerprint(open_folder(tmp_path / "copy")) == before


def test_the_fingerprint_depends_on_all_else():
    data = digits()
    same = fingerprint(digits())
    shifted = replace(data.train, labels=(data.train.labels + 1) % 10)
    others = [
        replace(data, classes=data.classes[::-1]),
        replace(data, train=shifted),
        replace(data, train=data.train.take(np.arange(1436))),
        replace(data, train=data.train.take(np.arange(1437)[::-1])),
        replace(data, test=None),
        replace(data, test=None, validation=data.test),
    ]
    assert fingerprint(data) == same
    assert len({same, *map(fingerprint, others)}) == 1 + len(others)


def test_the_same_pictures_have_one_key_in_files_and_in_parquet(pets, tmp_path):
    train = open_folder(pets).train
    rows = [train.pictures.encoded(i) for i in range(len(train))]
    (tmp_path / "rows").mkdir()
    table = pa.table({"image": pa.array(rows, pa.binary()), "label": train.labels})
    pq.write_table(table, tmp_path / "rows/train.parquet")
    assert content_key(open_parquet(tmp_path / "rows").train.pictures) == content_key(train.pictures)


def test_pixels_of_another_shape_are_other_pictures():
    class Pixels:
        def __init__(self, shape):
            self.pixels = np.zeros(shape, np.uint8)

        def __len__(self):
            return 1

        def encoded(self, index):
            return self.pixels

        def name(self, index):
            return "it"

        def files(self):
            return None

    splits = [Split(Pixels(shape), np.zeros(1, np.int64)) for shape in ((4, 4), (2, 8))]
    assert content_key(splits[0].pictures) != content_key(splits[1].pictures)


def test_the_data_folder_stays_as_it_was(pets, tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    table = pa.table({"image": pa.array([b"x", b"y"], pa.binary()), "label": [0, 1]})
    pq.write_table(table, rows / "train.parquet")
    before = tree_hash(pets), tree_hash(rows)
    data = open_data(str(pets))
    decoded(data.train.pictures, 8, 8)
    fingerprint(data)
    fingerprint(open_data(str(rows)))
    with pytest.raises(UserError):
        decoded(open_data(str(rows)).train.pictures, 8, 8)
    assert (tree_hash(pets), tree_hash(rows)) == before


def test_nothing_is_written_outside_the_cache_folder(pets, tmp_path, own_cache):
    decoded(open_folder(pets).train.pictures, 8, 8)
    assert {path.name for path in tmp_path.iterdir()} == {"pets", "cache"}
    assert {path.name for path in own_cache.iterdir()} == {"decoded", "digests"}


def test_the_cache_folder_is_the_systems_unless_chosen(monkeypatch, tmp_path):
    assert machine.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("RESIDUUM_CACHE")
    assert machine.cache_folder().is_absolute()
    assert "residuum" in machine.cache_folder().parts


@needs_cifar10
def test_cifar10_starts_at_once_when_nothing_has_changed(monkeypatch):
    data = open_data(str(CIFAR10))
    some = replace(data, train=data.test.take(np.arange(0, 10000, 100)))
    views = decoded(some.train.pictures, 32, 32)
    first = np.array(Image.open(io.BytesIO(data.test.pictures.encoded(100))))
    np.testing.assert_array_equal(views[1], first)
    before = fingerprint(data)
    monkeypatch.setattr(cache, "_digest", refuse)
    monkeypatch.setattr(cache, "decode", refuse)
    start = time.process_time()
    assert fingerprint(open_data(str(CIFAR10))) == before
    np.testing.assert_array_equal(decoded(some.train.pictures, 32, 32), views)
    assert time.process_time() - start < 0.5
