"""sweep.json: what a sweep varied, and what each combination of settings came to, with its spread over seeds."""

from typing import Any, Literal

from residuum.choices import SplitName, SweepCost
from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.numbers import Amount, Count, Share
from residuum.records.study import Quantity

SURE_BELOW = 0.05
CLEAR, ALONE = "more than luck", "clear only by itself"
Standing = Literal["front", "near", "behind"]


class Failed(Record, frozen=True):
    """A run that was not trained to its end."""

    run: str
    """Its folder's name."""
    seed: Count
    why: str


class Combination(Record, frozen=True, kw_only=True):
    """One combination of settings, and its runs; what none of them says is None."""

    values: dict[str, str]
    """Each setting that varies, in words."""
    runs: tuple[str, ...]
    """The folders' names of those that have finished, in the order of seeds, below runs/."""
    failed: tuple[Failed, ...]
    accuracy: Quantity | None
    """In per cent, of the pictures that the sweep is judged on; of several labels a picture the mean average
    precision, as the next."""
    test: Quantity | None
    """The same of the test pictures, which decide nothing."""
    seconds: Quantity | None
    """What training took, without validation."""
    training: Amount | None
    """Multiply-adds of the whole training: three times those of a picture, for each picture seen."""
    inference: Count | None
    """Multiply-adds for one picture."""
    parameters: Count | None
    standing: Standing | None = None
    """front: no other is as accurate, in the mean, at no higher cost. near: one is, but within two standard errors of
    the difference. behind: one is, beyond them."""

    def cost(self, kind: SweepCost) -> float | None:
        """Return what it costs, of this kind."""
        if kind == "seconds":
            return self.seconds.mean if self.seconds else None
        found: float | None = getattr(self, kind)
        return found


class Difference(Record, frozen=True, kw_only=True):
    """What one value of a setting adds to the figure of another, all other settings alike (sweeps/differences.py)."""

    setting: str
    one: str
    other: str
    """The value that is taken off."""
    alike: dict[str, str]
    """The values of the other settings that vary."""
    points: float
    """The mean of `one` less that of `other`, in percentage points."""
    interval: tuple[float, float] | None
    """Of 95 %, over seeds; None where they show no spread, as of a single one."""
    paired: bool
    """Whether differences were taken seed by seed, or else both have their own seeds (Welch)."""
    p: Share | None
    """The chance of a difference as large where there is none."""
    holm: Share | None = None
    """The same, corrected for all the sweep's differences (Holm)."""

    @property
    def verdict(self) -> str:
        """Say whether it is more than luck: among all the sweep's, or were it the only one that was looked at."""
        if self.holm is None or self.p is None:
            return "no spread, no answer"
        return CLEAR if self.holm < SURE_BELOW else ALONE if self.p < SURE_BELOW else "may be luck"


class SweepRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """sweep.json."""

    kind: Literal["sweep"]
    data: str
    command: str
    """The line that repeats the sweep, or goes on with it."""
    over: dict[str, tuple[str, ...]]
    """What varied, and its values in words."""
    seeds: tuple[Count, ...]
    cost: SweepCost
    several: bool = False
    """Whether a picture may show several classes: what combinations are compared by is then mean average precision."""
    judged_on: SplitName | None
    """The pictures of which accuracy speaks; None where no run has finished."""
    settings: dict[str, Any]
    """What was asked for that did not vary."""
    combinations: tuple[Combination, ...]
    notes: tuple[str, ...]
    environment: Environment
    differences: tuple[Difference, ...] = ()
    """Of each two values of each setting that varies; none where figures are of different splits."""

    @property
    def told(self) -> str:
        """Say how many differences are more than luck; "" where there are none."""
        if not self.differences:
            return ""
        clear, alone = (sum(one.verdict == words for one in self.differences) for words in (CLEAR, ALONE))
        said = f"Differences that are more than luck: {clear:,} of {len(self.differences):,}."
        more = f" By themselves {alone:,} more would be: more seeds may tell." if alone else ""
        return said + more

    @property
    def figure(self) -> str:
        """Return what combinations are compared by: accuracy, or of several labels mean average precision."""
        return figure(several=self.several)


def figure(*, several: bool) -> str:
    """Return what runs are compared by, of one label a picture or of several."""
    return "mean average precision" if several else "accuracy"
