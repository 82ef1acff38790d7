"""What is published: a model file, with what its run knows of it, and never where things lie on this machine."""

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from msgspec import UNSET, structs

from residuum import runs
from residuum.data.hub import hub_name
from residuum.errors import UserError
from residuum.models.file import ModelFile, digest, read_model
from residuum.records.codec import read_record
from residuum.records.evaluation import DataEvaluation, Figures, KeptEvaluation
from residuum.records.model import About, Imported, need_classes
from residuum.runs import RunRecord, model_path
from residuum.weights.catalogue import catalogue
from residuum.weights.fetched import STARTER, fetched


@dataclass(frozen=True)
class Subject:
    """A model, and the run it is from where that is known."""

    file: Path
    model: ModelFile
    run: RunRecord | None

    @property
    def about(self) -> About:
        """Return all that the model file says of itself."""
        return self.model.about

    @property
    def is_several(self) -> bool:
        """Say whether pictures show several of its classes each."""
        return self.about.several is True

    @property
    def name(self) -> str:
        """Return what it is called: as its run folder, or its file."""
        return (self.run.path.resolve() if self.run else self.file).name.removesuffix(".safetensors")

    @property
    def weights_digest(self) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of its tensors: whatever else is said of it, they stay."""
        return digest(self.model.weights | self.model.preprocessing)[:16]

    @property
    def figures(self) -> Figures | None:
        """Return how it was judged by the run itself."""
        return (self.run.evaluation if self.run else None) or self.about.metrics

    @property
    def later(self) -> list[DataEvaluation]:
        """Return how `residuum evaluate` judged it afterwards."""
        folder = self.run.path / runs.EVALUATIONS if self.run else None
        kept = [read_record(path, KeptEvaluation) for path in sorted(folder.glob("*.json"))] if folder else []
        return [one for one in kept if one.model == self.file.name]

    @property
    def data_name(self) -> str:
        """Return what its training data are called: by their name on the hub, or without their folder."""
        data = self.about.data
        return "" if data is None else data.source if on_hub(data.source) else data.name


def subject(path: str | Path | None, verb: str) -> Subject:
    """Read a run folder or a model file (UserError if there is none, or it is damaged)."""
    if path is None:
        raise UserError("which model?", "", f"residuum {verb}, a run folder or a model file")
    file = model_path(Path(path))
    of_run = file.name == runs.MODEL and runs.is_run(file.parent)
    model = read_model(file)
    need_classes(model.about, str(file))
    return Subject(file, model, runs.read_run(file.parent) if of_run else None)


# --- without what is private ----------------------------------------------------------------------


def on_hub(source: str) -> bool:
    """Say whether what a run calls its data, "digits", an absolute path or OWNER/NAME, is the last."""
    return "/" in source and hub_name(source) is not None


def without_folders(content: Any, kept: Container[str] = ()) -> Any:
    """Return JSON-able data with every path in it, of any system, cut to its last part, but for those `kept`."""
    if isinstance(content, dict):
        return {name: without_folders(inner, kept) for name, inner in content.items()}
    if isinstance(content, list | tuple):
        return [without_folders(inner, kept) for inner in content]
    if not isinstance(content, str) or content in kept:
        return content
    return PureWindowsPath(content).name if re.search(r"[/\\]", content) else content


def to_send(subject: Subject, *, likeness: bool) -> ModelFile:
    """Return the model without a path of this machine, or a picture's name, and without the features of single pictures
    if not wanted."""
    about = subject.about
    data = about.data and structs.replace(about.data, source=subject.data_name, skipped=())
    kept = {subject.data_name, *fetched()}
    said = structs.replace(about, data=data, settings=without_folders(about.settings, kept))
    if likeness:
        return replace(subject.model, about=said)
    return replace(subject.model, about=structs.replace(said, likeness=UNSET), likeness={})


# --- what it began with -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """Weights of others that training began with."""

    name: str
    licence: str | None
    """As their publisher says; None where that is not known."""
    repository: str = ""
    """OWNER/NAME on the hub, where they are from there."""


def origins(subject: Subject) -> list[Origin]:
    """Return whose weights a model was made from, as far as its lineage and this machine's cache tell."""
    start = str((subject.about.settings or {}).get("start") or "")
    if start == STARTER:
        return [Origin("residuum's starter", "Apache-2.0")]
    if start in fetched():
        known = catalogue().get(start)
        return [Origin(start, fetched()[start].licence, known.repository if known else start if "/" in start else "")]
    return [_origin(step.source) for step in subject.about.lineage if isinstance(step, Imported)]


def _origin(source: str) -> Origin:
    """Look up whose weights an import names: a file, torchvision:NAME:WHICH, timm:NAME or hf:OWNER/NAME."""
    library, _, name = source.partition(":")
    name = name.partition(":")[0]
    for known in catalogue().values():
        if source == known.file or (name == known.name and library == known.library):
            return Origin(source, known.licence, known.repository)
    return Origin(source, None, name if library == "hf" else "")
