"""What a model file says of itself, besides its tensors."""

from collections import Counter
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from residuum.choices import Interpolation, Views
from residuum.errors import UserError, listed
from residuum.files import Json
from residuum.plain_data import quoted
from residuum.records.codec import FIRST, VERSION, Record, from_json
from residuum.records.environment import Environment
from residuum.records.evaluation import Figures
from residuum.records.numbers import Amount, Count
from residuum.records.review import Likeness
from residuum.records.run import Data

FORMAT = "residuum-model/1"

Side = Annotated[int, Meta(ge=1, le=65_536)]
"""Pixels along a side; more than any decoder here takes are no picture's."""


class Made(Record, frozen=True, kw_only=True, tag_field="verb"):
    """One step of a model's lineage."""

    date: str
    """ISO 8601, UTC."""

    @property
    def verb(self) -> str:
        """Return what was done: train, import, grow or trim."""
        return str(self.__struct_config__.tag)


class Trained(Made, frozen=True, kw_only=True, tag="train", omit_defaults=True):
    """The net was trained."""

    data: str
    recipe: str
    steps: Count
    from_: str | None = field(name="from", default=None)
    """Digest of the model file that training began with; left out for a new net."""


class Imported(Made, frozen=True, kw_only=True, tag="import"):
    """Other people's weights were taken over."""

    from_: str = field(name="from")
    """Digest of their file."""
    source: str
    layout: str
    """Whose tensor names they bear."""


class Grown(Made, frozen=True, kw_only=True, tag="grow"):
    """Blocks were put in."""

    from_: str = field(name="from")
    """Digest of the model file it was done to, here and below."""
    blocks_before: tuple[Count, ...]
    """Blocks in each stage, here and below."""
    blocks: tuple[Count, ...]
    seed: Count


class Trimmed(Made, frozen=True, kw_only=True, tag="trim"):
    """Blocks were taken out."""

    from_: str = field(name="from")
    deleted: tuple[str, ...]
    """The blocks, in the order they went."""
    blocks_before: tuple[Count, ...]
    blocks: tuple[Count, ...]


Lineage = tuple[Trained | Imported | Grown | Trimmed, ...]
"""What was done to a model, oldest first."""


class Import(Record, frozen=True, kw_only=True):
    """Where imported weights are from, and what they left open."""

    source: str
    layout: str
    assumptions: tuple[str, ...]
    """A sentence for each thing that the weights did not say."""
    left_out: tuple[str, ...]
    """Tensors and other entries of their file that no net has."""


class Provenance(Record, frozen=True, kw_only=True):
    """Where a model comes from. An imported one was not trained here: it has neither `data` nor `settings`."""

    metrics: Figures | None = None
    """How it was judged last."""
    data: Data | None = None
    settings: dict[str, Any] | None = None
    """How, as in settings.json."""
    versions: Environment | None = None
    """What wrote it, and where."""
    import_: Import | UnsetType = field(name="import", default=UNSET)
    lineage: Lineage = ()
    several: bool | UnsetType = UNSET
    """Whether a picture may show any number of classes, each answered for itself; left out where it shows one."""
    temperature: Amount | UnsetType = UNSET
    """What the logits of a head fitted to frozen features were divided by; its last layer holds it already."""
    likeness: Likeness | UnsetType = UNSET
    """From where on a picture is unlike those trained on; their features are tensors beside it."""


class View(Record, frozen=True, kw_only=True):
    """How a picture becomes the net's input; mean and spread are tensors beside it."""

    image_size: Side
    """Side of the square that the net sees, in pixels."""
    resize_to: Side
    """Shorter side before the central square is cut out, in pixels."""
    interpolation: Interpolation = "bilinear"
    views: Views = "single"
    """What is averaged to an answer, in use and in judging: `weighted` in data/preprocess.py."""
    greys: tuple[Count, Count] | None = None
    """What becomes black and white of greys of more than 8 bits, where the training pictures used few of 16."""


class About(Provenance, frozen=True, kw_only=True):
    """The metadata of a model file."""

    classes: tuple[str, ...]
    """The class names, by class number; a backbone has none."""
    preprocessing: View
    format: str = FORMAT
    net: dict[str, Any]
    """The net's specification, as models/spec.py writes it."""


def read_about(content: Any, place: str) -> About:
    """Return what a model file says of itself; `place` says which.

    Raises:
        UserError: it is not what residuum writes, its net has another number of outputs than it names classes, it names
            one twice, or its pictures are smaller than what is cut out of them.
    """
    about = from_json(content, About, f"what {place} says of itself")
    outputs = about.net.get("num_classes")
    if outputs is not None and outputs != len(about.classes):
        what = f"{place} names {len(about.classes)} classes, and its net has {outputs} outputs"
        raise UserError(what, f"it was changed after {written_by(content)} wrote it", "bring the file back")
    if twice := [name for name, count in Counter(about.classes).items() if count > 1]:
        raise UserError(f"{place} names a class twice", listed(twice, 5), "bring the file back")
    if about.preprocessing.resize_to < about.preprocessing.image_size:
        what = f"{place} cuts {about.preprocessing.image_size} pixels out of {about.preprocessing.resize_to}"
        raise UserError(what, f"it was changed after {written_by(content)} wrote it", "bring the file back")
    return about


def written_by(content: Json) -> str:
    """Return which version wrote what a model file says."""
    return f"residuum {content.get(VERSION, FIRST)}"


def need_classes(about: About, place: str) -> None:
    """Raise UserError for a backbone, where classes are to be told apart."""
    if not about.classes:
        raise UserError(
            f"{place} is a backbone: it gives features and knows no classes",
            "its weights came without a last layer",
            f"train one on pictures of your own: residuum train DATA --start {quoted(place)}",
        )
