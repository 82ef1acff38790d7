"""What runs answered to training pictures that they had not seen, picture by picture, by the pictures' content.

So runs are compared on those that all of them have, by the labels that each gave them, though a folder was mended in
place. Letters: N pictures, K classes.
"""

import json
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from residuum.errors import UserError
from residuum.records.codec import from_json
from residuum.records.evaluation import OUT_OF_FOLD, Measure
from residuum.records.numbers import wilson
from residuum.records.review import OutOfFold
from residuum.reporting.one_run import OneRun
from residuum.runs import OUT_OF_FOLD as OUT_OF_FOLD_FILE
from residuum.runs import PICTURES


class Answers(NamedTuple):
    """One run's training pictures, each answered by a last layer that had not seen it."""

    pictures: Sequence[bytes]
    """(N,), by what each is known; copies are known by the same."""
    labels: Sequence[str]
    """(N,), the class each stood under."""
    called: Sequence[str]
    """(N,), the likeliest class."""
    before: Set[bytes] = frozenset()
    """What the weights had learnt that training started from: no answer to these is of a net that had not seen them."""


class SharedPictures:
    """The pictures that all of some runs have."""

    def __init__(self, answers: Sequence[Answers]) -> None:
        """Keep each run's answers, and what the pictures are known by that all have."""
        self.answers = answers
        common = frozenset.intersection(*(frozenset(one.pictures) for one in answers))
        self.pictures = common.difference(*(one.before for one in answers))
        # Of copies the first counts, as `residuum evaluate` has it.
        self._called = [dict(zip(reversed(one.pictures), reversed(one.called), strict=True)) for one in answers]

    def count(self, labels: int) -> int:
        """Return how many of the pictures of the run at `labels` all have, copies with them."""
        return sum(1 for _ in self._rows(labels))

    def lacks_some(self) -> bool:
        """Say whether some run has pictures besides these."""
        return any(not self.pictures.issuperset(one.pictures) for one in self.answers)

    def classes(self, labels: int) -> list[str]:
        """Return the classes that the run at `labels` has them under."""
        return list(dict.fromkeys(name for _, _, name in self._rows(labels)))

    def right(self, run: int, labels: int) -> list[bool]:
        """Say of each of them whether the run at `run` names it as the one at `labels` has it."""
        if run == labels:
            called = self.answers[run].called
            return [called[row] == name for row, _, name in self._rows(labels)]
        theirs = self._called[run]
        return [theirs[picture] == name for _, picture, name in self._rows(labels)]

    def accuracy(self, run: int, labels: int) -> Measure:
        """Return the share of these, with Wilson's interval."""
        right = self.right(run, labels)
        low, high = wilson(sum(right), len(right))
        return Measure(value=sum(right) / len(right), low=low, high=high)

    def _rows(self, labels: int) -> Iterator[tuple[int, bytes, str]]:
        its = self.answers[labels]
        for row, (picture, name) in enumerate(zip(its.pictures, its.labels, strict=True)):
            if picture in self.pictures:
                yield row, picture, name


def shared_pictures(runs: Sequence[OneRun]) -> SharedPictures | None:
    """Return what these runs' own figures are of, picture by picture; None where they are of other pictures than those
    answered out of fold, or of several labels, or a run did not keep them, or none is common to all.

    Raises:
        UserError: a file of theirs is damaged.
    """
    if any(run.several or run.evaluation is None or run.evaluation.split != OUT_OF_FOLD for run in runs):
        return None
    read = [read_answers(run.record.path) for run in runs]
    kept = [one for one in read if one is not None]
    shared = SharedPictures(kept) if len(kept) == len(runs) > 1 else None
    return shared if shared and shared.pictures else None


def read_answers(run: Path) -> Answers | None:
    """Read a run's answers out of fold; None where it did not keep them (UserError if a file is damaged)."""
    paths = run / OUT_OF_FOLD_FILE, run / PICTURES
    if not all(path.is_file() for path in paths):
        return None
    (found, metadata), (known, _) = _tensors(paths[0], "labels", "probabilities"), _tensors(paths[1], "train", "before")
    with suppress(ValueError, KeyError, IndexError, AttributeError):
        about = from_json(json.loads(metadata["residuum"]), OutOfFold, f"what {paths[0]} says of itself")
        pictures = [row.tobytes() for row in known["train"]]
        called = [about.classes[k] for k in found["probabilities"].argmax(axis=1).tolist()]
        labels = [about.classes[k] for k in found["labels"].tolist()]
        if len(pictures) == len(called) == len(labels):
            return Answers(pictures, labels, called, frozenset(row.tobytes() for row in known.get("before", ())))
    raise UserError(f"{run} is damaged", f"{paths[0].name} and {paths[1].name} do not fit each other", "train again")


def _tensors(path: Path, *names: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Read some tensors of a safetensors file as NumPy's, and its metadata (UserError if it is damaged)."""
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in names if name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged", str(error), "bring it back, or remove it") from error
