"""What is said of one picture: an answer, or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from residuum.choices import EngineName, EnginePrecision
from residuum.data.labels import CALLED
from residuum.errors import UserError
from residuum.records.explained import why_too_little, why_unsure


@dataclass(frozen=True)
class Answer:
    """The likeliest classes of one picture, likeliest first, with their probabilities; of several labels a picture all
    that are called, too.
    """

    picture: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    distance: float | None = None
    """From the nearest pictures trained on (evaluation/likeness.py); None where the model does not know them."""
    threshold: float | None = None
    """The greatest distance of a picture that is like them."""
    engine: EngineName = "torch"
    """What computed it."""
    precision: EnginePrecision = "float32"
    """In what numbers."""
    several: bool = False
    """Whether the picture may show any number of classes, each answered for itself."""
    separator: str = ";"
    """What stands between labels where they are one text: of a model always the same, and in no class's name."""
    call_from: float = CALLED
    """The probability from which on a label is called."""
    at_least: float | None = None
    """Of one label a picture: the probability below which the likeliest class is unsure; None if there is none."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Return the labels called, likeliest first: those of a probability of `call_from` or more, which may be none;
        None of one label a picture."""
        return self.classes[: called_of(self.probabilities, self.call_from)] if self.several else None

    @property
    def best(self) -> str:
        """Return the likeliest class."""
        return self.classes[0]

    @property
    def unsure(self) -> bool | None:
        """Say whether the answer means little: the picture is unlike those trained on, or the likeliest class has less
        than `at_least`. None where nothing tells: the model does not know those pictures, and `at_least` is None.
        """
        is_known = self.distance is not None and self.threshold is not None
        return bool(self.reason) if is_known or self.at_least is not None else None

    @property
    def reason(self) -> str:
        """Return why it is unsure, in words; "" if it is not."""
        each = why_unsure(self.distance, self.threshold), why_too_little(self.probabilities[0], self.at_least)
        return "; ".join(filter(None, each))

    def as_json(self) -> dict[str, Any]:
        """Return {"picture", "answers": [{"class", "probability"}, …], "engine", "precision"}; of several labels a
        picture {"labels": ["class", …]}, those called; {"unsure", "reason"}, absent where nothing tells; and
        {"distance", "threshold"}, absent where the model does not know the pictures it was trained on.
        """
        pairs = zip(self.classes, self.probabilities, strict=True)
        found: dict[str, Any] = {"picture": self.picture, "answers": [{"class": c, "probability": p} for c, p in pairs]}
        if self.labels is not None:
            found["labels"] = list(self.labels)
        found |= {"engine": self.engine, "precision": self.precision}
        if self.unsure is None:
            return found
        limits = {} if self.distance is None else {"distance": self.distance, "threshold": self.threshold}
        return {**found, "unsure": self.unsure, "reason": self.reason, **limits}


def called_of(probabilities: Sequence[float], call_from: float) -> int:
    """Return how many classes are called, of several labels a picture, by probabilities with the greatest first."""
    return sum(one >= call_from for one in probabilities)


@dataclass(frozen=True)
class Unanswered:
    """A picture that cannot be read, and why."""

    picture: str
    error: UserError

    def as_json(self) -> dict[str, Any]:
        """Return {"picture", "error"}."""
        return {"picture": self.picture, "error": self.why}

    @property
    def why(self) -> str:
        """Return the cause, in words."""
        return self.error.why or self.error.what
