"""What computes a model's answers, opened with what is known of the model. Nothing here imports torch by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from residuum.choices import Device, EngineWanted, PrecisionWanted
from residuum.errors import UserError
from residuum.records.model import View
from residuum.records.review import Likeness

if TYPE_CHECKING:
    from residuum.engines.contract import Engine


@dataclass(frozen=True)
class Described:
    """What is known of a model without its weights."""

    name: str
    classes: tuple[str, ...]
    view: View
    likeness: Likeness | None
    """From where on a picture is unlike those trained on."""
    kept: NDArray[np.float32] | None
    """(M, D) directions of the features of pictures trained on; None if and only if `likeness` is."""
    digest: str
    """What a lineage calls the model file."""


@dataclass(frozen=True)
class Opened:
    """A model, ready to answer."""

    engine: Engine
    model: Described


def open_engine(
    path: Path,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
) -> Opened:
    """Open a run folder or a model file (UserError as `load`, or if the engine is not there)."""
    from residuum.compute import choose_compute
    from residuum.engines.with_torch import TorchEngine
    from residuum.loading import load

    if engine not in {"auto", "torch"} or precision == "int8":
        raise UserError(f"there is no engine {engine} in {precision} yet", "", "--engine torch")
    classifier = load(path)
    compute = choose_compute(device, "bfloat16" if precision == "bfloat16" else "float32", threads=threads)
    compute.place(classifier.net)
    about = classifier.about
    like = None if classifier.kept is None or about.likeness is UNSET else about.likeness
    kept = classifier.kept if like else None
    model = Described(classifier.name, classifier.classes, about.preprocessing, like, kept, classifier.digest)
    return Opened(TorchEngine(classifier, compute), model)
