"""What tests of training train, where it does not matter what."""

from pathlib import Path

from residuum.settings import TrainSettings


def quickly(out: Path, **changes: object) -> TrainSettings:
    """Settings of a run of about a second on the built-in digits: a net of 8 layers, if none is named."""
    base = {"epochs": 2, "batch_size": 64, "seed": 3, "out": str(out), "threads": 1}
    net = {} if "model" in changes else {"model": "resnet20", "blocks": (1, 1, 1)}
    return TrainSettings("digits", **{**base, **net, **changes})  # type: ignore[arg-type]
