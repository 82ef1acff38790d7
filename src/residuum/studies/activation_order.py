"""Five placements of BN and ReLU around the addition, at two depths."""

from dataclasses import replace
from typing import Any, get_args

from residuum.choices import Order
from residuum.records.study import Chart, Words
from residuum.studies.charts import lines_by
from residuum.studies.frame import Findings, Setup
from residuum.studies.variants import Variant, compared, error_bars, errors, loss_lines, train_each
from residuum.studies.verdict import Rule, above, below

ORDERS: tuple[str, ...] = get_args(Order)
DEPTHS = {"tiny": (8, 14), "quick": (20, 56), "full": (110, 164)}
QUICK: dict[str, Any] = {"epochs": 1}
"""One pass, so that ten nets of up to 56 layers take minutes."""


RULE = Rule(
    (
        below("preactivation-deep-test", "original-deep-test"),
        above(("bn-after-addition-deep-test", "relu-before-addition-deep-test"), "original-deep-test"),
    ),
    {
        "preactivation-deep-test": "the test error of full pre-activation",
        "original-deep-test": "that of the original order",
        "bn-after-addition-deep-test": "the test error with BN after the addition",
        "relu-before-addition-deep-test": "the test error with ReLU before it",
    },
    where="At the greater depth.",
)


def measure(setup: Setup) -> Findings:
    """Train the net in each order, at both depths, with every seed."""
    depths = DEPTHS[setup.scale]
    ends = dict(zip(("shallow", "deep"), depths, strict=True))
    groups = {end: [_variant(setup, order, end, depth) for order in ORDERS] for end, depth in ends.items()}
    variants = [variant for group in groups.values() for variant in group]
    found = train_each(setup, variants)
    q = errors(variants, found)
    deep = {order: q[f"{order}-deep-test"] for order in ORDERS}
    by_depth = {order: {depth: f"{order}-{end}-test" for end, depth in ends.items()} for order in ORDERS}
    charts: list[Chart] = [lines_by("Test error against depth", "layers", "error, %", q, by_depth)]
    for end, group in groups.items():
        where = f", {ends[end]} layers"
        charts += [error_bars(group, q, where)[0], loss_lines(group, found, where)]
    findings = compared(
        variants,
        found,
        q,
        Words(
            f"Test error at {depths[-1]} layers: {', '.join(f'{order} {error}' for order, error in deep.items())}.",
            f"{depths[-1]} 层时的测试误差：原始顺序 {deep['original']}，加法之后 BN {deep['bn-after-addition']}，"
            f"加法之前 ReLU {deep['relu-before-addition']}，仅 ReLU 预激活 {deep['relu-only-preactivation']}，"
            f"完全预激活 {deep['preactivation']}。",
        ),
        (
            "The paper's nets have 110 and 164 layers, as scale full has; of the 164-layer ones the blocks are "
            "bottlenecks. It finds 6.61 and 5.93 % for the original order, 6.37 and 5.46 for full pre-activation.",
            "ReLU-only pre-activation is measured but not judged: the paper finds it as good as the original order.",
        ),
    )
    return replace(findings, charts=tuple(charts))


def _variant(setup: Setup, order: str, end: str, depth: int) -> Variant:
    n = (depth - 2) // 6
    of_scale: dict[str, Any] = {"tiny": {"batch_size": 128, "blocks": (n, n, n)}, "quick": QUICK}.get(setup.scale, {})
    choices = of_scale if order == "original" else {"order": order, **of_scale}
    model = "resnet20" if setup.scale == "tiny" else f"resnet{depth}"
    return Variant(f"{order}-{end}", f"{order}, {depth}", model, choices)
