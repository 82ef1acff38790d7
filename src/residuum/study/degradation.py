"""Degradation: plain and residual nets of growing depth, and the error on the pictures they were trained on."""

from residuum.models.published import PUBLISHED
from residuum.runs import RunRecord
from residuum.study.charts import Line, Lines, Points, mean_line
from residuum.study.examined import of_depth
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Table, Words
from residuum.study.trained import loss_curve, test_error, trained, training_error
from residuum.study.verdict import Verdict, above, decide, not_above

KINDS = ("plain", "resnet")

Found = dict[tuple[str, int, int], RunRecord]
"""Runs by kind, depth and seed."""


def measure(means: Means) -> Findings:
    """Train both kinds at every depth, with every seed."""
    depths = _depths(means)
    wanted = {
        (kind, depth, seed): of_depth(means, kind, depth, seed)
        for kind in KINDS
        for depth in depths
        for seed in means.seeds
    }
    found = dict(zip(wanted, trained(means, list(wanted.values())), strict=True))
    q = _errors(found, depths, means.seeds)
    shallow, deep = depths[0], depths[-1]
    return Findings(
        q,
        Words(
            f"Training error from {shallow} to {deep} layers: plain {q['plain-shallow']} to {q['plain-deep']}, "
            f"residual {q['resnet-shallow']} to {q['resnet-deep']}.",
            f"训练误差，从 {shallow} 层到 {deep} 层：普通网络 {q['plain-shallow']} → {q['plain-deep']}，"
            f"残差网络 {q['resnet-shallow']} → {q['resnet-deep']}。",
        ),
        (
            _against_depth(q, depths, "train", "Training error against depth"),
            _against_depth(q, depths, "test", "Test error against depth"),
            *(_over_time(found, kind, depths, means.seeds) for kind in KINDS),
            *(_by_pass(found, kind, depths, means.seeds) for kind in KINDS),
        ),
        tables=(_beside_the_paper(means, q),),
        notes=(
            "Training error is that of the last pass, on pictures as augmentation shows them, as in the paper's "
            "figure 6.",
            "At scale quick two passes compare how nets begin to learn, not what they can fit in the end.",
        ),
    )


def _errors(found: Found, depths: tuple[int, ...], seeds: tuple[int, ...]) -> dict[str, Quantity]:
    """Return training and test error of each net, and of each kind's shallowest and deepest."""
    q = {}
    for kind in KINDS:
        for depth in depths:
            records = [found[kind, depth, seed] for seed in seeds]
            trained_to, tested = (tuple(map(error, records)) for error in (training_error, test_error))
            q[f"{kind}{depth}-train"] = Quantity(f"training error, {kind}{depth}", trained_to, "%")
            q[f"{kind}{depth}-test"] = Quantity(f"test error, {kind}{depth}", tested, "%")
        q[f"{kind}-shallow"], q[f"{kind}-deep"] = (
            q[f"{kind}{depth}-train"] for depth in (depths[0], depths[-1])
        )
    return q


def _against_depth(q: Quantities, depths: tuple[int, ...], split: str, title: str) -> Lines:
    def of_seed(kind: str, place: int) -> Points:
        return tuple((depth, q[f"{kind}{depth}-{split}"].values[place]) for depth in depths)

    seeds = range(len(q["plain-deep"].values))
    lines = tuple(mean_line(kind, [of_seed(kind, place) for place in seeds]) for kind in KINDS)
    return Lines(title, "layers", "error, %", lines)


def _over_time(found: Found, kind: str, depths: tuple[int, ...], seeds: tuple[int, ...]) -> Lines:
    lines = tuple(
        mean_line(f"{kind}{depth}", [loss_curve(found[kind, depth, seed]) for seed in seeds])
        for depth in depths
    )
    return Lines(f"Training loss, {kind}", "passes", "loss, nats", lines)


def _depths(means: Means) -> tuple[int, ...]:
    if means.scale == "tiny":
        return (20, 32)
    return (20, 32, 44, 56) if means.scale == "quick" else (20, 32, 44, 56, 110)


def _by_pass(found: Found, kind: str, depths: tuple[int, ...], seeds: tuple[int, ...]) -> Lines:
    """Training error, and that on pictures kept aside where there are any, of the shallowest and deepest net."""

    def line(depth: int, label: str, name: str) -> Line:
        runs = [found[kind, depth, seed] for seed in seeds]
        return mean_line(label, [_errors_by_pass(run, name) for run in runs])

    lines = [
        line(depth, f"{kind}{depth}, {words}", name)
        for depth in (depths[0], depths[-1])
        for words, name in (("training", "train_accuracy"), ("held out", "validation_accuracy"))
    ]
    return Lines(f"Error by pass, {kind}", "passes", "error, %", tuple(one for one in lines if one.points))


def _errors_by_pass(run: RunRecord, name: str) -> Points:
    accuracies = [(line.epoch, getattr(line, name)) for line in run.epochs]
    return tuple((epoch, 100 * (1 - value)) for epoch, value in accuracies if value is not None)


def _beside_the_paper(means: Means, quantities: Quantities) -> Table:
    """Set the test errors of the paper's own recipe beside its Table 6; at another scale nothing of ours is there."""
    rows = []
    for depth in (20, 32, 44, 56, 110):
        paper = PUBLISHED[f"resnet{depth}"][0]
        ours = quantities.get(f"resnet{depth}-test") if means.scale == "full" else None
        answer = "not run" if ours is None else reached(ours, paper.top1_error)
        rows.append((f"ResNet-{depth}", f"{paper.top1_error:g} %", str(ours or "not run"), answer))
    return Table(
        "Test error beside He et al. 2015, Table 6 (64,000 iterations)",
        ("net", "paper", "ours", "within two standard deviations, or better"),
        tuple(rows),
    )


def reached(ours: Quantity, paper: float) -> str:
    """Say whether our mean lies within two of our standard deviations of the paper's error, or below."""
    if ours.sd is None:
        return "one seed has no spread"
    return "yes" if ours.mean <= paper + 2 * ours.sd else "no"


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
