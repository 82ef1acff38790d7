"""The sample of ImageNet's photographs, and what Pillow makes of them: read and decoded once for all files of tests."""

import io
from functools import cache

import pytest
from conftest import SHARED
from PIL import Image


@cache
def photographs_here() -> list[bytes]:
    paths = sorted((SHARED / "imagenet-sample").glob("*.JPEG"))
    if not paths:
        pytest.skip(f"the photographs are not at {SHARED / 'imagenet-sample'}; set RESIDUUM_DATA")
    return [path.read_bytes() for path in paths]


@cache
def by_pillow(encoded: bytes) -> Image.Image:
    """All pixels of a file, as they are stored, in RGB."""
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB")
