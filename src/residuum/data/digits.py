"""The pictures that need no download: scikit-learn's handwritten digits."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from residuum.data.contract import ImageData, Split
from residuum.data.split import draw_rows

TEST_SIZE = 360
TEST_SEED = 2015
"""Decides which scans are for testing. Never change it: figures on another test split do not compare."""


@dataclass(frozen=True, eq=False)
class Scans:
    """(N, 8, 8) uint8 scans in memory, which stay as they are."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def encoded(self, index: int) -> NDArray[np.uint8]:
        """See Pictures."""
        scan: NDArray[np.uint8] = self.pixels[index]
        return scan

    def name(self, index: int) -> str:
        """See Pictures."""
        return f"scan {index}"

    def files(self) -> None:
        """See Pictures."""


def digits() -> ImageData:
    """Return the 1,797 scans of 8×8: 360 for testing, the same ones everywhere, and the rest for training."""
    rows = _rows()
    grey, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].copy()  # 0..16
    scans = Scans(((grey * 255 + 8) // 16).astype(np.uint8))
    test = draw_rows(labels, _even_shares(np.bincount(labels), TEST_SIZE), TEST_SEED)
    whole = Split(scans, labels)
    return ImageData(
        name="digits",
        source="digits",
        classes=[str(digit) for digit in range(10)],
        train=whole.take(np.setdiff1d(np.arange(len(labels)), test)),
        test=whole.take(test),
        mirrors=False,
    )


@cache
def _rows() -> NDArray[np.int64]:
    """Read (1797, 65), 64 pixels and the digit, from scikit-learn's own file: to import it takes a second."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return np.loadtxt(file, delimiter=",").astype(np.int64)


def _even_shares(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share `total` out in proportion to `counts`; the largest remainders are rounded up."""
    shares, remainders = np.divmod(counts * total, counts.sum())
    most = np.argsort(-remainders, kind="stable")[: total - shares.sum()]
    shares[most] += 1
    return shares
