"""What counts as a picture, in every verb alike; and that all of them are looked at before a run begins."""

import io
import os
import re
import shutil
import socket
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from residuum.data import look as looking
from residuum.data.cache import fingerprint
from residuum.data.decode import BrokenPicture, decode, grey_extremes, header
from residuum.data.deep import span_of
from residuum.data.kinds import picture_kind
from residuum.data.look import look, readable, without_skipped
from residuum.data.open import open_data
from residuum.data.picture_files import is_picture, passed_over, picture_files, pictures_below, read_picture
from residuum.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RESIDUUM_CACHE", str(folder))
    return folder


def encode(pixels: NDArray[np.uint8] = PIXELS, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def picture(seed: int) -> bytes:
    return encode(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8))


def write(root: Path, **content: bytes) -> Path:
    """Write files by names in which a dot is said "dot" and a slash "in"."""
    for name, each in content.items():
        path = root / name.replace("_in_", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each)
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three splits of two classes, eight pictures each."""
    for number in range(24):
        path = tmp_path / "photos" / ("train", "val", "test")[number % 3] / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / "photos"


# --- by the first bytes -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "MPO"])
@pytest.mark.parametrize("name", ["0", "0.jfif", "0.txt", "0.jpg~", "IMG_0.JPG.part"])
def test_a_picture_is_one_whatever_it_is_called(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "DIB" and name != "0.jfif":
        pytest.skip("a BMP without its beginning has nothing to be known by")
    (tmp_path / name).write_bytes(encode(kind=kind))
    assert is_picture(tmp_path / name)
    assert pictures_below(tmp_path) == [name]
    assert passed_over(tmp_path) == []


@pytest.mark.parametrize(
    "start",
    [
        b"", b"BMW and other cars", b"P1 is a note\n", b"P5\n", b"II\n", b"RIFF0000WAVE", b"RIFF0000AVI ", b"GIF",
        b"PK\3\4",         b"\0\0\0\x18ftypisom\0\0\2\0isomiso2avc1mp41", b"\0\0\0\x18ftypmp42", b"%PDF-1.7", b"<svg>",
        b"\x93NUMPY\1\0",         b"\x89HDF\r\n\x1a\n", b"\0\5\x16\7\0\2\0\0Mac OS X", b"8BPS\0\1",
    ],
)  # fmt: skip
def test_what_begins_otherwise_is_passed_over_and_named(tmp_path: Path, start: bytes) -> None:
    write(tmp_path, notes=start + b" " * 30, a_dot_jpg=b"<html>")
    assert picture_kind(start) is None
    assert pictures_below(tmp_path) == ["a.jpg"]  # it is meant as one: reading it says what is wrong
    assert [(one.name, one.why) for one in passed_over(tmp_path)] == [("notes", "no pictures")]


def test_hidden_and_resource_files_are_never_pictures_and_not_spoken_of(tmp_path: Path) -> None:
    names = ("._a.jpg", ".a.jpg", ".cache/a.jpg", "Thumbs.db", "desktop.ini", "__MACOSX/a.jpg", "@eaDir/a/SMALL.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(encode(kind="JPEG"))
    assert pictures_below(tmp_path) == []
    assert passed_over(tmp_path) == []
    with pytest.raises(UserError, match="holds no pictures"):
        picture_files(tmp_path)


def test_what_is_no_file_is_passed_over_and_nothing_waits_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, a_dot_jpg=encode(kind="JPEG"), raw_dot_nef=b"MM\0*\0\0\0\x08")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "gone").symlink_to("nowhere.jpg")
    (tmp_path / "to-pipe").symlink_to("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.jpg"))
    assert [path.name for path in picture_files(tmp_path)] == ["a.jpg"]
    said = capsys.readouterr().err
    for words in (
        "2 that are pipes: 'pipe.jpg', 'to-pipe'",
        "devices: 'zero.png'",
        "links to nothing: 'gone', 'loop.jpg'",
        "raw.nef",
    ):
        assert words in said
    assert "1 that are sockets" in said


def test_a_file_that_has_gone_or_is_without_end_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "endless.jpg").open("wb") as file:
        file.truncate(1 << 40)  # of zeros, which take no room
    assert pictures_below(tmp_path) == ["endless.jpg"]
    for name, why in (("gone.jpg", "No such file"), ("endless.jpg", r"1,099\.5 GB")):
        with pytest.raises(UserError, match=why):
            read_picture(tmp_path / name)


# --- pictures that were refused -----------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LONG = zlib.compress(b"x" * 2_000_000)


NOTES = {  # made in the test: not by each process that collects it
    "zTXt": lambda: chunk(b"zTXt", b"k\0\0" + LONG),
    "iTXt": lambda: chunk(b"iTXt", b"k\0\1\0\0\0" + LONG),
    "70 MB": lambda: chunk(b"tEXt", b"k\0" + b"x" * 70_000_000),
    "profile": lambda: chunk(b"iCCP", b"k\0\0" + LONG),
    "bad sum": lambda: chunk(b"zTXt", b"k\0\0" + LONG)[:-1] + b"?",
    "many": lambda: chunk(b"tEXt", b"k\0v") * 5000,
}


@pytest.mark.parametrize("notes", NOTES)
@pytest.mark.parametrize("place", [33, -12])
def test_notes_beside_sound_pixels_do_no_harm(notes: str, place: int) -> None:
    plain = encode()
    noted = b"".join((plain[:place], NOTES[notes](), plain[place:]))
    assert np.array_equal(decode(noted, "it"), PIXELS)
    assert (header(noted, "it").width, header(noted, "it").height) == (16, 12)


def test_a_note_that_says_how_it_is_turned_is_heeded_all_the_same() -> None:
    info, exif = PngImagePlugin.PngInfo(), Image.Exif()
    exif[274] = 6
    info.add_text("k", "v" * 2_000_000, zip=True)
    assert np.array_equal(decode(encode(exif=exif, pnginfo=info), "it"), np.rot90(PIXELS, -1))


def test_avif_is_read_under_any_name_and_upright() -> None:
    flat = np.full((16, 32, 3), (200, 60, 30), np.uint8)
    flat[:, :16] = (20, 60, 200)
    exif = Image.Exif()
    exif[274] = 6
    assert np.abs(decode(encode(flat, "AVIF", quality=90), "a.jpg").astype(int) - flat).mean() < 3
    turned = decode(encode(flat, "AVIF", quality=90, exif=exif), "a.jpg").astype(int)
    assert np.abs(turned - np.rot90(flat, -1)).mean() < 3
    with pytest.raises(BrokenPicture):
        decode(encode(flat, "AVIF")[:200], "a.jpg")


def test_heic_is_read_where_its_package_is_here() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not here")
    flat, exif, file = np.full((32, 64, 3), (200, 60, 30), np.uint8), Image.Exif(), io.BytesIO()
    flat[:, :32], exif[274] = (20, 60, 200), 6
    pillow_heif.from_pillow(Image.fromarray(flat)).save(file, quality=90, exif=exif.tobytes())
    assert np.abs(decode(file.getvalue(), "a.jpg").astype(int) - np.rot90(flat, -1)).mean() < 3
    with pytest.raises(BrokenPicture) as caught:
        decode(file.getvalue()[:300], "a.jpg")
    assert "begins like HEIC" in caught.value.why


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"it is HEIC.*\[heif\]"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "it is HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "it is JPEG XL, which is not read; convert it"),
        (b"\xff\x0a\xfa\x7f", "it is JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "it is JPEG 2000"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera's raw format"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "macOS"),
        (b"%PDF-1.7", "a PDF"),
        (b"PAR1", "a Parquet table"),
        (b"PK\3\4", "an archive"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(start: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where the extra is not installed
    with pytest.raises(BrokenPicture) as caught:
        decode(start + b"\0" * 90, "cat.jpg")
    assert re.search(why, caught.value.why)


def test_the_preview_in_a_raw_picture_is_not_taken_for_it() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    with pytest.raises(BrokenPicture) as caught:
        decode(encode(kind="TIFF", tiffinfo=tags), "cat.tif")
    assert "raw picture" in caught.value.why


# --- every picture is looked at once ------------------------------------------------------------


def damage(photos: Path) -> None:
    for name, content in (
        ("train/cat/0.png", b""),
        ("val/dog/1.png", b"<html>"),
        ("test/cat/2.png", picture(2)[:-300]),
    ):
        (photos / name).write_bytes(content)


def test_all_that_cannot_be_read_are_named_together_of_every_split(photos: Path) -> None:
    damage(photos)
    with pytest.raises(UserError, match="3 pictures of 24 cannot be read") as caught:
        readable(open_data(str(photos)), skip_broken=False)
    for said in ("train/cat/0.png: the file is empty", "val/dog/1.png: it holds HTML", "test/cat/2.png: "):
        assert said in caught.value.why
    assert "--skip-broken" in caught.value.mend


def test_without_them_the_data_are_those_of_a_folder_without_them(photos: Path) -> None:
    damage(photos)
    data = readable(open_data(str(photos)), skip_broken=True)
    assert [(one.split, one.name) for one in data.skipped] == [
        ("train", "train/cat/0.png"), ("validation", "val/dog/1.png"), ("test", "test/cat/2.png")
    ]  # fmt: skip
    with_them = fingerprint(data)
    again = without_skipped(open_data(str(photos)), data.skipped)
    assert (fingerprint(again), again.skipped) == (with_them, data.skipped)
    for one in data.skipped:
        (photos / one.name).unlink()
    left = readable(open_data(str(photos)), skip_broken=False)
    assert fingerprint(left) == fingerprint(without_skipped(left, data.skipped)) == with_them
    with (photos / "train/dog/3.png").open("wb") as file:  # it cannot even be read
        file.truncate(1 << 40)
    assert "1,099.5 GB" in readable(open_data(str(photos)), skip_broken=True).skipped[0].why
    (photos / "val/dog/1.png").write_bytes(picture(1))  # mended: no longer skipped
    assert len(without_skipped(open_data(str(photos)), data.skipped).validation or ()) == 8


def test_a_class_or_a_split_of_which_nothing_is_left_is_refused(photos: Path) -> None:
    for path in (photos / "train/cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no picture of 'cat' in train can be read"):
        readable(open_data(str(photos)), skip_broken=True)


def test_a_look_is_remembered_as_long_as_nothing_changes(
    photos: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(photos)
    pictures = open_data(str(photos)).train.pictures
    found = look(pictures)
    assert found.broken == {0: "the file is empty"}
    (kept,) = (own_cache / "looked").iterdir()
    decoded = looking.decode
    monkeypatch.setattr(looking, "decode", lambda *_: pytest.fail("this should have been remembered"))
    assert look(pictures) == found
    for wrong in (b"", b"\0" * 60, kept.read_bytes().replace(b'"0"', b'"1"')):
        monkeypatch.setattr(looking, "decode", decoded)
        kept.write_bytes(wrong)
        assert look(pictures) == found


def test_a_cache_within_the_pictures_is_refused_and_not_made(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_CACHE", str(photos / ".cache"))
    with pytest.raises(UserError, match="RESIDUUM_CACHE"):
        open_data(str(photos))
    assert not (photos / ".cache").exists()


# --- the command --------------------------------------------------------------------------------


def test_the_check_names_every_one_counts_and_ends_with_a_code(command: Command, photos: Path) -> None:
    code, out, _ = command("data", "check", photos)
    assert (code, "nothing wrong was found" in out) == (0, True)
    assert "8 pictures, the largest class 1 times the smallest" in out
    assert out.count("       4  cat\n") == 3
    damage(photos)
    (photos / "train/dog/21.png").unlink()
    shutil.rmtree(photos / "test/dog")
    (photos / "test/dog").mkdir()
    (photos / "test/dog/5.png").write_bytes(picture(5))
    (photos / "test/dog/notes.txt").write_text("of mine")
    code, out, err = command("data", "check", photos)
    assert code == 3
    for name in ("train/cat/0.png", "val/dog/1.png", "test/cat/2.png"):
        assert f"\n  {name}: " in out
    assert "test is unbalanced: its largest class is 4 times its smallest" in out
    assert "1 that are no pictures: 'test/dog/notes.txt'" in err
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    assert command("data", "check", photos, "--json")[0] == 2


# --- greys of more than 8 bits ------------------------------------------------------------------


def deep(low: int, high: int, seed: int = 0, kind: str = "PNG") -> bytes:
    values = np.random.default_rng(seed).integers(low, high + 1, (12, 16)).astype(np.uint16)
    values.flat[0], values.flat[1] = low, high
    return encode(values, kind)


@pytest.mark.parametrize(
    ("ends", "span"),
    [
        ((0, 4095), (0, 4095)), ((0, 4000), (0, 4095)), ((17, 1023), (0, 1023)), ((0, 200), (0, 255)),
        ((29_000, 31_500), (29_000, 31_500)), ((0, 16_383), (0, 16_383)), ((0, 16_384), None), ((0, 65_535), None),
        ((5, 5 + (1 << 14)), None), ((40_000, 40_000), None), ((0, 0), None), ((-5, 300), None), ((0.0, 1.0), None),
        (None, None),
    ],
)  # fmt: skip
def test_the_span_of_a_set_far_below_16_bits(ends: tuple[float, float] | None, span: tuple[int, int] | None) -> None:
    assert span_of(ends) == span


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greys_of_a_set_far_below_16_bits_are_scaled_by_it(
    photos: Path, kind: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(photos.rglob("*.png")):
        path.write_bytes(deep(0, 4095, number, kind))
    data = readable(open_data(str(photos)), skip_broken=False)
    assert data.greys == (0, 4095)
    assert "0 to 4095" in capsys.readouterr().err
    encoded = data.train.pictures.encoded(0)
    values = np.asarray(Image.open(io.BytesIO(encoded)))
    assert len(np.unique(decode(encoded, "it"))) <= 16
    assert np.array_equal(decode(encoded, "it", span=data.greys)[..., 0], np.rint(values / 4095 * 255).astype(np.uint8))
    assert (decode(deep(0, 60_000), "brighter", span=data.greys).max()) == 255
    code, out, _ = command("data", "check", photos)
    assert code == 0
    assert "train has greys of 16 bits that lie within 0 to 4095" in out


def test_a_tiff_of_12_bits_and_a_full_range_stay_as_they_are() -> None:
    full = deep(0, 65_535)
    assert grey_extremes(full, "it") == (0, 65_535)
    assert grey_extremes(encode(), "it") is grey_extremes(encode(kind="JPEG"), "it") is None
