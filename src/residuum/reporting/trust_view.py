"""What the page says of a run's pictures, and of what its head does not know."""

from msgspec.structs import replace

from residuum.plain_data import quoted
from residuum.records.review import Finding, FindingKind, HeadFit, Review
from residuum.reporting import svg
from residuum.reporting.charts import Picture, Series, XAxis, YAxis, curves
from residuum.reporting.wording import NBSP, counted, isolated, percent, shown, with_interval
from residuum.runs import RunRecord

KINDS: dict[FindingKind, tuple[str, str]] = {
    "label": (
        "Perhaps under the wrong class",
        "To look at, the most doubtful first: a net that has not seen the picture names another class, and the "
        "pictures nearest to it do not outweigh that. Many may be right, and hard.",
    ),
    "copies": (
        "The same picture, or nearly",
        "Copies in two splits make figures look too good; copies under two classes cannot both be right.",
    ),
    "unlike": (
        "Like no other picture",
        "The loneliest first. They may be rare and right, or here by mistake. The distance is 0 to the same picture, "
        "and 1 where the net sees nothing in common. The limit is of all these pictures; “unsure” has its own.",
    ),
    "classes": ("Classes that cannot be told apart", "Of these two the answers know no better than chance."),
}

OF_SEVERAL: dict[FindingKind, tuple[str, str]] = {
    "label": (
        "Perhaps a wrong label, or one missing",
        "To look at, the most doubtful first: a net that has not seen the picture gives a label that it has no more "
        "than its share of all pictures, or one that it lacks one half, or as much as pictures with it in the mean. "
        "No label is missed that was given less than 5 %, or that fewer than five pictures have. "
        "That a rare label is given less counts. Many may be right, and hard.",
    ),
    "copies": (
        KINDS["copies"][0],
        "Copies in two splits make figures look too good; copies with different labels cannot all be right.",
    ),
    "unlike": KINDS["unlike"],
}
"""Of several labels a picture."""

MOST_NAMES = 10
"""Classes that may be misspelt, of which so many are named."""
UNSURE = YAxis("called unsure", svg.percent_tick, percent, is_share=True)
KNOWN = XAxis(
    "training pictures called unsure", lambda x: f"{percent(x)} of the training pictures", True, svg.percent_tick
)


def groups(review: Review | None) -> list[tuple[str, str, list[Finding]]]:
    """Return title, what it means, and findings of each kind that has any."""
    if review is None:
        return []
    kinds = OF_SEVERAL if review.several else KINDS
    luck = "" if review.by_luck is None else f" {_by_luck(review.by_luck)}"
    said = {kind: (title, meaning + luck * (kind == "label")) for kind, (title, meaning) in kinds.items()}
    found = [(*said[kind], list(map(_in_words, review.of_kind(kind)))) for kind in kinds]
    return [group for group in found if group[2]]


def _by_luck(expected: float) -> str:
    doubt = f"By the net's own doubt about {expected:,.0f} would stand here were every label right"
    return f"{doubt}; labels that are wrong make that number larger, too."


def _in_words(finding: Finding) -> Finding:
    """Set the classes in a finding's reason apart, which are somebody's names in a sentence of ours."""
    said, behind = "", 0
    for start, end in finding.named:
        said += finding.reason[behind:start] + isolated(finding.reason[start:end])
        behind = end
    return replace(finding, reason=said + shown(finding.reason[behind:]) if behind < len(finding.reason) else said)


def doubt_chart(head: HeadFit, *, several: bool) -> list[Picture]:
    """Draw the share of strangers called unsure against that of the training pictures."""
    missing = "had their labels been missing" if several else "had their class been missing"
    points = [(point.known, point.strangers) for point in head.doubt.curve]
    line = Series(missing, points, 0)
    mark = (head.doubt.likeness.known, "the threshold that is used")
    note = "The mark is the threshold in use. To the right more pictures are called unsure, of both kinds."
    return [Picture(f"Called unsure, {missing}", curves([line], UNSURE, [mark], KNOWN), note=note)]


def doubt_words(head: HeadFit, *, several: bool) -> list[str]:
    """Say what "unsure" means, costs and gains, and what the temperature did."""
    likeness, doubt = head.doubt.likeness, head.doubt
    used = "The net does so." if head.used else "The loss is no lower, so the net leaves them as they are."
    right = "have a likeliest label that is right" if several else "are answered right"
    rest = f" Of the rest {with_interval(doubt.sure)} {right} out of fold." if doubt.sure else ""
    passing = " Most pass as known." if doubt.strangers < 0.5 else ""
    stays = "changes no label that is called" if several else "leaves the likeliest class as it is"
    return [
        f"An answer is called unsure where the picture is unlike those trained on: what the net sees in it lies "
        f"further than {likeness.threshold:.3g} from what it sees in the {likeness.neighbours} training pictures most "
        "like it. "
        "That is the mean cosine distance of features: 0 of the same picture, 1 where two have nothing in common.",
        f"What it costs: {percent(likeness.known)} of the training pictures, each compared with others "
        f"alone, are called unsure.{rest}",
        _gain(doubt.strangers, several=several)
        + f"{passing} As a rule something quite different is noticed more often than a class so like the others.",
        "How sure it is: one number, the temperature, makes all answers bolder (below 1) or more cautious (above 1) "
        f"and {stays}: the scores behind the probabilities are divided by it. Fitted to "
        f"pictures that were not seen it is {head.temperature:.2f}: the calibration error is then "
        f"{percent(head.ece_after.value)} instead of {percent(head.ece_before.value)}, and the loss "
        f"{head.loss_after:.3f} instead of {head.loss_before:.3f}{NBSP}nats. {used}",
    ]


def _gain(strangers: float, *, several: bool) -> str:
    if several:
        called = f"{percent(strangers)} are called unsure"
        return f"What it gains: of pictures that share no label with any trained on, {called}."
    its = f"{percent(strangers)} of its pictures"
    return f"What it gains: when a class is left out of training, {its} are called unsure."


def no_doubt(record: RunRecord) -> str:
    """Say why the net of a finished run never says "unsure", and how to get one that does; "" if it does."""
    if record.head is not None or record.evaluation is None:
        return ""
    answers = "answers for each of its classes" if record.several else "names one of its classes"
    return (
        f"This net never says “unsure”: it {answers} whatever a picture shows, and does not know which "
        "pictures are unlike those it was trained on. A net that begins with trained weights and is fitted to few "
        "pictures does: residuum train DATA --start WEIGHTS --tune head."
    )


def review_words(record: RunRecord) -> str:
    """Say what was looked at, or how to."""
    if record.review is None:
        how = f"residuum data review {quoted(shown(record.path))}"
        return f"Not looked at yet: {how} looks for wrong labels, copies and pictures like no other."
    looked = f"{counted(record.review.pictures, 'picture')} were looked at"
    labels = f"labels were held against the answers {record.review.answers} ({record.review.answered:,})"
    said = f"{looked}; {labels}. Nothing was moved or deleted; review.csv beside this page lists everything."
    return " ".join([said, *map(_near, record.review.misspelt[:MOST_NAMES])])


def _near(pair: tuple[str, int, str, int]) -> str:
    name, its, other, others = pair
    return f"Class {isolated(name)} ({its:,}) is called nearly as {isolated(other)} ({others:,}): is it misspelt?"
