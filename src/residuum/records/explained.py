"""Why a net answers as it does: explained.json, and the heat maps beside mistakes."""

from typing import Annotated

from msgspec import Meta, field

from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.numbers import Amount, Count, Share

FIRST_ALONE = "the first of these views alone"
"""What maps are of where answers are means over several views."""
Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]


class Heat(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where in a picture lies what speaks for a class."""

    method: str
    picture: str
    """The picture in grey under the map, as a PNG data URI."""
    x: Share
    """Where the map is highest: the share of the width to the left of it."""
    y: Share
    """The share of the height above it."""
    values: tuple[tuple[Share, ...], ...] = ()
    """The map itself, row by row from the top, its highest value 1; left out beside mistakes."""


class Said(Record, frozen=True, kw_only=True):
    """A class and its probability; rounding may put it a hair above 1."""

    name: str = field(name="class")
    probability: Amount


class Reading(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What the net would answer if it ended behind a block: the branches of all later ones are left out."""

    block: str
    """Its name: "stage1.block2"."""
    said: Said
    probabilities: tuple[Amount, ...]
    """Those of the whole net's answers, in their order."""
    labels: tuple[str, ...] | None = None
    """Of several labels a picture: the classes that it would call, of at least 0.5, likeliest first."""


class Neighbour(Record, frozen=True, kw_only=True):
    """A training picture that the net's last layer sees much as the picture explained."""

    name: str
    """What a person calls it."""
    truth: str
    similarity: Cosine
    """The cosine of the two pictures' features."""
    thumbnail: str
    """As a PNG data URI."""
    same: bool = False
    """Whether it is the very picture explained, to the pixel, so that the net was trained on that; in files of 0.1.0
    never."""


def why_unsure(distance: float | None, threshold: float | None) -> str:
    """Say how far a picture is beyond what is like those trained on; "" where it is not, or that is not known."""
    if distance is None or threshold is None or distance <= threshold:
        return ""
    places = next((n for n in range(3, 9) if f"{distance:.{n}f}" != f"{threshold:.{n}f}"), 9)  # else they read as one
    return f"unlike the training pictures: {distance:.{places}f} from the nearest, {threshold:.{places}f} is the limit"


def why_too_little(probability: float, at_least: float | None) -> str:
    """Say that the likeliest class has less than it should; "" where it has not, or nothing was asked."""
    if at_least is None or probability >= at_least:
        return ""
    places = next((n for n in range(1, 7) if f"{probability:.{n}%}" != f"{at_least:.{n}%}"), 7)  # else they read as one
    return f"the likeliest class has {probability:.{places}%}, less than {at_least:.{places}%}"


class ExplainedPicture(Record, frozen=True, kw_only=True):
    """One picture."""

    name: str
    seen: str
    """What the net was shown of it, as a PNG data URI."""
    answers: tuple[Said, ...]
    """The likeliest classes, likeliest first."""
    heat_of: str
    """The class that the maps are of."""
    heat: tuple[Heat, ...]
    blocks: tuple[Reading, ...]
    """In the net's order; blocks behind which a plain net has nothing for its last layer are left out."""
    nearest: tuple[Neighbour, ...]
    """Nearest first."""
    distance: float | None = None
    """From the pictures trained on, and"""
    threshold: float | None = None
    """the greatest of a picture like them; None where the model does not know them, and in files of 0.1.0."""
    labels: tuple[str, ...] | None = None
    """Of several labels a picture: the classes called, of at least 0.5, likeliest first; all are among the answers."""

    @property
    def trained_on(self) -> bool:
        """Say whether the picture is known to be one of those that the net was trained on."""
        return any(one.same for one in self.nearest)

    @property
    def doubt(self) -> str:
        """Return why it is unsure, in words; "" if it is not, or cannot tell."""
        return why_unsure(self.distance, self.threshold)

    @property
    def settled(self) -> str:
        """Return the block from which on the net would give its answer, or call the same classes."""
        others = [i for i, one in enumerate(self.blocks) if not self._stands(one)]
        return self.blocks[others[-1] + 1 if others else 0].block

    def _stands(self, behind: Reading) -> bool:
        if self.labels is None:
            return behind.said.name == self.answers[0].name
        return set(behind.labels or ()) == set(self.labels)


class Explained(Record, frozen=True, kw_only=True):
    """explained.json."""

    model: str
    """What the model is called."""
    shortcut: str
    last_stage: Count
    """How many blocks the net's last stage has."""
    protocol: str
    """How each picture was shown to the net for its answers; files of 0.1.0 name a single view where several were."""
    maps: str = ""
    """Which of those views the maps are of; files of 0.1.0 do not say."""
    unseen: bool = False
    """Whether the run keeps answers to its training pictures of nets that had not seen them."""
    searched: str
    """Among which training pictures the nearest were looked for, or why none was."""
    pictures: tuple[ExplainedPicture, ...]
    environment: Environment
