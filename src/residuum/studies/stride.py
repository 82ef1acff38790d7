"""Where a bottleneck halves its map: in the first 1×1 convolution, as in the paper, or in the 3×3, "v1.5"."""

from residuum.models.count import cost
from residuum.models.named import named
from residuum.records.study import Bar, Bars, Quantity, Words
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.variants import Variant, compared, errors, train_each
from residuum.studies.verdict import Rule, above, below

NET = "resnet164"
QUICK_BLOCKS = (2, 2, 2)
PLACES = ("1x1", "3x3")
MORE = (5.5, 6.5)
"""Per cent: what is meant by "about 6 % more multiply-adds"."""


RULE = Rule(
    (below("3x3-test", "1x1-test"), above("more", MORE[0], unit="%"), below("more", MORE[1], unit="%")),
    {
        "3x3-test": "the test error with the stride in the 3×3",
        "1x1-test": "that with it in the 1×1",
        "more": "the surplus of ResNet-50's multiply-adds with the stride in the 3×3",
    },
    besides="The count is exact.",
)


def measure(setup: Setup) -> Findings:
    """Train a bottleneck net both ways with every seed; count ResNet-50 both ways."""
    size = {"blocks": QUICK_BLOCKS} if setup.scale == "quick" else {}
    variants = [
        Variant(place, f"stride in the {place.replace('x', '×')}", NET, {"stride_in": place, **size})
        for place in PLACES
    ]
    found = train_each(setup, variants)
    q = errors(variants, found) | resnet50_cost()
    counts = Bars(
        "Multiply-adds of ResNet-50, 224 px",
        "billions a picture",
        tuple(Bar(v.label, (q[f"{v.key}-resnet50"].mean / 1e9,)) for v in variants),
    )
    return compared(
        variants,
        found,
        q,
        Words(
            f"Test error: stride in the 1×1 {q['1x1-test']}, in the 3×3 {q['3x3-test']}. ResNet-50 takes "
            f"{q['more']} more multiply-adds with stride in the 3×3.",
            f"测试误差：步幅在 1×1 卷积 {q['1x1-test']}，在 3×3 卷积 {q['3x3-test']}。"
            f"步幅在 3×3 卷积时，ResNet-50 的乘加运算多 {q['more']}。",
        ),
        (
            "The claim is about ResNet-50 on ImageNet, where three of 16 blocks halve the map. Here bottleneck nets "
            "for CIFAR-10 stand in, where two blocks do: of 6 at scale quick, of 54 at scale full.",
            "A 1×1 convolution of stride 2 reads one pixel in four and never sees the others; the 3×3 sees them all.",
        ),
        (counts,),
    )


def resnet50_cost() -> dict[str, Quantity]:
    """Count the multiply-adds of ResNet-50 for one picture of 224 px with the stride in each place."""
    counts = {place: cost(named("resnet50", stride_in=place), 224)["multiply_adds"] for place in PLACES}
    quantities = {
        f"{place}-resnet50": quantity(f"multiply-adds of ResNet-50, stride in the {place}", (count,), exact=True)
        for place, count in counts.items()
    }
    more = 100 * (counts["3x3"] / counts["1x1"] - 1)
    return quantities | {"more": quantity("more multiply-adds of ResNet-50", (more,), "%", exact=True)}
