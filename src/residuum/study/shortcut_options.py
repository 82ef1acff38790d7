"""Options A, B and C for the shortcuts, against none: does the way the shape is matched matter?"""

from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
from residuum.study.variants import (
    Found,
    Variant,
    cost_table,
    error_bars,
    errors,
    loss_lines,
    settings_in_common,
    train_each,
)
from residuum.study.verdict import Verdict, above, below, decide

OPTIONS = ("none", "A", "B", "C")
SHARE = 0.5
"""Of option A's gain over none: what projections may add, to count as not essential. The paper's add 0.15 and 0.24."""


def measure(means: Means) -> Findings:
    """Train the net with each option, at every depth, with every seed."""
    depths = (20, 56) if means.scale == "full" else (20,)
    variants = [_variant(option, depth, depth == depths[-1]) for depth in depths for option in OPTIONS]
    found = train_each(means, variants)
    measured = errors(variants, found)
    q = measured | _room_left(measured) | _parameters(found)
    at = f"{depths[-1]} layers"
    return Findings(
        q,
        Words(
            f"Test error at {at}: none {q['none-test']}, A {q['A-test']}, B {q['B-test']}, C {q['C-test']}.",
            f"{depths[-1]} 层时的测试误差：无捷径 {q['none-test']}，A {q['A-test']}，B {q['B-test']}，"
            f"C {q['C-test']}。",
        ),
        (*error_bars(variants, q), loss_lines(variants, found)),
        (cost_table(variants, found),),
        (
            "The paper's table is of 34 layers on ImageNet, where none is at 28.54 %, A 25.03, B 24.52, C 24.19. At 20 "
            "layers its own nets with and without shortcuts differ little.",
            "The order of A, B and C among themselves is measured but not judged: the paper's gaps of 0.3 to 0.5 "
            "points are below what few seeds can tell.",
        ),
        settings_in_common(variants, found),
    )


def _variant(option: str, depth: int, deepest: bool) -> Variant:
    key = option if deepest else f"{option}-{depth}"
    if option == "none":
        return Variant(key, f"plain{depth}, none", f"plain{depth}")
    choices = {} if option == "A" else {"shortcut": option}
    return Variant(key, f"resnet{depth}, {option}", f"resnet{depth}", choices)


def _room_left(q: Quantities) -> dict[str, Quantity]:
    """What is left of half of A's gain over none when a projection's gain over A is taken off, in each seed."""
    return {
        f"{option}-room": Quantity(
            f"half of A's gain over none, less {option}'s gain over A",
            tuple(
                SHARE * (none - a) - (a - projected)
                for none, a, projected in zip(
                    q["none-test"].values, q["A-test"].values, q[f"{option}-test"].values, strict=True
                )
            ),
            "points",
        )
        for option in ("B", "C")
    }


def _parameters(found: Found) -> dict[str, Quantity]:
    """Parameters at the greatest depth: none and A have equally many, so that they compare fairly."""
    return {
        f"{option}-parameters": Quantity(
            f"parameters, {option}", (found[option][0].settings.summary.parameters,), exact=True
        )
        for option in OPTIONS
    }


def judge(q: Quantities) -> Verdict:
    """Each option is better than none, and projections add less to A than half of what A added to none."""
    return decide(
        *(below(q[f"{option}-test"], q["none-test"]) for option in ("A", "B", "C")),
        *(above(q[f"{option}-room"], 0.0) for option in ("B", "C")),
    )


STUDY = Study(
    name="shortcut-options",
    title=Words("Shortcut options A, B, C", "捷径连接的选项 A、B、C"),
    question=Words(
        "Is the identity enough as a shortcut, or are projections needed?",
        "恒等捷径是否已经足够，还是必须使用投影捷径？",
    ),
    claim=Words(
        "Options A, B and C are all considerably better than no shortcut; they differ little among themselves, so "
        "projections are not essential.",
        "选项 A、B、C 都明显优于没有捷径的普通网络；三者之间差别很小，因此投影捷径并非必需。",
    ),
    source="He et al. 2015 (arXiv 1512.03385), sec. 3.3 and 4.1, Table 3",
    predicate="At the greatest depth. Supported: the test error with A, B and C is below that of the plain net, and "
    "what B, or C, gains over A is less than half of what A gains over the plain net. Contradicted: any of these is "
    "the other way round. Each beyond two standard errors.",
    measure=measure,
    judge=judge,
)
