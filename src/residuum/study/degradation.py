"""Degradation: plain and residual nets of growing depth, and the error on the pictures they were trained on."""

from residuum.study.charts import Bar, Bars, Lines, mean_line
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
from residuum.study.trained import epochs, net_settings, test_error, trained, training_error
from residuum.study.verdict import Verdict, above, decide, not_above

KINDS = ("plain", "resnet")


def measure(means: Means) -> Findings:
    """Train both kinds at every depth, with every seed."""
    depths = _depths(means)
    wanted = {
        (kind, depth, seed): net_settings(means, f"{kind}{depth}", seed, **_size(means, depth))
        for kind in KINDS
        for depth in depths
        for seed in means.seeds
    }
    found = dict(zip(wanted, trained(means, list(wanted.values())), strict=True))
    quantities = {}
    for kind in KINDS:
        for depth in depths:
            records = [found[kind, depth, seed] for seed in means.seeds]
            for split, error in (("train", training_error), ("test", test_error)):
                values = tuple(error(record) for record in records)
                words = "training" if split == "train" else "test"
                quantities[f"{kind}{depth}-{split}"] = Quantity(f"{words} error, {kind}{depth}", values, "%")
    shallow, deep = depths[0], depths[-1]
    quantities |= {
        f"{kind}-{end}": quantities[f"{kind}{depth}-train"]
        for kind in KINDS
        for end, depth in (("shallow", shallow), ("deep", deep))
    }
    curves = [
        Lines(
            f"{kind}: training error by pass",
            "pass",
            "error, %",
            tuple(
                mean_line(
                    f"{kind}{depth}",
                    [
                        tuple(
                            (line["epoch"], 100 * (1 - line["train_accuracy"]))
                            for line in epochs(found[kind, depth, s])
                        )
                        for s in means.seeds
                    ],
                )
                for depth in depths
            ),
        )
        for kind in KINDS
    ]
    against_depth = [
        Lines(
            f"{words} error against depth",
            "layers",
            "error, %",
            tuple(
                mean_line(
                    kind,
                    [
                        tuple((depth, quantities[f"{kind}{depth}-{split}"].values[i]) for depth in depths)
                        for i in range(len(means.seeds))
                    ],
                )
                for kind in KINDS
            ),
        )
        for split, words in (("train", "training"), ("test", "test"))
    ]
    q = quantities
    return Findings(
        q,
        Words(
            f"Training error from {shallow} to {deep} layers: plain {q['plain-shallow']} to {q['plain-deep']}, "
            f"residual {q['resnet-shallow']} to {q['resnet-deep']}.",
            f"训练误差，从 {shallow} 层到 {deep} 层：普通网络 {q['plain-shallow']} → {q['plain-deep']}，"
            f"残差网络 {q['resnet-shallow']} → {q['resnet-deep']}。",
        ),
        (*against_depth, *curves, _bars(quantities, depths)),
        notes=(
            "Training error is that of the last pass, on pictures as augmentation shows them, as in the paper's "
            "figure 6.",
        ),
    )


def _depths(means: Means) -> tuple[int, ...]:
    if means.scale == "tiny":
        return (20, 32)
    return (20, 32, 44, 56) if means.scale == "quick" else (20, 32, 44, 56, 110)


def _size(means: Means, depth: int) -> dict[str, tuple[int, ...]]:
    n = (depth - 14) // 6
    return {"blocks": (n, n, n)} if means.scale == "tiny" else {}


def _bars(quantities: Quantities, depths: tuple[int, ...]) -> Bars:
    bars = tuple(
        Bar(f"{kind}{depth}", quantities[f"{kind}{depth}-test"].values) for kind in KINDS for depth in depths
    )
    return Bars("Test error", "error, %", bars)


def judge(q: Quantities) -> Verdict:
    """The deepest plain net trains worse than the shallowest, the deepest residual net does not."""
    return decide(
        above(q["plain-deep"], q["plain-shallow"]),
        not_above(q["resnet-deep"], q["resnet-shallow"]),
    )


STUDY = Study(
    name="degradation",
    title=Words("Degradation", "退化问题"),
    question=Words(
        "Do deeper plain nets fit even their training pictures worse, and deeper residual nets not?",
        "更深的普通网络是否连训练图片都拟合得更差，而更深的残差网络不会？",
    ),
    claim=Words(
        "With depth the training error of plain nets rises; that of residual nets falls.",
        "随着深度增加，普通网络的训练误差上升，残差网络的训练误差下降。",
    ),
    source="He et al. 2015 (arXiv 1512.03385), sec. 4.2, fig. 6",
    predicate="Supported: the deepest plain net's training error is above the shallowest's, and the deepest "
    "residual net's is not. Contradicted: either is the other way round. Each beyond two standard errors.",
    measure=measure,
    judge=judge,
)
