"""How far the answers of a head fitted to frozen features can be trusted: its temperature, and what it does not know.

All from pictures that the head has not seen. What is found lies in the run folder: head.json, and, with each
training picture's answer, out-of-fold.safetensors.

Letters: N pictures, D features, K classes, M pictures kept to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from residuum import runs
from residuum.console import say
from residuum.data.batches import Loader
from residuum.data.cache import fingerprint
from residuum.data.labels import Labels, is_several
from residuum.evaluation.likeness import directions, kept_rows, measure_doubt
from residuum.evaluation.metrics import judge
from residuum.evaluation.temperature import fit_temperature, tempered_across
from residuum.evaluation.unseen import Unseen, write_unseen
from residuum.records.codec import write_record
from residuum.records.evaluation import Evaluation
from residuum.records.review import HeadFit, OutOfFold
from residuum.records.run import Event
from residuum.training.head import Head, Numbers
from residuum.training.resolve import Resolved


@dataclass(frozen=True)
class Calibrated:
    """A head with its temperature folded into weight and bias, where that makes unseen pictures likelier."""

    head: Head
    """Each fold's answers are at a temperature fitted to the others'."""
    temperature: float
    before: Evaluation
    after: Evaluation
    """Of the answers out of fold, without and with the temperature."""
    which: NDArray[np.int64]
    """(N,): the fold of each picture."""

    @property
    def used(self) -> bool:
        """Say whether the temperature is folded in."""
        return self.after.loss < self.before.loss


def calibrated(fitted: Head, labels: Labels, which: NDArray[np.int64], classes: Sequence[str]) -> Calibrated:
    """Fit the temperature of a head to its answers out of fold; `which` is the fold of each picture, (N,)."""
    temperature = fit_temperature(fitted.out_of_fold, labels)
    answers = tempered_across(fitted.out_of_fold, labels, which)
    before, after = (
        judge(each, labels, classes, split="out-of-fold", protocol="") for each in (fitted.out_of_fold, answers)
    )
    divided = replace(fitted, weight=fitted.weight / temperature, bias=fitted.bias / temperature, out_of_fold=answers)
    head = divided if after.loss < before.loss else fitted
    return Calibrated(head, temperature, before, after, which)


def record_trust(run: Path, resolved: Resolved, loader: Loader, x: Numbers, found: Calibrated, protocol: str) -> None:
    """Write head.json and out-of-fold.safetensors: of the `loader`'s training pictures, whose (N, D) features are x.

    `protocol` says how each was shown.
    """
    labels, classes = loader.split.labels, resolved.data.classes
    towards = directions(x)
    kept = kept_rows(labels, resolved.settings.seed)
    doubt, apart = measure_doubt(towards, kept, found.which, found.head.out_of_fold, labels)
    about = OutOfFold(
        classes=tuple(classes),
        names=tuple(loader.split.pictures.name(row) for row in range(len(labels))),
        fingerprint=fingerprint(resolved.data),
        protocol=protocol,
        likeness=doubt.likeness,
    )
    answers = found.head.out_of_fold.astype(np.float32)
    write_unseen(
        run / runs.OUT_OF_FOLD,
        Unseen(about, labels, answers, apart.astype(np.float32), towards[kept].astype(np.float16)),
    )
    fit = HeadFit(
        temperature=found.temperature,
        used=found.used,
        ece_before=found.before.ece,
        ece_after=found.after.ece,
        loss_before=found.before.loss,
        loss_after=found.after.loss,
        doubt=doubt,
    )
    write_record(run / runs.HEAD, fit)
    _tell(run, fit, several=is_several(labels))


def _tell(run: Path, fit: HeadFit, *, several: bool) -> None:
    """Say what came of it; the page shows it as an event."""
    strangers = fit.doubt.strangers
    whose = "pictures that share no label with any trained on" if several else "a class left out of training"
    often = ": strangers often pass as known" if strangers < 0.5 else ""
    message = (
        'answers to pictures unlike those trained on are called "unsure": '
        f"{fit.doubt.likeness.known:.1%} of pictures such as these, and {strangers:.1%} of {whose}{often}"
    )
    say(message)
    runs.append_metrics(run, Event(step=0, message=message))
