"""What batch normalisation makes needless: dropout, and the biases of the convolutions before it."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum.data.share import one_pass
from residuum.models.resnet import ResNet
from residuum.records.study import Line, Lines, Words
from residuum.studies.charts import numbered
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.trained import net_settings
from residuum.studies.variants import Variant, compared, errors, train_each
from residuum.studies.verdict import Rule, below, not_above
from residuum.training.resolve import resolve
from residuum.training.start import open_loaders

NET = "resnet20"
DROPOUT = 0.3
"""Wide ResNets' share on CIFAR-10, at their place: before each block's last convolution."""
MARGIN = 0.5
"""Points of test error that dropout may take away and still count as needless; wide ResNets gain 0.1."""
PICTURES = 128
NOTHING = 1e-9
"""Far above float64's rounding, far below any change that matters."""


RULE = Rule(
    (not_above("without-test", "dropout-test", by=MARGIN, unit="points"), below(("logits", "gradient"), NOTHING)),
    {
        "without-test": "the test error without dropout",
        "dropout-test": "that with it",
        "logits": "the largest change of a logit by biases before BN (the largest logit is 1)",
        "gradient": "the largest gradient of such a bias (the largest of a weight is 1)",
    },
    besides="What biases do is exact.",
)


def measure(setup: Setup) -> Findings:
    """Train with and without dropout; then give an untrained net's convolutions biases and see what they change."""
    variants = [
        Variant("without", NET, NET),
        Variant("dropout", f"{NET}, dropout {DROPOUT}", NET, {"dropout": DROPOUT}),
    ]
    found = train_each(setup, variants)
    change = bias_change(*_untrained(setup))
    weights, biases = (numbered(max(one, 1e-20) for one in each) for each in zip(*change.layers, strict=True))
    lines = (Line("weights", weights), Line("biases", biases))  # zero is drawn at 1e-20, which a logarithm can show
    q = errors(variants, found) | {
        "logits": quantity("largest change of the logits by biases, relative", (change.logits,), exact=True),
        "gradient": quantity("largest gradient of a bias, by the largest of a weight", (change.gradient,), exact=True),
    }
    return compared(
        variants,
        found,
        q,
        Words(
            f"Test error without dropout {q['without-test']}, with it {q['dropout-test']}. Biases before BN "
            f"move logits by {q['logits']} of their size, and have {q['gradient']} of weights' gradient.",
            f"测试误差：不用随机失活 {q['without-test']}，使用随机失活 {q['dropout-test']}。BN 之前的偏置只使输出改变 "
            f"{q['logits']}（相对值），其梯度为权重梯度的 {q['gradient']}。",
        ),
        (
            "A short training does not overfit, and where nothing is overfitted dropout can only harm: scale quick "
            "says little of the papers' 164 passes.",
            "The biases' effect is that of training, where BN subtracts the batch's own mean, in float64, on an "
            "untrained net.",
        ),
        (Lines("Largest gradient in each convolution before a BN", "convolution", "gradient", lines, log_y=True),),
    )


def _untrained(setup: Setup) -> tuple[ResNet, Tensor, Tensor]:
    """Return the net of the first seed as training would begin with it, in float64, with pictures and labels."""
    seed = setup.seeds[0]
    resolved = resolve(replace(net_settings(setup, NET, seed), device="cpu", threads=setup.threads))
    batch = next(iter(open_loaders(resolved)["train"].batches(one_pass(PICTURES, PICTURES))))
    torch.manual_seed(seed)
    return ResNet(resolved.spec).double().train(), batch.images.double(), batch.labels


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
        conv.bias = nn.Parameter(torch.randn(conv.out_channels, generator=chance, dtype=conv.weight.dtype))
    with torch.no_grad():
        expected = net.train()(images)
    logits = biased.train()(images)
    cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    layers = tuple(
        (_largest(conv.weight.grad), _largest(conv.bias.grad)) for conv in convolutions if conv.bias is not None
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
