"""What batch normalisation makes needless: dropout, and the biases of the convolutions before it."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum.data.batches import one_pass
from residuum.models.resnet import ResNet
from residuum.study.charts import Line, Lines
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
from residuum.study.trained import net_settings
from residuum.study.variants import (
    Variant,
    cost_table,
    error_bars,
    errors,
    loss_lines,
    settings_in_common,
    train_each,
)
from residuum.study.verdict import Verdict, below, decide, not_above
from residuum.training.loaders import open_loaders
from residuum.training.resolve import resolve

NET = "resnet20"
DROPOUT = 0.3
"""Wide ResNets' share on CIFAR-10, at their place: before each block's last convolution."""
MARGIN = 0.5
"""Points of test error that dropout may take away and still count as needless; wide ResNets gain 0.1."""
PICTURES = 128
NOTHING = 1e-9
"""Far above float64's rounding, far below any change that matters."""


def measure(means: Means) -> Findings:
    """Train with and without dropout; then give an untrained net's convolutions biases and see what they change."""
    variants = [
        Variant("without", NET, NET),
        Variant("dropout", f"{NET}, dropout {DROPOUT}", NET, {"dropout": DROPOUT}),
    ]
    found = train_each(means, variants)
    change = bias_change(*_untrained(means))
    q = errors(variants, found) | {
        "logits": Quantity("largest change of the logits by biases, relative", (change.logits,), exact=True),
        "gradient": Quantity(
            "largest gradient of a bias, by the largest of a weight", (change.gradient,), exact=True
        ),
    }
    return Findings(
        q,
        Words(
            f"Test error without dropout {q['without-test']}, with it {q['dropout-test']}. Biases before BN "
            f"move logits by {change.logits:.1g} of their size, and have {change.gradient:.1g} of weights' gradient.",
            f"测试误差：不用随机失活 {q['without-test']}，使用随机失活 {q['dropout-test']}。BN 之前的偏置只使输出改变 "
            f"{change.logits:.1g}（相对值），其梯度为权重梯度的 {change.gradient:.1g}。",
        ),
        (*error_bars(variants, q), loss_lines(variants, found), _gradients(change)),
        (cost_table(variants, found),),
        (
            "A short training does not overfit, and where nothing is overfitted dropout can only harm: scale quick "
            "says little of the papers' 164 passes.",
            "The biases' effect is that of training, where BN subtracts the batch's own mean, in float64, on an "
            "untrained net.",
        ),
        settings_in_common(variants, found),
    )


def _untrained(means: Means) -> tuple[ResNet, Tensor, Tensor]:
    """Return the net of the first seed as training would begin with it, in float64, with pictures and labels."""
    seed = means.seeds[0]
    resolved = resolve(replace(net_settings(means, NET, seed), device="cpu", threads=means.threads))
    plan = one_pass(PICTURES, PICTURES)
    batch = next(iter(open_loaders(resolved)["train"].batches(plan)))
    torch.manual_seed(seed)
    net = ResNet(resolved.spec).double().train()
    return net, batch.images.double(), batch.labels


# --- biases before BN ---------------------------------------------------------------------------


@dataclass(frozen=True)
class BiasChange:
    """What biases before BN do: the largest change of a logit by the largest logit; the largest gradient of a bias by
    the largest of a weight; and the largest gradients, weight and bias, of each such convolution in order."""

    logits: float
    gradient: float
    layers: tuple[tuple[float, float], ...]


def bias_change(net: ResNet, images: Tensor, labels: Tensor) -> BiasChange:
    """Compare the net with its copy whose convolutions before BN have biases drawn from N(0, 1).

    `images` is (N, C, H, W) and `labels` (N,); both nets normalise by the batch's own statistics. `net` is left as it
    is but for BN's running statistics.
    """
    biased = deepcopy(net)
    convolutions = list(before_bn(biased))
    chance = torch.Generator().manual_seed(0)
    for conv in convolutions:
        values = torch.randn(conv.out_channels, generator=chance, dtype=conv.weight.dtype)
        conv.bias = nn.Parameter(values)
    with torch.no_grad():
        expected = net.train()(images)
    logits = biased.train()(images)
    cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    layers = tuple(
        (_largest(conv.weight.grad), _largest(conv.bias.grad))
        for conv in convolutions
        if conv.bias is not None
    )
    return BiasChange(
        _largest(logits - expected) / _largest(expected),
        max(bias for _, bias in layers) / max(weight for weight, _ in layers),
        layers,
    )


def before_bn(net: nn.Module) -> Iterator[nn.Conv2d]:
    """Yield the convolutions whose next layer is a BN."""
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            for layer, following in pairwise(module):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    yield layer


def _largest(values: Tensor | None) -> float:
    assert values is not None
    return float(values.detach().abs().max())


def _gradients(change: BiasChange) -> Lines:
    """Gradients of exactly zero are drawn at 1e-20, which a logarithmic axis can show."""
    lines = tuple(
        Line(
            label, tuple((float(i), max(pair[which], 1e-20)) for i, pair in enumerate(change.layers, start=1))
        )
        for which, label in enumerate(("weights", "biases"))
    )
    return Lines(
        "Largest gradient in each convolution before a BN", "convolution", "gradient", lines, log_y=True
    )


def judge(q: Quantities) -> Verdict:
    """Dropout takes away no more than half a point of test error, and biases change nothing but rounding."""
    return decide(
        not_above(q["without-test"], q["dropout-test"], MARGIN),
        below(q["logits"], NOTHING),
        below(q["gradient"], NOTHING),
    )


STUDY = Study(
    name="normalisation",
    title=Words("What BN makes needless", "批归一化使什么变得多余"),
    question=Words(
        "With batch normalisation, is dropout still of use, and do biases before it do anything?",
        "有了批归一化，随机失活是否还有用，BN 之前的偏置是否还起作用？",
    ),
    claim=Words(
        "With BN a residual net does without dropout, and a bias before BN is cancelled by the mean it subtracts.",
        "有了批归一化，残差网络不需要随机失活；BN 之前的偏置会被减去的均值抵消。",
    ),
    source="He et al. 2015 (arXiv 1512.03385), sec. 3.4: BN and no dropout; Ioffe and Szegedy 2015 (arXiv 1502.03167), "
    "sec. 3.2 and 3.4",
    predicate="Supported: without dropout the test error is at most half a point above that with it, beyond two "
    "standard errors, and biases before BN change logits, and have gradients, below 1e-9 of their size (exact). "
    "Contradicted: dropout takes away more than half a point, or biases do more.",
    measure=measure,
    judge=judge,
)
