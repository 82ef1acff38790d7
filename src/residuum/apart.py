"""Results are kept apart from the pictures: nothing is written into their folder."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from residuum.errors import UserError


def apart_from(pictures: str) -> str:
    """Return "", or, with a slash, where results go instead: beside the folder of `pictures`, if here is in it."""
    return f"{_folder(pictures).resolve().parent}/" if _is_below(Path(), pictures) else ""


def refuse_below(path: Path, pictures: str) -> None:
    """Refuse to write `path` where that is below the folder of `pictures` (UserError)."""
    if _is_below(path, pictures):
        raise UserError(
            f"{path} lies in the folder of the pictures, {pictures}",
            "nothing is written there: it would be taken for pictures the next time",
            "choose another --out",
        )


def _is_below(path: Path, folder: str) -> bool:
    """Say whether `path` is or would be the folder or below it; "digits" and names of the hub are no folders here."""
    above, place = _folder(folder), path.resolve()
    return above.is_absolute() and above.is_dir() and any(map(place.is_relative_to, _where_pictures_lie(above)))


def _folder(pictures: str) -> Path:
    """Return the folder of the pictures, where a table beside them stands for them."""
    return Path(pictures).parent if Path(pictures).is_file() else Path(pictures)


def _where_pictures_lie(folder: Path, levels: int = 2) -> Iterator[Path]:
    """Yield the folder, and where folders of splits and classes lie that are links to elsewhere."""
    yield folder.resolve()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and entry.is_dir():
                place = Path(entry.path).resolve()
                if not folder.resolve().is_relative_to(place):  # a link back up is not followed
                    yield place
            elif levels > 1 and entry.is_dir():
                yield from _where_pictures_lie(Path(entry.path), levels - 1)
