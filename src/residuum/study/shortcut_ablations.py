"""What becomes of a residual net when its shortcuts are scaled, gated, convolved or dropped out."""

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
from residuum.study.verdict import Verdict, above, decide

MANIPULATIONS = {
    "constant": "scaled 0.5, F 0.5",
    "exclusive-gating": "exclusive gating",
    "shortcut-gating": "shortcut-only gating",
    "1x1": "1×1 convolution",
    "dropout": "dropout 0.5",
}
"""What may be done to the shortcut, by its name in the net's specification, and how it is written in pictures."""


def measure(means: Means) -> Findings:
    """Train the net with each manipulation in all its blocks, with every seed."""
    net = "resnet110" if means.scale == "full" else "resnet20"
    variants = [Variant("identity", "identity", net)]
    variants += [Variant(name, label, net, {"shortcut": name}) for name, label in MANIPULATIONS.items()]
    found = train_each(means, variants)
    q = errors(variants, found)
    return Findings(
        q,
        Words(
            f"Test error of {net}: identity {q['identity-test']}, "
            + ", ".join(f"{label} {q[f'{name}-test']}" for name, label in MANIPULATIONS.items())
            + ".",
            f"{net} 的测试误差：恒等捷径 {q['identity-test']}，捷径乘 0.5、F 乘 0.5：{q['constant-test']}，"
            f"独占门控 {q['exclusive-gating-test']}，仅捷径门控 {q['shortcut-gating-test']}，"
            f"1×1 卷积 {q['1x1-test']}，随机失活 0.5 {q['dropout-test']}。",
        ),
        (*error_bars(variants, q), loss_lines(variants, found)),
        (cost_table(variants, found),),
        (
            "The paper has 110 layers, as scale full has. A factor on each shortcut acts as often as there are blocks: "
            "54 times there, 9 times in 20 layers, where little of the harm need show.",
            "Gates start at a bias of −6, close to the identity: of the paper's values the best for exclusive gating, "
            "and for shortcut-only gating one at which it lost 0.3 points.",
            "Option A stands where the shape changes, in every variant but the 1×1 convolution, as in the paper.",
        ),
        settings_in_common(variants, found),
    )


def judge(q: Quantities) -> Verdict:
    """Every manipulation has a higher test error than the identity."""
    return decide(*(above(q[f"{name}-test"], q["identity-test"]) for name in MANIPULATIONS))


STUDY = Study(
    name="shortcut-ablations",
    title=Words("Manipulated shortcuts", "对捷径连接的改动"),
    question=Words(
        "Does anything done to the shortcut, other than leaving it the identity, make the net worse?",
        "除了保持恒等映射以外，对捷径连接的任何改动是否都会使网络变差？",
    ),
    claim=Words(
        "Scaling, gating, 1×1 convolutions and dropout on the shortcut all raise the error; the identity is best.",
        "在捷径连接上做缩放、门控、1×1 卷积或随机失活都会使误差上升；恒等映射最好。",
    ),
    source="He et al. 2016 (arXiv 1603.05027), sec. 3, fig. 2, Table 1",
    predicate="Supported: the test error with each of the five manipulations is above that with the identity. "
    "Contradicted: one of them is below. Each beyond two standard errors.",
    measure=measure,
    judge=judge,
)
