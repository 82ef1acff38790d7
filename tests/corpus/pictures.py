"""Odd but sound pictures, broken ones, and what lies beside pictures without being one.

Each lies as red/NAME in a folder `photos` of six colours; an odd but sound one is red however it is stored.
"""

import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, PngImagePlugin

from corpus.case import Case, Make, Must, done, partly, refused
from corpus.things import COLOURS, photos, pixels, png, saved, spoiled

Content = Callable[[Random], bytes]

ANSWERED = {
    "predict": done("red"),
    "predict folder": done("{}"),
    "data check": done(),
    "evaluate": done('"value": 1.0'),
    "train": done(),
    "serve": done("red"),
}
BROKEN = {
    "predict": refused(),
    "predict folder": partly(),
    "data check": Must((2, 3), ("{}",)),
    "evaluate": Must((2, 3), ("{}",)),
    "train": refused(),
    "train skipping": done("{}"),
    "serve": refused('"why"'),
}
PASSED_OVER = {
    "predict folder": done(never=("{}",)),
    "data check": done(),
    "evaluate": done('"value": 1.0'),
    "train": done(),
}
NO_FILE = {
    "predict": refused(),
    "predict folder": Must((0, 3), ("{}",)),
    "data check": Must((0, 3), ("{}",)),
    "train": Must((0,), ("{}",)),
}


def beside(name: str, content: Content) -> Make:
    """Make the folder of six colours and one more picture in it, by this name."""

    def make(folder: Path, luck: Random) -> Path:
        path = photos(folder / "photos", tuple(COLOURS), 2) / "red" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(luck))
        return path

    return make


def red(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(pixels("red", 26, 22)).convert(mode)


# --- sound --------------------------------------------------------------------------------------


def _as(kind: str, mode: str = "RGB", **how: object) -> Content:
    return lambda _: saved(red(mode), kind, **how)


def _with_alpha(_: Random) -> bytes:
    image = red("RGBA")
    image.putalpha(255)
    return saved(image, "PNG")


def _palette_with_transparency(_: Random) -> bytes:
    image = red("P")
    unused = next(i for i in range(256) if i not in set(image.tobytes()))
    return saved(image, "PNG", transparency=unused)


def _png_with_text(_: Random) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "x" * 2_000_000, zip=False)
    notes.add_text("workflow", "y" * 3_000_000, zip=True)
    return saved(red(), "PNG", pnginfo=notes)


def _rotated(orientation: int) -> Content:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda _: saved(red(), "JPEG", exif=exif)


def _deep_tiff(values: type, scale: float) -> Content:
    """Grey pictures cannot be red: one that is deep is coloured, plane by plane."""

    def content(_: Random) -> bytes:
        return _rgb_tiff(np.array([scale, 0, 0], values))

    return content


def _rgb_tiff(colour: np.ndarray) -> bytes:
    """A TIFF of 8×8 pixels of 16 bits a channel, written by hand: Pillow writes none."""
    body = np.tile(colour, 64).astype("<u2").tobytes()
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 14), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(body))]
    head = b"II*\0" + struct.pack("<I", 14 + len(body)) + struct.pack("<3H", 16, 16, 16)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return head + body + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def _interlaced_png(_: Random) -> bytes:
    """Adam7, by hand: of a picture of one colour every pass is alike."""
    side, rows = 8, b""
    for width, height in ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)):
        rows += (b"\0" + bytes(COLOURS["red"]) * width) * height
    return _png_file(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 1), zlib.compress(rows))


def _png_file(header: bytes, body: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _png_of_16_bits(_: Random) -> bytes:
    row = b"\0" + struct.pack(">3H", 65535, 0, 0) * 8
    return _png_file(struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0), zlib.compress(row * 8))


def _animated(kind: str) -> Content:
    rest = [Image.fromarray(pixels(name, 26, 22)) for name in ("green", "blue")]
    return lambda _: saved(red(), kind, save_all=True, append_images=rest)


def _with_garbage(kind: str) -> Content:
    return lambda luck: saved(red(), kind) + luck.randbytes(5000)


SOUND: dict[str, Content] = {
    "png.png": _as("PNG"),
    "palette.png": _as("PNG", "P"),
    "palette-transparent.png": _palette_with_transparency,
    "alpha.png": _with_alpha,
    "interlaced.png": _interlaced_png,
    "deep.png": _png_of_16_bits,
    "five-megabytes-of-text.png": _png_with_text,
    "garbage-behind.png": _with_garbage("PNG"),
    "baseline.jpg": _as("JPEG"),
    "progressive.jpg": _as("JPEG", progressive=True),
    "optimised.jpeg": _as("JPEG", optimize=True),
    "restarts.jpg": _as("JPEG", restart_marker_blocks=1),
    "full-chroma.jpg": _as("JPEG", subsampling=0, quality=100),
    "half-chroma.jpg": _as("JPEG", subsampling=1),
    "cmyk.jpg": _as("JPEG", "CMYK", quality=95),
    "rgb.jpg": _as("JPEG", keep_rgb=True),
    "worst-quality.jpg": _as("JPEG", quality=5),
    "with-comment.jpg": _as("JPEG", comment=b"\x1b[31m" * 1000),
    "with-odd-exif.jpg": _as("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "with-odd-profile.jpg": _as("JPEG", icc_profile=b"no profile" * 9000),
    "garbage-behind.jpg": _with_garbage("JPEG"),
    "loud.JPG": _as("JPEG"),
    "telephone.jfif": _as("JPEG"),
    "pjpeg.jpe": _as("JPEG"),
    "no-suffix": _as("JPEG"),
    "a-png-called.jpg": _as("PNG"),
    "a-jpeg-called.png": _as("JPEG"),
    "a-webp-called.jpg": _as("WEBP"),
    "a-gif-called.png": _as("GIF"),
    "a-bmp-called.jpg": _as("BMP"),
    "an-avif-called.jpg": _as("AVIF", quality=95),
    "avif.avif": _as("AVIF", quality=95),
    "lossless.webp": _as("WEBP", lossless=True),
    "lossy.webp": _as("WEBP", quality=90),
    "animated.webp": _animated("WEBP"),
    "gif.gif": _as("GIF"),
    "animated.gif": _animated("GIF"),
    "animated.png": _animated("PNG"),
    "bmp.bmp": _as("BMP"),
    "palette.bmp": _as("BMP", "P"),
    "plain.tif": _as("TIFF"),
    "packed.tiff": _as("TIFF", compression="tiff_lzw"),
    "deflated.tiff": _as("TIFF", compression="tiff_adobe_deflate"),
    "packbits.tiff": _as("TIFF", compression="packbits"),
    "jpeg-inside.tiff": _as("TIFF", compression="jpeg"),
    "cmyk.tiff": _as("TIFF", "CMYK"),
    "pages.tiff": _animated("TIFF"),
    "deep.tiff": _deep_tiff(np.uint16, 65535),
    "portable.ppm": _as("PPM"),
    **{f"exif-{turn}.jpg": _rotated(turn) for turn in (0, 2, 3, 6, 8, 9)},
    "one-pixel.png": lambda _: png("red", 1, 1),
    "a-strip.png": lambda _: png("red", 4000, 3),
    "a-pole.png": lambda _: png("red", 2, 4000),
    "large.jpg": lambda _: saved(Image.fromarray(pixels("red", 2100, 1400)), "JPEG"),
}

FIRST = {
    "five-megabytes-of-text.png", "deep.png", "palette-transparent.png", "cmyk.jpg", "exif-6.jpg", "telephone.jfif",
    "a-png-called.jpg", "no-suffix", "an-avif-called.jpg", "animated.webp", "deep.tiff", "one-pixel.png",
}  # fmt: skip
"""Those that `make test` tries."""

NAMES = (
    "a b.png", "猫.png", "ру́сский.png", "e\u0301.png", "🐟.png", "'quoted'.png", '"double".png', "-n.png", "--json.png",
    "%s%d.png", "{}{0}.png", "*.png", "[red].png", "back\\slash.png", "=1+1.png", "CON.png", "semi;colon.png",
    "$HOME.png", "<b>bold</b>.png", "&amp;.png", "\u202egnp.png", "x" * 250 + ".png", "tab\there.png", "new\nline.png",
    "escape\x1b[31m.png", "bell\x07.png", os.fsdecode(b"latin-\xe9.png"), "a.png.png", "dots...png",
    "[bold]rich[/bold].png",
)  # fmt: skip
"""Names that files have; a picture by each is red."""


# --- broken -------------------------------------------------------------------------------------


def _png_header(width: int, height: int) -> Content:
    return lambda _: _png_file(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 100))


def _zip(_: Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("red.png", png("red"))
    return file.getvalue()


def _tiff_that_loops(_: Random) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 3, 1, 8, 8)


def _not_a_number(_: Random) -> bytes:
    return saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")


def _damaged(kind: str, how: str, share: float) -> Content:
    """Noise, so that no part can be left out, cut off or written over behind a share of it."""

    def content(luck: Random) -> bytes:
        grain = np.frombuffer(luck.randbytes(3 * 40 * 40), np.uint8).reshape(40, 40, 3)
        whole = saved(Image.fromarray(grain), kind)
        at = int(share * len(whole))
        return whole[:at] if how == "cut" else whole[:at] + bytes(len(whole) - at)

    return content


TRUNCATED = {
    f"{how}-{int(100 * share)}.{kind.lower()}": _damaged(kind, how, share)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
    for how, share in (("cut", 0.02), ("cut", 0.3), ("cut", 0.8))
}
OF_ANOTHER_KIND: dict[str, Content] = {
    "empty.jpg": lambda _: b"",
    "one-byte.png": lambda _: b"\x89",
    "page.jpg": lambda _: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "text.png": lambda _: "这不是图片".encode(),
    "pointer.jpg": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
    "noise.jpg": lambda luck: luck.randbytes(3000),
    "zeros.png": lambda _: bytes(5000),
    "archive.jpg": _zip,
    "document.png": lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "film.jpg": lambda _: b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(300),
    "telephone.heic.jpg": lambda _: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300),
    "drawing.png": lambda _: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "script.jpg": lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n",
    "pickle.jpg": lambda _: pickle.dumps({"weights": [1, 2]}),
    "table.png": lambda _: b"PAR1" + bytes(40) + b"PAR1",
    "bomb.png": _png_header(30_000, 30_000),
    "no-width.png": _png_header(0, 9),
    "widest.png": _png_header(2**31 - 1, 1),
    "pixels-missing.png": _png_header(64, 64),
    "looped.tiff": _tiff_that_loops,
    "nan.tiff": _not_a_number,
    "short.ppm": lambda _: b"P6\n100 100\n255\nabc",
    "negative.ppm": lambda _: b"P6\n-5 5\n255\n" + bytes(75),
    "starts-well.jpg": lambda luck: b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + luck.randbytes(500),
}

# --- beside pictures ----------------------------------------------------------------------------

LITTER: dict[str, Content] = {
    ".DS_Store": lambda luck: luck.randbytes(60),
    "._red.png": lambda luck: b"\0\5\x16\7" + luck.randbytes(60),
    ".hidden.png": lambda _: b"",
    "Thumbs.db": lambda luck: luck.randbytes(60),
    "desktop.ini": lambda _: b"[.ShellClassInfo]\r\n",
    "notes.txt": lambda _: b"taken in May",
    "labels.csv": lambda _: b"name,label\n",
    ".ipynb_checkpoints/red-checkpoint.png": lambda _: b"",
    "__MACOSX/._red.jpg": lambda luck: b"\0\5\x16\7" + luck.randbytes(60),
    "@eaDir/red.jpg/SYNOPHOTO_THUMB_M.txt": lambda _: b"",
}


def _special(name: str, place: Callable[[Path], object]) -> Make:
    def make(folder: Path, luck: Random) -> Path:
        path = photos(folder / "photos", tuple(COLOURS), 2) / "red" / name
        place(path)
        return path

    return make


def _bound(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the whole path may be longer than a socket's may be
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe.jpg": os.mkfifo,
    "socket.png": _bound,
    "endless.png": lambda path: path.symlink_to("/dev/zero"),
    "full.jpg": lambda path: path.symlink_to("/dev/full"),
    "to-nothing.png": lambda path: path.symlink_to(path.parent / "nothing-there"),
    "to-itself.png": lambda path: path.symlink_to(path.name),
}


def cases() -> Iterator[Case]:
    """All of them, by name."""
    for name, content in SOUND.items():
        yield Case(f"sound: {name}", beside(name, content), ANSWERED, ("predict",) if name in FIRST else ())
    for i, name in enumerate(NAMES):
        shown = {**ANSWERED, "predict": done("red"), "predict folder": done(), "serve": done("red")}
        yield Case(f"name: {name!a:.30}", beside(name, _as("PNG")), shown, ("predict folder",) if i % 5 == 0 else ())
    for i, (name, content) in enumerate([*TRUNCATED.items(), *OF_ANOTHER_KIND.items()]):
        must = {**BROKEN, "predict": refused("HEIC")} if "heic" in name else BROKEN
        yield Case(f"broken: {name}", beside(name, content), must, ("predict folder",) if i % 4 == 0 else ())
    for seed in range(20):
        name = f"spoiled-{seed}.png"
        maybe = Must((0, 2), (("red", name),))  # where the pixels are sound it is red
        must = {
            "predict": maybe,
            "serve": Must((0, 2), (("red", '"why"'),)),
            "data check": Must((0, 2, 3)),
            "train": Must((0, 2), (("run", name),)),
        }
        yield Case(f"spoiled: {seed}", beside(name, _png_with_a_wrong_sum), must)
    for name, content in LITTER.items():
        yield Case(f"litter: {name}", beside(name, content), PASSED_OVER)
    for name, place in SPECIAL.items():
        must = {**NO_FILE, "train": Must((0, 2), ("{}",))} if "nothing" in name else NO_FILE  # it may come back
        yield Case(f"special: {name}", _special(name, place), must, ("data check",) if name == "pipe.jpg" else ())


def _png_with_a_wrong_sum(luck: Random) -> bytes:
    """A bit flipped in the pixels' chunk: its checksum tells."""
    whole = saved(red(), "PNG")
    body = whole.index(b"IDAT") + 4
    return whole[:body] + spoiled(whole[body:-20], "flipped", luck) + whole[-20:]
