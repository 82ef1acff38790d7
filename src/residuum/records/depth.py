"""What depth is worth: lesion.json and trim.json."""

from typing import Literal

from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.numbers import Amount, Count, Milliseconds, Share, wilson

FEW = 500
"""Pictures below which it is said how little they tell: a share of a half has a 95 % interval of ± 4.4 points there."""

Aim = Literal["keep", "max_drop", "speedup"]
Target = dict[Aim, Amount]
"""One of them: share of the blocks kept, points of accuracy lost at most, or times as fast at least."""


class MeasuredNet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The whole net, its choices as in models/spec.py and its cost as in records/run.py."""

    name: str
    shortcut: str
    order: str
    activation: str
    blocks: tuple[Count, ...]
    depth: Count
    parameters: Count
    multiply_adds: Count
    folded: bool = False
    """In files of a few days: all BN statistics were folded into the convolutions, and `trim` left them so."""


class MeasuredData(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The pictures it was measured on; what a field means is said in records/run.py."""

    name: str
    split: str
    images: Count
    fingerprint: str
    validation_from: str
    commonest: Share | None = None
    """The share of the most frequent class, which always answering it would score; absent in older files."""
    may_be_learnt: bool = False
    """Whether they were cut from the data's training pictures for a net of which is not known what it has learnt."""
    several: bool = False
    """Whether a picture may show several classes: right is then one whose likeliest class is one of them, or that
    shows none and none is called; and a loss is the mean binary cross-entropy."""


class Measured(Record, frozen=True, kw_only=True, tag_field="kind"):
    """What a lesion or a trim was measured on, and how: the same in both files."""

    model: MeasuredNet
    data: MeasuredData
    protocol: str
    """How each picture was shown to the net: as the model is asked; before 0.2 always by itself."""
    environment: Environment

    @property
    def kind(self) -> str:
        """Return which of the two it is: lesion or trim."""
        return str(self.__struct_config__.tag)

    @property
    def whole(self) -> float | None:
        """Return the whole net's accuracy; None until it is measured."""
        raise NotImplementedError

    @property
    def is_lazy(self) -> bool:
        """Say whether, for all these pictures tell, always answering the most frequent class would do as well."""
        whole, images, share = self.whole, self.data.images, self.data.commonest
        if whole is None or share is None:
            return False
        return wilson(round(whole * images), images)[0] <= share


class Score(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How good a net is."""

    loss: Amount
    """Mean negative log-likelihood, in nats, here and below; of several labels a picture also over its classes."""
    accuracy: Share
    """The share of the pictures called right, here and below."""
    mean_ap: Share | None = None
    """Mean average precision, of several labels a picture; absent in older files, here and below."""


class LesionRow(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The net with one block's branch left out; parameters and multiply-adds (for one picture) are the block's."""

    name: str
    """The block's: "stage1.block2"."""
    stage: Count
    """From 1."""
    removable: bool
    """Whether the block can be taken out for good."""
    left: Literal["identity", "shortcut"] | None
    """What stands in its place; None if nothing can, and then there are no figures."""
    loss: Amount | None
    accuracy: Share | None
    parameters: Count
    multiply_adds: Count
    mean_ap: Share | None = None

    def __post_init__(self) -> None:
        """Refuse figures of nothing, and something without figures (ValueError)."""
        if {self.loss is None, self.accuracy is None} != {self.left is None}:
            raise ValueError("a block has figures if and only if something stands in its place")

    @property
    def changes_shape(self) -> bool:
        """Say whether the block has to stay because nothing else gives its output's shape."""
        return not self.removable and self.left != "identity"


class Lesion(Measured, frozen=True, kw_only=True, tag="lesion"):
    """lesion.json: the net without each of its blocks."""

    intact: Score
    """The whole net's."""
    blocks: tuple[LesionRow, ...]
    """In the net's order."""

    @property
    def whole(self) -> float:
        """Return the whole net's accuracy."""
        return self.intact.accuracy

    def lost(self, row: LesionRow) -> float | None:
        """Return the points of accuracy that are lost without the block."""
        return None if row.accuracy is None else 100 * (self.intact.accuracy - row.accuracy)


class Point(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The net with so many blocks gone."""

    removed: Count
    deleted: str | None
    """The block that went last, by its name in the whole net; None for the whole net."""
    blocks: tuple[Count, ...]
    """Those left, in each stage."""
    depth: Count
    parameters: Count
    multiply_adds: Count
    loss: Amount
    """With BN as trained."""
    loss_batch_statistics: Amount
    """With BN by each batch's own statistics: what the search went by."""
    accuracy: Share
    """With BN as trained."""
    accuracy_recalibrated: Share | None
    """With BN's statistics measured anew on training pictures; None in files of nets whose BN was left folded."""
    latency_ms: dict[int, Milliseconds] | None
    """Of one pass, by pictures in a batch; None until all nets are timed together."""
    mean_ap: Share | None = None
    mean_ap_recalibrated: Share | None = None

    @property
    def recalibrated(self) -> bool:
        """Say whether the model of this net is recalibrated: never the whole net, and none that is better as it is."""
        again = self.accuracy_recalibrated
        return self.removed > 0 and again is not None and again >= self.accuracy

    @property
    def best(self) -> float:
        """Return the accuracy of the model of this net."""
        return self.accuracy_with(recalibrated=self.recalibrated)

    def accuracy_with(self, *, recalibrated: bool) -> float:
        """Return the accuracy with BN recalibrated, or as trained."""
        again = self.accuracy_recalibrated
        return again if recalibrated and again is not None else self.accuracy

    def mean_ap_with(self, *, recalibrated: bool) -> float | None:
        """Return the mean average precision with BN recalibrated, or as trained; None of one label a picture."""
        return self.mean_ap_recalibrated if recalibrated and self.accuracy_recalibrated is not None else self.mean_ap


class Draw(Record, frozen=True, kw_only=True):
    """One random order: for each number of blocks gone, from 0, the accuracies as in `Point`."""

    draw: Count
    accuracy: tuple[Share, ...]
    accuracy_recalibrated: tuple[Share, ...] | None

    def accuracy_with(self, *, recalibrated: bool) -> tuple[float, ...]:
        """Return the accuracies with BN recalibrated, or as trained."""
        again = self.accuracy_recalibrated
        return again if recalibrated and again is not None else self.accuracy


class Chosen(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The net that was chosen: how many blocks are gone, and why so many."""

    removed: Count
    why: str
    recalibrated: bool | None = None
    """Whether BN's statistics were measured anew for it; absent in older files, where they were if a block is gone."""


class Repaired(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The chosen net after training on; a figure is None where there are no such pictures."""

    epochs: Count
    validation_accuracy: Share | None
    mean_ap: Share | None = None
    """On the validation pictures, of several labels a picture."""
    test_accuracy: Share | None
    test_images: Count | None
    original_test_accuracy: Share | None
    """The whole net's."""
    protocol: str | None = None
    """How the test pictures were shown to it; absent also in older files."""
    kept: bool = True
    """Whether the model is the repaired one: not where that does worse on the validation pictures."""


DROWNED = 0.25
"""Of the cores' time, the share that threads waited above which speeds say nothing of the nets."""


class Trim(Measured, frozen=True, kw_only=True, tag="trim", omit_defaults=True):
    """trim.json: accuracy against depth. One that was stopped before its model was written has no `chosen`."""

    latency_protocol: str
    """How the passes were timed; empty until they are."""
    share_waited: float | None = None
    """Share of the timing that threads waited for a core, as others computed; absent until timed and in older files."""
    call: str = ""
    """Digest of what was asked and of what it is measured on: the same call goes on with one that was stopped."""
    asked: Target
    curve: tuple[Point, ...]
    """The whole net, then one block less each time."""
    random: tuple[Draw, ...]
    chosen: Chosen | None
    repaired: Repaired | None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other (ValueError)."""
        if [point.removed for point in self.curve] != list(range(len(self.curve))):
            raise ValueError("`curve` does not take out one block after the other")
        if len({frozenset(point.latency_ms or {}) for point in self.curve}) > 1:
            raise ValueError("the nets of `curve` were not timed alike")
        nets: tuple[Point | Draw, ...] = (*self.curve, *self.random)
        if len({net.accuracy_recalibrated is None for net in nets}) > 1:
            raise ValueError("some nets were recalibrated, and others not")
        lines = [one for draw in self.random for one in (draw.accuracy, draw.accuracy_recalibrated)]
        if any(line is not None and len(line) != len(self.curve) for line in lines):
            raise ValueError("`random` and `curve` are not of one length")
        if self.chosen and self.chosen.removed >= len(self.curve):
            raise ValueError("`chosen` is not on `curve`")
        if self.chosen and self.chosen.recalibrated and self.is_folded:
            raise ValueError("`chosen` is recalibrated, and `curve` is not")
        if self.repaired and not self.chosen:
            raise ValueError("`repaired` without `chosen`")

    @property
    def whole(self) -> float | None:
        """Return the whole net's accuracy, with BN as trained; None until it is measured."""
        return self.curve[0].accuracy if self.curve else None

    @property
    def deleted(self) -> list[str]:
        """Return the blocks gone, in the order in which they went."""
        return [point.deleted for point in self.curve if point.deleted is not None]

    @property
    def is_folded(self) -> bool:
        """Say whether BN's statistics were left folded into the convolutions, so that none were measured anew."""
        return any(point.accuracy_recalibrated is None for point in self.curve)

    @property
    def recalibrated(self) -> bool:
        """Say whether the chosen net's BN statistics were measured anew."""
        if self.chosen is None or self.chosen.recalibrated is None:
            return self.chosen is not None and self.chosen.removed > 0
        return self.chosen.recalibrated

    @property
    def after(self) -> float:
        """Return the chosen net's accuracy, as its model is (ValueError where none is chosen)."""
        if self.chosen is None:
            raise ValueError("no net is chosen")
        return self.curve[self.chosen.removed].accuracy_with(recalibrated=self.recalibrated)

    def is_better(self, repaired: Repaired) -> bool:
        """Say whether the repaired net does as well as the chosen one, by what nets are compared by, or that is not
        known."""
        if repaired.mean_ap is not None and self.chosen is not None:
            before = self.curve[self.chosen.removed].mean_ap_with(recalibrated=self.recalibrated)
            return before is None or repaired.mean_ap >= before
        return repaired.validation_accuracy is None or repaired.validation_accuracy >= self.after

    @property
    def by_chance(self) -> list[float]:
        """Return each draw's accuracy with as many blocks gone as are chosen, BN as in the chosen net."""
        gone = self.chosen.removed if self.chosen else 0
        return [draw.accuracy_with(recalibrated=self.recalibrated)[gone] for draw in self.random] if gone else []

    @property
    def speeds_say_something(self) -> bool:
        """Return whether threads had their cores most of the time that nets were timed, as far as that is known."""
        return (self.share_waited or 0.0) <= DROWNED

    def speed(self, point: Point, size: int) -> float:
        """Return how many times as fast as the whole net it is with `size` pictures at once (KeyError if not timed)."""
        return (self.curve[0].latency_ms or {})[size] / (point.latency_ms or {})[size]

    @property
    def batches(self) -> list[int]:
        """Return the batch sizes that were timed."""
        return sorted(self.curve[0].latency_ms or {}) if self.curve else []

    @property
    def told(self) -> list[int]:
        """Return the batch sizes whose times say something."""
        return self.batches if self.speeds_say_something else []
