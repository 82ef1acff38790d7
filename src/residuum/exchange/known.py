"""How weights want to be used: what they say themselves, what is known of their layout, what the user says.

Means and spreads are 0 to 1 here, as everyone gives them.
"""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from residuum.choices import Interpolation, StrideIn, ZeroChannels
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.exchange.layouts import AKAMASTER, CIFAR, KUANGLIU, RESIDUUM, TIMM, TIMM_V2, TORCHVISION, TRANSFORMERS
from residuum.models.assumption import Assumption
from residuum.models.spec import NetSpec

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What keys cannot tell; None where it is not known."""

    mean: Colour | None = None
    std: Colour | None = None
    image_size: int | None = None
    resize_to: int | None = None
    interpolation: Interpolation | None = None
    stride_in: StrideIn | None = None
    zero_channels: ZeroChannels | None = None
    classes: tuple[str, ...] | None = None
    several: bool | None = None


@dataclass(frozen=True)
class Guess:
    """What is known of a layout, and why, for each fact that is known."""

    facts: Known
    why: dict[str, str]


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
_CIFAR100 = {"mean": (0.5071, 0.4867, 0.4408), "std": (0.2675, 0.2565, 0.2761)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_V1 = {"image_size": 224, "resize_to": 256, "interpolation": "bilinear", "stride_in": "3x3"}
_SMALL = {"image_size": 32, "resize_to": 32, "interpolation": "bilinear", "stride_in": "3x3"}

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_GUESSES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    TORCHVISION: (
        {**IMAGENET, **_V1},
        {
            "mean": "ImageNet's, as torchvision trains",
            "resize_to": "as torchvision's V1 weights; its V2 weights take 232, timm's often 235 with bicubic",
            "interpolation": "as torchvision; timm's weights often take bicubic",
            "stride_in": "as torchvision and timm",
        },
    ),
    TIMM: (
        {**IMAGENET, **_V1},
        {
            "mean": "ImageNet's, as most of timm's weights",
            "resize_to": "as torchvision; it varies among timm's weights, 235 (224 / 0.95) is commonest",
            "interpolation": "as torchvision; it varies among timm's weights, bicubic is commonest",
            "stride_in": "as timm",
        },
    ),
    TIMM_V2: (
        {**_HALF, **_V1, "resize_to": 235, "interpolation": "bicubic"},
        {
            "mean": "as timm's resnetv2 weights",
            "resize_to": "224 / 0.95, as timm's resnetv2_50 and 101; its 18 and 34 take 248",
            "interpolation": "as timm's resnetv2 weights",
            "stride_in": "as timm",
        },
    ),
    TRANSFORMERS: (
        {**IMAGENET, **_V1, "interpolation": "bicubic"},
        {
            "mean": "ImageNet's, as microsoft/resnet-50; preprocessor_config.json beside the weights would tell",
            "resize_to": "224 / 0.875, as microsoft/resnet-50",
            "interpolation": "as microsoft/resnet-50",
            "stride_in": "as microsoft/resnet-50; config.json beside the weights would tell",
        },
    ),
    AKAMASTER: (
        {**IMAGENET, **_SMALL, "zero_channels": "both"},
        {"mean": "ImageNet's, as akamaster trains on CIFAR-10", "zero_channels": "as akamaster"},
    ),
    KUANGLIU: (
        {**_CIFAR10, **_SMALL, "zero_channels": "end"},
        {"mean": "as kuangliu trains on CIFAR-10", "zero_channels": "as fb.resnet.torch"},
    ),
    CIFAR: (
        {**_CIFAR10, **_SMALL, "zero_channels": "end"},
        {"mean": "as most nets for CIFAR-10 are trained", "zero_channels": "as fb.resnet.torch; akamaster: both"},
    ),
}  # fmt: skip

_LABELS = {
    "mean": "mean of red, green, blue",
    "std": "spread of red, green, blue",
    "image_size": "the net sees squares of pixels",
    "resize_to": "shorter side in pixels before the cut",
    "interpolation": "resizing",
    "stride_in": "convolution of a bottleneck that strides",
    "zero_channels": "where option A puts zero channels",
    "classes": "class names",
}


_COSTLY = "a wrong guess can cost tens of points, and the publisher's code or card has it"
"""How much hangs on colours and strides: see the log, "New users, a third time"."""


def guess(layout: str, spec: NetSpec) -> Guess:
    """Return what is known of a layout's nets."""
    if layout == RESIDUUM:
        return _guess_of_own(spec)
    facts, reasons = _GUESSES[layout]
    facts, why = {"zero_channels": "end", **facts}, dict(reasons)
    if spec.stem == "cifar" and spec.num_classes == 100:
        facts |= _CIFAR100
        why["mean"] = "as most nets for CIFAR-100 are trained"
    why["std"] = why["mean"]
    facts["classes"], why["classes"] = _class_names(spec)
    return Guess(Known(**facts), why)


def _guess_of_own(spec: NetSpec) -> Guess:
    """Return what nets of one's own loop are shown most often; strides and zero channels are as the net has them."""
    small = spec.sees_small
    colours, view = (_CIFAR10, _SMALL) if small else (IMAGENET, _V1)
    pictures = f"{'CIFAR-10' if small else 'ImageNet'}'s: nothing tells what your loop took"
    built = "as residuum.net builds such nets"
    why = {"mean": pictures, "std": pictures, "image_size": pictures, "resize_to": pictures, "interpolation": pictures}
    why |= {"stride_in": built, "zero_channels": built, "classes": _called(spec.num_classes)}
    own: dict[str, Any] = {**colours, **view, "stride_in": spec.stride_in, "zero_channels": spec.zero_channels}
    return Guess(Known(**{**own, "classes": numbered(spec.num_classes)}), why)


def settle(told: Known, said: Known, guessed: Guess, spec: NetSpec) -> tuple[Known, list[Assumption]]:
    """Take each fact from the first that knows it: the user, the weights themselves, their layout.

    Returns the facts, and an assumption for each that was only guessed and makes a difference for this net.
    """
    facts: dict[str, Any] = {}
    guesses = []
    idle = {"stride_in": spec.block == "basic", "zero_channels": spec.shortcut != "A", "classes": not spec.num_classes}
    idle["several"] = True  # one class a picture, as nearly all published weights are trained
    for field in fields(Known):
        name = field.name
        sure = next((getattr(k, name) for k in (told, said) if getattr(k, name) is not None), None)
        facts[name] = getattr(guessed.facts, name) if sure is None else sure
        if sure is None and not idle.get(name):
            guesses.append(_assumption(name, facts[name], guessed.why.get(name, "")))
    return Known(**facts), guesses


def _assumption(name: str, value: Any, why: str) -> Assumption:
    if name == "classes":
        return Assumption(f"{_LABELS[name]}: {why}", ("classes",))
    written = " ".join(map(str, value)) if isinstance(value, tuple) else value
    at_risk = _COSTLY if name in {"mean", "std", "stride_in"} else ""
    return Assumption(f"{_LABELS[name]}: {written}{why and ', '}{why}", (name,), at_risk)


def preprocessing(facts: Known) -> Preprocessing:
    """Return how pictures are shown (UserError where they have no such central square)."""
    image_size, resize_to = facts.image_size or 224, facts.resize_to or 224
    if resize_to < image_size:
        what = f"pictures of {resize_to} px have no central square of {image_size} px"
        raise UserError(what, "", f"--resize-to must be at least --image-size, {image_size}")
    mean, std = (np.array(colour, np.float64) * 255 for colour in (facts.mean, facts.std))
    colours = mean.astype(np.float32), std.astype(np.float32)
    return Preprocessing(image_size, resize_to, *colours, facts.interpolation or "bilinear")


# --- class names --------------------------------------------------------------------------------


def _class_names(spec: NetSpec) -> tuple[tuple[str, ...], str]:
    """Names, and how they were come by."""
    if spec.stem == "cifar" and spec.num_classes == 10:
        return CIFAR10_CLASSES, "CIFAR-10's, airplane to truck"
    if spec.stem != "cifar" and spec.num_classes == 1000 and (names := _imagenet_names()):
        return names, "ImageNet's, as torchvision lists them"
    missing = "; ImageNet's need torchvision" if spec.stem != "cifar" and spec.num_classes == 1000 else ""
    return numbered(spec.num_classes), _called(spec.num_classes) + missing


def _called(count: int) -> str:
    return f"class 0 to class {count - 1}, as the keys name none"


def numbered(count: int) -> tuple[str, ...]:
    """Return names for classes that nobody has named."""
    return tuple(f"class {number}" for number in range(count))


def _imagenet_names() -> tuple[str, ...] | None:
    try:
        from torchvision.models._meta import _IMAGENET_CATEGORIES
    except ImportError:
        return None
    return distinct(tuple(_IMAGENET_CATEGORIES))


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Add the class number to names that several classes share, such as ImageNet's two cranes."""
    count = Counter(names)
    return tuple(f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(names))
