"""Complexity: what the ResNets, VGG and GoogLeNet cost at 224 px, counted and timed, beside their published errors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import nn

from residuum.compute import Compute, choose_compute
from residuum.console import say
from residuum.depth.latency import in_turn
from residuum.models.comparison import COMPARISON_NETS, comparison_net, installed
from residuum.models.count import activation_bytes, cost
from residuum.models.named import named
from residuum.models.published import HE_2015, PUBLISHED, TORCHVISION
from residuum.models.resnet import ResNet, initialise
from residuum.models.spec import NetSpec
from residuum.models.table import table
from residuum.records.study import Bars, Chart, Line, Lines, Quantity, Table, Words
from residuum.settings import ModelsSettings
from residuum.studies.charts import bars_of
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities, Rule, above, below

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
OTHERS = ("vgg16", "vgg19", "googlenet")
NETS = (*RESNETS, *OTHERS)
SIDE, BATCH = 224, 32
"""The papers' pictures; activation memory is that of a training step of 32 of them."""
TIMED = {"tiny": (64, 2, 2), "quick": (SIDE, 4, 5), "full": (SIDE, 32, 20)}
"""At each scale: the side of the pictures timed, how many make a batch, how many rounds."""
GOOGLENET_TOP_5 = 9.15
"""He et al. 2015, Table 3, ten crops; it gives no top-1 error of GoogLeNet."""


COSTS = ("depth", "parameters", "multiply_adds", "activation_bytes")
"""What is counted at 224 px: layers, parameters, multiply-adds of a picture, bytes of a training step."""
Costs = dict[str, dict[str, int]]
"""By the names of nets and of COSTS."""

RULE = Rule(
    (
        below("resnet152-multiply-adds", ("vgg16-multiply-adds", "vgg19-multiply-adds")),
        above("resnet34-of-vgg19", 0.17),
        below("resnet34-of-vgg19", 0.20),
        below(tuple(f"{net}-error" for net in RESNETS[1:]), ("vgg16-error", "googlenet-error")),
    ),
    {
        "resnet152-multiply-adds": "the number of ResNet-152's multiply-adds",
        "vgg16-multiply-adds": "that of VGG-16's",
        "vgg19-multiply-adds": "that of VGG-19's",
        "resnet34-of-vgg19": "the ratio of ResNet-34's to VGG-19's",
        "resnet34-error": "the published ten-crop top-5 error of ResNet-34",
        **{f"resnet{depth}-error": f"that of ResNet-{depth}" for depth in (50, 101, 152)},
        "vgg16-error": "that of VGG-16",
        "googlenet-error": "that of GoogLeNet",
    },
    besides="All are counts or published figures, nothing is left to chance; times are shown and not judged.",
)


def measure(setup: Setup) -> Findings:
    """Count every net, time those that can be built here, and look their errors up."""
    costs = {name: cost_of(name) for name in NETS}
    wanted = ("resnet18", "vgg16") if setup.scale == "tiny" else NETS
    names = [name for name in wanted if installed() or name in RESNETS]
    side, batch, rounds = TIMED[setup.scale]
    compute = choose_compute(setup.device, "float32", threads=setup.threads)
    q = _counts(costs) | _errors()
    for (name, size), seconds in timed(names, side, (1, batch), rounds, compute).items():
        key, words = ("seconds", "one picture") if size != batch else ("seconds-batch", f"{size} pictures")
        q[f"{name}-{key}"] = quantity(f"time of {words}, {called(name)}", seconds, "s")
    return Findings(
        q,
        Words(
            f"Multiply-adds of one picture: ResNet-152 {q['resnet152-multiply-adds']}, VGG-16 "
            f"{q['vgg16-multiply-adds']}; ResNet-34 takes {q['resnet34-of-vgg19'].mean:.1%} of VGG-19's. Published "
            f"top-5 error, ten crops: {q['resnet152-error']} and {q['vgg16-error']}.",
            f"每张图片的乘加次数：ResNet-152 为 {q['resnet152-multiply-adds']}，VGG-16 为 "
            f"{q['vgg16-multiply-adds']}；ResNet-34 仅为 VGG-19 的 {q['resnet34-of-vgg19'].mean:.1%}。"
            f"已发表的 top-5 误差（十裁剪）：{q['resnet152-error']} 对 {q['vgg16-error']}。",
        ),
        _charts(q, side, batch),
        tables=(_one_row_a_net(q, costs),),
        notes=tuple(_notes(compute, side, batch)),
        settings={"image_size": side, "batch": batch, "rounds": rounds, "threads": compute.threads},
    )


# --- counted ------------------------------------------------------------------------------------


def spec_of(name: str) -> NetSpec:
    """Return the residual net as in the paper's table 1: bottlenecks stride in their first 1×1."""
    spec = named(name)
    return replace(spec, stride_in="1x1") if spec.block == "bottleneck" else spec


def cost_of(name: str) -> dict[str, int]:
    """Return the COSTS of a net; of one of torchvision's, what was counted of it."""
    if name in COMPARISON_NETS:
        row = table(ModelsSettings(), (name,))[0]
        return {key: row[key] for key in COSTS}
    spec = spec_of(name)
    return {**cost(spec, SIDE), "activation_bytes": activation_bytes(spec, SIDE, BATCH)}


def _counts(costs: Costs) -> dict[str, Quantity]:
    q = {}
    for name, one in costs.items():
        figures = (
            ("depth", "layers", one["depth"], ""),
            ("parameters", "parameters", one["parameters"] / 1e6, "×10⁶"),
            ("multiply-adds", "multiply-adds", one["multiply_adds"] / 1e9, "×10⁹"),
            ("memory", "activation memory", one["activation_bytes"] / 2**30, "GiB"),
        )
        for key, words, value, unit in figures:
            q[f"{name}-{key}"] = quantity(f"{words}, {called(name)}", (value,), unit, exact=True)
    share = costs["resnet34"]["multiply_adds"] / costs["vgg19"]["multiply_adds"]
    q["resnet34-of-vgg19"] = quantity("multiply-adds of ResNet-34 over VGG-19's", (share,), exact=True)
    return q


def called(name: str) -> str:
    """Return the net's name as the papers write it."""
    return name.replace("resnet", "ResNet-").replace("vgg", "VGG-").replace("googlenet", "GoogLeNet")


# --- published ----------------------------------------------------------------------------------


def _errors() -> dict[str, Quantity]:
    """Return top-5 errors: of the paper's table 3, ten crops, and of torchvision's first weights, one crop."""
    q = {}
    for name in NETS:
        of_paper = GOOGLENET_TOP_5 if name == "googlenet" else _top_5(name, f"{HE_2015}, Table 3", "10 crops")
        of_torchvision = _top_5(name, TORCHVISION, "IMAGENET1K_V1")
        for key, crops, value in (("error", "ten crops", of_paper), ("error-one-crop", "one crop", of_torchvision)):
            if value is not None:
                words = f"top-5 error, {crops}, {called(name)}"
                q[f"{name}-{key}"] = quantity(words, (value,), "%", exact=True)
    return q


def _top_5(name: str, source: str, protocol: str) -> float | None:
    found = (one for one in PUBLISHED[name] if one.source == source and protocol in one.protocol)
    return next((one.top5_error for one in found if "shortcut" not in one.choices), None)  # option B's, as is counted


# --- timed --------------------------------------------------------------------------------------


@torch.inference_mode()
def timed(
    names: Sequence[str], side: int, batches: Sequence[int], rounds: int, compute: Compute
) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of a forward pass of each net over each batch, one value a round, all nets in turn."""
    nets = [compute.place(net_with_weights(name)).eval() for name in names]
    images = [compute.lay_out(torch.rand(size, 3, side, side)) for size in batches]
    turns, found = in_turn(nets, images, compute.device), []
    next(turns)
    for turn in range(1, rounds + 1):
        say(f"timing, round {turn} of {rounds}")
        found.append(next(turns))
    times = np.stack(found, axis=-1).tolist()
    return {(name, size): times[i][j] for i, name in enumerate(names) for j, size in enumerate(batches)}


def net_with_weights(name: str) -> nn.Module:
    """Build the net, its weights drawn by chance: (N, 3, H, W) to (N, 1000)."""
    if name not in COMPARISON_NETS:
        return ResNet(spec_of(name))
    net = comparison_net(name).to_empty(device="cpu")
    initialise(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return net


# --- what is shown ------------------------------------------------------------------------------


def _charts(q: Quantities, side: int, batch: int) -> tuple[Chart, ...]:
    def bars(title: str, y: str, key: str) -> Bars:
        return bars_of(title, y, q, {called(name): full for name in NETS if (full := f"{name}-{key}") in q})

    return (
        _error_against_cost(q, "error", "Published error, ten crops (He et al. 2015, table 3)"),
        _error_against_cost(q, "error-one-crop", "Published error, one crop (torchvision, first weights)"),
        bars("Parameters", "parameters, ×10⁶", "parameters"),
        bars(f"Activation memory of a training step of {BATCH} pictures", "memory, GiB", "memory"),
        bars(f"Time of one picture of {side} px", "time, s", "seconds"),
        bars(f"Time of {batch} pictures of {side} px", "time, s", "seconds-batch"),
    )


def _error_against_cost(q: Quantities, key: str, title: str) -> Lines:
    def line(label: str, names: Sequence[str]) -> Line:
        places = ((q[f"{name}-multiply-adds"].mean, f"{name}-{key}") for name in names)
        return Line(label, tuple(sorted((x, q[error].mean) for x, error in places if error in q)))

    lines = (line("residual nets", RESNETS), line("GoogLeNet and VGG", OTHERS))
    return Lines(title, "multiply-adds, ×10⁹", "top-5 error, %", lines)


def _one_row_a_net(q: Quantities, costs: Costs) -> Table:
    columns = {
        "activations, GiB": ("memory", 2),
        "one picture, s": ("seconds", 4),
        "batch, s": ("seconds-batch", 4),
        "top-5 error, ten crops, %": ("error", 2),
        "top-5 error, one crop, %": ("error-one-crop", 2),
    }

    def text(name: str, key: str, digits: int) -> str:
        return f"{median(q[f'{name}-{key}'].values):.{digits}f}" if f"{name}-{key}" in q else ""

    rows = tuple(
        (called(name), *(f"{one[key]:,}" for key in COSTS[:3]), *(text(name, *how) for how in columns.values()))
        for name, one in costs.items()
    )
    heads = ("net", "layers", "parameters", "multiply-adds", *columns)
    return Table("Cost and published error; times are medians", heads, rows)


def _notes(compute: Compute, side: int, batch: int) -> Iterator[str]:
    yield from (
        "Multiply-adds are not time: how fast they go depends on the shapes of the layers, on memory and on the "
        f"library. Times are those of this machine ({compute.device.type}, threads: {compute.threads}, float32, "
        f"pictures of {side} px, batches of 1 and {batch}), each net in turn; their values are the rounds.",
        "Fewer multiply-adds are not less memory either: training keeps what each layer gave, and deep bottleneck "
        f"nets have many layers. Counted for {BATCH} pictures of {SIDE} px in float32, as each net's code keeps them.",
        "Bottlenecks stride in their first 1×1, as in the paper; torchvision's weights, in the one-crop column, have "
        "the stride in the 3×3 and about 0.2 ×10⁹ multiply-adds more, and were trained by another recipe.",
        "Compare errors within one column. The paper's table 3 has no VGG-19 and no ResNet-18.",
    )
    if not installed():
        yield (
            "torchvision is not installed: VGG and GoogLeNet have counts kept from it, and no times "
            "(pip install torchvision)."
        )
    if side != SIDE:
        yield "At this scale two nets are timed, on small pictures."
