"""Five placements of BN and ReLU around the addition, at two depths."""

from typing import Any, get_args

from residuum.choices import Order
from residuum.study.charts import Lines, mean_line
from residuum.study.frame import Findings, Means, Quantities, Study, Words
from residuum.study.variants import (
    Variant,
    cost_table,
    error_bars,
    errors,
    loss_lines,
    settings_in_common,
    train_each,
)
from residuum.study.verdict import Verdict, above, below, decide

ORDERS: tuple[str, ...] = get_args(Order)
QUICK: dict[str, Any] = {"epochs": 1}
"""One pass, so that ten nets of up to 56 layers take minutes."""
TINY: dict[str, Any] = {"batch_size": 128}


def measure(means: Means) -> Findings:
    """Train the net in each order, at both depths, with every seed."""
    depths = _depths(means)
    ends = dict(zip(("shallow", "deep"), depths, strict=True))
    groups = {end: [_variant(means, order, end, depth) for order in ORDERS] for end, depth in ends.items()}
    variants = [variant for group in groups.values() for variant in group]
    found = train_each(means, variants)
    q = errors(variants, found)
    deep = {order: q[f"{order}-deep-test"] for order in ORDERS}
    pictures = [
        (
            *error_bars(group, q, f", {ends[end]} layers")[:1],
            loss_lines(group, found, f", {ends[end]} layers"),
        )
        for end, group in groups.items()
    ]
    return Findings(
        q,
        Words(
            f"Test error at {depths[-1]} layers: "
            + ", ".join(f"{order} {quantity}" for order, quantity in deep.items())
            + ".",
            f"{depths[-1]} 层时的测试误差：原始顺序 {deep['original']}，加法之后 BN {deep['bn-after-addition']}，"
            f"加法之前 ReLU {deep['relu-before-addition']}，仅 ReLU 预激活 {deep['relu-only-preactivation']}，"
            f"完全预激活 {deep['preactivation']}。",
        ),
        (_against_depth(q, ends, len(means.seeds)), *(chart for pair in pictures for chart in pair)),
        (cost_table(variants, found),),
        (
            "The paper's nets have 110 and 164 layers, as scale full has; of the 164-layer ones the blocks are "
            "bottlenecks. It finds 6.61 and 5.93 % for the original order, 6.37 and 5.46 for full pre-activation.",
            "ReLU-only pre-activation is measured but not judged: the paper finds it as good as the original order.",
        ),
        settings_in_common(variants, found),
    )


def _depths(means: Means) -> tuple[int, int]:
    if means.scale == "tiny":
        return (8, 14)
    return means.at_scale((20, 56), (110, 164))


def _variant(means: Means, order: str, end: str, depth: int) -> Variant:
    choices: dict[str, Any] = {} if order == "original" else {"order": order}
    model = f"resnet{depth}"
    if means.scale == "tiny":
        n = (depth - 2) // 6
        model, choices = "resnet20", {**choices, **TINY, "blocks": (n, n, n)}
    elif means.scale == "quick":
        choices = {**choices, **QUICK}
    return Variant(f"{order}-{end}", f"{order}, {depth}", model, choices)


def _against_depth(q: Quantities, ends: dict[str, int], seeds: int) -> Lines:
    lines = tuple(
        mean_line(
            order,
            [
                tuple((depth, q[f"{order}-{end}-test"].values[i]) for end, depth in ends.items())
                for i in range(seeds)
            ],
        )
        for order in ORDERS
    )
    return Lines("Test error against depth", "layers", "error, %", lines)


def judge(q: Quantities) -> Verdict:
    """At the greater depth: full pre-activation is better than the original order, BN or ReLU in the way is worse."""
    original = q["original-deep-test"]
    return decide(
        below(q["preactivation-deep-test"], original),
        above(q["bn-after-addition-deep-test"], original),
        above(q["relu-before-addition-deep-test"], original),
    )


STUDY = Study(
    name="activation-order",
    title=Words("Where BN and ReLU stand", "BN 与 ReLU 的位置"),
    question=Words(
        "Is a deep residual net better when BN and ReLU come before the convolutions and nothing after the addition?",
        "把 BN 与 ReLU 放在卷积之前、加法之后不做任何运算，深层残差网络是否更好？",
    ),
    claim=Words(
        "At great depth full pre-activation is better than the original order; BN after the addition, or ReLU before "
        "it, is worse.",
        "深度很大时，完全预激活优于原始顺序；在加法之后放 BN，或在加法之前放 ReLU，都会更差。",
    ),
    source="He et al. 2016 (arXiv 1603.05027), sec. 4.1, fig. 4, Table 2",
    predicate="At the greater depth. Supported: full pre-activation's test error is below the original order's, and "
    "with BN after the addition, or ReLU before it, it is above. Contradicted: any of the three is the other way "
    "round. Each beyond two standard errors.",
    measure=measure,
    judge=judge,
)
