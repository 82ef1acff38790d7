"""Where in a picture lies what speaks for a class: by what is said of it half hidden, or by the last activations.

RISE: Petsiuk, Das and Saenko 2018 (arXiv 1806.07421), sec. 3. Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1
and 2.

Letters: B pictures of S×S pixels; a map of h×w places; A activations (B, C, h, w); y the logit of the class asked for.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from residuum.choices import Views
from residuum.data.batches import Loader
from residuum.data.preprocess import normalise, whole
from residuum.evaluation.mistakes import LONG_SIDE, as_uri
from residuum.models.answers import answered
from residuum.models.resnet import ResNet
from residuum.records.explained import Heat

ORANGE = np.array((255, 122, 0), np.float32)
MASKS, CELLS, PLACES = 100, 7, 14
"""Of RISE: how many masks, their cells on each side, and the map's places."""
TOGETHER = 10
"""Masks through which a picture is seen in one pass."""
BATCH = 8
WITH_HEAT = 24
"""As many mistakes as a page shows unfolded."""
LEAST = 1e-5
"""What in a map is no more than rounding."""
COVER = 0.75
"""How much of the picture the colour hides where a map is highest."""
GREYS, COVERS = 20, 12
"""In how many steps a picture and a map are drawn; together they fill one palette."""
LEAST_SIDE = 96
"""A smaller picture is enlarged, so that its pixels do not hide the map."""


def grad_cam(net: ResNet, images: Tensor, classes: Tensor, *, several: bool = False) -> Tensor:
    """Return maps (B, h, w) of (B, 3, S, S) pictures for (B,) class numbers, on the places of the last activations.

    ReLU(Σ_k α_k A_k), α_k the mean of ∂y/∂A_k over all places. Where the net averages over these, the sum before the
    ReLU is the place's own part in the logit: over all places they add up to it, less the bias.
    It asks for the logit, so that `several` labels a picture change nothing.
    """
    with torch.no_grad():
        A = net.end(net.stages(net.stem(images)))
    gradient = _gradient(net.classify, A, classes)
    return relu((gradient.mean((2, 3), keepdim=True) * A).sum(1)).cpu()


def _gradient(rest: Callable[[Tensor], Tensor], A: Tensor, classes: Tensor) -> Tensor:
    """Return ∂y/∂A of what follows A; pictures do not see each other in evaluation, so each has its own."""
    with torch.enable_grad():
        A = A.detach().requires_grad_()
        y = rest(A).gather(1, classes.to(A.device)[:, None]).sum()
        return torch.autograd.grad(y, A)[0]


@torch.no_grad()
def rise(net: ResNet, images: Tensor, classes: Tensor, *, several: bool = False) -> Tensor:
    """Return maps (B, 14, 14) of the same: how probable the class is with the place seen, above the least such place.

    The pictures are seen through each of the masks, what is hidden in the mean colour. A place has the mean of the
    probabilities, each mask's weighed by how far it shows the place; of `several` labels a picture those of the class
    for itself.
    """
    every = masks(images.shape[2])
    shown = adaptive_avg_pool2d(every, PLACES)
    each = zip(images, classes.tolist(), strict=True)
    p = torch.stack([_seen_through(every, net, image, several)[:, of] for image, of in each])
    seen = torch.einsum("bm,mij->bij", p, shown) / shown.sum(0)
    return seen - seen.amin((1, 2), keepdim=True)


def _seen_through(every: Tensor, net: ResNet, image: Tensor, several: bool) -> Tensor:
    """Return (M, K) probabilities for one picture (3, S, S), seen through each of M masks (M, S, S)."""
    few = (every[start : start + TOGETHER, None].to(image.device) for start in range(0, len(every), TOGETHER))
    return torch.cat([answered(net(image * some).float(), several=several).cpu() for some in few])


def masks(side: int) -> Tensor:
    """Return the masks (100, side, side), 1 where all is seen, 0 where nothing: 7×7 cells by chance, smooth, moved.

    They are the same every time.
    """
    chance, cell = torch.Generator().manual_seed(0), -(-side // CELLS)
    coarse = (torch.rand(MASKS, 1, CELLS + 1, CELLS + 1, generator=chance) < 0.5).float()
    fine = interpolate(coarse, ((CELLS + 1) * cell,) * 2, mode="bilinear", align_corners=False)[:, 0]
    places = torch.randint(0, cell, (MASKS, 2), generator=chance).tolist()
    one = [each[y : y + side, x : x + side] for each, (y, x) in zip(fine, places, strict=True)]
    return torch.stack(one).clamp(0, 1)


class Method(Protocol):
    """How a map is made of (B, 3, S, S) pictures, for (B,) class numbers."""

    def __call__(self, net: ResNet, images: Tensor, classes: Tensor, *, several: bool = False) -> Tensor:
        """Return maps (B, h, w), not negative; `several`: each class is answered for itself."""
        ...


METHODS: dict[str, Method] = {"RISE": rise, "Grad-CAM": grad_cam}
"""The more faithful one first (results/explain-faithfulness-resnet20.json)."""


def heat_beside(
    net: ResNet, loader: Loader, views: Views, rows: Sequence[int], classes: NDArray[np.int64]
) -> list[Heat | None]:
    """Return maps of the loader's pictures in `rows` for as many class numbers; of those past the first 24, None.

    They are of the first of the `views` that the net is asked by. The net is put into evaluation mode.
    """
    net.eval()  # else BN's statistics would move
    found: list[Heat | None] = []
    shown = rows[:WITH_HEAT]
    for start in range(0, len(shown), BATCH):
        few = shown[start : start + BATCH]
        seen = np.stack([loader.seen(row) for row in few])
        images = normalise(torch.from_numpy(seen).to(loader.device), loader.preprocessing)
        maps = grad_cam(net, whole(images, views), torch.from_numpy(classes[start : start + len(few)]))
        found += [drawn_over(*one, "Grad-CAM", LONG_SIDE) for one in zip(seen, maps, strict=True)]
    return found + [None] * (len(rows) - len(found))


# --- drawn --------------------------------------------------------------------------------------


def drawn_over(
    pixels: NDArray[np.uint8], heat: Tensor, method: str, long_side: int, *, values: bool = False
) -> Heat | None:
    """Return a map (h, w), not negative, over the picture (S, S, 3) that it is of; None where all is zero to rounding.

    `long_side`: the drawing's, at most, in pixels. `values`: whether the map's own are kept.
    """
    highest = float(heat.max())
    if not LEAST < highest < math.inf:
        return None
    share = heat.double().numpy() / highest
    height, width = share.shape
    row, column = divmod(int(share.argmax()), width)
    rows = tuple(tuple(round(float(one), 3) for one in line) for line in share)
    return Heat(
        method=method,
        picture=as_uri(_tinted(pixels, share, long_side)),
        x=(column + 0.5) / width,
        y=(row + 0.5) / height,
        values=rows if values else (),
    )


def _tinted(pixels: NDArray[np.uint8], share: NDArray[np.float64], long_side: int) -> Image.Image:
    """Draw the picture in grey, orange over it where the map is high; in few colours, for a small file."""
    grey = Image.fromarray(pixels).convert("L")
    if grey.width < LEAST_SIDE:
        times = -(-LEAST_SIDE // grey.width)
        grey = grey.resize((times * grey.width, times * grey.height), Image.Resampling.NEAREST)
    grey.thumbnail((long_side, long_side))
    field = Image.fromarray(share.astype(np.float32)).resize(grey.size, Image.Resampling.BILINEAR)
    covered = np.rint(np.asarray(field).clip(0, 1) * (COVERS - 1)).astype(np.uint8)
    level = np.rint(np.asarray(grey) * np.float32((GREYS - 1) / 255)).astype(np.uint8)
    drawn = Image.frombytes("P", grey.size, (covered * GREYS + level).tobytes())
    drawn.putpalette(_colours())
    return drawn


@cache
def _colours() -> bytes:
    """Return red, green and blue of every grey under every cover."""
    cover = COVER * np.linspace(0, 1, COVERS)[:, None, None]
    colours = (1 - cover) * np.linspace(0, 255, GREYS)[:, None] + cover * ORANGE
    return colours.round().astype(np.uint8).tobytes()
