"""Records with made-up values, for tests that are about something else."""

import json
from pathlib import Path
from typing import Any

import msgspec

from residuum import machine
from residuum.records.codec import to_json
from residuum.records.depth import Point
from residuum.records.evaluation import Bin, ClassFigures, Evaluation, Measure
from residuum.records.run import Counts, Data, Epoch, Line, RunSettings, Step
from residuum.runs import RunRecord


def settings_json(**resolved: Any) -> dict[str, Any]:
    """settings.json of a run, with what else it resolved to."""
    known = {"data": "digits", "model": "resnet20", "recipe": "quick", "epochs": 1, "seed": 0}
    cost = {"depth": 20, "parameters": 272_474, "multiply_adds": 41_000_000}
    command = "residuum train digits"
    return {"command": command, "asked": {}, "settings": {}, "resolved": {**known, **cost, **resolved}}


def environment_json(date: str, processor: str, cores: int) -> dict[str, Any]:
    """environment.json of a run, or the same part of another file."""
    return {
        "date": date,
        "residuum": "0.1.0",
        "python": "3.12.3",
        "torch": "2.15.0",
        "numpy": "2.4.6",
        "pillow": "13.0.0",
        "scikit-learn": "1.9.1",
        "system": "Linux x86_64",
        "processor": processor,
        "cores": cores,
    }


def data(source: str = "digits", fingerprint: str = "0" * 64, classes: int = 10) -> Data:
    return Data(
        name=source,
        source=source,
        classes=tuple(map(str, range(classes))),
        fingerprint=fingerprint,
        counts=Counts(train=90, validation=10, test=None),
        validation_from="cut from the training pictures",
        image_size=8,
    )


def measure(value: float) -> Measure:
    return Measure(value=value, low=0.9 * value, high=0.1 + 0.9 * value)


def evaluation(top1: float = 0.7, split: str = "test", images: int = 360) -> Evaluation:
    """A judgement of two classes."""
    one = measure(top1)
    return Evaluation(
        split=split,
        protocol="single view, 8×8",
        images=images,
        top1=one,
        top5=None,
        macro_f1=one,
        ece=one,
        loss=1.0,
        per_class=tuple(ClassFigures(name=x, images=images // 2, precision=one, recall=one, f1=one) for x in "ab"),
        confusion=((images // 2, 0), (0, images // 2)),
        calibration=(Bin(low=0.0, high=1.0, count=images, confidence=0.8, accuracy=top1),),
    )


def step(at: int, loss: float = 1.0) -> Step:
    return Step(step=at, epoch=at / 10, loss=loss, lr=0.1, images_per_s=100.0)


def epoch(at: int, **figures: float) -> Epoch:
    known = {"train_loss": 1.0, "train_accuracy": 0.5, "seconds": 1.0, "images_per_s": 100.0}
    return Epoch(step=at, epoch=at / 10, **{**known, **figures})


def run_record(path: Path, lines: list[Line], judged: Evaluation | None = None) -> RunRecord:
    settings = msgspec.convert(settings_json(), RunSettings)
    return RunRecord(path, settings, machine.environment(), data(), lines, judged, [])


def as_file(record: Any) -> Any:
    """What a record reads as in its file, but for the version that wrote it."""
    return json.loads(json.dumps(to_json(record)))


def point(removed: int, **figures: Any) -> Point:
    """The net of one stage of nine blocks with so many gone."""
    deleted = f"stage1.block{removed + 1}" if removed else None
    known = {"removed": removed, "deleted": deleted, "blocks": (9 - removed,), "latency_ms": None}
    known |= {"depth": 20 - 2 * removed, "parameters": 1000, "multiply_adds": 1000}
    known |= {"loss": 0.5, "loss_batch_statistics": 0.5, "accuracy": 0.9, "accuracy_recalibrated": 0.9}
    return Point(**{**known, **figures})
