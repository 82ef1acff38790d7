"""The table of named nets: what each is, what it costs, what was published of it. Without torch, so that it is
instant.

The costs stand in costs.json, as `python -m residuum.models.table` wrote them (a test counts every net anew). Another
number of classes changes the last layer alone; at another size of picture the nets are counted anew (count.py).
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from residuum.errors import UserError
from residuum.models.comparison import COMPARISON_NETS, SMALLEST, installed
from residuum.models.named import NAMED_NETS, named
from residuum.models.published import PUBLISHED
from residuum.plain_data import asked, flag
from residuum.setting_parts import NetChoices
from residuum.settings import ModelsSettings

COSTS = Path(__file__).with_name("costs.json")


def table(settings: ModelsSettings, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row a net, by default of all: what it is, what it costs, what was published of it.

    Depth, parameters, multiply-adds of one picture of `image_size` px, `activation_bytes` of a training step of
    `batch` pictures (128, or 32 large ones), and `published`, a list (see `Published`). `library` says whose net was
    counted: residuum's, or torchvision's; `choices` what was changed of the net.

    Nets with choices are counted anew. What was published stands at the net that it is of: of ResNet-50 with the stride
    in the 1×1, what the paper says of its own.

    Raises:
        UserError: a name is unknown; choices contradict, or no net is named for them; or a net of comparison has
            choices, cannot be built, or cannot see pictures so small.
    """
    if asked(NetChoices, settings) and not names:
        raise UserError("which net is changed?", "", "residuum models resnet50 --stride-in 1x1")
    image_size = settings.image_size or 224  # there the costs of the nets of comparison are known
    comparable = image_size == 224 or (image_size >= SMALLEST and installed())
    everything = [*NAMED_NETS, *(COMPARISON_NETS if comparable else ())]
    return [_row(name, settings) for name in names or everything]


def _row(name: str, settings: ModelsSettings) -> dict[str, Any]:
    choices = _changed(name, settings)
    row = _what_it_is(name, choices)
    usual = row["classes"], row["image_size"]
    classes, image_size = settings.classes or usual[0], settings.image_size or usual[1]
    if name in COMPARISON_NETS and image_size < SMALLEST:
        raise UserError(
            f"{name} cannot see pictures of {image_size} px",
            "its pooling leaves nothing of them",
            f"ask for --image-size {SMALLEST} or more",
        )
    if image_size == usual[1] and not choices:
        costs = _with_classes(_written()[name], _features(name), classes - usual[0], row["batch"])
    else:
        from residuum.models.count import costs as count  # imports torch, which takes longer than all else

        costs = count(name, classes, image_size, row["batch"], **choices)
    asked_for = {"classes": classes, "image_size": image_size, "choices": choices}
    return {**row, **asked_for, **costs, "published": _published(name, choices)}


def _published(name: str, choices: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was published of exactly this net."""
    if name in COMPARISON_NETS:
        same = PUBLISHED.get(name, ())
    else:
        same = tuple(one for one in PUBLISHED.get(name, ()) if named(name, **one.choices) == named(name, **choices))
    return [{key: value for key, value in vars(one).items() if key != "choices"} for one in same]


def _changed(name: str, settings: ModelsSettings) -> dict[str, Any]:
    """Return the choices that make another net of this one (UserError: it has none)."""
    choices = asked(NetChoices, settings)
    if choices and name in COMPARISON_NETS:
        raise UserError(
            f"{name} cannot be changed, but {', '.join(map(flag, choices))} was given",
            "nets of comparison are counted as they were published",
            "name residual or plain nets alone",
        )
    return choices if choices and named(name, **choices) != NAMED_NETS[name] else {}


def _what_it_is(name: str, choices: dict[str, Any]) -> dict[str, Any]:
    """Return a row without costs, at the usual number of classes, size of picture and batch."""
    large, small = (224, 32), (32, 128)
    row: tuple[Any, ...]
    if name in COMPARISON_NETS:
        row = ("torchvision", "none", None, [], COMPARISON_NETS[name].depth, 1000, *large)
    else:
        spec = named(name, **choices)
        size = small if spec.sees_small else large
        row = ("residuum", spec.shortcut, spec.block, list(spec.blocks), spec.depth, spec.num_classes, *size)
    keys = ("library", "shortcut", "block", "blocks", "depth", "classes", "image_size", "batch")
    return {"model": name, **dict(zip(keys, row, strict=True))}


def _features(name: str) -> int:
    """Return how many numbers the last, fully connected layer sees."""
    return COMPARISON_NETS[name].features if name in COMPARISON_NETS else NAMED_NETS[name].features


def _with_classes(costs: dict[str, int], features: int, more: int, batch: int) -> dict[str, int]:
    """Add `more` classes: a row of weights and a bias each, and a log-probability in float32 for each picture."""
    return {
        "parameters": costs["parameters"] + more * (features + 1),
        "multiply_adds": costs["multiply_adds"] + more * features,
        "activation_bytes": costs["activation_bytes"] + more * 4 * batch,
    }


@cache
def _written() -> dict[str, dict[str, int]]:
    costs: dict[str, dict[str, int]] = json.loads(COSTS.read_text(encoding="utf-8"))
    return costs


def count_all() -> dict[str, dict[str, int]]:
    """Count every named net, and those of comparison, with its usual classes, size of picture and batch."""
    from residuum.models.count import costs

    rows = [_what_it_is(name, {}) for name in (*NAMED_NETS, *COMPARISON_NETS)]
    return {row["model"]: costs(*(row[key] for key in ("model", "classes", "image_size", "batch"))) for row in rows}


if __name__ == "__main__":
    lines = [f' "{name}": {json.dumps(costs)}' for name, costs in count_all().items()]
    COSTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
