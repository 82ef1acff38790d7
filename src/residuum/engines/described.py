"""What a model says of itself, read without torch: enough to show it pictures and to say what it answers.

Letters: D features, M pictures kept to compare with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from residuum import runs
from residuum.choices import EnginePrecision, PrecisionWanted
from residuum.data.contract import USUAL_COLUMNS, ColumnNames
from residuum.errors import UserError
from residuum.files import short_digest
from residuum.plain_data import quoted
from residuum.records.codec import from_json
from residuum.records.engines import Exported
from residuum.records.model import FORMAT, View, need_classes, read_about
from residuum.records.review import Likeness

KEY = "residuum"
"""Under which a file's metadata hold what it says of itself."""
LIKENESS, KEPT = "likeness.safetensors", "kept"
"""The file beside an exported model, and its one tensor (M, D)."""


@dataclass(frozen=True)
class Described:
    """A model but for its weights."""

    name: str
    classes: tuple[str, ...] = field(repr=False)
    view: View
    likeness: Likeness | None
    """From where on a picture is unlike those trained on."""
    kept: NDArray[np.float32] | None = field(repr=False)
    """(M, D) directions of the features of pictures trained on; None if and only if `likeness` is."""
    digest: str
    """What a lineage calls the model file, here and wherever it was exported from."""
    several: bool = False
    """Whether a picture may show any number of the classes, each answered for itself."""
    columns: ColumnNames = USUAL_COLUMNS
    """Those of the table it was trained with, where any were told."""


def of_model_file(file: Path) -> Described:
    """Read a model file's own description (UserError if it is damaged, or not one of ours)."""
    try:
        with safe_open(file, framework="numpy") as opened:
            content = json.loads((opened.metadata() or {}).get(KEY, "{}"))
            named = f"likeness/{KEPT}"
            kept = opened.get_tensor(named) if named in opened.keys() else None  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        why = f"it is no safetensors file, cut short or damaged ({error})"
        mend = (
            f"give a run folder, or a whole copy; other people's weights come in with: residuum import {quoted(file)}"
        )
        raise UserError(f"{file} cannot be read as a model file", why, mend) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{file} is not a residuum model file",
            "it does not say that it is one",
            f"other people's weights come in with: residuum import {quoted(file)}",
        )
    about = read_about(content, str(file))
    need_classes(about, str(file))
    likeness = None if about.likeness is UNSET else about.likeness
    found = _described(runs.model_name(file), about.classes, about.preprocessing, likeness, kept, short_digest(file))
    return replace(found, several=about.several is True, columns=ColumnNames.of(about.settings))


def of_exported(file: Path, metadata: Mapping[str, str]) -> Described:
    """Read the description that an exported file carries, and what lies beside it (UserError if it is damaged)."""
    about = exported_about(file, metadata)
    beside, kept = file.with_name(LIKENESS), None
    if about.likeness and beside.is_file():
        try:
            with safe_open(beside, framework="numpy") as opened:
                kept = opened.get_tensor(KEPT)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{beside} is damaged", str(error), "export the model again") from error
    found = _described(about.name, about.classes, about.view, about.likeness, kept, about.digest)
    columns = ColumnNames(about.image_column or None, about.label_column or None, about.label_separator or None)
    return replace(found, several=about.several is True, columns=columns)


def precision_of(file: Path, metadata: Mapping[str, str], asked: PrecisionWanted) -> EnginePrecision:
    """Return what a file is computed in: as asked, where it can be; by default in what it holds.

    Raises:
        UserError: the file was made for int8 and another is asked for, or the other way round.
    """
    if KEY not in metadata:  # the cache's, which say nothing of themselves
        return "float32" if asked == "auto" else asked
    holds = exported_about(file, metadata).precision
    if asked == "auto":
        return holds
    if "int8" in {holds, asked} and holds != asked:
        raise UserError(f"{file} holds {holds}, not {asked}", "", "export the model anew")
    return asked


def exported_about(file: Path, metadata: Mapping[str, str]) -> Exported:
    """Return what the metadata of an exported file say (UserError if they are not ours)."""
    try:
        content = json.loads(metadata.get(KEY, ""))
    except ValueError as error:
        raise UserError(
            f"{file} was not exported by residuum", "it does not say what its classes are", "residuum export RUN"
        ) from error
    return from_json(content, Exported, f"what {file} says of itself")


def _described(
    name: str,
    classes: tuple[str, ...],
    view: View,
    likeness: Likeness | None,
    kept: NDArray[np.floating] | None,
    digest: str,
) -> Described:
    known = likeness is not None and kept is not None
    return Described(
        name,
        classes,
        view,
        likeness if known else None,
        kept.astype(np.float32) if known and kept is not None else None,
        digest,
    )
