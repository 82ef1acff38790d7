"""Ensembles: one to six residual nets of different depth averaged, beside crops, mirror images and scales.

Letters: N pictures, K classes, V views.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import pad

from residuum.compute import Compute, choose_compute
from residuum.evaluation.metrics import SMALLEST
from residuum.evaluation.opening import open_with_data, with_validation
from residuum.evaluation.views import five_crop, scales, ten_crop
from residuum.loading import load
from residuum.models.resnet import ResNet
from residuum.records.study import Chart, Lines, Quantity, Table, Words
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.charts import bars_of, lines_by
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.trained import net_settings, with_each_seed
from residuum.studies.verdict import Quantities, Rule, below, not_above

DEPTHS = (20, 26, 32, 38, 44, 56)
SIZES = (1, 2, 3, 4, 6)
FACTORS = (0.85, 1.15)
"""Beside 1: the sides that a picture is resized to, in multiples of its own."""
BORDER = 8
"""Crops are cut out of the picture with a frame of zeros around it, its side's eighth wide."""
CENTRE, MIRRORED = 4, 9
"""Of the ten crops, the picture itself and its mirror image."""


Answers = dict[str, Tensor]
"""One net's (N, K) probabilities by protocol: single, crops, scales, and mirror where mirror images show the same."""


RULE = Rule(
    (below("ensemble-6-change", 0.0), not_above("six-against-two", 0.0), not_above("crops-change", 0.0)),
    {
        "ensemble-6-change": "the change of error from single nets to six averaged",
        "six-against-two": "that from two averaged to six",
        "crops-change": "the change of the single nets' error by crops",
    },
    besides="Each change is taken within a seed.",
)


def measure(setup: Setup) -> Findings:
    """Train six nets with every seed; judge them alone and together on the pictures their seed kept aside."""
    runs = with_each_seed(setup, {depth: partial(_settings, setup, depth) for depth in DEPTHS})
    compute = choose_compute(setup.device, threads=setup.threads)
    figures: list[dict[str, float]] = []
    pictures = 0
    for members in zip(*runs.values(), strict=True):
        answers, labels = _answers(members, setup, compute)
        figures.append(_figures(answers, labels))
        pictures = len(labels)
    q = {name: _quantity(name, [one[name] for one in figures]) for name in figures[0]}
    gain, crops, sized = (f"{q[f'{name}-change'].mean:+.4g}" for name in ("ensemble-6", "crops", "scales"))
    return Findings(
        q,
        Words(
            f"One net errs on {q['ensemble-1']}, six together on {q['ensemble-6']}: {gain} points. Crops change the "
            f"single net's error by {crops} points, three scales by {sized}.",
            f"单个网络的误差为 {q['ensemble-1']}，六个网络平均后为 {q['ensemble-6']}（{gain} 个百分点）；"
            f"多裁剪使单个网络的误差变化 {crops} 个百分点，三种尺度平均变化 {sized} 个百分点。",
        ),
        _charts(q),
        tables=(_protocols(q),),
        notes=_notes(pictures),
        settings={
            "depths": [of_seeds[0].settings.summary.depth for of_seeds in runs.values()],
            "pictures": pictures,
            "factors": [1.0, *FACTORS],
        },
    )


def _settings(setup: Setup, depth: int, seed: int) -> TrainSettings:
    """Return a member's settings; 20, 32, 44 and 56 layers are the degradation study's at quick.

    Pictures are kept aside at every scale, also where the paper's setting keeps none.
    """
    if setup.scale == "tiny":
        blocks = {20: (1, 1, 1), 26: (1, 1, 2), 32: (1, 2, 1), 38: (2, 1, 1), 44: (1, 2, 2), 56: (2, 2, 2)}
        return net_settings(setup, "resnet20", seed, blocks=blocks[depth], batch_size=128)
    aside = {"validation": 0.1} if setup.scale == "full" else {}
    if depth in {26, 38}:
        n = (depth - 2) // 6
        return net_settings(setup, "resnet20", seed, blocks=(n, n, n), **aside)
    return net_settings(setup, f"resnet{depth}", seed, **aside)


# --- what nets say ------------------------------------------------------------------------------


def _answers(members: Sequence[RunRecord], setup: Setup, compute: Compute) -> tuple[list[Answers], Tensor]:
    """Show the validation pictures of one seed to its nets: their answers, and the labels (N,)."""
    most = {"tiny": 150, "quick": 2000}.get(setup.scale)
    found = []
    labels = torch.empty(0)
    for record in members:
        run = with_validation(open_with_data(load(record.path), compute, setup.data))
        batches = list(run.validation_loader(most))
        labels = torch.cat([batch.labels for batch in batches]).cpu()
        net, mirrors = run.classifier.net, run.data.mirrors
        shown = [answers_by_protocol(net, batch.images, compute, mirrors=mirrors) for batch in batches]
        found.append({name: torch.cat([one[name] for one in shown]) for name in shown[0]})
    return found, labels


@torch.inference_mode()
def answers_by_protocol(net: ResNet, images: Tensor, compute: Compute, *, mirrors: bool) -> Answers:
    """Take (N, C, S, S) pictures to probabilities by each protocol; five crops in place of ten without `mirrors`."""
    side = images.shape[3]
    framed = pad(images, (max(1, side // BORDER),) * 4)
    views = ten_crop(framed, side) if mirrors else five_crop(framed, side)
    crops = torch.stack([_probabilities(net, view, compute) for view in views])
    single = crops[CENTRE]
    others = [_probabilities(net, view, compute) for view in scales(images, FACTORS)]
    mirror = {"mirror": (single + crops[MIRRORED]) / 2} if mirrors else {}
    return {"single": single, "crops": crops.mean(0), "scales": torch.stack([single, *others]).mean(0), **mirror}


def _probabilities(net: ResNet, images: Tensor, compute: Compute) -> Tensor:
    """(N, C, H, W) to (N, K) on the processor; the net is in evaluation mode."""
    with compute.autocast():
        return torch.softmax(net(compute.lay_out(images)).float(), dim=1).cpu()


# --- figures ------------------------------------------------------------------------------------


def _figures(answers: Sequence[Answers], labels: Tensor) -> dict[str, float]:
    """Return one seed's figures: errors in per cent, losses in nats, changes in points against the single net."""
    by_protocol = {name: [one[name] for one in answers] for name in answers[0]}
    single = by_protocol["single"]
    found = {f"ensemble-{size}": of_ensembles(error, single, labels, size) for size in SIZES}
    found |= {f"loss-{size}": of_ensembles(loss, single, labels, size) for size in SIZES}
    for name in ("mirror", "crops", "scales"):
        if name in by_protocol:
            found[name] = of_ensembles(error, by_protocol[name], labels, 1)
    found["crops-ensemble-6"] = of_ensembles(error, by_protocol["crops"], labels, 6)
    for name in ("ensemble-6", "mirror", "crops", "scales", "crops-ensemble-6"):
        if name in found:
            found[f"{name}-change"] = found[name] - found["ensemble-1"]
    found["six-against-two"] = found["ensemble-6"] - found["ensemble-2"]
    return found


Figure = Callable[[Tensor, Tensor], float]


def of_ensembles(figure: Figure, members: Sequence[Tensor], labels: Tensor, size: int) -> float:
    """Return the mean of a figure over all ensembles of `size` of the members' (N, K) probabilities."""
    return fmean(figure(torch.stack(some).mean(0), labels) for some in combinations(members, size))


def error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the share of wrong answers in per cent: (N, K) and (N,)."""
    return 100 * float((probabilities.argmax(1) != labels).double().mean())


def loss(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean negative log-likelihood in nats: (N, K) and (N,)."""
    own = probabilities.double().gather(1, labels[:, None])
    return float(-own.clamp_min(SMALLEST).log().mean())


# --- what is shown ------------------------------------------------------------------------------

PROTOCOLS = {
    "ensemble-1": ("one net, single view", "1"),
    "mirror": ("one net, picture and mirror image", "2"),
    "crops": ("one net, crops", "10, or 5 without mirror images"),
    "scales": ("one net, three scales", "3.0"),
    "ensemble-2": ("two nets", "2"),
    "ensemble-3": ("three nets", "3"),
    "ensemble-4": ("four nets", "4"),
    "ensemble-6": ("six nets", "6"),
    "crops-ensemble-6": ("six nets, crops", "60, or 30"),
}
"""What each is called, and how many passes of one net over one picture it costs."""


def _quantity(name: str, values: Sequence[float]) -> Quantity:
    """Say what a figure of this name is, and in which unit."""
    if name == "six-against-two":
        return quantity("change of error from two nets to six", values, "points")
    if name.endswith("-change"):
        return quantity(f"change of error, {PROTOCOLS[name.removesuffix('-change')][0]}", values, "points")
    if name.startswith("loss-"):
        return quantity(f"loss, {PROTOCOLS[name.replace('loss', 'ensemble')][0]}", values, "nats")
    return quantity(f"error, {PROTOCOLS[name][0]}", values, "%")


def _charts(q: Quantities) -> tuple[Chart, ...]:
    def by_size(what: str, y: str, name: str) -> Lines:
        sizes = {"mean over all ensembles of that size": {size: f"{name}-{size}" for size in SIZES}}
        return lines_by(f"{what} against the number of nets", "nets averaged", y, q, sizes)

    errors = {words: name for name, (words, _) in PROTOCOLS.items() if name in q}
    changes = {words: full for words, name in errors.items() if (full := f"{name}-change") in q}
    return (
        by_size("Error", "error, %", "ensemble"),
        by_size("Loss", "loss, nats", "loss"),
        bars_of("Error by protocol", "error, %", q, errors),
        bars_of("What each protocol changes", "change of error, points", q, changes),
    )


def _protocols(q: Quantities) -> Table:
    def row(name: str, words: str, cost: str) -> tuple[str, ...]:
        return words, str(q[name]), str(q.get(f"{name}-change") or ""), cost

    rows = tuple(row(name, *texts) for name, texts in PROTOCOLS.items() if name in q)
    heads = ("protocol", "error", "against one net", "passes over a picture")
    return Table("Each protocol's error and price", heads, rows)


def _notes(pictures: int) -> tuple[str, ...]:
    return (
        f"Judged on {pictures} validation pictures, which training kept aside; nets of one seed kept the same ones "
        "aside, so an ensemble is made of one seed's nets. The test pictures serve each run's own final figure alone.",
        "The figure of a size is the mean over all ensembles of that size among one seed's six nets; each seed gives "
        "one value, and changes are taken within a seed.",
        "Crops are the corners and the centre of the picture in a frame of zeros an eighth of its side wide, and "
        "their mirror images where these show the same class. Scales are 0.85, 1 and 1.15 of the side.",
        "The paper's table 5 averages six ImageNet nets, two of them of 152 layers, over five scales: 3.57 % top-5 "
        "error on the test pictures, where its best single net has 4.49 % on the validation pictures.",
    )
