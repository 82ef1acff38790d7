"""Transfer: nets trained on half of the classes, their features put to use on the other half.

Letters: N pictures, D features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from residuum.compute import Compute, choose_compute
from residuum.data.batches import open_loader
from residuum.data.contract import ImageData
from residuum.dispatch.job import open_pictures_of
from residuum.errors import UserError
from residuum.loading import load
from residuum.models.resnet import ResNet
from residuum.records.study import Bars, Table, Words
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.charts import bars_of
from residuum.studies.examined import untrained_on
from residuum.studies.frame import OWN_PICTURES, Findings, Setup, quantity
from residuum.studies.ridge import probe_accuracy
from residuum.studies.some_classes import Rows, folder_of_classes, rows_of
from residuum.studies.trained import QUICK, net_settings, test_error, trained
from residuum.studies.transfer_curve import STARTS, curve_charts, curve_notes, curve_table, curve_words, measure_curve
from residuum.studies.verdict import Quantities, Rule, above, not_above

BATCH = 250
STATISTICS = 2000
"""Pictures of the learned classes that an untrained net's BN statistics are measured on."""
AMOUNTS = {"tiny": (10, 80, 40), "quick": (100, 1000, 400), "full": (100, 4000, 1000)}
"""Pictures of each class of the other half: few, many, and those held out."""


RULE = Rule(
    (
        above("resnet56-many", ("resnet56-untrained-many", "plain56-many")),
        not_above("resnet20-many", "resnet56-many", by=1.0, unit="point"),
    ),
    {
        "resnet56-many": "the accuracy of a linear probe on ResNet-56's features",
        "resnet56-untrained-many": "that on its untrained twin's",
        "plain56-many": "that on plain-56's",
        "resnet20-many": "that on ResNet-20's",
    },
    where="On the classes that were not learned, with many pictures.",
)


def measure(setup: Setup) -> Findings:
    """Train on every second class, freeze the nets, and probe their features on the classes between."""
    source = setup.data or ("digits" if setup.scale == "tiny" else OWN_PICTURES)
    data: ImageData = open_pictures_of(source)
    learned, other = halves(data)
    folder = folder_of_classes(data, learned, setup.folder / "data")
    nets = ("resnet20", "plain20", "resnet56", "plain56") if setup.scale == "full" else NETS
    wanted = [_settings(setup, data, str(folder), net, seed) for net in nets for seed in setup.seeds]
    records = trained(setup, wanted)
    compute = choose_compute(setup.device, threads=setup.threads)
    found: dict[tuple[str | None, str], list[float]] = {}
    for record, asked in zip(records, wanted, strict=True):
        for name, share in _figures(record, asked.seed, data, (learned, other), setup, compute).items():
            found.setdefault((asked.model, name), []).append(100 * share)
    q = {f"{net}-{name}": quantity(f"{KINDS[name]}, {net}", shares, "%") for (net, name), shares in found.items()}
    rows = [(net, *(str(q[f"{net}-{kind}"]) for kind in KINDS)) for net in nets]
    residual = STARTS[setup.scale]
    held = AMOUNTS[setup.scale][2]
    curve = measure_curve(setup, data, str(folder), other, held, partial(_settings, setup, data))
    said = curve_words(curve, residual[0])
    own = bars_of("Accuracy on the nets' own classes", "accuracy, %", q, {net: f"{net}-own" for net in nets})
    return Findings(
        q | curve,
        Words(
            f"Accuracy of a linear probe on classes the nets never saw, many pictures: ResNet-56 {q['resnet56-many']} "
            f"(untrained {q['resnet56-untrained-many']}), ResNet-20 {q['resnet20-many']}, plain-56 "
            f"{q['plain56-many']}. {said.en}",
            f"线性探针在网络从未见过的类别上的准确率（样本较多时）：ResNet-56 为 {q['resnet56-many']}"
            f"（未训练时 {q['resnet56-untrained-many']}），ResNet-20 为 {q['resnet20-many']}，"
            f"56 层普通网络为 {q['plain56-many']}。{said.zh}",
        ),
        (*curve_charts(curve, residual), _bars(q, nets, "many"), _bars(q, nets, "few"), own),
        tables=(Table("Accuracies", ("net", *KINDS.values()), tuple(rows)), curve_table(curve, residual)),
        notes=(
            *_notes(learned, other, rows_of(data, other, AMOUNTS[setup.scale], 0)),
            *curve_notes(setup),
        ),
        settings={"learned": list(learned), "probed": list(other), "nets": list(nets)},
    )


NETS = ("resnet20", "resnet56", "plain56")


def halves(data: ImageData) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return every second class, from the first, and the classes between.

    Raises:
        UserError: there are fewer than four.
    """
    if len(data.classes) < 4:
        raise UserError(
            f"{data.source} has {len(data.classes)} classes, too few to transfer from some to others",
            "two are needed on either side",
            "give --data with four classes or more",
        )
    return tuple(data.classes[::2]), tuple(data.classes[1::2])


def _settings(setup: Setup, data: ImageData, folder: str, net: str, seed: int) -> TrainSettings:
    """Return how a net learns its half; CIFAR-10's is shortened at quick as the whole of it is."""
    setup = replace(setup, data=folder)
    mirrors = {} if data.mirrors else {"flip": False}  # the folder cannot say so
    if setup.scale == "tiny":
        return net_settings(setup, net, seed, blocks=(2, 2, 2) if "56" in net else (1, 1, 1), **mirrors)
    if setup.scale == "full":
        return net_settings(setup, net, seed, validation=0.1, **mirrors)
    short = QUICK if data.name == OWN_PICTURES else {}
    return net_settings(setup, net, seed, **short, **mirrors)


# --- probes -------------------------------------------------------------------------------------


def _figures(
    record: RunRecord,
    seed: int,
    data: ImageData,
    classes: tuple[Sequence[str], Sequence[str]],
    setup: Setup,
    compute: Compute,
) -> dict[str, float]:
    """Return one net's accuracies: on its own classes, and of probes of it and of its untrained twin."""
    model = load(record.path)
    how, device = model.preprocessing, compute.device
    learned, other = classes
    rows = rows_of(data, other, AMOUNTS[setup.scale], seed)
    statistics = rows_of(data, learned, (0, STATISTICS // len(learned), 0), seed).many
    loaders = {
        name: open_loader(data.train.take(some), how, device, compute.threads, BATCH)
        for name, some in (("statistics", statistics), ("many", rows.many), ("held", rows.held))
    }
    numbers = [list(data.classes).index(name) for name in other]
    labels, held_labels = (
        torch.from_numpy(np.searchsorted(numbers, data.train.labels[some])) for some in (rows.many, rows.held)
    )
    among = torch.from_numpy(np.isin(rows.many, rows.few))
    compute.place(model.net)
    found = {"own": 1 - test_error(record) / 100}
    twin = untrained_on(model.net.spec, seed, (batch.images for batch in loaders["statistics"]), compute)
    for prefix, net in (("", model.net), ("untrained-", twin)):
        x, held_x = (features(net, (one.images for one in loaders[name]), compute) for name in ("many", "held"))
        found[f"{prefix}many"] = probe_accuracy(x, labels, held_x, held_labels)
        found[f"{prefix}few"] = probe_accuracy(x[among], labels[among], held_x, held_labels)
    return found


@torch.inference_mode()
def features(net: ResNet, batches: Iterable[Tensor], compute: Compute) -> Tensor:
    """Return what the net's last layer would see of all pictures (B, 3, S, S): (N, D) float32 on the processor."""
    net.eval()
    parts = []
    for images in batches:
        with compute.autocast():
            parts.append(net.pool(net.end(net.stages(net.stem(images)))).flatten(1).float().cpu())
    return torch.cat(parts)


# --- what is shown ------------------------------------------------------------------------------

KINDS = {
    "own": "accuracy on its own classes",
    "few": "probe, few pictures",
    "many": "probe, many pictures",
    "untrained-few": "probe of the untrained net, few pictures",
    "untrained-many": "probe of the untrained net, many pictures",
}


def _bars(q: Quantities, nets: Sequence[str], amount: str) -> Bars:
    named = {
        f"{net}{words}": f"{net}-{prefix}{amount}"
        for net in nets
        for prefix, words in (("", ""), ("untrained-", ", untrained"))
    }
    return bars_of(f"Linear probe on the other classes, {amount} pictures", "accuracy, %", q, named)


def _notes(learned: Sequence[str], other: Sequence[str], rows: Rows) -> tuple[str, ...]:
    counts = [len(some) // len(other) for some in (rows.few, rows.many, rows.held)]
    return (
        f"Learned: {', '.join(learned)}. Probed: {', '.join(other)}, of which no picture was seen before.",
        f"Of each probed class: {counts[0]} (few) or {counts[1]} (many) pictures for the probe, {counts[2]} held out "
        "to judge it by. All are training pictures of the data set; the test pictures are not touched.",
        "The probe is a ridge regression of the classes on the pooled last features. An untrained net has the weights "
        "that chance begins with, and BN statistics measured on pictures of the learned classes.",
        "Accuracy on a net's own classes is that of the pictures its training kept aside.",
        "The paper carries ImageNet features over to detection (sec. 4.3); classes of one small data set are a far "
        "smaller step.",
    )
