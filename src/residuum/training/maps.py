"""What a net's frozen first part makes of pictures: computed once for each view, then served as pictures are.

So steps that train the last stage alone cost the last stage alone. Letters: N pictures, V views of each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum.choices import Shuffle
from residuum.compute import Compute
from residuum.console import show_progress
from residuum.data.batches import HELD_BYTES, Batch, Loader
from residuum.data.contract import Split
from residuum.data.share import Plan, one_pass
from residuum.errors import Stopped
from residuum.recipe import Augmentation
from residuum.training.features import BATCH
from residuum.training.signals import AskedToStop

Begin = Callable[[Tensor], Tensor]
"""(B, 3, S, S) to the maps (B, C, H, W) behind the frozen part."""


@dataclass(frozen=True)
class Maps:
    """A split's maps, served as Loader serves its pictures; the net must be given those, not pictures."""

    split: Split
    shown: Tensor
    """(N, C, H, W), of each picture as evaluation sees it."""
    views: tuple[Tensor, ...]
    """V of (N, C, H, W): as the first V passes of training see it. Later passes see these again, in turn."""
    of_mirror_images: Tensor | None = None
    """(N, C, H, W), of their mirror images, where these are asked too."""
    batch_size: int = 250
    shuffle: Shuffle = "whole"

    @property
    def asked(self) -> tuple["Maps", ...]:
        """Return what serves, one after the other, all views that an answer is the mean of."""
        if self.of_mirror_images is None:
            return (self,)
        return self, replace(self, shown=self.of_mirror_images, of_mirror_images=None)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(one_pass(len(self.split), self.batch_size))

    def batches(self, plan: Plan, augmentation: Augmentation | None = None, seed: int = 0) -> Iterator[Batch]:
        """Serve the plan's batches, of training's views or (without augmentation) of evaluation's."""
        labels = torch.from_numpy(self.split.labels)
        for epoch, rows in plan:
            maps = self.shown if augmentation is None else self.views[epoch % len(self.views)]
            picked = torch.from_numpy(rows)
            yield Batch(maps[picked.to(maps.device)], labels[picked].to(maps.device), rows, epoch)

    def take(self, rows: NDArray[np.int64]) -> "Maps":
        """Return what serves these rows alone, in this order."""
        picked = torch.from_numpy(rows).to(self.shown.device)
        return replace(
            self,
            split=self.split.take(rows),
            shown=self.shown[picked],
            views=tuple(view[picked] for view in self.views),
            of_mirror_images=None if self.of_mirror_images is None else self.of_mirror_images[picked],
        )


def maps(
    begin: Begin,
    loader: Loader,
    compute: Compute,
    augmentation: Augmentation,
    seed: int,
    passes: int,
    asked_to_stop: AskedToStop,
    *,
    mirrored: bool,
) -> Maps | None:
    """Return the maps of as many views as there are passes, or as fit in 2 GiB; None if not even one fits.

    `mirrored`: also of the mirror images of what evaluation sees.

    Raises:
        Stopped: a signal came; what was computed by then is lost.
    """
    rows = np.arange(len(loader.split))
    steps = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    first = _computed(begin, loader.batches([(0, steps[0][:1])]), compute)
    room = HELD_BYTES // (first.nbytes * len(rows)) - 1 - mirrored
    if room < 1:
        return None
    passes = min(passes, room)
    tell, done = show_progress("what the frozen part makes of each view"), 0
    found, of_mirror_images = [], list[Tensor]()
    for view in range(passes + 1):
        parts = []
        plan, how = [(max(0, view - 1), step) for step in steps], augmentation if view else None
        for batch in loader.batches(plan, how, seed):
            parts.append(_computed(begin, [batch], compute))
            if mirrored and view == 0:
                of_mirror_images.append(_computed(begin, [replace(batch, images=batch.images.flip(3))], compute))
            done += 1
            tell(done, (passes + 1) * len(steps))
            if (code := asked_to_stop()) is not None:
                raise Stopped("stopped before all pictures were seen", code)
        found.append(torch.cat(parts))
    shuffle = "whole" if loader.shuffle == "windows" else loader.shuffle  # maps do not lie in shards
    return Maps(
        loader.split,
        found[0],
        tuple(found[1:]),
        torch.cat(of_mirror_images) if mirrored else None,
        shuffle=shuffle,
    )


@torch.no_grad()
def _computed(begin: Begin, batches: Iterator[Batch] | list[Batch], compute: Compute) -> Tensor:
    with compute.autocast():
        return torch.cat([begin(batch.images) for batch in batches])
