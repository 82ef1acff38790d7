"""Make the starter: a small net, trained on thumbnails, whose features a few hundred photographs begin with.

    python benchmarks/starter.py ../shared/data/thumbnails --work runs/starter --seed 0

Trains in WORK, or goes on there where it was interrupted (starter_course.py); packs the weights to 8 bits; writes
src/residuum/starter/starter.safetensors and results/starter.json. An hour and a quarter on one of two shared cores.

The class "bee" is left out: many of its pictures are bees of ../shared/data/ants-bees, on which the starter is judged
(results/starter-twins.json).
"""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from figures import Figures, asked, write
from msgspec import structs
from starter_course import BATCH, MEAN, NET, RATES, SIDES, STD, STEPS, TIMES, Thumbnails, train

from residuum import machine
from residuum.data.batches import pixels_if_small
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.data.open import open_data
from residuum.data.preprocess import normalise
from residuum.evaluation.evaluate import evaluate
from residuum.loading import load
from residuum.models.file import ModelFile, read_model, write_model
from residuum.models.packing import packed
from residuum.models.resnet import ResNet
from residuum.records.model import About, Trained, View
from residuum.records.run import Counts, Data
from residuum.settings import EvaluateSettings
from residuum.weights.fetched import STARTER_FILE

LEFT_OUT = "bee"
NAME = "thumbnails"
PIXELS = 32
"""The thumbnails' side."""
SIDE = 144
"""Pixels at which photographs are seen by default, the whole at two thirds: chosen out of fold (docs/log.md)."""


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


def in_memory(data: ImageData) -> Thumbnails:
    """Return the training pictures in memory."""
    pixels = pixels_if_small(data.train.pictures, PIXELS, PIXELS)
    assert pixels is not None
    return Thumbnails(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(data.train.labels))


def starter(net: ResNet, data: ImageData) -> ModelFile:
    """Return the model with packed weights, told at which side to show photographs."""
    assert data.validation is not None
    counts = Counts(train=len(data.train), validation=len(data.validation), test=None)
    made = Trained(date=machine.environment().date, data=NAME, recipe="starter", steps=STEPS)
    about = About(
        data=Data(
            name=NAME,
            source=NAME,
            classes=data.classes,
            fingerprint=fingerprint(data),
            counts=counts,
            validation_from="the data's own validation split",
            image_size=PIXELS,
        ),
        versions=machine.environment(),
        lineage=(made,),
        classes=data.classes,
        preprocessing=View(image_size=SIDE, resize_to=SIDE, views="middle"),
        net=net.spec.as_json(),
    )
    shown = {"mean": torch.tensor(MEAN), "std": torch.tensor(STD)}
    return ModelFile(packed(dict(net.state_dict())), shown, about)


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
    folder, checkpoint = work / NAME, work / f"seed{seed}.checkpoint"
    without(thumbnails, LEFT_OUT, folder / "data")
    data = open_data(str(folder))
    net, losses = train(in_memory(data), len(data.classes), checkpoint, seed)
    model, whole = starter(net, data), work / "whole.safetensors"
    write_model(STARTER_FILE, model)
    write_model(whole, replace(model, weights=dict(net.state_dict())))
    small = [at_own_side(file, PIXELS, work / f"own-{file.name}") for file in (STARTER_FILE, whole)]
    packed_one, unpacked_one = (evaluate(EvaluateSettings(one, folder)) for one in small)
    found: Figures = {
        "left_out": LEFT_OUT,
        "course": {"net": NET, "batch_size": BATCH, "steps": STEPS, "sides": SIDES, "rates": RATES, "times": TIMES},
        "seed": seed,
        "bytes": STARTER_FILE.stat().st_size,
        "packed": {"accuracy": packed_one.top1.value, "loss": packed_one.loss, "images": packed_one.images},
        "before_packing": {"accuracy": unpacked_one.top1.value, "loss": unpacked_one.loss},
        "first": first_ones(small[0], folder),
        "protocol": packed_one.protocol,
        "losses": losses,
    }
    write("starter", f"python benchmarks/starter.py thumbnails --seed {seed}", found)


if __name__ == "__main__":
    asked(main)
