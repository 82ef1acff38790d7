"""The sentences on several labels a picture: what its figures say, which are others than those of one label."""

from residuum.records.evaluation import Evaluation
from residuum.reporting.wording import counted, isolated, percent, with_interval


def verdict(found: Evaluation, which: str) -> str:
    """Say mean average precision; `which` says whether the net has seen the pictures."""
    assert found.mean_ap is not None
    precise = f"the mean average precision is {with_interval(found.mean_ap)}"
    right = f"Its likeliest label is right for {percent(found.top1.value)}"
    shown = f"a picture shows {found.labels_a_picture:.3g} labels in the mean"
    return f"Of {counted(found.images, 'picture')} {which}, {precise}. {right}; {shown}."


def scale(found: Evaluation) -> str:
    """Say what an order by chance would score, and whether the likeliest label is righter than the commonest."""
    chance = f"Pictures in an order by chance would have {percent(found.mean_ap_by_chance)} in the mean."
    return " ".join(filter(None, (chance, lazy(found))))


def lazy(found: Evaluation) -> str:
    """Say that the likeliest label is no righter than the commonest, where it is not."""
    if found.commonest is None or not found.is_lazy:
        return ""
    name, share = found.commonest
    how = "no better" if found.top1.value <= share else "not better, as far as these pictures tell"
    always = f"The likeliest label would be right for {percent(share)} were it always {isolated(name)}"
    return f"{always}: this net is {how}."


def never_called(found: Evaluation) -> tuple[str, ...]:
    """Return the classes that pictures show and that were called for none."""
    return tuple(one.name for one in found.per_class if one.images and one.known("precision") is None)


def calibration(sure: float, there: float, kind: str) -> str:
    """Say how likely labels are called in the mean, and how many are there."""
    means = f"It gives labels a mean probability of {percent(sure)}, and pictures show {percent(there)} of them"
    claims = {"over-confident": "it claims too much", "under-confident": "it claims too little"}
    return f"{means}: overall {claims.get(kind, f'it is {kind}')}."
