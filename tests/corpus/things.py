"""What cases are made from and tried with: a model that knows colours by heart, pictures of them, runs of 0.1.0.

The model's net is the identity up to its last layer, which answers the colour nearest to the picture's mean. So what
a picture holds can be read from the answer: a red one, however it is stored, is answered "red".
"""

import io
import shutil
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
}
BASIC = ("red", "green", "blue")
OLD = Path(__file__).parent.parent / "data" / "v0.1.0"
"""Runs that version 0.1.0 left: `finished` and `interrupted`, on the digits."""


@cache
def colours_file() -> bytes:
    """The model file: six colours, two stages of two blocks that hand on what they get."""
    import tempfile

    import torch

    from residuum.data.preprocess import Preprocessing
    from residuum.loading import save_classifier
    from residuum.models.resnet import ResNet
    from residuum.models.spec import NetSpec
    from residuum.records.model import Provenance

    spec = NetSpec(stem="cifar", block="basic", blocks=(2, 2), widths=(4, 8), shortcut="A", zero_init=True,
                   num_classes=len(COLOURS))  # fmt: skip
    generator = torch.random.get_rng_state()
    torch.manual_seed(0)
    net = ResNet(spec).eval()
    torch.random.set_rng_state(generator)
    colours = torch.tensor(list(COLOURS.values())) / 255
    with torch.no_grad():
        first = next(weight for weight in net.parameters() if weight.dim() == 4)
        first.zero_()
        for channel in range(3):
            first[channel, channel, 1, 1] = 1
        net.fc.weight.zero_()
        net.fc.weight[:, :3] = 40 * colours
        net.fc.bias.copy_(-20 * (colours**2).sum(1))  # 20·(|x|² − |x − c|²): the nearest colour's is the largest
    view = Preprocessing(16, 16, np.zeros(3, np.float32), np.full(3, 255, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "colours.safetensors"
        save_classifier(path, net, spec, tuple(COLOURS), view, Provenance())
        return path.read_bytes()


def colours_model(folder: Path) -> Path:
    """Write the model file into a folder."""
    path = folder / "colours.safetensors"
    path.write_bytes(colours_file())
    return path


def pixels(colour: str, width: int = 24, height: int = 20) -> NDArray[np.uint8]:
    """A picture of one colour, (H, W, 3)."""
    return np.full((height, width, 3), COLOURS[colour], np.uint8)


def png(colour: str, width: int = 24, height: int = 20) -> bytes:
    """The same as a PNG file."""
    return saved(Image.fromarray(pixels(colour, width, height)), "PNG")


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    """A picture as a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def photos(root: Path, classes: tuple[str, ...] = BASIC, per_class: int = 3, start: int = 0) -> Path:
    """A folder with a folder of pictures for each colour, each of another size, so that none repeats another."""
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + per_class):
            (root / name / f"{name}-{i}.png").write_bytes(png(name, 16 + i, 17 + place))
    return root


def run_of(version: str, folder: Path, name: str = "run") -> Path:
    """A copy of a run that 0.1.0 left, to be damaged."""
    return Path(shutil.copytree(OLD / version, folder / name))


def home_in(folder: Path) -> Path:
    """Lay out what all verbs need: photographs of all colours, a model that knows them, a finished run."""
    photos(folder / "photos", tuple(COLOURS), 4)
    colours_model(folder)
    run_of("finished", folder, "finished")
    return folder


def text(path: Path, content: str | bytes) -> Path:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spoiled(content: bytes, how: str, luck: Random) -> bytes:
    """Damage bytes by chance: flipped, truncated, inserted, zeroed, or exchanged for noise."""
    at = luck.randrange(len(content))
    if how == "flipped":
        return content[:at] + bytes([content[at] ^ (1 << luck.randrange(8))]) + content[at + 1 :]
    if how == "truncated":
        return content[:at]
    if how == "inserted":
        return content[:at] + luck.randbytes(1 + luck.randrange(9)) + content[at:]
    if how == "zeroed":
        return content[:at] + bytes(len(content) - at)
    assert how == "noise"
    return luck.randbytes(len(content))


DAMAGES = ("flipped", "truncated", "inserted", "zeroed", "noise")
