"""Blocks added to trained convolutional nets: as the identity, by depth/grow.py, or as ordinary new layers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from residuum.data.batches import Batch
from residuum.depth.grow import grown, inserted
from residuum.depth.measure import score
from residuum.depth.recalibrate import recalibrate
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance
from residuum.records.study import Quantity
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.examined import opened, training_batches
from residuum.studies.frame import Setup, quantity
from residuum.studies.trained import net_settings, test_error, trained, training_error, with_each_seed

MORE = 2
"""Blocks added to each stage, one alone at scale tiny: 20 layers become 32."""
RATE = 0.03
"""Highest rate of the pass that follows: a third of a new net's, so that what was learnt is kept."""


@dataclass(frozen=True)
class Deepened:
    """A net before and after: validation loss in nats, how far its logits moved, and how to train it on."""

    before: float
    after: float
    difference: float
    then: TrainSettings


def measure_insertion(setup: Setup) -> dict[str, Quantity]:
    """Grow residual nets and insert ordinary layers into plain ones, with every seed; then train each for a pass."""
    then: dict[str, Callable[[int], TrainSettings]] = {}
    quantities: dict[str, Quantity] = {}
    for model, label, kind in (("resnet20", "residual", "grown"), ("plain20", "plain", "inserted")):
        wanted = [net_settings(setup, model, seed) for seed in setup.seeds]
        nets = [_deepened(setup, *run) for run in zip(wanted, trained(setup, wanted), strict=True)]
        change = f"largest change of a logit, as a share of the largest, {label} net {kind}"
        quantities |= {
            f"shallow-{label}-loss": quantity(f"validation loss, {label} net", [one.before for one in nets], "nats"),
            f"{kind}-loss": quantity(f"validation loss, {label} net {kind}", [one.after for one in nets], "nats"),
            f"{kind}-difference": quantity(change, [one.difference for one in nets], exact=kind == "grown"),
        }
        then[kind] = {one.then.seed: one.then for one in nets}.__getitem__
    for kind, own in with_each_seed(setup, then).items():
        for name, error in (("training", training_error), ("test", test_error)):
            label = f"{name} error, {kind}, one pass later"
            quantities[f"{kind}-{name}"] = quantity(label, list(map(error, own)), "%")
    return quantities


def _deepened(setup: Setup, settings: TrainSettings, record: RunRecord) -> Deepened:
    """Deepen one run's net, measure it, and write it down to be trained on."""
    run = opened(record.path, setup)
    classifier, net = run.classifier, run.classifier.net
    more = 1 if setup.scale == "tiny" else MORE
    blocks = tuple(count + more for count in net.spec.blocks)
    if net.spec.shortcut == "none":
        deeper = inserted(net, blocks, settings.seed)
        recalibrate(deeper, (batch.images for batch in training_batches(run, 2000)))
    else:
        deeper = grown(net, blocks, settings.seed)
    batches = list(run.validation_loader(200 if setup.scale == "tiny" else 1000))
    path = setup.folder / "deepened" / f"{record.path.name}-{deeper.spec.depth}.safetensors"
    known = Provenance(data=classifier.about.data, settings=classifier.about.settings)
    save_classifier(path, deeper, deeper.spec, classifier.classes, classifier.preprocessing, known)
    then = TrainSettings(
        settings.data,
        start=str(path),
        recipe="sgd_one_cycle",
        lr=RATE,
        epochs=1,
        seed=settings.seed,
        validation=settings.validation,
    )
    before, after = (score(one, batches, run.compute).loss for one in (net, deeper))
    return Deepened(before, after, logit_difference(net, deeper, batches), then)


@torch.no_grad()
def logit_difference(net: ResNet, other: ResNet, batches: Iterable[Batch]) -> float:
    """Return the largest difference between two nets' logits, as a share of the first net's largest."""
    moved, size = 0.0, 0.0
    for batch in batches:
        logits = net(batch.images)
        moved = max(moved, float((other(batch.images) - logits).abs().max()))
        size = max(size, float(logits.abs().max()))
    return moved / size
