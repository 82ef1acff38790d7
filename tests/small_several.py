"""What tests of several labels a picture start from: a small model file of four labels that was not trained."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from small_start import SPEC

from residuum.data.preprocess import Preprocessing, normalise
from residuum.evaluation.likeness import directions
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance
from residuum.records.review import Likeness
from residuum.records.run import Data

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


@torch.inference_mode()
def expected_of(shown: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the net answers to pictures, (N, 4): the sigmoid of each logit."""
    found: NDArray[np.float32] = torch.sigmoid(several_net()(normalise(torch.from_numpy(shown), HOW))).numpy()
    return found


def called_in(row: NDArray[np.float32]) -> list[str]:
    """Return the labels called, likeliest first: those of at least a half."""
    return [LABELS[k] for k in np.argsort(-row) if row[k] >= 0.5]


def table_of(root: Path, shown: NDArray[np.uint8], labels: list[list[str]], file: str = "test.csv") -> Path:
    """Write pictures, and a table beside them that says what each shows, with semicolons between."""
    for number, pixels in enumerate(shown):
        Image.fromarray(pixels).save(root / f"{number:02}.png")
    with (root / file).open("w", newline="", encoding="utf-8") as opened:
        rows = [[f"{number:02}.png", "; ".join(each)] for number, each in enumerate(labels)]
        csv.writer(opened).writerows([["image", "label"], *rows])
    return root


def several_model(
    path: Path, settings: dict[str, str] | None = None, *, like: bool = False, data: Data | None = None
) -> Path:
    """Write the net as a model file of several labels; `like`: that knows what its pictures were like."""
    kept = directions(np.random.default_rng(0).normal(size=(7, SPEC.widths[-1]))) if like else None
    knows = Provenance(several=True, settings=settings, data=data)
    if like:
        knows = Provenance(several=True, likeness=Likeness(neighbours=2, threshold=0.25, known=0.05))
    net = several_net()
    save_classifier(path, net, net.spec, LABELS, HOW, knows, kept)
    return path
