"""How fast do JPEG photographs become training input on one core? All sides in one run, turn by turn.

Reference: torchvision's reference training transform (Pillow decode, RandomResizedCrop 224, RandomHorizontalFlip,
ToTensor, Normalize). The second peer: torchvision.io's decoder and transforms v2 on uint8. Ours: what a worker of
`residuum train` does with the same share of the area, 64 views to a batch (`views`), and that with the normalisation
on the CPU (`batches`). The reference makes single pictures, without stacking, as it is usually quoted;
`reference_batches` stacks them. On a GPU the normalisation is the GPU's work, and `views` is all that a core does.
Every round draws other crops on every side. `pillow_decode` and `turbo_decode`: all of each picture and no more.

    taskset -c 1 python benchmarks/jpeg_input.py ../shared/data/imagenet-sample

`--enlarge 4` makes photographs of four times the side out of the first 40, to see what large ones gain.
Writes results/jpeg-input.json (jpeg-input-x4.json). Run it on one core of an otherwise idle machine.
"""

import importlib.metadata
import io
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from figures import asked, ratios, seconds_of, spread, write
from PIL import Image
from torch.utils.data import default_collate
from torchvision import io as torchvision_io
from torchvision import transforms
from torchvision.transforms import v2

from residuum.data.augment import augmented_views
from residuum.data.batches import Loader
from residuum.data.contract import Split
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from residuum.data.share import one_pass
from residuum.recipe import Augmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH = 224, 64
AUGMENTATION = Augmentation(area=(0.08, 1.0))

Files = list[bytes]


class InMemory:
    """The files' bytes, read beforehand on every side alike."""

    def __init__(self, files: Files) -> None:
        self.content = files

    def __len__(self) -> int:
        return len(self.content)

    def encoded(self, index: int) -> bytes:
        return self.content[index]

    def name(self, index: int) -> str:
        return str(index)

    def files(self) -> None:
        return None


def photographs(folder: Path, enlarge: int) -> Files:
    """Return the folder's JPEGs, or the first 40 made `enlarge` times as wide and high, at quality 90."""
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpeg", ".jpg")]
    return files if enlarge == 1 else [enlarged(file, enlarge) for file in files[:40]]


def enlarged(encoded: bytes, times: int) -> bytes:
    with Image.open(io.BytesIO(encoded)) as image:
        size = (image.width * times, image.height * times)
        large, file = image.convert("RGB").resize(size, Image.Resampling.BICUBIC), io.BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


# --- the sides -----------------------------------------------------------------------------------

REFERENCE = transforms.Compose(
    [
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)
UINT8 = v2.Compose(
    [
        v2.RandomResizedCrop(SIZE, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
)


def reference_one(encoded: bytes) -> torch.Tensor:
    return REFERENCE(Image.open(io.BytesIO(encoded)).convert("RGB"))


def reference(files: Files, _epoch: int) -> None:
    for encoded in files:
        reference_one(encoded)


def reference_batches(files: Files, _epoch: int) -> None:
    for rows in steps(files):
        default_collate([reference_one(files[row]) for row in rows])


def torchvision_uint8(files: Files, _epoch: int) -> None:
    for encoded in files:
        data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        UINT8(torchvision_io.decode_jpeg(data, torchvision_io.ImageReadMode.RGB))


def pillow_decode(files: Files, _epoch: int) -> None:
    for encoded in files:
        Image.open(io.BytesIO(encoded)).load()


def turbo_decode(files: Files, _epoch: int) -> None:
    for encoded in files:
        simplejpeg.decode_jpeg(encoded, "RGB", strict=False)


def steps(files: Files) -> list[np.ndarray]:
    return [rows for _, rows in one_pass(len(files), BATCH)]


def ours_views(files: Files, epoch: int) -> None:
    pictures = InMemory(files)
    for rows in steps(files):
        augmented_views(pictures, rows, SIZE, AUGMENTATION, 0, epoch)


def loader_of(files: Files) -> Loader:
    how = Preprocessing(SIZE, 256, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))
    split = Split(InMemory(files), np.zeros(len(files), np.int64))
    return Loader(split, how, None, torch.device("cpu"))


def ours_batches(files: Files, epoch: int) -> None:
    for _ in loader_of(files).batches([(epoch, rows) for rows in steps(files)], AUGMENTATION):
        pass


SIDES: dict[str, Callable[[Files, int], None]] = {
    "reference": reference,
    "reference_batches": reference_batches,
    "torchvision_uint8": torchvision_uint8,
    "pillow_decode": pillow_decode,
    "turbo_decode": turbo_decode,
    "views": ours_views,
    "batches": ours_batches,
}

# --- measuring -----------------------------------------------------------------------------------


def measure(files: Files, rounds: int) -> dict[str, object]:
    """Alternate the sides; return images/s of each, and each over the reference, turn by turn."""
    torch.set_num_threads(1)
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    for side in SIDES.values():
        side(files[:8], 0)  # warm-up
    for epoch in range(rounds):
        for name, side in SIDES.items():
            speeds[name].append(len(files) / seconds_of(lambda side=side, epoch=epoch: side(files, epoch)))
        print({name: round(values[-1]) for name, values in speeds.items()}, flush=True)
    return {
        "simplejpeg": simplejpeg.__version__,
        "turbojpeg": importlib.metadata.version("turbojpeg"),  # the extra that the views' speed depends on
        "pictures": len(files),
        "mean_bytes": round(statistics.mean(map(len, files))),
        "size": SIZE,
        "batch_size": BATCH,
        "rounds": rounds,
        "images_per_s": {name: spread(values) for name, values in speeds.items()},
        "ratio_to_reference": {name: spread(ratios(speeds[name], speeds["reference"])) for name in SIDES},
        "batches_to_reference_batches": spread(ratios(speeds["batches"], speeds["reference_batches"])),
    }


def main(folder: Path, *, rounds: int = 9, enlarge: int = 1) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:  # every side on the same one core
        os.sched_setaffinity(0, {max(cores)})
    found = measure(photographs(folder, enlarge), rounds)
    print(json.dumps(found, indent=1))
    suffix, option = (f"-x{enlarge}", f" --enlarge {enlarge}") if enlarge > 1 else ("", "")
    write(f"jpeg-input{suffix}", f"python benchmarks/jpeg_input.py FOLDER{option}", found)


if __name__ == "__main__":
    asked(main)
