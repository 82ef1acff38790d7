"""What lesion.json and trim.json say, as plain typed data. Whatever is missing or cannot be is None."""

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.files import Json
from residuum.reporting.figures import listing, mapping, number, whole, words
from residuum.reporting.wording import counted


@dataclass(frozen=True)
class Measured:
    """What a lesion or a trim was measured on, and how: the same in both files."""

    model: Json
    data: Json
    protocol: str
    environment: Json

    @property
    def model_name(self) -> str:
        """Return the net's name."""
        return words(self.model.get("name")) or "the net"

    @property
    def pictures(self) -> str:
        """Write "5,000 validation pictures"."""
        images = whole(self.data.get("images")) or 0
        return counted(images, f"{words(self.data.get('split')) or 'validation'} picture")

    @property
    def date(self) -> str:
        """Return when it was measured, or nothing."""
        return words(self.environment.get("date"))


@dataclass(frozen=True)
class LesionRow:
    """The net with one block's branch left out; `left` is what stands in the block's place, or nothing."""

    number: int
    name: str
    stage: int
    removable: bool
    left: str
    loss: float | None
    accuracy: float | None
    parameters: int | None
    multiply_adds: int | None

    @property
    def changes_shape(self) -> bool:
        """Say whether the block has to stay because nothing else gives its output's shape."""
        return not self.removable and self.left != "identity"


@dataclass(frozen=True)
class Lesion:
    """lesion.json."""

    measured: Measured
    loss: float | None
    accuracy: float | None
    rows: list[LesionRow]


@dataclass(frozen=True)
class Point:
    """The net with `removed` blocks gone, `deleted` the last of them; latency in ms by pictures in a batch."""

    removed: int
    deleted: str
    blocks: list[int]
    depth: int | None
    parameters: int | None
    multiply_adds: int | None
    accuracy: float | None
    recalibrated: float | None
    latency: dict[int, float]


@dataclass(frozen=True)
class Draw:
    """One order of random deletion: the accuracy for each number of blocks gone, from 0."""

    accuracy: list[float | None]
    recalibrated: list[float | None]


@dataclass(frozen=True)
class Repair:
    """The chosen net after training on."""

    epochs: int
    validation_accuracy: float | None
    test_accuracy: float | None
    test_images: int | None
    original_test_accuracy: float | None


@dataclass(frozen=True)
class Trim:
    """trim.json; one that was interrupted has no `chosen`."""

    measured: Measured
    latency_protocol: str
    asked: Json
    curve: list[Point]
    random: list[Draw]
    chosen: Point | None
    why: str
    repaired: Repair | None

    @property
    def whole(self) -> Point | None:
        """Return the net before anything was taken out."""
        return self.curve[0] if self.curve else None

    @property
    def batches(self) -> list[int]:
        """Return the batch sizes that were timed."""
        return sorted({size for point in self.curve for size in point.latency})


def share(raw: object) -> float | None:
    """Return a number from 0 to 1, or None."""
    value = number(raw)
    return value if value is not None and 0 <= value <= 1 else None


def read_lesion(raw: object) -> Lesion:
    """Read lesion.json."""
    fields = mapping(raw)
    intact = mapping(fields.get("intact"))
    return Lesion(
        measured=_measured(fields),
        loss=number(intact.get("loss")),
        accuracy=share(intact.get("accuracy")),
        rows=[_lesion_row(i, mapping(item)) for i, item in enumerate(listing(fields.get("blocks")), start=1)],
    )


def _measured(fields: Json) -> Measured:
    return Measured(
        model=mapping(fields.get("model")),
        data=mapping(fields.get("data")),
        protocol=words(fields.get("protocol")),
        environment=mapping(fields.get("environment")),
    )


def _lesion_row(place: int, fields: Json) -> LesionRow:
    return LesionRow(
        number=place,
        name=words(fields.get("name"), f"block {place}"),
        stage=whole(fields.get("stage")) or 0,
        removable=fields.get("removable") is True,
        left=words(fields.get("left")),
        loss=number(fields.get("loss")),
        accuracy=share(fields.get("accuracy")),
        parameters=whole(fields.get("parameters")),
        multiply_adds=whole(fields.get("multiply_adds")),
    )


def read_trim(raw: object) -> Trim:
    """Read trim.json."""
    fields = mapping(raw)
    curve = [_point(place, mapping(item)) for place, item in enumerate(listing(fields.get("curve")))]
    chosen = mapping(fields.get("chosen"))
    removed = whole(chosen.get("removed"))
    return Trim(
        measured=_measured(fields),
        latency_protocol=words(fields.get("latency_protocol")),
        asked=mapping(fields.get("asked")),
        curve=curve,
        random=[_draw(mapping(item)) for item in listing(fields.get("random"))],
        chosen=next((point for point in curve if point.removed == removed), None),
        why=words(chosen.get("why")),
        repaired=_repair(mapping(fields.get("repaired"))),
    )


def _point(place: int, fields: Json) -> Point:
    latency = mapping(fields.get("latency_ms"))
    return Point(
        removed=place,
        deleted=words(fields.get("deleted")),
        blocks=[whole(count) or 0 for count in listing(fields.get("blocks"))],
        depth=whole(fields.get("depth")),
        parameters=whole(fields.get("parameters")),
        multiply_adds=whole(fields.get("multiply_adds")),
        accuracy=share(fields.get("accuracy")),
        recalibrated=share(fields.get("accuracy_recalibrated")),
        latency={int(size): ms for size, raw in latency.items() if size.isdecimal() and (ms := _time(raw))},
    )


def _time(raw: object) -> float | None:
    value = number(raw)
    return value if value is not None and 0 < value < 1e9 else None


def _draw(fields: Json) -> Draw:
    return Draw(
        accuracy=[share(value) for value in listing(fields.get("accuracy"))],
        recalibrated=[share(value) for value in listing(fields.get("accuracy_recalibrated"))],
    )


def _repair(fields: Json) -> Repair | None:
    if not fields:
        return None
    return Repair(
        epochs=whole(fields.get("epochs")) or 0,
        validation_accuracy=share(fields.get("validation_accuracy")),
        test_accuracy=share(fields.get("test_accuracy")),
        test_images=whole(fields.get("test_images")),
        original_test_accuracy=share(fields.get("original_test_accuracy")),
    )


def at(values: Sequence[float | None], place: int) -> float | None:
    """Return the value at `place`, or None beyond the end."""
    return values[place] if 0 <= place < len(values) else None
