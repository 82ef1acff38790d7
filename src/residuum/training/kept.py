"""A run folder that is removed while a run writes it: what it held is written again, there or where it can be."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from residuum import runs
from residuum.console import warn
from residuum.errors import UserError
from residuum.files import replacing

_FROM_THE_START = (runs.START, runs.DATA, runs.ENVIRONMENT, runs.SPLIT, runs.PICTURES, runs.SETTINGS)


class Kept:
    """What a run has written down, held open: so it can be read when its name is gone."""

    def __init__(self, run: Path) -> None:
        self._run, self._files = run, dict[str, BinaryIO]()

    def hold(self, *names: str) -> None:
        """Hold these files of the run from now on, as they are and as they grow; what is not there is left out."""
        for name in names:
            with suppress(OSError):
                file = (self._run / name).open("rb")
                if name in self._files:
                    self._files[name].close()
                self._files[name] = file

    def folder(self) -> Path:
        """Return the run folder. If it was removed it is made again, elsewhere if it cannot be there, and that is said.

        Raises:
            UserError: nothing can be written anywhere.
        """
        if runs.is_run(self._run):
            return self._run
        gone, reasons = self._run, list[str]()
        for place in _places(gone):
            try:
                self._write_to(place)
            except (OSError, UserError) as error:
                reasons.append(str(error))
            else:
                self._run = place
                warn(f"the run folder {gone} was removed; the run goes on in {place}")
                return place
        raise UserError(f"the run folder {gone} was removed, and none can be made in its place", "; ".join(reasons))

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()

    def _write_to(self, place: Path) -> None:
        for name, file in self._files.items():
            file.seek(0)
            with replacing(place / name) as copy:
                shutil.copyfileobj(file, copy)


def _places(gone: Path) -> Iterator[Path]:
    """Yield where a run folder may go on: where it was, beside it, here, or where temporary files are."""
    yield gone
    parents: tuple[Callable[[], Path], ...] = (
        lambda: gone.absolute().parent,
        Path.home,
        lambda: Path(tempfile.gettempdir()),
    )
    for find in parents:
        with suppress(OSError, RuntimeError):  # nobody's home
            yield Path(tempfile.mkdtemp(dir=find(), prefix=f"{gone.name}-"))


@contextmanager
def kept(run: Path) -> Iterator[Kept]:
    """Hold what the run began with."""
    held = Kept(run)
    held.hold(*_FROM_THE_START)
    try:
        yield held
    finally:
        held.close()
