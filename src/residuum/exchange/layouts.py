"""Whose names the tensors of a net have: one table a layout, read in both directions.

A row pairs what residuum calls a module with what the layout calls it. {S}, {B} and {I} stand for the numbers of a
stage, a block and a convolution, counted from 1; {s}, {b} and {i} for the same counted from 0; {J} for I + 1.
The first row that fits counts. What follows the last dot (weight, running_mean, …) is called alike everywhere.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from residuum.choices import Order

Rows = tuple[tuple[str, str], ...]

TORCHVISION, TIMM, TIMM_V2, TRANSFORMERS = "torchvision", "timm", "timm's resnetv2", "transformers"
RESIDUUM = "residuum"
AKAMASTER, KUANGLIU, CIFAR = "akamaster's CIFAR nets", "kuangliu's CIFAR nets", "the usual CIFAR nets"


@dataclass(frozen=True)
class Layout:
    """A layout's name, its table, and what its keys imply without saying."""

    name: str
    rows: Rows
    order: Order = "original"
    first_activation: Literal["stem", "block"] = "stem"
    projection_pool: bool = False
    head_is_convolution: bool = False
    """Whether the last layer's weight is written as (K, C, 1, 1)."""


def torchvision_like(
    name: str = TORCHVISION, *, head: str = "fc", shortcut: str = "downsample", deep: bool = False, pooled: bool = False
) -> Layout:
    """Names as torchvision has them; timm and the CIFAR nets differ in a word here and there.

    `deep`: three convolutions in the stem. `pooled`: each projection begins with a pooling layer, which has no
    weights but is counted.
    """
    first = 1 if pooled else 0
    block = "stages.stage{S}.block{B}"
    rows = [
        ("stem.conv", "conv1.6" if deep else "conv1"),
        ("stem.bn", "bn1"),
        (f"{block}.branch.conv{{I}}", "layer{S}.{b}.conv{I}"),
        (f"{block}.branch.bn{{I}}", "layer{S}.{b}.bn{I}"),
        (f"{block}.branch.squeeze.fc{{I}}", "layer{S}.{b}.se.fc{I}"),
        (f"{block}.shortcut.conv", f"layer{{S}}.{{b}}.{shortcut}.{first}"),
        (f"{block}.shortcut.bn", f"layer{{S}}.{{b}}.{shortcut}.{first + 1}"),
        ("fc", head),
    ]
    if deep:
        rows += [("stem.conv1", "conv1.0"), ("stem.bn1", "conv1.1"), ("stem.conv2", "conv1.3"), ("stem.bn2", "conv1.4")]
    return Layout(name, tuple(rows), projection_pool=pooled)


def timm_v2(*, deep: bool = False, pooled: bool = False, head: str = "head.fc") -> Layout:
    """Names of timm's resnetv2, the pre-activation nets. Keys do not tell whether its projections pool first."""
    block, theirs = "stages.stage{S}.block{B}", "stages.{s}.blocks.{b}"
    rows = (
        ("stem.conv", "stem.conv3" if deep else "stem.conv"),
        ("stem.conv{I}", "stem.conv{I}"),
        ("stem.bn{I}", "stem.norm{I}"),
        (f"{block}.before.bn", f"{theirs}.norm1"),
        (f"{block}.branch.conv{{I}}", f"{theirs}.conv{{I}}"),
        (f"{block}.branch.bn{{I}}", f"{theirs}.norm{{J}}"),
        (f"{block}.shortcut.conv", f"{theirs}.downsample.conv"),
        ("end.bn", "norm"),
        ("fc", head),
    )
    return Layout(TIMM_V2, rows, "preactivation", "block", projection_pool=pooled, head_is_convolution=True)


def transformers(own: str = "resnet.", *, head: str = "classifier.1") -> Layout:
    """Names of ResNetForImageClassification in Hugging Face's transformers; `own` is "" in ResNetModel."""
    block, theirs = "stages.stage{S}.block{B}", own + "encoder.stages.{s}.layers.{b}"
    rows = (
        ("stem.conv", own + "embedder.embedder.convolution"),
        ("stem.bn", own + "embedder.embedder.normalization"),
        (f"{block}.branch.conv{{I}}", f"{theirs}.layer.{{i}}.convolution"),
        (f"{block}.branch.bn{{I}}", f"{theirs}.layer.{{i}}.normalization"),
        (f"{block}.shortcut.conv", f"{theirs}.shortcut.convolution"),
        (f"{block}.shortcut.bn", f"{theirs}.shortcut.normalization"),
        ("fc", head),
    )
    return Layout(TRANSFORMERS, rows)


def own(*, head: str = "fc") -> Layout:
    """Names as residuum's nets have them; its order of BN and ReLU is read off them."""
    block = "stages.stage{S}.block{B}"
    inside = ("before.bn", "branch.conv{I}", "branch.bn{I}", "branch.squeeze.fc{I}", "shortcut.conv", "shortcut.bn")
    modules = (
        *("stem.conv", "stem.bn", "stem.conv{I}", "stem.bn{I}"),
        *(f"{block}.{one}" for one in (*inside, "shortcut", "add.gate", "after.bn")),
        "end.bn",
    )
    return Layout(RESIDUUM, (*((one, one) for one in modules), ("fc", head)))


def with_head(layout: Layout, head: str) -> Layout:
    """Return the layout with its last layer under another name."""
    return replace(layout, rows=tuple((ours, head if ours == "fc" else theirs) for ours, theirs in layout.rows))


def to_ours(layout: Layout, name: str) -> str | None:
    """Return residuum's name for the layout's tensor `name`, or None if the layout has no such tensor."""
    return _renamed(name, tuple((theirs, ours) for ours, theirs in layout.rows))


def to_theirs(layout: Layout, name: str) -> str | None:
    """Return the layout's name for residuum's tensor `name`, or None if it has no place there."""
    return _renamed(name, layout.rows)


# letter: which number it is, how much is added to it, and how it is written
_LETTERS = {
    "S": ("S", 0, r"[1-9]\d{0,3}"),
    "B": ("B", 0, r"[1-9]\d{0,4}"),
    "I": ("I", 0, r"[1-9]"),
    "J": ("I", 1, r"[2-9]"),
    "s": ("S", -1, r"0|[1-9]\d{0,3}"),
    "b": ("B", -1, r"0|[1-9]\d{0,4}"),
    "i": ("I", -1, r"\d"),
}


def _renamed(name: str, rows: Rows) -> str | None:
    module, _, leaf = name.rpartition(".")
    for source, target in rows:
        if found := _pattern(source).fullmatch(module):
            return f"{target.format(**_numbers(found.groupdict()))}.{leaf}"
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", template)
    texts = [re.escape(text) for text in parts[::2]]
    numbers = [f"(?P<{letter}>{_LETTERS[letter][2]})" for letter in parts[1::2]] + [""]
    return re.compile("".join(text + number for text, number in zip(texts, numbers, strict=True)))


def _numbers(found: dict[str, str]) -> dict[str, int]:
    """Every way of writing the numbers that were found in one."""
    known = {_LETTERS[letter][0]: int(text) - _LETTERS[letter][1] for letter, text in found.items()}
    return {letter: known[which] + add for letter, (which, add, _) in _LETTERS.items() if which in known}
