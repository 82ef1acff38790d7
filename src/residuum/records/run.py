"""What a run leaves besides its figures: settings.json, data.json, split.json, metrics.jsonl and lock.json."""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from residuum.choices import SplitName
from residuum.records.codec import Record
from residuum.records.numbers import Amount, Count, Share


def plain_name(name: str) -> str:
    """Return the name of a residual net's plain twin: resnet20 has plain20, resnext50 has plainx50."""
    return re.sub(r"resne(x?)t", r"plain\1", name)


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Of all that was decided about a run, what others read."""

    data: str | None
    """Where the pictures lie."""
    model: str
    recipe: str
    epochs: Count | None
    """Passes over the training pictures, where they are whole."""
    seed: Count
    depth: Count
    """Weighted layers."""
    parameters: Count
    multiply_adds: Count
    """For one picture."""


class RunSettings(Record, frozen=True, kw_only=True):
    """settings.json: what was asked and what it resolved to."""

    command: str
    """The command line that asks for the same."""
    asked: dict[str, Any]
    """The settings that differ from their defaults."""
    settings: dict[str, Any]
    """Every setting with its value, as `residuum train` takes them back: they repeat the run."""
    resolved: dict[str, Any]
    """These with the cost, name and specification of the net and the details of the recipe."""

    def __post_init__(self) -> None:
        """Refuse settings that do not say what others read (ValueError)."""
        assert self.summary

    @property
    def summary(self) -> RunSummary:
        """Return what others read of `resolved`."""
        return msgspec.convert(self.resolved, RunSummary)

    @property
    def net(self) -> str:
        """Return what the net is: its name, as a plain one where it has no shortcuts, of the depth it was given."""
        name, spec = self.summary.model, self.resolved.get("net")
        if isinstance(spec, dict) and spec.get("shortcut") == "none":
            name = plain_name(name)
        if self.asked.get("blocks") and "wide" not in name:  # a wide net's name counts its layers otherwise
            name = re.sub(r"(resnext|resnet|plainx?)\d+", rf"\g<1>{self.summary.depth}", name, count=1)
        return name


class Counts(Record, frozen=True, kw_only=True):
    """Pictures in each split; None where there is none."""

    train: Count
    """Those trained on: without what was kept aside."""
    validation: Count | None
    test: Count | None


class Skipped(Record, frozen=True, kw_only=True):
    """A picture that could not be read, and that a run went on without."""

    split: SplitName
    name: str
    """Its path below the folder, or its row."""
    why: str


class Contents(Record, frozen=True, kw_only=True):
    """SHA-256 of the pictures in each split, in whatever order, and whatever they are called or said to show."""

    train: str
    """Of those trained on."""
    validation: str | None
    """None where there are none, as below."""
    test: str | None


class Data(Record, frozen=True, kw_only=True, omit_defaults=True):
    """data.json: what a run was trained on."""

    name: str
    source: str
    """Where the pictures lie."""
    classes: tuple[str, ...]
    """The class names, by class number."""
    fingerprint: str
    """What the pictures, labels and class names are."""
    counts: Counts
    contents: Contents | None = None
    """Which pictures these are; 0.1.0 did not say."""
    conflicts: Count = 0
    """How many of them stand under more than one class, or under different labels; 0.1.0 did not say."""
    validation_from: str
    """Where the validation pictures are from, in words."""
    image_size: Count
    """Side of the square that the net sees, in pixels."""
    skipped: tuple[Skipped, ...] = ()
    """Pictures that are there, are not counted above, and could not be read."""
    several: bool = False
    """Whether a picture may show several classes, or none."""
    shards: str = ""
    """How the training pictures lie in shards, where their order depends on it."""


class SplitRows(Record, frozen=True, kw_only=True):
    """split.json."""

    validation: tuple[Count, ...]
    """Rows of the training pictures that were kept aside."""


class Step(Record, frozen=True, kw_only=True, tag_field="kind", tag="step"):
    """A line of metrics.jsonl: one step of training.

    In each kind of line `step` and `epoch` are the steps and the passes over the training pictures done by then.
    """

    step: Count
    epoch: Amount
    loss: float
    """Mean over the step's pictures, in nats; old runs may have one that is not finite."""
    lr: Amount
    images_per_s: Amount
    """Speed of training since the pass began."""


class Epoch(Record, frozen=True, kw_only=True, tag_field="kind", tag="epoch", omit_defaults=True):
    """A line of metrics.jsonl: one pass over the training pictures."""

    epoch: Amount
    step: Count
    train_loss: float
    """Mean over the pass, while the net changed, in nats."""
    train_accuracy: Share
    """Pictures whose likeliest class is theirs, or one of several; or that show none where none is called."""
    validation_loss: float | None = None
    """Mean over the validation pictures after the pass, in nats; left out where there are none, as the next."""
    validation_accuracy: Share | None = None
    validation_map: Share | None = None
    """Mean average precision, of several labels a picture alone."""
    seconds: Amount
    """Time the pass took, without validation."""
    images_per_s: Amount


class Event(Record, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """A line of metrics.jsonl: something that happened on the way."""

    step: Count
    message: str


Line = Step | Epoch | Event


class Lock(Record, frozen=True, kw_only=True):
    """lock.json: the process that writes the run, and the name of its machine."""

    pid: Annotated[int, Meta(gt=0, lt=2**31)]
    host: str
    held: bool = False
    """Whether the file system lets go of the file when the process ends; versions before 0.3 did not ask it to."""
