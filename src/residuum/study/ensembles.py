"""Ensembles: one to six residual nets of different depth averaged, beside crops, mirror images and scales.

Letters: N pictures, K classes, V views.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.study.charts import Bar, Bars, Line, Lines, Points, mean_line
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Table, Words
from residuum.study.trained import net_settings, trained
from residuum.study.verdict import Verdict, below, decide, not_above

DEPTHS = (20, 26, 32, 38, 44, 56)
SIZES = (1, 2, 3, 4, 6)
FACTORS = (0.85, 1.15)
"""Beside 1: the sides that a picture is resized to, in multiples of its own."""
BORDER = 8
"""Crops are cut out of the picture with a frame of zeros around it, its side's eighth wide."""
CENTRE, MIRRORED = 4, 9
"""Of the ten crops, the picture itself and its mirror image."""


@dataclass(frozen=True)
class Answers:
    """One net's (N, K) probabilities by each protocol; without mirror images where these show something else."""

    single: Tensor
    mirror: Tensor | None
    crops: Tensor
    scales: Tensor


def measure(means: Means) -> Findings:
    """Train six nets with every seed; judge them alone and together on the pictures their seed kept aside."""
    wanted = [_settings(means, depth, seed) for seed in means.seeds for depth in DEPTHS]
    records = trained(means, wanted)
    compute = choose_compute(means.device, threads=means.threads)
    figures: list[dict[str, float]] = []
    pictures = 0
    for place in range(len(means.seeds)):
        members = records[place * len(DEPTHS) : (place + 1) * len(DEPTHS)]
        answers, labels = _answers(members, means, compute)
        figures.append(_figures(answers, labels))
        pictures = len(labels)
    q = {
        name: Quantity(_label(name), tuple(one[name] for one in figures), _unit(name)) for name in figures[0]
    }
    gain, crops, sized = (f"{q[f'{name}-change'].mean:+.2f}" for name in ("ensemble-6", "crops", "scales"))
    return Findings(
        q,
        Words(
            f"One net errs on {q['ensemble-1']}, six together on {q['ensemble-6']}: {gain} points. Crops change the "
            f"single net's error by {crops} points, three scales by {sized}.",
            f"单个网络的错误率为 {q['ensemble-1']}，六个网络平均后为 {q['ensemble-6']}（{gain} 个百分点）；"
            f"多裁剪使单个网络的错误率变化 {crops} 个百分点，三种尺度平均变化 {sized} 个百分点。",
        ),
        (_by_size(q), _losses(q), _by_protocol(q), _changes(q)),
        tables=(_protocols(q),),
        notes=_notes(pictures),
        settings={"depths": list(DEPTHS), "pictures": pictures, "factors": [1.0, *FACTORS]},
    )


def _settings(means: Means, depth: int, seed: int) -> TrainSettings:
    """Return a member's settings; 20, 32, 44 and 56 layers are the degradation study's at quick.

    Pictures are kept aside at every scale, also where the paper's setting keeps none.
    """
    if means.scale == "tiny":
        blocks = {20: (1, 1, 1), 26: (1, 1, 2), 32: (1, 2, 1), 38: (2, 1, 1), 44: (1, 2, 2), 56: (2, 2, 2)}
        return net_settings(means, "resnet20", seed, blocks=blocks[depth], batch_size=128)
    aside = {"validation": 0.1} if means.scale == "full" else {}
    if depth in {26, 38}:
        n = (depth - 2) // 6
        return net_settings(means, "resnet20", seed, blocks=(n, n, n), **aside)
    return net_settings(means, f"resnet{depth}", seed, **aside)


# --- what nets say ------------------------------------------------------------------------------


def _answers(members: Sequence[RunRecord], means: Means, compute: Compute) -> tuple[list[Answers], Tensor]:
    """Show the validation pictures of one seed to its nets: their answers, and the labels (N,)."""
    most = {"tiny": 150, "quick": 2000}.get(means.scale)
    found = []
    labels = torch.empty(0)
    for record in members:
        run = with_validation(open_with_data(load(record.path), compute, means.data))
        batches = list(run.validation_loader(most))
        labels = torch.cat([batch.labels for batch in batches]).cpu()
        net, mirrors = run.classifier.net, run.data.mirrors
        shown = [answers_by_protocol(net, batch.images, compute, mirrors=mirrors) for batch in batches]
        found.append(_joined(shown))
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
    return Answers(
        single,
        (single + crops[MIRRORED]) / 2 if mirrors else None,
        crops.mean(0),
        torch.stack([single, *others]).mean(0),
    )


def _probabilities(net: ResNet, images: Tensor, compute: Compute) -> Tensor:
    """(N, C, H, W) to (N, K) on the processor; the net is in evaluation mode."""
    if compute.layout == "channels-last":
        images = images.contiguous(memory_format=torch.channels_last)
    with compute.autocast():
        return torch.softmax(net(images).float(), dim=1).cpu()


def _joined(parts: Sequence[Answers]) -> Answers:
    mirrors = [one.mirror for one in parts if one.mirror is not None]
    return Answers(
        torch.cat([one.single for one in parts]),
        torch.cat(mirrors) if mirrors else None,
        torch.cat([one.crops for one in parts]),
        torch.cat([one.scales for one in parts]),
    )


# --- figures ------------------------------------------------------------------------------------


def _figures(answers: Sequence[Answers], labels: Tensor) -> dict[str, float]:
    """Return one seed's figures: errors in per cent, losses in nats, changes in points against the single net."""
    single, crops = [one.single for one in answers], [one.crops for one in answers]
    found = {f"ensemble-{size}": of_ensembles(error, single, labels, size) for size in SIZES}
    found |= {f"loss-{size}": of_ensembles(loss, single, labels, size) for size in SIZES}
    mirror = [one.mirror for one in answers if one.mirror is not None]
    protocols = {"mirror": mirror, "crops": crops, "scales": [one.scales for one in answers]}
    found |= {name: of_ensembles(error, each, labels, 1) for name, each in protocols.items() if each}
    found["crops-ensemble-6"] = of_ensembles(error, crops, labels, 6)
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


def judge(q: Quantities) -> Verdict:
    """Six nets err less than one, and not more than two; crops do not make the single net worse."""
    return decide(
        below(q["ensemble-6-change"], 0.0),
        not_above(q["six-against-two"], 0.0),
        not_above(q["crops-change"], 0.0),
    )


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


def _label(name: str) -> str:
    if name == "six-against-two":
        return "change of error from two nets to six"
    if name.endswith("-change"):
        return f"change of error, {PROTOCOLS[name.removesuffix('-change')][0]}"
    if name.startswith("loss-"):
        return f"loss, {PROTOCOLS[name.replace('loss', 'ensemble')][0]}"
    return f"error, {PROTOCOLS[name][0]}"


def _unit(name: str) -> str:
    if name.startswith("loss-"):
        return "nats"
    return "points" if name.endswith("-change") or name == "six-against-two" else "%"


def _over_sizes(q: Quantities, kind: str, label: str) -> Line:
    def of_seed(place: int) -> Points:
        return tuple((size, q[f"{kind}-{size}"].values[place]) for size in SIZES)

    return mean_line(label, [of_seed(place) for place in range(len(q["ensemble-1"].values))])


def _by_size(q: Quantities) -> Lines:
    line = _over_sizes(q, "ensemble", "mean over all ensembles of that size")
    return Lines("Error against the number of nets", "nets averaged", "error, %", (line,))


def _losses(q: Quantities) -> Lines:
    line = _over_sizes(q, "loss", "mean over all ensembles of that size")
    return Lines("Loss against the number of nets", "nets averaged", "loss, nats", (line,))


def _by_protocol(q: Quantities) -> Bars:
    bars = tuple(Bar(words, q[name].values) for name, (words, _) in PROTOCOLS.items() if name in q)
    return Bars("Error by protocol", "error, %", bars)


def _changes(q: Quantities) -> Bars:
    named = ((PROTOCOLS[name][0], f"{name}-change") for name in PROTOCOLS)
    bars = tuple(Bar(words, q[name].values) for words, name in named if name in q)
    return Bars("What each protocol changes", "change of error, points", bars)


def _protocols(q: Quantities) -> Table:
    def row(name: str, words: str, cost: str) -> tuple[str, ...]:
        return words, str(q[name]), str(q.get(f"{name}-change") or ""), cost

    rows = tuple(row(name, *texts) for name, texts in PROTOCOLS.items() if name in q)
    return Table(
        "Each protocol's error and price",
        ("protocol", "error", "against one net", "passes over a picture"),
        rows,
    )


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


STUDY = Study(
    name="ensembles",
    title=Words("Ensembles and test protocols", "模型集成与测试协议"),
    question=Words(
        "How much lower is the error of six averaged residual nets, or of one net shown several views?",
        "把六个残差网络的输出平均，或让单个网络看多个视图，错误率能降低多少？",
    ),
    claim=Words(
        "Averaging nets of different depth lowers the error, more nets more; averaging views of a picture does not "
        "raise it.",
        "对不同深度的网络取平均会降低错误率，网络越多降得越多；对同一图片的多个视图取平均不会使错误率上升。",
    ),
    source="He et al. 2015 (arXiv 1512.03385), sec. 3.4, table 5; Krizhevsky et al. 2012, sec. 4.1",
    predicate="Supported: six nets' error lies below the single nets' mean, and is not above two nets'; crops do not "
    "raise the single nets' mean error. Contradicted: one of these is the other way round. Each difference is taken "
    "within a seed and lies beyond two standard errors over the seeds.",
    measure=measure,
    judge=judge,
)
