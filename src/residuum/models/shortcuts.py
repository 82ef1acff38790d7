"""The shortcuts of the family, a row each: what h is, how F joins it, and what follows for growing and lesions.

Options A, B, C: He et al. 2015 (arXiv 1512.03385), sec. 3.3. The others: 2016 (arXiv 1603.05027), fig. 2, Table 1.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from residuum.choices import Shortcut


@dataclass(frozen=True, kw_only=True)
class ShortcutKind:
    """One shortcut. What no row says is the identity of option A, added."""

    h: Literal["nothing", "identity", "projection", "convolution", "dropout"] = "identity"
    """projection: a 1×1 convolution and its BN (W_s of 2015, eq. 2); convolution: without BN; dropout: on the identity.
    The identity has zero channels where they grow."""
    projects: Literal["never", "where the shape changes", "everywhere"] = "never"
    """Where a 1×1 convolution stands in the identity's place."""
    joined: Literal["sum", "scaled sum", "gated sum", "exclusively gated sum"] = "sum"
    """How F joins h: F + h, or as ScaledAdd and GatedAdd in models/block.py say."""
    changes: str | None = None
    """Why a block whose branch gives zero is not the identity, in training; None: it is, where the shape stays."""
    passes: bool = False
    """Whether, in evaluation, h hands on what it gets where the shape stays."""

    def projects_at(self, changes_shape: bool) -> bool:
        """Say whether h has a 1×1 convolution in a block that changes the shape, or does not."""
        return self.projects == "everywhere" or (self.projects != "never" and changes_shape)


_LEARNT = "is learnt in every block, so a branch of zero is not the identity; options A and B have the identity"
_GATED = "the gate scales the shortcut, so a branch of zero is not the identity"

SHORTCUTS: dict[Shortcut, ShortcutKind] = {
    "none": ShortcutKind(
        h="nothing",
        changes="a plain net has no shortcuts: its layers would have to learn the identity, which is what the paper "
        "found them not to do (He et al. 2015, sec. 1 and 3.1)",
    ),
    "A": ShortcutKind(passes=True),
    "B": ShortcutKind(h="projection", projects="where the shape changes", passes=True),
    "C": ShortcutKind(h="projection", projects="everywhere", changes=f"option C's shortcut {_LEARNT}"),
    "1x1": ShortcutKind(h="convolution", projects="everywhere", changes=f"the 1×1 shortcut {_LEARNT}"),
    "constant": ShortcutKind(
        joined="scaled sum",
        changes="the shortcut is multiplied by a constant, so a branch of zero is not the identity",
    ),
    "exclusive-gating": ShortcutKind(joined="exclusively gated sum", changes=_GATED),
    "shortcut-gating": ShortcutKind(joined="gated sum", changes=_GATED),
    "dropout": ShortcutKind(
        h="dropout",
        changes="dropout on the shortcut changes it in training, so a branch of zero is not the identity",
        passes=True,
    ),
}


def unlisted(rows: dict[Shortcut, ShortcutKind]) -> set[str]:
    """Return the shortcuts that have a name and no row, or a row and no name."""
    return set(get_args(Shortcut)) ^ set(rows)


if unlisted(SHORTCUTS):
    raise TypeError(f"choices.Shortcut and models/shortcuts.py differ in {unlisted(SHORTCUTS)}")
