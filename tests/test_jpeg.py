"""The fast way of decoding JPEGs against Pillow's, which it must equal to the bit, and against the usual pipeline."""

import gc
import io
import random
import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from sample_photographs import by_pillow, photographs_here
from torchvision.transforms import functional

import residuum.data.decode as room
from residuum.data import jpeg, jpeg_region
from residuum.data.augment import augmented_picture, augmented_views, random_crop
from residuum.data.batches import Loader
from residuum.data.boxes import decoding_scale, whole_pixels
from residuum.data.contract import Split
from residuum.data.decode import BrokenPicture, Pixels, decode, decode_part
from residuum.data.jpeg import frame_of
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from residuum.data.rng import uniform
from residuum.data.share import TrainingPlan
from residuum.recipe import Augmentation

AREA = Augmentation(area=(0.08, 1.0))

region_is_here = pytest.mark.skipif(jpeg_region._library() is None, reason="no TurboJPEG library, version 3, here")


def by_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no TurboJPEG library."""
    monkeypatch.setattr(jpeg, "decoded_region", lambda *_: None)


@pytest.fixture(autouse=True, params=[pytest.param("region", marks=region_is_here), "rows"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rows":
        by_rows_alone(monkeypatch)
    return str(request.param)


# Grey levels, 0..255, against torchvision's pipeline, over the 200 photographs at 224 px. Decoded in full, 190 of them:
# mean 0.03, 99 % within 1. With the 10 that are decoded at 1/2, whose means of 2×2 pixels are sharper than the filter:
# mean 0.14, 99 % within 3.
IN_FULL, ALL = (0.1, 1), (0.3, 5)


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(width: int = 157, height: int = 131) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (14, 18, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def turned(orientation: int) -> Image.Exif:
    notes = Image.Exif()
    notes[274] = orientation
    return notes


FAST = {
    "4:4:4": {"quality": 96, "subsampling": 0},
    "4:2:2": {"quality": 85, "subsampling": 1},
    "4:2:0": {"quality": 75, "subsampling": 2},
    "restarts": {"quality": 80, "restart_marker_rows": 1},
    "frequent restarts": {"quality": 80, "restart_marker_blocks": 3},
    "own tables": {"quality": 80, "optimize": True},
    "comment": {"quality": 80, "comment": "\xff\xda"},
    "colour profile": {"quality": 80, "icc_profile": b"x" * 70000},
    "stored as RGB": {"quality": 80, "keep_rgb": True},
    "turned": {"quality": 80, "exif": turned(6)},
    "mirrored": {"quality": 80, "exif": turned(2), "subsampling": 2},
}


def fast_files() -> dict[str, bytes]:
    files = {name: encode(scene(), **options) for name, options in FAST.items()}
    several = encode(scene(), "MPO", save_all=True, append_images=[scene(40, 30)])
    return files | {"grey": encode(scene().convert("L"), quality=80), "preview behind": several}


def one_scan_a_plane() -> bytes:
    """A baseline file as some cameras write it: here a header that announces it, without the two other scans."""
    encoded = bytearray(encode(scene(), subsampling=0))
    scan = encoded.index(b"\xff\xda\x00\x0c\x03")
    encoded[scan : scan + 14] = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return bytes(encoded)


def slow_files() -> dict[str, bytes]:
    whole = encode(scene(), quality=80)
    return {
        "progressive": encode(scene(), progressive=True),
        "CMYK": encode(scene().convert("CMYK")),
        "one scan a plane": one_scan_a_plane(),
        "12 bits": whole.replace(struct.pack(">HHB", 0xFFC0, 17, 8), struct.pack(">HHB", 0xFFC0, 17, 12)),
        "arithmetic": whole.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "no end": whole[:-2],
        "cut off": whole[: len(whole) // 2],
        "cut off in the header": whole[:200],
        "no height": whole.replace(struct.pack(">HH", 131, 157), struct.pack(">HH", 0, 157), 1),
        "filled up": whole[:2] + b"\xff" + whole[2:],
    }


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    return photographs_here()


@cache
def draws(number: int) -> NDArray[np.float64]:
    return uniform(3, 1, np.array([number]), 5)[0]


def view(encoded: bytes, size: int, number: int) -> Pixels | str:
    """The view, or what is said of the file."""
    try:
        return augmented_picture(encoded, "cats/tom.jpg", size, AREA, draws(number))
    except BrokenPicture as error:
        return str(error)


SEEN: dict[tuple[str, int], Pixels | str] = {}
"""By the decoder's name and the photograph's number, its view at 224 px: two tests look at all of them."""


# Functions, not what mock makes: to make one takes longer than to decode a small picture.


def no_frame(_encoded: bytes) -> None:
    """Take no file for a JPEG that is decoded here."""


def no_least(*_: float) -> float:
    """Let no box be called too small."""
    return 1e9


def viewed_by_pillow(encoded: bytes, size: int, number: int) -> Pixels | str:
    with mock.patch.object(room, "frame_of", no_frame):
        return view(encoded, size, number)


@cache
def file_by_pillow(encoded: bytes, size: int, number: int) -> Pixels | str:
    """The same for either decoder, which Pillow does not meet."""
    return viewed_by_pillow(encoded, size, number)


def same(one: Pixels | str, other: Pixels | str) -> bool:
    return type(one) is type(other) and np.array_equal(one, other)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each way was taken; "refused" is a try without a result."""
    taken: Counter[str] = Counter()

    def watched(name: str, way: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            found = way(*arguments)
            taken[name if found is not None else "refused"] += 1
            return found

        return call

    monkeypatch.setattr(room, "stored_part", watched("fast", room.stored_part))
    return taken


# --- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [224, 100, 40])
def test_photographs_are_decoded_to_pillows_bits(
    photographs: list[bytes], size: int, ways: Counter[str], decoder: str
) -> None:
    some = photographs[:: 1 if size == 224 else 4]
    views = [view(file, size, number) for number, file in enumerate(some)]
    assert ways == {"fast": len(some)}
    assert all(map(same, views, (file_by_pillow(file, size, number) for number, file in enumerate(some))))
    if size == 224:
        SEEN.update({(decoder, number): seen for number, seen in enumerate(views)})


@pytest.mark.parametrize("case", fast_files())
def test_every_kind_of_baseline_file_at_every_scale(case: str, ways: Counter[str]) -> None:
    encoded = fast_files()[case]
    for size in (100, 30, 12, 3):
        for number in range(8):
            assert same(view(encoded, size, number), viewed_by_pillow(encoded, size, number))
    assert ways == {"fast": 32}


def whole(encoded: bytes) -> Pixels | str:
    try:
        return decode(encoded, "cats/tom.jpg")
    except BrokenPicture as error:
        return str(error)


@cache
def whole_by_pillow(encoded: bytes) -> Pixels | str:
    with mock.patch.object(room, "frame_of", no_frame):
        return whole(encoded)


@pytest.mark.parametrize("case", fast_files() | slow_files())
def test_a_whole_file_has_pillows_bits_or_words(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, fast = fast_files() | slow_files(), []
    monkeypatch.setattr(room, "stored_whole", lambda *given: fast.append(jpeg.stored_whole(*given)) or fast[-1])
    assert same(whole(files[case]), whole_by_pillow(files[case]))
    assert any(found is not None for found in fast) == (case in fast_files())


def test_every_last_row(ways: Counter[str]) -> None:
    """Where the decoder stops, smoothed chroma would be another if it stopped too early."""
    encoded = encode(scene(), quality=80, subsampling=2)
    for least in (200, 30, 7):
        for bottom in range(60, 132):
            part_of = partial(lambda w, h, bottom: (0.0, 0.0, float(w), float(bottom)), bottom=bottom)
            part = decode_part(encoded, "x", part_of, least)
            with mock.patch.object(room, "frame_of", no_frame):
                np.testing.assert_array_equal(part, decode_part(encoded, "x", part_of, least))
    assert ways == {"fast": 3 * 72}


def test_nothing_below_the_part_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    by_rows_alone(monkeypatch)
    encoded, heights = encode(scene(), quality=80), []
    original = simplejpeg.decode_jpeg

    def watched(*arguments: Any, buffer: Pixels, **options: Any) -> Any:
        heights.append(len(buffer))
        return original(*arguments, buffer=buffer, **options)

    with mock.patch.object(simplejpeg, "decode_jpeg", watched):
        decode_part(encoded, "x", lambda w, h: (10.0, 10.0, 60.0, 50.0), 100)
        decode_part(encoded, "x", lambda w, h: (10.0, 10.0, 60.0, float(h)), 100)
    assert heights == [52, 131]


SAMPLINGS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "grey": {},
}


@region_is_here
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_edge_of_a_region(sampling: str) -> None:
    """Smoothed chroma would be another if the region ended too soon, on any side."""
    image = scene().convert("L") if sampling == "grey" else scene()
    encoded = encode(image, quality=80, **SAMPLINGS[sampling])
    whole = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    height, width = whole.shape[:2]
    boxes = [(left, 20, left + 41, 70) for left in range(0, width - 41)]
    boxes += [(20, top, 90, top + 33) for top in range(0, height - 33)]
    boxes += [(0, 0, right, right) for right in range(1, 50)]
    for left, top, right, bottom in boxes:
        found = jpeg_region.decoded_region(encoded, (left, top, right, bottom), (width, height))
        assert found is not None
        pixels, said = found
        assert not said
        np.testing.assert_array_equal(pixels, whole[top:bottom, left:right])


@region_is_here
def test_a_region_of_a_picture_of_another_size_is_refused() -> None:
    encoded = encode(scene(), quality=80)
    assert jpeg_region.decoded_region(encoded, (0, 0, 20, 20), (157, 131)) is not None
    assert jpeg_region.decoded_region(encoded, (0, 0, 20, 20), (156, 131)) is None
    nothing = jpeg_region.decoded_region(b"\xff\xd8 no picture", (0, 0, 20, 20), (157, 131))
    assert nothing is None or nothing[1]


@region_is_here
def test_a_damaged_region_says_so() -> None:
    encoded = bytearray(encode(scene(), quality=80))
    encoded[len(encoded) // 3 : len(encoded) // 3 + 40] = b"\xff\xd7" * 20
    found = jpeg_region.decoded_region(encoded, (0, 60, 157, 131), (157, 131))
    assert found is None or found[1]


@region_is_here
def test_threads_have_a_decoder_each() -> None:
    encoded = encode(scene(), quality=80)

    def decode(_: int) -> bytes:
        found = jpeg_region.decoded_region(encoded, (10, 10, 100, 90), (157, 131))
        assert found is not None
        return found[0].tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(decode, range(200)))) == 1


# --- the usual pipeline -------------------------------------------------------------------------


@cache
def by_torchvision(encoded: bytes, number: int) -> tuple[NDArray[np.uint8], int]:
    """The view, the same for either decoder; and the scale that ours is decoded at."""
    image = by_pillow(encoded)
    box = random_crop(224, AREA, draws(number), *image.size)
    left, top, right, bottom = whole_pixels(box, 1, image.size)
    expected = functional.resized_crop(image, top, left, bottom - top, right - left, [224, 224])
    expected = functional.hflip(expected) if draws(number)[4] < 0.5 else expected
    return np.asarray(expected), decoding_scale(box, image.size, 224)


def test_views_are_the_reference_pipelines_within_a_bound(photographs: list[bytes], decoder: str) -> None:
    """Pillow's pixels, all of them; torchvision's crop, resize and flip; the same box and the same random numbers."""
    found: dict[int, list[NDArray[np.int64]]] = {1: [], 2: [], 4: [], 8: []}  # how many values are so far apart
    for number, encoded in enumerate(photographs):
        expected, scale = by_torchvision(encoded, number)
        seen = SEEN[decoder, number] if (decoder, number) in SEEN else view(encoded, 224, number)
        assert not isinstance(seen, str)
        apart = np.maximum(seen, expected) - np.minimum(seen, expected)
        found[scale].append(np.bincount(apart.ravel(), minlength=256))
    everything = [each for views in found.values() for each in views]
    assert len(found[1]) > 0.9 * len(everything)
    for views, (mean, percentile_99) in ((found[1], IN_FULL), (everything, ALL)):
        levels = np.sum(views, axis=0)
        assert levels @ np.arange(256) / levels.sum() <= mean
        assert np.searchsorted(np.cumsum(levels), 0.99 * levels.sum()) <= percentile_99


# --- falling back -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", slow_files())
def test_other_files_are_left_to_pillow(case: str, ways: Counter[str]) -> None:
    encoded = slow_files()[case]
    frame = frame_of(encoded)
    assert frame is None
    assert all(same(view(encoded, 40, n), viewed_by_pillow(encoded, 40, n)) for n in range(4))
    assert ways == {}


def test_a_progressive_photograph_is_decoded_all_the_same() -> None:
    assert not isinstance(view(slow_files()["progressive"], 40, 0), str)
    assert "truncated" in str(view(slow_files()["cut off"], 40, 0))


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), MemoryError()])
@pytest.mark.parametrize("notes", [None, turned(6)])
def test_what_the_decoder_refuses_pillow_decodes(
    error: Exception, notes: Image.Exif | None, ways: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_rows_alone(monkeypatch)
    encoded = encode(scene(), quality=80, exif=notes or Image.Exif())
    expected = viewed_by_pillow(encoded, 30, 1)
    with mock.patch.object(simplejpeg, "decode_jpeg", side_effect=error):
        assert same(view(encoded, 30, 1), expected)
    assert set(ways) == {"refused"}


def test_another_shape_than_expected_is_refused(ways: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    by_rows_alone(monkeypatch)
    encoded = encode(scene(), quality=80)
    with mock.patch.object(simplejpeg, "decode_jpeg_header", return_value=(131, 156, "YCbCr", "420")):
        assert same(view(encoded, 30, 1), viewed_by_pillow(encoded, 30, 1))
    assert set(ways) == {"refused"}


def test_too_large_a_picture_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_PIXELS", 157 * 131 - 1)
    assert "announces more than" in str(view(encode(scene()), 30, 1))
    assert "announces more than" in str(view(encode(scene(), exif=turned(6)), 30, 1))


def damaged(file: bytes, chance: random.Random) -> bytes:
    """Some bytes flipped, in the header or anywhere; or cut off, perhaps with something else behind."""
    if chance.random() < 0.3:
        return file[: chance.randrange(len(file))] + chance.randbytes(chance.choice([0, 0, 30]))
    changed = bytearray(file)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(chance.choice([700, len(file)]))] ^= chance.randint(1, 255)
    return bytes(changed)


def test_damaged_files_give_what_pillow_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels, or the same words; never memory that nothing was decoded to."""
    monkeypatch.setattr(room, "MAX_PIXELS", 1_000_000)
    chance, files = random.Random(0), list(fast_files().values())
    kinds: Counter[type] = Counter()
    for number in range(1200):
        file = damaged(chance.choice(files), chance)
        found = view(file, 30, number)
        assert same(found, file_by_pillow(file, 30, number))
        if number % 6 == 0:
            assert same(whole(file), whole_by_pillow(file))
        kinds[type(found)] += 1
    assert min(kinds[str], kinds[np.ndarray]) > 200


# --- the headers --------------------------------------------------------------------------------


def test_the_frame_and_the_notes() -> None:
    frame = frame_of(encode(scene()))
    assert frame is not None
    assert (frame.width, frame.height, frame.plain) == (157, 131, True)
    noted = frame_of(encode(scene(), exif=turned(6)))
    assert noted is not None
    assert not noted.plain
    assert frame_of(b"") is None
    assert frame_of(b"\xff\xd8\xff") is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_small_boxes_are_not_scaled(orientation: int) -> None:
    """The short cut for boxes that are too small to be scaled agrees with asking for every scale."""
    for number in range(300):
        size = (1 + number * 7 % 500, 1 + number * 11 % 400)
        part = partial(random_crop, 60, AREA, draws(number))
        with mock.patch.object(jpeg, "min", no_least, create=True):
            expected = jpeg.needed(part, orientation, size, 60)
        assert jpeg.needed(part, orientation, size, 60) == expected


# --- workers ------------------------------------------------------------------------------------


class InMemory:
    """Files held in memory."""

    def __init__(self, files: list[bytes]) -> None:
        self.content = files

    def __len__(self) -> int:
        return len(self.content)

    def encoded(self, index: int) -> bytes:
        return self.content[index]

    def name(self, index: int) -> str:
        return f"photograph {index}"

    def files(self) -> None:
        return None


@pytest.mark.parametrize("colour", [False, True])
def test_views_do_not_depend_on_company_or_workers(colour: bool) -> None:
    files = [*fast_files().values(), slow_files()["progressive"]]
    pictures, how = InMemory(files), Augmentation(area=(0.08, 1.0), colour=colour)
    views, shifts = augmented_views(pictures, np.arange(len(files)), 32, how, 5, 2)
    assert (shifts != 0).any() == colour
    for row in (0, 7, len(files) - 1):
        alone, shift = augmented_views(pictures, np.array([row]), 32, how, 5, 2)
        np.testing.assert_array_equal(alone[0], views[row])
        np.testing.assert_array_equal(shift[0], shifts[row])
    norm = Preprocessing(32, 36, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))
    split, plan = Split(pictures, np.arange(len(files))), TrainingPlan(5, len(files), 3, 1, 4)
    batches = [
        list(Loader(split, norm, None, torch.device("cpu"), workers).batches(plan, how, seed=5)) for workers in (0, 1)
    ]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.rows.tolist() == other.rows.tolist()


def test_a_broken_file_is_named_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch waits for a worker that has failed, in vain, for as long as this
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    files = [encode(scene()), encode(scene())[:900]]
    norm = Preprocessing(32, 36, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))
    for workers in (0, 1):
        feed = Loader(Split(InMemory(files), np.arange(2)), norm, None, torch.device("cpu"), workers)
        with pytest.raises(BrokenPicture, match="photograph 1"):
            list(feed.batches([(0, np.arange(2))], AREA))
    gc.collect(0)  # now, not in another test; of what is new
