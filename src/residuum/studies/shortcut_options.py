"""Options A, B and C for the shortcuts, against none: does the way the shape is matched matter?"""

from residuum.records.study import Quantity, Words
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.variants import Variant, compared, errors, train_each
from residuum.studies.verdict import Quantities, Rule, above, below

OPTIONS = ("none", "A", "B", "C")
SHARE = 0.5
"""Of option A's gain over none: what projections may add, to count as not essential. The paper's add 0.15 and 0.24."""


RULE = Rule(
    (below(("A-test", "B-test", "C-test"), "none-test"), above(("B-room", "C-room"), 0.0)),
    {
        "A-test": "the test error with option A",
        "B-test": "that with B",
        "C-test": "that with C",
        "none-test": "that of the plain net",
        "B-room": "half of what A gains over the plain net less what B gains over A",
        "C-room": "the same with C in place of B",
    },
    where="At 20 layers, at scale full at 56.",
)


def measure(setup: Setup) -> Findings:
    """Train the net with each option, at every depth, with every seed."""
    depths = (20, 56) if setup.scale == "full" else (20,)
    variants = [_variant(option, depth, depth == depths[-1]) for depth in depths for option in OPTIONS]
    found = train_each(setup, variants)
    measured = errors(variants, found)
    parameters = {option: found[option][0].settings.summary.parameters for option in OPTIONS}  # none and A have as many
    q = measured | _room_left(measured)
    q |= {f"{one}-parameters": quantity(f"parameters, {one}", (n,), exact=True) for one, n in parameters.items()}
    at = f"{depths[-1]} layers"
    return compared(
        variants,
        found,
        q,
        Words(
            f"Test error at {at}: none {q['none-test']}, A {q['A-test']}, B {q['B-test']}, C {q['C-test']}.",
            f"{depths[-1]} 层时的测试误差：无快捷连接 {q['none-test']}，A {q['A-test']}，B {q['B-test']}，"
            f"C {q['C-test']}。",
        ),
        (
            "The paper's table is of 34 layers on ImageNet, where none is at 28.54 %, A 25.03, B 24.52, C 24.19. At 20 "
            "layers its own nets with and without shortcuts differ little.",
            "The order of A, B and C among themselves is measured but not judged: the paper's gaps of 0.3 to 0.5 "
            "points are below what few seeds can tell.",
        ),
    )


def _variant(option: str, depth: int, deepest: bool) -> Variant:
    key = option if deepest else f"{option}-{depth}"
    if option == "none":
        return Variant(key, f"plain{depth}, none", f"plain{depth}")
    choices = {} if option == "A" else {"shortcut": option}
    return Variant(key, f"resnet{depth}, {option}", f"resnet{depth}", choices)


def _room_left(q: Quantities) -> dict[str, Quantity]:
    """What is left of half of A's gain over none when a projection's gain over A is taken off, in each seed."""
    room = {}
    for option in ("B", "C"):
        errors_of_seeds = zip(*(q[f"{one}-test"].values for one in ("none", "A", option)), strict=True)
        values = [round(SHARE * (none - a) - (a - projected), 9) for none, a, projected in errors_of_seeds]
        room[f"{option}-room"] = quantity(f"half of A's gain over none, less {option}'s gain over A", values, "points")
    return room
