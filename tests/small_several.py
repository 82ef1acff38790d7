"""What tests of several labels a picture start from: a small model file of four labels that was not trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from small_start import SPEC

from residuum.data.preprocess import Preprocessing, normalise
from residuum.evaluation.likeness import directions
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance
from residuum.records.review import Likeness

LABELS = ("ants", "bees", "flower", "hive")
CALLED_OF = (0.4, 0.4, 0.4, 0.1)
"""Of which share of the pictures each label is called, about."""
SIDE = 24
HOW = Preprocessing(SIDE, SIDE, np.full(3, 120, np.float32), np.full(3, 60, np.float32))


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return (count, SIDE, SIDE, 3) pictures, each noise about a colour of its own."""
    luck = np.random.default_rng(seed)
    colours = luck.integers(30, 226, (count, 1, 1, 3))
    return np.clip(colours + luck.normal(0, 40, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@torch.no_grad()
def several_net() -> ResNet:
    """Return a net whose logits of each label have spread 3, and are above 0 as often as CALLED_OF says."""
    torch.manual_seed(0)
    net = ResNet(replace(SPEC, num_classes=len(LABELS))).eval()
    net.fc.bias.zero_()
    logits = net(normalise(torch.from_numpy(pictures(100, seed=1)), HOW))
    scale = 3 / logits.std(0)
    net.fc.weight *= scale[:, None]
    bars = [float(scale[k] * logits[:, k].quantile(1 - share)) for k, share in enumerate(CALLED_OF)]
    net.fc.bias -= torch.tensor(bars)
    return net


def several_model(path: Path, settings: dict[str, str] | None = None, *, like: bool = False) -> Path:
    """Write the net as a model file of several labels; `like`: that knows what its pictures were like."""
    kept = directions(np.random.default_rng(0).normal(size=(7, SPEC.widths[-1]))) if like else None
    knows = Provenance(several=True, settings=settings)
    if like:
        knows = Provenance(several=True, likeness=Likeness(neighbours=2, threshold=0.25, known=0.05))
    net = several_net()
    save_classifier(path, net, net.spec, LABELS, HOW, knows, kept)
    return path
