"""Where in a picture lies what speaks for a class: by what is lost where it is covered, or by the last activations.

Occlusion: Zeiler and Fergus 2014 (arXiv 1311.2901), sec. 4.2. Grad-CAM: Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1
and 2.

Letters: B pictures of S×S pixels; a map of h×w places; A activations (B, C, h, w); y the logit of the class asked for.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import relu

from residuum.data.batches import Loader
from residuum.data.preprocess import normalise
from residuum.evaluation.mistakes import LONG_SIDE, as_uri
from residuum.models.resnet import ResNet
from residuum.records.explained import Heat

ORANGE = np.array((255, 122, 0), np.float32)
PLACES = 8
"""Of an occlusion map, on each side."""
BATCH = 8
WITH_HEAT = 24
"""As many mistakes as a page shows unfolded."""
LEAST = 1e-5
"""What in a map is no more than rounding."""
COVER = 0.75
"""How much of the picture the colour hides where a map is highest."""
LEAST_SIDE = 96
"""A smaller picture is enlarged, so that its pixels do not hide the map."""


def grad_cam(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps (B, h, w) of (B, 3, S, S) pictures for (B,) class numbers, on the places of the last activations.

    ReLU(Σ_k α_k A_k), α_k the mean of ∂y/∂A_k over all places. Where the net averages over these, the sum before the
    ReLU is the place's own part in the logit: over all places they add up to it, less the bias.
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
def occlusion(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps (B, 8, 8) of the same: how far the class's log-odds fall, in nats, where the place is covered.

    A square of a quarter of the side, of the mean colour, is moved by an eighth: 49 passes. A place has the mean over
    the squares that cover it; where covering helps the class, 0.
    """
    edges = [round(place * images.shape[2] / PLACES) for place in range(PLACES + 1)]
    fallen, covered = torch.zeros(len(images), PLACES, PLACES), torch.zeros(PLACES, PLACES)
    whole = _log_odds(net, images, classes)
    for row, column in product(range(PLACES - 1), repeat=2):
        seen = images.clone()
        seen[:, :, edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = 0.0
        fall = whole - _log_odds(net, seen, classes)
        fallen[:, row : row + 2, column : column + 2] += fall[:, None, None]
        covered[row : row + 2, column : column + 2] += 1
    return relu(fallen / covered)


def _log_odds(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return (B,) log-odds log p/(1 − p) of as many classes, on the processor; they never level off, as p does."""
    logits: Tensor = net(images).float().cpu()
    number = classes.cpu()[:, None]
    return logits.gather(1, number)[:, 0] - logits.scatter(1, number, -math.inf).logsumexp(1)


METHODS = {"Occlusion": occlusion, "Grad-CAM": grad_cam}
"""The more faithful one first (results/explain-faithfulness.json)."""


def heat_beside(net: ResNet, loader: Loader, rows: Sequence[int], classes: NDArray[np.int64]) -> list[Heat | None]:
    """Return maps of the loader's pictures in `rows` for as many class numbers; of those past the first 24, None.

    The net is put into evaluation mode.
    """
    net.eval()  # else BN's statistics would move
    found: list[Heat | None] = []
    for start in range(0, min(len(rows), WITH_HEAT), BATCH):
        few = rows[start : start + BATCH]
        views = np.stack([loader.seen(row) for row in few])
        images = normalise(torch.from_numpy(views).to(loader.device), loader.preprocessing)
        maps = grad_cam(net, images, torch.from_numpy(classes[start : start + BATCH]))
        found += [drawn_over(*one, "Grad-CAM", LONG_SIDE) for one in zip(views, maps, strict=True)]
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
    cover = COVER * np.asarray(field)[:, :, None].clip(0, 1)
    tinted = (1 - cover) * np.asarray(grey)[:, :, None] + cover * ORANGE
    return Image.fromarray(tinted.astype(np.uint8)).quantize(64)
