"""Several views of each picture, cut by worker processes. Letters: H, W a picture's height and width, h, w a view's."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from residuum.data.batches import Loader
from residuum.data.decode import Pixels, decode
from residuum.data.workers import made_by_workers
from residuum.errors import UserError

Cut = Callable[[Pixels, str], Sequence[Pixels]]
"""A decoded picture (H, W, 3) and its name to views of it, (h, w, 3), which may differ in size."""


class CutView(NamedTuple):
    """A view, (h, w, 3) uint8, and the row of the picture it was cut out of."""

    row: int
    pixels: Tensor


class _Cuts(Dataset[tuple[Tensor, list[tuple[int, int, int]]] | UserError]):
    """What a worker does for one step's rows: the bytes of all views, one after another, and (row, h, w) of each; or
    the error.
    """

    def __init__(self, loader: Loader, cut: Cut) -> None:
        self.pictures, self.greys, self.cut = loader.split.pictures, loader.preprocessing.greys, cut

    def __getitem__(self, rows: Sequence[int]) -> tuple[Tensor, list[tuple[int, int, int]]] | UserError:
        try:
            return self._views(rows)
        except UserError as error:
            return error

    def _views(self, rows: Sequence[int]) -> tuple[Tensor, list[tuple[int, int, int]]]:
        views, sizes = [], []
        for row in rows:
            name = self.pictures.name(row)
            for view in self.cut(decode(self.pictures.encoded(row), name, span=self.greys), name):
                views.append(view.reshape(-1))
                sizes.append((row, view.shape[0], view.shape[1]))
        return torch.from_numpy(np.concatenate(views)), sizes


def cut_views(loader: Loader, cut: Cut, step: int) -> Iterator[list[CutView]]:
    """Decode every picture of a loader once, in order, `step` at a time, and serve the views that `cut` makes.

    Raises:
        BrokenPicture: a picture cannot be read; the message names it.
    """
    steps = [range(start, min(start + step, len(loader.split))) for start in range(0, len(loader.split), step)]
    for together, sizes in made_by_workers(_Cuts(loader, cut), steps, loader.workers, loader.split.pictures):
        parts = together.split_with_sizes([height * width * 3 for _, height, width in sizes])
        yield [CutView(row, part.view(h, w, 3)) for (row, h, w), part in zip(sizes, parts, strict=True)]
