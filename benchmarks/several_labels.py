"""Several labels a picture: how well is a net from nothing told what mosaics of CIFAR-10's pictures show?

    python benchmarks/several_labels.py ../shared/data/cifar10 --seeds 1 2 3

A mosaic is a square of two by two places of 32 px; each holds a picture, or, with chance 1/2, one colour. It shows the
classes of its pictures, none to four. Training pictures make 10,000 for training, test pictures 2,000 for the test,
each picture in one mosaic at most: what the command writes as Parquet files with a column of lists, and `residuum
train` reads. The test mosaics are looked at once a run, after its last step. Writes results/several-labels.json after
every run.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from figures import Figures, add_runs, asked, flags, mean_and_sd, trained
from numpy.typing import NDArray
from PIL import Image

from residuum.data.contract import Split
from residuum.data.decode import decode
from residuum.data.open import open_data
from residuum.records.codec import to_json

SIDE = 32
PLACES = 4
FILLED = 0.5


def mosaics(split: Split, classes: list[str], count: int, seed: int) -> tuple[list[bytes], list[list[str]]]:
    """Return `count` PNG files of mosaics, and the classes that each shows."""
    rng = np.random.default_rng(seed)
    rows = iter(rng.permutation(len(split)).tolist())
    files, shown = [], []
    for filled in rng.random((count, PLACES)) < FILLED:
        whole = rng.integers(256, size=(2, 2, 3), dtype=np.uint8).repeat(SIDE, 0).repeat(SIDE, 1)
        names = set()
        for place in np.flatnonzero(filled).tolist():
            row = next(rows)
            top, left = SIDE * (place // 2), SIDE * (place % 2)
            whole[top : top + SIDE, left : left + SIDE] = pixels_of(split, row)
            names.add(classes[split.labels[row]])
        files.append(as_file(whole))
        shown.append(sorted(names))
    return files, shown


def pixels_of(split: Split, row: int) -> NDArray[np.uint8]:
    """Return a picture, (32, 32, 3)."""
    return decode(split.pictures.encoded(row), split.pictures.name(row))


def as_file(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, data: str, training: int, test: int) -> None:
    """Write train.parquet and test.parquet."""
    found = open_data(data)
    assert found.test is not None
    for name, split, count in (("train", found.train, training), ("test", found.test, test)):
        files, shown = mosaics(split, list(found.classes), count, seed=len(name))
        image = pa.array([{"bytes": each} for each in files], pa.struct({"bytes": pa.binary()}))
        labels = pa.array(shown, pa.list_(pa.string()))
        pq.write_table(pa.table({"image": image, "label": labels}), folder / f"{name}.parquet")


def one_run(folder: Path, told: list[str], seed: int) -> Figures:
    """Train once and return what is worth keeping of it."""
    record, _ = trained(folder, [*told, *flags(seed=seed)])
    found = record.evaluation
    assert found is not None
    assert found.mean_ap is not None
    assert found.split == "test"
    return {
        "mean_average_precision": found.mean_ap.value,
        "likeliest_label_right": found.top1.value,
        "macro_f1": found.macro_f1.value,
        "ece": found.ece.value,
        "images": found.images,
        "protocol": found.protocol,
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Return mean and spread of each figure, and their number."""
    names = ("mean_average_precision", "likeliest_label_right", "macro_f1", "ece")
    return {"n": len(done), **{name: mean_and_sd([run[name] for run in done]) for name in names}}


def main(
    data: str,
    *,
    model: str = "resnet20",
    epochs: int = 8,
    seeds: tuple[int, ...] = (1, 2, 3),
    training: int = 10_000,
    test: int = 2_000,
) -> None:
    told = flags(model=model, recipe="quick", epochs=epochs)
    about = {
        "command": f"python benchmarks/several_labels.py DATA{''.join(f' {word}' for word in flags(epochs=epochs))}",
        "training_pictures": training,
        "test_pictures": test,
        "model": model,
        "recipe": "quick",
        "epochs": epochs,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "mosaics"
        folder.mkdir()
        write(folder, data, training, test)
        cases = [{"seed": seed} for seed in seeds]
        add_runs("several-labels", about, cases, lambda seed: one_run(folder, told, seed), summary)


if __name__ == "__main__":
    asked(main)
