"""Where a bottleneck halves its map: in the first 1×1 convolution, as in the paper, or in the 3×3, "v1.5"."""

from residuum.models.count import cost
from residuum.models.named import named
from residuum.study.charts import Bar, Bars
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
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

NET = "resnet164"
QUICK_BLOCKS = (2, 2, 2)
PLACES = ("1x1", "3x3")
MORE = (5.5, 6.5)
"""Per cent: what is meant by "about 6 % more multiply-adds"."""


def measure(means: Means) -> Findings:
    """Train a bottleneck net both ways with every seed; count ResNet-50 both ways."""
    size = {"blocks": QUICK_BLOCKS} if means.scale == "quick" else {}
    variants = [
        Variant(place, f"stride in the {place.replace('x', '×')}", NET, {"stride_in": place, **size})
        for place in PLACES
    ]
    found = train_each(means, variants)
    q = errors(variants, found) | resnet50_cost()
    counts = Bars(
        "Multiply-adds of ResNet-50, 224 px",
        "billions a picture",
        tuple(Bar(v.label, (q[f"{v.key}-resnet50"].mean / 1e9,)) for v in variants),
    )
    return Findings(
        q,
        Words(
            f"Test error: stride in the 1×1 {q['1x1-test']}, in the 3×3 {q['3x3-test']}. ResNet-50 takes "
            f"{q['more'].mean:.2f} % more multiply-adds with stride in the 3×3.",
            f"测试误差：步幅在 1×1 卷积 {q['1x1-test']}，在 3×3 卷积 {q['3x3-test']}。"
            f"步幅在 3×3 卷积时，ResNet-50 的乘加运算多 {q['more'].mean:.2f} %。",
        ),
        (*error_bars(variants, q), loss_lines(variants, found), counts),
        (cost_table(variants, found),),
        (
            "The claim is about ResNet-50 on ImageNet, where three of 16 blocks halve the map. Here bottleneck nets "
            "for CIFAR-10 stand in, where two blocks do: of 6 at scale quick, of 54 at scale full.",
            "A 1×1 convolution of stride 2 reads one pixel in four and never sees the others; the 3×3 sees them all.",
        ),
        settings_in_common(variants, found),
    )


def resnet50_cost() -> dict[str, Quantity]:
    """Count the multiply-adds of ResNet-50 for one picture of 224 px with the stride in each place."""
    counts = {place: cost(named("resnet50", stride_in=place), 224)["multiply_adds"] for place in PLACES}
    quantities = {
        f"{place}-resnet50": Quantity(
            f"multiply-adds of ResNet-50, stride in the {place}", (count,), exact=True
        )
        for place, count in counts.items()
    }
    more = 100 * (counts["3x3"] / counts["1x1"] - 1)
    return quantities | {"more": Quantity("more multiply-adds of ResNet-50", (more,), "%", exact=True)}


def judge(q: Quantities) -> Verdict:
    """The stride in the 3×3 gives the lower test error, for about 6 % more multiply-adds."""
    return decide(below(q["3x3-test"], q["1x1-test"]), above(q["more"], MORE[0]), below(q["more"], MORE[1]))


STUDY = Study(
    name="stride",
    title=Words("Stride in the 1×1 or the 3×3", "步幅放在 1×1 还是 3×3 卷积"),
    question=Words(
        "Is a bottleneck net better when its 3×3 convolutions halve the map rather than its 1×1 ones?",
        "瓶颈残差块用 3×3 卷积而不是 1×1 卷积来缩小特征图，网络是否更好？",
    ),
    claim=Words(
        "With the stride in the 3×3 convolution (v1.5) ResNet-50 is about half a point better in top-1, for about 6 % "
        "more multiply-adds.",
        "步幅放在 3×3 卷积时（v1.5），ResNet-50 的 top-1 准确率约高 0.5 个百分点，乘加运算约多 6 %。",
    ),
    source="fb.resnet.torch (Gross and Wilber 2016) and NVIDIA's ResNet-50 v1.5; the paper's own nets (He et al. 2015, "
    "arXiv 1512.03385, Table 1, as released) have the stride in the 1×1",
    predicate="Supported: the test error with the stride in the 3×3 is below that with it in the 1×1, and ResNet-50 "
    "takes 5.5 to 6.5 % more multiply-adds. Contradicted: the error is above, or the count is outside. Errors beyond "
    "two standard errors; the count is exact.",
    measure=measure,
    judge=judge,
)
