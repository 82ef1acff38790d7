"""What says whether pictures and answers can be trusted: head.json, review.json, and what lies beside the arrays of
out-of-fold.safetensors.
"""

from typing import Literal

from residuum.records.codec import Record
from residuum.records.evaluation import Measure
from residuum.records.numbers import Amount, Count, Share

# --- what fitting the last layer found ------------------------------------------------------------


class Likeness(Record, frozen=True, kw_only=True):
    """From where on a picture is unlike those trained on; a model file has their features beside it."""

    neighbours: Count
    threshold: Amount
    """The greatest mean cosine distance to that many nearest training pictures that passes as like them."""
    known: Share
    """The share of the training pictures beyond it, each looked up among those of other folds, or, in a trimmed net,
    among all others that are kept."""


class DoubtPoint(Record, frozen=True, kw_only=True):
    """What one threshold would call unsure."""

    known: Share
    """Of the training pictures."""
    strangers: Share
    """Of the same pictures, had their class been missing from those trained on."""


class Doubt(Record, frozen=True, kw_only=True):
    """What it costs and gains to say "unsure" of pictures unlike those trained on."""

    likeness: Likeness
    curve: tuple[DoubtPoint, ...]
    """From few of the training pictures on."""
    strangers: Share
    """At the threshold: see DoubtPoint."""
    sure: Measure | None
    """The share of right answers among the training pictures that are not unsure; None if all are."""


class HeadFit(Record, frozen=True, kw_only=True):
    """head.json: how far the answers of a last layer fitted to frozen features can be trusted, all out of fold."""

    temperature: Amount
    """What logits are best divided by (Guo et al. 2017, eq. 9)."""
    used: bool
    """Whether the last layer is divided by it: where `loss_after` is lower."""
    ece_before: Measure
    ece_after: Measure
    """Each fold's answers at a temperature fitted to the others'."""
    loss_before: Amount
    """Mean negative log-likelihood, in nats, here and below."""
    loss_after: Amount
    doubt: Doubt

    @property
    def applied(self) -> float:
        """Return the temperature that the last layer holds."""
        return self.temperature if self.used else 1.0


class OutOfFold(Record, frozen=True, kw_only=True):
    """What out-of-fold.safetensors says of its N rows. Tensors: labels (N,), or (N, K) of several a picture,
    probabilities (N, K), distances (N,) to the nearest pictures of other folds, and the features (M, D) of those kept
    to compare with, of length 1.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    """What a person calls each training picture."""
    fingerprint: str
    """Of the data."""
    protocol: str
    likeness: Likeness


# --- a review of the pictures -----------------------------------------------------------------------

FindingKind = Literal["label", "copies", "unlike", "classes"]


class Shown(Record, frozen=True, kw_only=True):
    """A picture that a finding is about."""

    split: str
    name: str
    """What a person calls it."""
    label: str
    """The class it stands under; of several labels all of them, "ants, flower", or "–" where there is none."""
    labels: tuple[str, ...] = ()
    """Of several labels a picture, each by itself."""
    thumbnail: str = ""
    """The picture made small, as a PNG data URI; left out beyond the first of a kind."""


class Finding(Record, frozen=True, kw_only=True):
    """Something to look at."""

    kind: FindingKind
    """label: perhaps under the wrong class, or, of several labels, one wrong or missing. copies: the same picture, or
    nearly. unlike: like no other picture.
    classes: two classes that the answers cannot tell apart."""
    score: float
    """What the findings of a kind are ordered by: the lower, the surer."""
    reason: str
    named: tuple[tuple[Count, Count], ...] = ()
    """Where in `reason` names of classes begin and end, in order; of findings of 0.1.0 it is not known."""
    pictures: tuple[Shown, ...]
    suggested: str | None = None
    """The likeliest class, where the label may be wrong; of several labels a picture all that it would then have."""
    suggested_labels: tuple[str, ...] = ()
    """The same of several labels a picture, each by itself."""
    classes: tuple[str, ...] = ()
    """The two that cannot be told apart."""


class Review(Record, frozen=True, kw_only=True):
    """review.json: what was found in a run's pictures, the surest of each kind first."""

    data: str
    """Where the pictures lie."""
    fingerprint: str
    pictures: Count
    """How many were looked at, in all splits."""
    answers: str
    """Whose answers the labels were held against, in a sentence."""
    answered: Count
    """How many pictures these were."""
    by_luck: Amount | None = None
    """How many labels would be expected among the findings were none wrong and the answers as right as they are sure;
    those that are wrong make it larger. None where no label was held against an answer, and in reviews of 0.1.0."""
    several: bool = False
    """Whether a picture may show several classes: a label is then one of them, or one that is missing."""
    misspelt: tuple[tuple[str, Count, str, Count], ...] = ()
    """Classes of few pictures, and the much more frequent ones whose names are nearly theirs, with their pictures."""
    findings: tuple[Finding, ...]

    def of_kind(self, kind: FindingKind) -> list[Finding]:
        """Return the findings of one kind, the surest first."""
        return [one for one in self.findings if one.kind == kind]
