"""What tests of few pictures start from: a small model file of three classes, and pictures of coloured noise."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from residuum.data.preprocess import Preprocessing
from residuum.loading import save_classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance

SPEC = replace(named("resnet20", 3), blocks=(1, 1, 1), widths=(16, 16, 32))


def small_model(path: Path, classes: tuple[str, str, str], side: int) -> Path:
    """Write a net as it is before training, its BN statistics folded, that sees pictures of this side."""
    torch.manual_seed(0)
    how = Preprocessing(side, side, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    save_classifier(path, ResNet(SPEC).eval(), SPEC, classes, how, Provenance())
    return path


def coloured_noise(
    root: Path, colours: Mapping[str, tuple[int, int, int]], per_class: int, side: int, seed: int = 0
) -> Path:
    """Write a folder of pictures for each class: noise about its colour."""
    luck = np.random.default_rng(seed)
    for name, colour in colours.items():
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.clip(np.array(colour) + luck.normal(0, 60, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root
