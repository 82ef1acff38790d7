"""Where an export is written: apart until its answers are known to agree, and never left behind for good."""

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from residuum.lock import only_holder
from residuum.runs import LOCK, UNFINISHED_EXPORT, is_held, new_folder


@contextmanager
def place_for(wanted: str | Path | None, name: str, last: str, pictures: str) -> Iterator[Path]:
    """Yield a folder to write into, held by this process; at the end all of it goes where it was wanted, the file
    called `last` after the others. On an error nothing is left.

    What exports of that name left here that were killed goes first.

    Raises:
        UserError: as `runs.new_folder`.
    """
    out = new_folder(wanted, name, pictures)
    if not wanted:
        remove_killed(out, name)
    whole = out / UNFINISHED_EXPORT
    try:
        whole.mkdir()
        with only_holder(whole / LOCK):
            yield whole
            for one in sorted(whole.iterdir(), key=lambda one: one.name == last):
                if one.name != LOCK:
                    one.replace(out / one.name)
        whole.rmdir()
    except BaseException:
        shutil.rmtree(out)
        raise


def remove_killed(out: Path, name: str) -> None:
    """Remove folders beside `out` in which nothing lies but an export of that name whose process is gone."""
    for left in out.parent.glob(f"{glob.escape(name)}-[0-9]*-[0-9]*"):
        with suppress(OSError):
            is_begun = left != out and [one.name for one in left.iterdir()] == [UNFINISHED_EXPORT]
            if is_begun and not is_held(left / UNFINISHED_EXPORT):
                shutil.rmtree(left)
