"""Make the starter: a small net, trained on thumbnails, whose features a few hundred photographs begin with.

    python benchmarks/starter.py ../shared/data/thumbnails --work runs/starter --seed 0

Trains in WORK, or goes on there where it was interrupted; pools the last map by signed roots, which the last layer is
fitted to; packs the weights to 8 bits; writes
src/residuum/starter/starter.safetensors and results/starter.json. 45 minutes on two shared cores.

The class "bee" is left out: many of its pictures are bees of ../shared/data/ants-bees, on which the starter is judged
(results/starter-twins.json).
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from figures import Figures, asked, flags, write
from msgspec import structs

from residuum import runs
from residuum.data.batches import open_loader, pixels_if_small
from residuum.data.open import open_data
from residuum.data.preprocess import normalise
from residuum.evaluation.evaluate import evaluate
from residuum.loading import load
from residuum.models.file import ModelFile, read_model, write_model
from residuum.models.layers import POOLS
from residuum.models.packing import packed
from residuum.records.codec import to_json
from residuum.records.model import About, View
from residuum.settings import EvaluateSettings
from residuum.weights.fetched import STARTER_FILE

LEFT_OUT = "bee"
COURSE: dict[str, Any] = {"recipe": "fast", "epochs": 14, "batch_size": 500, "label_smoothing": 0.0, "threads": 2}
SIDE = 40
"""Pixels at which photographs are shown by default: chosen out of fold (docs/log.md)."""


def without(data: Path, name: str, out: Path) -> None:
    """Write the Parquet files of `data` without the pictures of one class; the classes after it move up."""
    for path in sorted((data / "data").glob("*.parquet")):
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"huggingface"])
        names = about["info"]["features"]["label"]["names"]
        number, place = names.index(name), table.schema.get_field_index("label")
        names.remove(name)
        table = table.filter(pc.not_equal(table["label"], number))
        moved = pc.subtract(table["label"], pc.greater(table["label"], number).cast(pa.int64()))
        table = table.set_column(place, table.schema.field(place), moved.cast(table.schema.field(place).type))
        metadata = {**table.schema.metadata, b"huggingface": json.dumps(about).encode()}
        out.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(metadata), out / path.name)


def train(data: Path, run: Path, seed: int) -> None:
    """Train, or go on with what was interrupted; a finished run is left alone."""
    if (run / runs.MODEL).exists():
        return
    words = flags(resume=run) if run.exists() else [str(data), *flags(**COURSE, seed=seed, out=run)]
    subprocess.run([sys.executable, "-m", "residuum", "train", *words], check=True)


@torch.inference_mode()
def rooted(run: Path, data: Path, images: int = 10_000) -> ModelFile:
    """Return the run's model, its last map pooled by roots: its last layer gives, as nearly as a linear one can (ridge
    regression on the first training pictures), the answers that it gave before."""
    classifier, model, train = load(run), read_model(run / runs.MODEL), open_data(str(data)).train
    net, how = classifier.net.eval(), classifier.preprocessing
    loader = open_loader(train.take(np.arange(images)), how, torch.device("cpu"), 0, 500)
    features, answers = [], []
    for batch in loader:
        maps = net.end(net.stages(net.stem(batch.images)))
        features.append(POOLS["roots"]()(maps).flatten(1))
        answers.append(net.classify(maps))
    x, z = torch.cat(features).double(), torch.cat(answers).double()
    centred = x - x.mean(0)
    products = centred.T @ centred
    products.diagonal().add_(1e-4 * products.diagonal().mean())
    weight = torch.linalg.solve(products, centred.T @ (z - z.mean(0))).T
    layer = {"fc.weight": weight.float(), "fc.bias": (z.mean(0) - weight @ x.mean(0)).float()}
    about = structs.replace(model.about, net={**model.about.net, "pooling": "roots"})
    return replace(model, weights={**model.weights, **layer}, about=about)


def starter(model: ModelFile) -> ModelFile:
    """Return the model with packed weights, told at which side to show photographs, without paths."""
    about = model.about
    assert about.data is not None
    assert about.settings is not None
    told: dict[str, Any] = {
        "preprocessing": View(image_size=SIDE, resize_to=SIDE),
        "data": structs.replace(about.data, source=about.data.name),
        "settings": {**about.settings, "data": about.data.name},
    }
    return replace(model, weights=packed(model.weights), about=structs.replace(about, **told))


def at_own_side(path: Path, side: int, out: Path) -> Path:
    """Write the model once more, shown pictures at `side` px."""
    model = read_model(path)
    about: About = structs.replace(model.about, preprocessing=View(image_size=side, resize_to=side))
    write_model(out, replace(model, about=about))
    return out


def first_ones(path: Path, data: Path, images: int = 300) -> Figures:
    """Return how many of the first validation pictures are answered right: what a test repeats."""
    classifier, split = load(path), open_data(str(data)).validation
    assert split is not None
    pixels = pixels_if_small(split.pictures, classifier.preprocessing.image_size, classifier.preprocessing.resize_to)
    assert pixels is not None
    answers = classifier(normalise(torch.from_numpy(pixels[:images]), classifier.preprocessing)).argmax(1)
    return {"images": images, "right": int((answers.numpy() == split.labels[:images]).sum())}


def main(thumbnails: Path, *, work: Path = Path("runs/starter"), seed: int = 0) -> None:
    data, run = work / "thumbnails", work / f"seed{seed}"
    without(thumbnails, LEFT_OUT, data / "data")
    train(data, run, seed)
    write_model(STARTER_FILE, starter(rooted(run, data)))
    record = runs.read_run(run)
    small = at_own_side(STARTER_FILE, record.data.image_size if record.data else 32, work / "small.safetensors")
    packed_one, whole = (evaluate(EvaluateSettings(one, data)) for one in (small, run))
    found: Figures = {
        "left_out": LEFT_OUT,
        "course": COURSE,
        "seed": seed,
        "bytes": STARTER_FILE.stat().st_size,
        "packed": {"accuracy": packed_one.top1.value, "loss": packed_one.loss, "images": packed_one.images},
        "before_packing_and_roots": {"accuracy": whole.top1.value, "loss": whole.loss},
        "first": first_ones(small, data),
        "protocol": packed_one.protocol,
        "minutes": round(sum(epoch.seconds for epoch in record.epochs) / 60, 1),
        "epochs": [to_json(epoch) for epoch in record.epochs],
    }
    write("starter", f"python benchmarks/starter.py thumbnails --seed {seed}", found)


if __name__ == "__main__":
    asked(main)
