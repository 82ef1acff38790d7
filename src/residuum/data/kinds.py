"""What a file is, by its first bytes: a picture, of whatever name, or one of the things that lie beside pictures."""

import re

from residuum.version import installing

START = 512
"""So many bytes tell."""

READ = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
KINDS = ", ".join(READ) + "; HEIC with the extra heif"
"""The kinds that are read, for a message."""

_HEIC = rb"hei[cxms]|hev[cxms]"
_PICTURES = {  # HEIC and AVIF are one container, and its first brand may be of all such
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3}",
    "PPM": rb"P(?:[1-6]|[Ff])\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s",
    "AVIF": rb".{4}ftypavi[fs]|.{4}ftypm(?:if|sf)1.{4}(?:.{4}){0,12}?avi[fs]",
    "HEIC": rb".{4}ftyp(?:" + _HEIC + rb")|.{4}ftypm(?:if|sf)1.{4}(?:.{4}){0,12}?(?:" + _HEIC + rb")",
    "JPEG XL": rb"\xff\x0a|\0{3}\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "of a camera's raw format": rb"II\*\0.{4}CR\x02\0|II(?:RO|RS|U\0)|MMOR|FUJIFILMCCD-RAW|.{4}ftypcrx ",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
}
_OTHERS = {
    "it holds HTML or XML, not pixels": rb"(?i:\s*<(?:!doctype|html|head|\?xml|svg))",
    "it is a Git LFS pointer, not the picture itself; fetch it with `git lfs pull`": rb"(?i:version https://git-lfs)",
    "it holds notes that macOS keeps beside a file, not the file": rb"\0\x05\x16[\0\x07]",
    "it is of Photoshop's format": rb"8BPS",
    "it is a Parquet table, which train, evaluate and data check read": rb"PAR1",
    "it is a PDF": rb"%PDF",
    "it is PostScript": rb"%!PS",
    "it is an icon": rb"\0\0\x01\0",
    "it is a film": rb".{4}ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3",
    "it is an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ",
    "it holds zeros: its content was lost": rb"\0{16}",
}
_PICTURE = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in _PICTURES.items()}
_OTHER = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in _OTHERS.items()}

RAW = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".nef", ".nrw", ".orf", ".pef", ".raf"}
    | {".raw", ".rw2", ".srw"}
)
"""Suffixes of cameras' raw pictures: most begin as TIFF does, and what can be read of them is a small preview."""


def picture_kind(start: bytes) -> str | None:
    """Return the kind of picture that begins so, whether or not it is read; None for all else."""
    return next((kind for kind, pattern in _PICTURE.items() if pattern.match(start)), None)


def why_not_read(start: bytes, *, reads_heic: bool = False) -> str:
    """Say why a file that begins so is not read; `reads_heic`: the package for HEIC is here."""
    if not start:
        return "the file is empty"
    kind = picture_kind(start)
    if kind in READ or (kind == "HEIC" and reads_heic):
        return f"it begins like {kind}, but its header is damaged or of a kind that Pillow can not read"
    if kind == "HEIC":
        return f"it is HEIC, which the extra heif reads ({installing('heif')}); or convert it to JPEG"
    if kind:
        return f"it is {kind}, which is not read; convert it to JPEG or PNG"
    found = next((kind for kind, pattern in _OTHER.items() if pattern.match(start)), None)
    return found or f"it is none of {KINDS}"
