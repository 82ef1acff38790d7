"""Pictures as people have them - paths, folders, bytes, Pillow's images, arrays - to what a net is shown of them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residuum.data.decode import BrokenPicture, Pixels, decode, decode_opened
from residuum.data.picture_files import is_text_table, picture_files, read_picture
from residuum.data.resize import evaluation_view
from residuum.errors import UserError
from residuum.records.model import View

Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A file, its bytes, an image that Pillow has opened, or pixels (H, W) or (H, W, 3), RGB, 0..255."""


class Source(NamedTuple):
    """A picture that is yet to be read, and what it is called."""

    name: str
    picture: Picture | Callable[[], bytes]


def is_address(place: object) -> bool:
    """Say whether this is text that begins as https:// or http:// does."""
    return isinstance(place, str) and place.lower().startswith(("http://", "https://"))


def are_many(pictures: object) -> bool:
    """Say whether this is a folder, a table of pictures, or several of them."""
    if isinstance(pictures, str | Path):
        return Path(pictures).is_dir() or is_text_table(pictures)
    return isinstance(pictures, Iterable) and not isinstance(pictures, bytes | np.ndarray | Image.Image)


def sources(pictures: Picture | Iterable[Picture]) -> Iterator[Source]:
    """Yield each picture with its name, "picture 1" where it has none; folders are walked, CSV tables name pictures.

    Raises:
        UserError: a name is empty, a folder holds no pictures or cannot be read, or a table names none.
    """
    each: Iterable[Picture] = pictures if are_many(pictures) and not isinstance(pictures, str | Path) else [pictures]  # type: ignore[assignment,list-item]
    for number, picture in enumerate(each, 1):
        if isinstance(picture, str) and not picture:  # to pathlib it is the working folder
            raise UserError(f"the name of picture {number} is empty", "", 'name a file or a folder: "." is this one')
        if isinstance(picture, str | Path):
            yield from (Source(str(file), file) for file in _files_meant(Path(picture)))
        else:
            yield Source(f"picture {number}", picture)


def _files_meant(path: Path) -> list[Path]:
    if not (is_text_table(path) and path.is_file()):
        return picture_files(path)
    from residuum.data.tables import pictures_named_in  # pyarrow takes a while, and pictures do not need it

    return pictures_named_in(path)


def fetched_source(source: Source) -> Source:
    """Return the picture with what is in its file, or at its address, read (UserError if it cannot be)."""
    name, picture = source
    if callable(picture):
        return Source(name, picture())
    return Source(name, read_picture(Path(picture))) if isinstance(picture, str | Path) else source


def pixels(source: Source, greys: tuple[int, int] | None = None) -> Pixels:
    """Return the picture as (H, W, 3): upright, alpha on white, as data/decode.py says.

    Raises:
        UserError: it cannot be read, or (BrokenPicture) is none.
    """
    name, picture = fetched_source(source)
    if isinstance(picture, Image.Image):
        return decode_opened(picture, name, greys)
    if isinstance(picture, np.ndarray):
        is_picture = picture.dtype == np.uint8 and picture.size > 0
        if not is_picture or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
            raise BrokenPicture(
                f"cannot read {name}",
                f"it is an array of shape {picture.shape} and type {picture.dtype}",
                "give pixels (H, W, 3), red, green and blue, or (H, W), grey, as numpy.uint8 from 0 to 255",
            )
    elif not isinstance(picture, bytes):
        raise UserError(
            f"{name} is no picture", f"it is of type {type(picture).__name__}", "give a path, bytes, an image or pixels"
        )
    return decode(picture, name, span=greys)


def view_of(source: Source, view: View) -> NDArray[np.uint8]:
    """Return the square (S, S, 3) that the net is shown of a picture (UserError as `pixels`)."""
    return evaluation_view(pixels(source, view.greys), view.image_size, view.resize_to, view.interpolation)
