"""Degradation: plain and residual nets of growing depth, and the error on the pictures they were trained on."""

from msgspec.structs import replace

from residuum.models.published import PUBLISHED
from residuum.records.study import Lines, Points, Quantity, Table, Words
from residuum.runs import RunRecord
from residuum.studies.charts import lines_by, lines_of, mean_line
from residuum.studies.examined import runs_of
from residuum.studies.frame import Findings, Setup
from residuum.studies.trained import loss_curve
from residuum.studies.variants import Found, Variant, errors
from residuum.studies.verdict import Quantities, Rule, above, not_above

KINDS = ("plain", "resnet")
DEPTHS = {"tiny": (8, 20), "quick": (20, 32, 44, 56), "full": (20, 32, 44, 56, 110)}

RULE = Rule(
    (above("plain-deep", "plain-shallow"), not_above("resnet-deep", "resnet-shallow")),
    {
        "plain-deep": "the training error of the deepest plain net",
        "plain-shallow": "that of the shallowest",
        "resnet-deep": "the training error of the deepest residual net",
        "resnet-shallow": "that of the shallowest",
    },
    besides="An error is one of so many pictures: its standard error is that of seeds and that of the pictures' luck.",
)
FLOOR = 2.0
"""Per cent of training error below which residual nets have little left to show."""


def measure(setup: Setup) -> Findings:
    """Train both kinds at every depth, with every seed."""
    depths = DEPTHS[setup.scale]
    runs = runs_of(setup, [(kind, depth) for kind in KINDS for depth in depths])
    found = {f"{kind}{depth}": records for (kind, depth), records in runs.items()}
    q = _of_pictures(errors([Variant(net, net, net) for net in found], found), found)
    shallow, deep = depths[0], depths[-1]
    for kind in KINDS:
        q |= {f"{kind}-shallow": q[f"{kind}{shallow}-train"], f"{kind}-deep": q[f"{kind}{deep}-train"]}
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
            *(_over_time(found, kind, (shallow, deep)) for kind in KINDS),
            *(_by_pass(found, kind, (shallow, deep)) for kind in KINDS),
        ),
        tables=(_beside_the_paper(q),) if setup.scale == "full" else (),
        notes=(
            "Training error is that of the last pass, on pictures as augmentation shows them, as in the paper's "
            "figure 6.",
            *_at_the_floor(q["resnet-shallow"], q["resnet-deep"]),
            *_begun(next(iter(found.values()))[0].settings.summary.epochs),
        ),
    )


def _of_pictures(q: Quantities, found: Found) -> dict[str, Quantity]:
    """Let training errors know of how many pictures they are."""
    data = next(iter(found.values()))[0].data
    seen = data.counts.train if data else None
    return {name: replace(one, pictures=seen) if name.endswith("-train") else one for name, one in q.items()}


def _at_the_floor(shallow: Quantity, deep: Quantity) -> tuple[str, ...]:
    """Say where both residual nets make hardly an error, of how many pictures the difference is."""
    if not shallow.pictures or not max(shallow.mean, deep.mean) < FLOOR:
        return ()
    wrong = [f"{one.mean / 100 * shallow.pictures:.0f}" for one in (shallow, deep)]
    return (
        f"Both residual nets are at the floor: they err on {wrong[0]} and {wrong[1]} of {shallow.pictures:,} training "
        "pictures, in the mean. Depth has little left to show there; harder pictures would.",
    )


def _begun(passes: float | None) -> tuple[str, ...]:
    """Say of how many passes, where they are few, that nets have only begun to learn."""
    if passes is None or passes > 2:
        return ()
    words = "one pass" if passes == 1 else f"{passes:g} passes"
    return (f"Trained for {words} only: compared is how nets begin to learn, not what they can fit in the end.",)


def _against_depth(q: Quantities, depths: tuple[int, ...], split: str, title: str) -> Lines:
    nets = {kind: {depth: f"{kind}{depth}-{split}" for depth in depths} for kind in KINDS}
    return lines_by(title, "layers", "error, %", q, nets)


def _over_time(found: Found, kind: str, ends: tuple[int, int]) -> Lines:
    nets = {net: found[net] for net in (f"{kind}{depth}" for depth in ends)}
    return Lines(f"Training loss, {kind}", "passes", "loss, nats", lines_of(nets, loss_curve))


def _by_pass(found: Found, kind: str, ends: tuple[int, int]) -> Lines:
    """Training error, and that on pictures kept aside where there are any, of the shallowest and deepest net."""

    def points(run: RunRecord, name: str) -> Points:
        accuracies = [(line.epoch, getattr(line, name)) for line in run.epochs]
        return tuple((epoch, 100 * (1 - value)) for epoch, value in accuracies if value is not None)

    lines = [
        mean_line(f"{kind}{depth}, {words}", [points(run, name) for run in found[f"{kind}{depth}"]])
        for depth in ends
        for words, name in (("training", "train_accuracy"), ("held out", "validation_accuracy"))
    ]
    return Lines(f"Error by pass, {kind}", "passes", "error, %", tuple(one for one in lines if one.points))


def _beside_the_paper(quantities: Quantities) -> Table:
    """Set the test errors of the paper's own recipe, which scale full trains, beside its Table 6."""
    rows = []
    for depth in (20, 32, 44, 56, 110):
        paper = PUBLISHED[f"resnet{depth}"][0]
        ours = quantities.get(f"resnet{depth}-test")
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
