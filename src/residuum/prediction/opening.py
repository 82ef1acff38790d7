"""What computes a model's answers, opened with what is known of the model. Nothing here imports torch by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from residuum.choices import Device, EngineChoice, PrecisionChoice
from residuum.errors import UserError
from residuum.files import short_digest
from residuum.records.model import View

if TYPE_CHECKING:
    from residuum.engines.contract import Engine


@dataclass(frozen=True)
class Like:
    """From where on a picture is unlike those trained on, and what it is compared with (evaluation/likeness.py)."""

    threshold: float
    neighbours: int
    kept: NDArray[np.float32]
    """(M, D) directions of the features of pictures trained on."""


@dataclass(frozen=True)
class Described:
    """What is known of a model without its weights."""

    name: str
    classes: tuple[str, ...]
    view: View
    file: Path
    likeness: Like | None = None

    @property
    def digest(self) -> str:
        """Return what a lineage calls the file."""
        return short_digest(self.file)


class Opened(NamedTuple):
    """An engine, and the model it answers for."""

    engine: Engine
    model: Described


def open_engine(
    path: Path,
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
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
    like = None
    if about.likeness is not UNSET and classifier.kept is not None:
        like = Like(about.likeness.threshold, about.likeness.neighbours, classifier.kept)
    model = Described(classifier.name, classifier.classes, about.preprocessing, classifier.file, like)
    return Opened(TorchEngine(classifier, compute), model)
