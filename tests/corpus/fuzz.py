"""Coverage-guided fuzzing of what reads foreign bytes: python -m corpus.fuzz TARGET SECONDS FOLDER.

Nothing but a UserError may come of any input. atheris (libFuzzer) sees which of our lines an input reaches; the C++
beneath is watched by glibc's checks alone. An input that does worse is left in FOLDER, and the exit code is not 0.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["residuum"], enable_loader_override=False):
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save

    from residuum.data.decode import decode_part
    from residuum.data.jpeg_region import decoded_region
    from residuum.data.tables import open_parquet
    from residuum.errors import UserError
    from residuum.exchange.import_weights import import_weights
    from residuum.loading import load
    from residuum.models.file import sealed
    from residuum.outward_settings import ImportSettings

from corpus import models, tables, weights
from corpus.things import colours_file, saved

HERE = Path(sys.argv[-1], "work")
HERE.mkdir(parents=True)
MODEL = HERE / "model.safetensors"


def model_file(content: bytes) -> None:
    """A file as it is, or behind a first byte of 1 what a sealed one says of itself."""
    if content[:1] == b"\1":
        with contextlib.suppress(UnicodeDecodeError):
            MODEL.write_bytes(sealed(_tensors(), {"residuum": content[1:].decode()}))
            load(MODEL)
        return
    MODEL.write_bytes(content)
    load(MODEL)


def _tensors() -> dict[str, torch.Tensor]:
    from residuum.models.file import read_tensors

    whole = HERE / "whole.safetensors"
    if not whole.exists():
        whole.write_bytes(colours_file())
    return read_tensors(whole)[0]


def jpeg_region(content: bytes) -> None:
    """Four bytes say which box of a JPEG is wanted."""
    if len(content) < 5:
        return
    box, encoded = content[:4], content[4:]
    for width, height in ((48, 40), (64, 64)):
        left, top = box[0] % width, box[1] % height
        right, bottom = left + 1 + box[2] % (width - left), top + 1 + box[3] % (height - top)
        found = decoded_region(encoded, (left, top, right, bottom), (width, height))
        assert found is None or found[0].shape == (bottom - top, right - left, 3)
    shape = decode_part(encoded, "x.jpg", lambda w, h: (0.1 * w, 0.2 * h, 0.7 * w, 0.9 * h), 1 + box[0] % 32).shape
    assert min(shape) > 0


def parquet(content: bytes) -> None:
    """A file of training rows; all its pictures are asked for."""
    path = HERE / "table" / "train.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    split = open_parquet(path.parent).train
    assert len(split.labels) == len(split.pictures)
    for row in range(min(len(split), 100)):
        split.pictures.encoded(row)


PIECES = (
    "module.", "model.", "net.", "backbone.", "resnet.", "encoder.", "layer1.", "layer2.", "layer9.", "0.", "1.", "10.",
    "conv1", "conv2", "conv3", "bn1", "bn2", "downsample.0", "downsample.1", "shortcut.0", "shortcut.1", "fc", "fc.1",
    "linear", "classifier.1", "head.fc", "stages.0.blocks.0.", "stem.conv", "embedder.embedder.convolution", "norm1",
    ".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked", "criterion.", "layer1.0.", "se.fc1",
)  # fmt: skip
SIDES = (1, 2, 3, 4, 6, 7, 8, 16)


def layouts(content: bytes) -> None:
    """Names made of the pieces that names are made of, taken out of a net's and put in."""
    given = atheris.FuzzedDataProvider(content)
    tensors = weights.state() if given.ConsumeBool() else {}
    if prefix := "".join(PIECES[given.ConsumeIntInRange(0, 5)] for _ in range(given.ConsumeIntInRange(0, 2))):
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    for _ in range(given.ConsumeIntInRange(0, 6)):
        if tensors and given.ConsumeBool():
            del tensors[list(tensors)[given.ConsumeIntInRange(0, len(tensors) - 1)]]
        name = "".join(
            PIECES[given.ConsumeIntInRange(0, len(PIECES) - 1)] for _ in range(given.ConsumeIntInRange(1, 4))
        )
        shape = [SIDES[given.ConsumeIntInRange(0, 7)] for _ in range(given.ConsumeIntInRange(0, 4))]
        tensors[name] = torch.ones(shape)
    path, out = HERE / "net.safetensors", HERE / "imported.safetensors"
    path.write_bytes(save(tensors))
    out.unlink(missing_ok=True)
    import_weights(ImportSettings(path, out=out))
    load(out)


# --- where it begins ----------------------------------------------------------------------------


def _made(cases: Iterable[models.Case], count: int) -> Iterable[bytes]:
    """The files that cases make."""
    for number, case in enumerate(list(cases)[:count]):
        folder = HERE / "seeds" / str(number)
        folder.mkdir(parents=True)
        path = case.make(folder, Random(number))
        yield from (file.read_bytes() for file in ([path] if path.is_file() else path.rglob("*.parquet")))


def _jpegs() -> Iterable[bytes]:
    grain = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    for how in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_blocks": 2}):
        yield b"\3\5\x20\x18" + saved(Image.fromarray(grain), "JPEG", quality=60, **how)
    yield b"\0\0\xff\xff" + saved(Image.fromarray(grain).convert("L"), "JPEG")


def _says() -> bytes:
    length = int.from_bytes(colours_file()[:8], "little")
    return b"\1" + json.loads(colours_file()[8 : 8 + length])["__metadata__"]["residuum"].encode()


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterable[bytes]]]] = {
    "model_file": (model_file, lambda: [_says(), colours_file(), *_made(models.cases(), 40)]),
    "jpeg_region": (jpeg_region, _jpegs),
    "parquet": (parquet, lambda: _made(tables.cases(), 12)),
    "layouts": (layouts, lambda: [bytes([1, 0]), bytes([1]) + bytes(range(60)), bytes(range(100, 160))]),
}


def main() -> None:
    name, seconds, folder = sys.argv[1:]
    target, seeds = TARGETS[name]
    begun = Path(folder) / "corpus"
    begun.mkdir(parents=True)
    for number, seed in enumerate(seeds()):
        (begun / str(number)).write_bytes(seed)

    def once(content: bytes) -> None:
        with contextlib.suppress(UserError):
            target(content)

    words = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=6000", "-max_len=100000", "-len_control=0"]
    atheris.Setup([sys.argv[0], *words, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(begun)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
