"""Augmentation. Small pictures are cropped and mirrored as one batch, large ones each in its worker.

Every draw comes from rng.uniform(seed, epoch, sample). Letters: B pictures in a batch, S side in pixels.
"""

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from residuum.data.boxes import Box
from residuum.data.contract import Pictures
from residuum.data.decode import Pixels, decode_part
from residuum.data.deep import Span
from residuum.data.preprocess import Preprocessing, normalise
from residuum.data.random_augment import DRAWS, Colour, random_augmented
from residuum.data.rng import uniform, uniform_there
from residuum.kernels import crops
from residuum.recipe import Augmentation

_RANDOM = 16
"""RandAugment's draws are this one and those after it; what was there before it keeps its own."""


def augmented_batch(
    images: Tensor,
    rows: NDArray[np.int64],
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    seed: int,
    epoch: int,
) -> Tensor:
    """Crop and mirror pictures `rows` of images (N, S, S, 3) uint8: (B, 3, S, S) float32, channels last.

    The border that a crop takes in beyond the picture is zero after normalisation, whatever the mean, or reflected.
    Where pictures lie on a GPU all is computed there, to the same bits, and nothing waits for it; but for RandAugment,
    for which the crops come to the processor. Rows from N on: see rng.repeated.
    """
    size, pad = images.shape[1], augmentation.pad
    samples = torch.from_numpy(rows).to(images.device, non_blocking=True)
    picked = samples % len(images)
    uniforms = _uniforms(seed, epoch, samples, 5 if augmentation.cut else 3)
    shift = (uniforms[:, :2] * (2 * pad + 1)).long() - pad
    mirrored = _mirrored(uniforms[:, 2], augmentation, samples, seed, epoch)
    holes = _holes(uniforms[:, 3:], size, augmentation.cut) if augmentation.cut else None
    reflects = augmentation.border == "reflected"
    if augmentation.random is None and preprocessing.mean.ndim == 1 and crops.applies(images):
        how = (holes, augmentation.cut)
        return crops.cropped(images, picked, shift, mirrored, _table(preprocessing), *how, reflects=reflects)
    along = torch.arange(size, device=shift.device)
    y, x = along + shift[:, :1], torch.where(mirrored[:, None], along.flip(0), along) + shift[:, 1:]
    if reflects:
        y, x = _reflected(y, size), _reflected(x, size)
    if augmentation.random is None:
        view = _gather(images, picked, y, x, preprocessing)
    else:
        uniforms_more = uniform(seed, epoch, rows, _RANDOM + DRAWS)[:, _RANDOM:]
        pixels = _pixels(images, picked, y, x, fill_of(preprocessing)).cpu().numpy()
        changed = random_augmented(pixels, augmentation.random, uniforms_more, fill_of(preprocessing))
        view = normalise(torch.from_numpy(changed).to(images.device), preprocessing)
    return view if holes is None else _cut_out(view, holes, augmentation.cut)


def hashes_there(device: torch.device) -> bool:
    """Say whether chance is computed where the pictures lie: on NVIDIA's GPUs, which have float64."""
    return device.type == "cuda"


def fill_of(how: Preprocessing) -> Colour:
    """Return the pictures' mean colour, in whole numbers of 0..255."""
    red, green, blue = (min(255, round(channel)) for channel in how.mean.reshape(-1, 3).mean(0).tolist())
    return red, green, blue


def _uniforms(seed: int, epoch: int, rows: Tensor, draws: int) -> Tensor:
    if hashes_there(rows.device):
        return uniform_there(seed, epoch, rows, draws)
    return torch.from_numpy(uniform(seed, epoch, rows.cpu().numpy(), draws))


def _table(preprocessing: Preprocessing) -> Tensor:
    """(256, 3): what each value of a byte becomes, channel by channel."""
    mean, std = torch.from_numpy(preprocessing.mean), torch.from_numpy(preprocessing.std)
    return (torch.arange(256.0)[:, None] - mean) * (1.0 / std)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Return the pixels that stand at these places of a row of `size` between two mirrors; edges are not repeated."""
    period = max(1, 2 * size - 2)
    folded = places.abs() % period
    return torch.minimum(folded, period - folded) if size > 1 else torch.zeros_like(places)


def _holes(uniforms: Tensor, size: int, side: int) -> Tensor:
    """(B, 2): top and left of the square that is cut out; its centre lies anywhere, its edges may lie outside."""
    return (uniforms * size).long() - side // 2


def _cut_out(view: Tensor, holes: Tensor, side: int) -> Tensor:
    """Set a square of each picture of (B, 3, S, S) to zero."""
    along = torch.arange(view.shape[2], device=holes.device)
    y, x = ((along >= start) & (along < start + side) for start in (holes[:, :1], holes[:, 1:]))
    kept = ~(y[:, :, None] & x[:, None, :])
    return view * kept[:, None].to(view)


def _mirrored(uniforms: Tensor, augmentation: Augmentation, rows: Tensor, seed: int, epoch: int) -> Tensor:
    """By this epoch's random number; or by that of the first, and its opposite in every second."""
    if not augmentation.flip:
        return torch.zeros_like(uniforms, dtype=torch.bool)
    if not augmentation.alternating:
        return uniforms < 0.5
    return (_uniforms(seed, 0, rows, 3)[:, 2] < 0.5) ^ bool(epoch % 2)


def _pixels(images: Tensor, rows: Tensor, y: Tensor, x: Tensor, fill: Colour) -> Tensor:
    """Read picture rows[b] at the pixels y[b] × x[b] (B, S each): (B, S, S, 3) uint8; outside the picture is `fill`."""
    last = images.shape[1] - 1
    inside = ((y >= 0) & (y <= last))[:, :, None] & ((x >= 0) & (x <= last))[:, None, :]
    pixels = images[rows[:, None, None], y.clamp(0, last)[:, :, None], x.clamp(0, last)[:, None, :]]
    return torch.where(inside[..., None], pixels, torch.tensor(fill, dtype=torch.uint8, device=images.device))


def _gather(images: Tensor, rows: Tensor, y: Tensor, x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Read picture rows[b] at the pixels y[b] × x[b] (B, S each); outside the picture is zero."""
    size, device = images.shape[1], images.device
    inside = ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
    y, x = y.clamp(0, size - 1)[:, :, None], x.clamp(0, size - 1)[:, None, :]
    place = (y * size + x).to(device)
    flat = rows[:, None, None] * (size * size) + place
    pixels = images.view(-1, 3)[flat.view(-1)].view(*flat.shape, 3).float()
    mean, std = (
        torch.from_numpy(values).to(device, non_blocking=True) for values in (preprocessing.mean, preprocessing.std)
    )
    if mean.dim() == 3:
        mean = mean.view(-1, 3)[place]
    scale = inside.to(device).float()[..., None] / std
    return ((pixels - mean) * scale).permute(0, 3, 1, 2)


def augmented_picture(
    encoded: bytes | Pixels,
    name: str,
    size: int,
    augmentation: Augmentation,
    uniforms: NDArray[np.float64],
    greys: Span | None = None,
) -> Pixels:
    """Cut a random S×S view, (S, S, 3), out of one large picture; `uniforms` are (5,) in [0, 1).

    Chance chooses the crop from the picture's size alone, so only what the view needs is decoded.

    Raises:
        BrokenPicture: see decode_part.
    """
    crop = decode_part(encoded, name, partial(random_crop, size, augmentation, uniforms), size, greys)
    view = _resized(torch.from_numpy(crop), size)
    mirrored = augmentation.flip and uniforms[4] < 0.5
    return (view.flip(1) if mirrored else view).numpy()


def augmented_views(
    pictures: Pictures,
    rows: NDArray[np.int64],
    size: int,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    greys: Span | None = None,
    fill: Colour = (128, 128, 128),
) -> tuple[Pixels, NDArray[np.float32]]:
    """Cut a view out of each of the large pictures `rows`: (B, S, S, 3), and the colour shifts to add, (B, 3).

    `fill` is the colour of what RandAugment brings in from outside; rows from N on: see rng.repeated.

    Raises:
        BrokenPicture: see decode_part.
    """
    views, shifts = np.empty((len(rows), size, size, 3), np.uint8), np.zeros((len(rows), 3), np.float32)
    uniforms = uniform(seed, epoch, rows, _RANDOM + DRAWS)
    for place, row in enumerate((rows % len(pictures)).tolist()):
        encoded, name = pictures.encoded(row), pictures.name(row)
        views[place] = augmented_picture(encoded, name, size, augmentation, uniforms[place, :5], greys)
        if augmentation.colour:
            shifts[place] = colour_shift(uniforms[place, 5:11])
    if augmentation.random is not None:
        views = random_augmented(views, augmentation.random, uniforms[:, _RANDOM:], fill)
    return views, shifts


def random_crop(size: int, augmentation: Augmentation, uniforms: NDArray[np.float64], width: int, height: int) -> Box:
    """Choose what an S×S view shows of a picture of this width and height; `uniforms` are (4,) or more in [0, 1)."""
    draws = uniforms[:4].tolist()
    if augmentation.shorter_side is not None:
        return _crop_of_resized((width, height), size, augmentation.shorter_side, draws)
    return _crop_of_area((width, height), augmentation.area or (1.0, 1.0), draws)


def _resized(pixels: Tensor, size: int) -> Tensor:
    """(h, w, 3) uint8 to (S, S, 3), bilinear with antialiasing: Pillow's to one level, in a third of its time."""
    planes = pixels[None].permute(0, 3, 1, 2)  # torch sees channels-last memory only in this order
    resized = interpolate(planes, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0)


def _crop_of_resized(whole: tuple[int, int], size: int, shorter_side: tuple[int, int], uniforms: list[float]) -> Box:
    """He et al. 2015, sec. 3.4: shorter side drawn from [256, 480], then a random crop of S×S.

    The crop is returned as a box of the picture before it is resized.
    """
    low, high = shorter_side
    side = max(size, low + int(uniforms[0] * (high - low + 1)))
    factor = side / min(whole)
    width, height = (max(size, round(length * factor)) for length in whole)
    left, top = int(uniforms[1] * (width - size + 1)), int(uniforms[2] * (height - size + 1))
    columns, rows = whole[0] / width, whole[1] / height
    return left * columns, top * rows, (left + size) * columns, (top + size) * rows


def _crop_of_area(whole: tuple[int, int], area: tuple[float, float], uniforms: list[float]) -> Box:
    """Szegedy et al. 2014 (1409.4842), sec. 6: a crop of a drawn share of the area, aspect 3/4 to 4/3."""
    width, height = whole
    share = area[0] + uniforms[0] * (area[1] - area[0])
    aspect = math.exp((2 * uniforms[1] - 1) * math.log(4 / 3))
    crop_width = min(width, math.sqrt(share * width * height * aspect))
    crop_height = min(height, math.sqrt(share * width * height / aspect))
    left, top = uniforms[2] * (width - crop_width), uniforms[3] * (height - crop_height)
    return left, top, left + crop_width, top + crop_height


# Krizhevsky et al. 2012, sec. 4.1: principal components of RGB over ImageNet (columns) and their weights (0..1).
_RGB_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_RGB_WEIGHTS = np.array([0.2175, 0.0188, 0.0045])


def colour_shift(uniforms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the (3,) amount, in 0..255, added to one picture's channels; `uniforms` are (6,) in [0, 1)."""
    normal = np.sqrt(-2.0 * np.log1p(-uniforms[:3])) * np.cos(2.0 * np.pi * uniforms[3:])  # Box and Muller 1958
    shift: NDArray[np.float32] = (255.0 * _RGB_COMPONENTS @ (0.1 * normal * _RGB_WEIGHTS)).astype(np.float32)
    return shift
