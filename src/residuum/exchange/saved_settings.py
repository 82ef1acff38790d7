"""What transformers, timm and torchvision write down about how their weights want to be used."""

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any

from residuum.choices import Interpolation
from residuum.errors import UserError
from residuum.exchange.known import Colour, Known, distinct
from residuum.files import read_json

_RESIZING: dict[object, Interpolation] = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    2: "bilinear",  # Pillow's numbers
    3: "bicubic",
}


def folder_facts(folder: Path) -> Known:
    """Read config.json, and preprocessor_config.json where it is.

    Raises:
        UserError: the net is not a ResNet of this family.
    """
    config = _table(folder / "config.json")
    if "pretrained_cfg" in config:  # timm's way of saving
        return timm_facts({**config["pretrained_cfg"], "label_names": config.get("label_names")})
    _refuse(config, folder)
    path = folder / "preprocessor_config.json"
    view = _view(_table(path)) if path.is_file() else {}
    labels = config.get("id2label")
    classes = [labels[number] for number in sorted(labels, key=int)] if labels else None
    return Known(
        **view,
        stride_in="1x1" if config.get("downsample_in_bottleneck") else "3x3",
        classes=distinct(tuple(map(str, classes))) if classes else None,
        several=True if config.get("problem_type") == "multi_label_classification" else None,
    )


def timm_facts(config: Mapping[str, Any]) -> Known:
    """Read timm's pretrained_cfg, a pre-trained net's settings."""
    side, share = config.get("input_size", (3, None, None))[-1], config.get("crop_pct")
    names = config.get("label_names")
    return Known(
        mean=_colour(config.get("mean")),
        std=_colour(config.get("std")),
        image_size=side,
        resize_to=floor(side / share) if side and share else None,
        interpolation=_RESIZING.get(config.get("interpolation")),
        stride_in="3x3",
        classes=distinct(tuple(map(str, names))) if names else None,
    )


def transforms_facts(transforms: Any, categories: Sequence[str]) -> Known:
    """Read the transforms that come with torchvision's weights."""
    return Known(
        mean=_colour(transforms.mean),
        std=_colour(transforms.std),
        image_size=transforms.crop_size[0],
        resize_to=transforms.resize_size[0],
        interpolation=_RESIZING.get(transforms.interpolation.value),
        stride_in="3x3",
        classes=distinct(tuple(categories)),
    )


def _table(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no table of settings")
    return content


def _refuse(config: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError for a transformers net that is none of ours."""
    kind = config.get("model_type")
    if kind != "resnet":
        raise UserError(
            f"{folder} holds no ResNet of transformers or timm",
            f"its config.json says model_type {kind!r}, not 'resnet'",
            "" if kind else "if another program wrote it, give the weights file itself: residuum import FOLDER/FILE",
        )
    if config.get("hidden_act", "relu") != "relu":
        raise UserError(f"the net in {folder} has activation {config['hidden_act']}", "residuum's nets have ReLU")
    if config.get("downsample_in_first_stage"):
        raise UserError(
            f"the net in {folder} halves the map in its first stage",
            "downsample_in_first_stage is true; residuum's first stage keeps it",
        )


def _view(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an image processor of transformers does to a picture, as fields of Known."""
    plain = config.get("do_normalize") is False
    side, crop = _side(config.get("size")), _side(config.get("crop_size"))
    share = config.get("crop_pct")
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    if share is None and kind.startswith("ConvNext"):
        share = 224 / 256  # its default
    view: dict[str, Any] = {"image_size": side, "resize_to": side}
    if side and share and side < 384:  # ConvNeXT's processor: from 384 px on, it cuts nothing off
        view["resize_to"] = int(side / share)
    elif crop and config.get("do_center_crop"):
        view["image_size"] = crop
    return {
        **view,
        "mean": (0.0, 0.0, 0.0) if plain else _colour(config.get("image_mean")),
        "std": (1.0, 1.0, 1.0) if plain else _colour(config.get("image_std")),
        "interpolation": _RESIZING.get(config.get("resample")),
    }


def _side(size: Any) -> int | None:
    """A size is a number, or {"shortest_edge": …}, or {"height": …, "width": …}."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return size if isinstance(size, int) else None


def _colour(value: Any) -> Colour | None:
    if isinstance(value, Sequence) and len(value) == 3:
        red, green, blue = (float(number) for number in value)
        return red, green, blue
    return None
