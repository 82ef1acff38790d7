"""What an exported model says of itself, how well it agrees with the run's own answers, and which engine is fastest."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET, UnsetType

from residuum.choices import EngineName, EnginePrecision
from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.evaluation import Figures, Measure
from residuum.records.model import Import, Lineage, View
from residuum.records.numbers import Amount, Count, Milliseconds, Share
from residuum.records.review import Likeness


class Exported(Record, frozen=True, kw_only=True):
    """The metadata of an exported model, under "residuum"."""

    format: str = "residuum-export/1"
    name: str
    digest: str
    """Of the model file it was made of, as lineages name it."""
    engine: EngineName
    precision: EnginePrecision
    """int8, or else float32, which an engine may compute in bfloat16."""
    classes: tuple[str, ...]
    """The class names, by number."""
    several: bool | UnsetType = UNSET
    """Whether a picture may show any number of classes, each answered for itself; left out where it shows one."""
    label_separator: str | UnsetType = UNSET
    """What stood between the labels of a picture in the table it was trained with; left out where nothing did."""
    image_column: str | UnsetType = UNSET
    """Which column of that table held the pictures; left out where none was told, as in files of 0.1."""
    label_column: str | UnsetType = UNSET
    """Which held the labels, or several with commas between; likewise."""
    view: View
    """How the graph makes a view of a picture."""
    likeness: Likeness | None
    """From where on a picture is unlike those trained on; their features lie beside the file."""
    licence: str | None
    metrics: Figures | None
    """How the model was judged, before it was exported."""
    import_: Import | None
    lineage: Lineage
    environment: Environment


class Agreement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How answers in one precision agree with the run's own, which torch gives in float32."""

    precision: EnginePrecision
    pictures: Count
    same: Share
    """Whose likeliest class is the same; of several labels a picture, twice the labels called by
    both over all that the one and the other call (Dice 1945, Ecology 26)."""
    largest: Amount
    """The largest difference of any probability."""
    accuracy: Measure | None
    """None where the pictures have no labels, as below; of several labels a picture, that their likeliest is right."""
    own_accuracy: Measure | None
    """Of the run's own answers to the same pictures."""
    several: bool = False
    """Whether each picture has several labels."""


class Parity(Record, frozen=True, kw_only=True):
    """parity.json: real pictures answered by the exported file, from their pixels on, and by the run."""

    pictures: str
    """Which they are."""
    calibrated_on: Count | None
    """Pictures, none of them judged, that int8's ranges are from."""
    least_same: Share
    """The bound: at least this share of the answers stays."""
    agreements: tuple[Agreement, ...]
    seen: Count = 0
    """So many of the pictures the net was trained on, which flatters its accuracy; version 0.1.0 did not count them."""
    judged: Figures | None = None
    """Where it has seen some: how the run was judged on pictures that it had not seen, if it was."""
    environment: Environment
    versions: dict[str, str]
    """Of the engines."""


def per_round(turns: Mapping[int, Sequence[float]]) -> list[float]:
    """Return each round's ms, the geometric mean over the batches."""
    return [statistics.geometric_mean(times) for times in zip(*turns.values(), strict=True)]


class EngineTiming(Record, frozen=True, kw_only=True):
    """How fast one engine is in one precision."""

    engine: EngineName
    precision: EnginePrecision
    ms: dict[Count, Milliseconds]
    """The median time of a batch, by how many views it has."""
    agreement: Agreement | None
    """None for torch in float32, which the others are held against, and for what was too slow to be asked."""
    refused: str | None
    """Why it is not chosen, however fast; None: it may be, where its precision is allowed."""
    rounds: dict[Count, tuple[Milliseconds, ...]] = {}  # noqa: RUF012 - a record copies it
    """The least time of a batch in each round, all engines in turn; fewer where it fell far behind, none where it was
    refused."""

    @property
    def way(self) -> tuple[EngineName, EnginePrecision]:
        """Return what computes, and in what numbers."""
        return self.engine, self.precision

    @property
    def called(self) -> str:
        """Write "torch in float32"."""
        return " in ".join(self.way)

    def won(self, others: Iterable["EngineTiming"]) -> int:
        """Count the rounds in which it was faster than each of the others; who had fallen behind has lost."""
        own, theirs = per_round(self.rounds), [per_round(one.rounds) for one in others]
        return sum(all(ms < their[i] for their in theirs if i < len(their)) for i, ms in enumerate(own))


def most_rounds(timings: Iterable[EngineTiming]) -> int:
    """Return how many rounds there were: so many has who did not fall behind."""
    return max(len(times) for one in timings for times in one.rounds.values())


class EngineChoice(Record, frozen=True, kw_only=True):
    """What `residuum bench` found for one model on one machine; kept in the cache."""

    model: str
    digest: str
    pictures: str
    """What answers were compared on; noise, where no pictures are known."""
    timings: tuple[EngineTiming, ...]
    """The fastest first."""
    engine: EngineName
    """What answers from now on, in this precision."""
    precision: EnginePrecision
    threads: Count
    environment: Environment
    versions: dict[str, str]
    """Of the engines."""
    waited: Share | None = None
    """The part of the cores' time, in the rounds, for which threads waited for one: others were computing."""
    before: tuple[EngineName, EnginePrecision] | None = None
    """What had been chosen before, if anything was."""
    stays: str | None = None
    """Why what answered before still does, though another was faster now."""

    @property
    def used(self) -> EngineTiming:
        """Return what was found of the engine that answers."""
        return next(one for one in self.timings if one.way == (self.engine, self.precision))
