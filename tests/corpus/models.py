"""Model files made by hand: every field of the description and every tensor, unknown, missing, wrong or without end.

Each is sealed anew, so that it is the reader of what it says that must tell, not the digest.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import torch

from corpus.case import Case, Make, Must, done, refused
from corpus.things import COLOURS, DAMAGES, colours_file, spoiled, text

VERBS = ("predict with", "evaluate with", "lesion", "grow", "export-weights", "card", "train from", "serve from")
"""Those that open a model file; all of them refuse it alike."""
FEW = ("predict with", "evaluate with", "train from")

About = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def model(about: Callable[[About], object] | None = None, tensors: Callable[[Tensors], object] | None = None) -> Make:
    """The model that knows colours, changed in what it says or in its tensors, and sealed."""

    def make(folder: Path, _: Random) -> Path:
        from residuum.models.file import read_tensors, sealed

        path = text(folder / "model.safetensors", colours_file())
        held, metadata = read_tensors(path)
        said = json.loads(metadata["residuum"])
        if about:
            about(said)
        if tensors:
            tensors(held)
        return text(path, sealed(held, {"residuum": json.dumps(said)}))

    return make


def net(**fields: Any) -> Make:
    """With other fields in its net's specification."""
    return model(lambda about: about["net"].update(fields))


def _put(place: tuple[str, ...], value: Any) -> Make:
    """With another value at a place; ... takes it away."""

    def change(about: About) -> None:
        for name in place[:-1]:
            about = about[name]
        if value is ...:
            del about[place[-1]]
        else:
            about[place[-1]] = deepcopy(value)

    return model(change)


UNKNOWN = {
    "activation": "swish", "order": "sideways", "stem": "resnext", "pooling": "median", "block": "wide",
    "shortcut": "D", "halving": "third", "first_activation": "end", "stride_in": "5x5", "zero_channels": "start",
}  # fmt: skip
WRONG = {
    "blocks": ("2, 2", [2], [], [2, 2.5], [0, 2], [-1, 2], [None, 2], [10**9, 2], [2, 2, 2], {"a": 2}),
    "widths": ([4], [4, 10**9], [0, 8], "48", None),
    "num_classes": (0, -6, 5, 7, 10**12, "6", 6.5, None),
    "groups": (0, 3, 10**9),
    "squeeze": (-1, 10**9, "x"),
    "stem_width": (0, 5, "4"),
    "dropout": (-1, 2, "x", None),
    "in_channels": (0, 1, 10**9),
}
DESCRIPTION: dict[str, Make] = {
    "an unknown field": _put(("colour",), "red"),
    "an unknown field of the net": net(colour="red"),
    "no net": _put(("net",), ...),
    "net is a list": _put(("net",), [1, 2]),
    "net is null": _put(("net",), None),
    "no classes": _put(("classes",), ...),
    "classes is null": _put(("classes",), None),
    "no class": _put(("classes",), []),
    "too few classes": _put(("classes",), list(COLOURS)[:3]),
    "too many classes": _put(("classes",), [*COLOURS, "pink"]),
    "a class twice": _put(("classes",), ["red", *list(COLOURS)[1:5], "red"]),
    "classes are numbers": _put(("classes",), [1, 2, 3, 4, 5, 6]),
    "classes is a word": _put(("classes",), "colors"),
    "no preprocessing": _put(("preprocessing",), ...),
    "preprocessing is a list": _put(("preprocessing",), []),
    "no image size": _put(("preprocessing", "image_size"), ...),
    "image size 0": _put(("preprocessing", "image_size"), 0),
    "image size -1": _put(("preprocessing", "image_size"), -1),
    "image size a word": _put(("preprocessing", "image_size"), "16"),
    "image size without end": _put(("preprocessing", "image_size"), 10**9),
    "resize below size": _put(("preprocessing", "resize_to"), 8),
    "resize without end": _put(("preprocessing", "resize_to"), 10**9),
    "unknown interpolation": _put(("preprocessing", "interpolation"), "lanczos"),
    "unknown views": _put(("preprocessing", "views"), "eleven"),
    "another format": _put(("format",), "residuum-model/2"),
    "format is a number": _put(("format",), 1),
    "lineage is a word": _put(("lineage",), "long"),
    "lineage of unknown verbs": _put(("lineage",), [{"verb": "melt", "date": "2026-01-01"}]),
    "metrics of wrong types": _put(("metrics",), {"top1": "good"}),
    "data is a word": _put(("data",), "digits"),
    "settings is a list": _put(("settings",), [1]),
    "temperature is a word": _put(("temperature",), "warm"),
    "likeness without tensors": _put(("likeness",), {"percentile": 95}),
    "versions is a list": _put(("versions",), []),
}


def _without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def _as(change: Callable[[torch.Tensor], torch.Tensor], name: str = "model/fc.weight") -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: change(tensors[name])})


TENSORS: dict[str, Make] = {
    "no last layer": model(tensors=_without("model/fc.weight")),
    "no bias": model(tensors=_without("model/fc.bias")),
    "no mean": model(tensors=_without("preprocessing/mean")),
    "no spread": model(tensors=_without("preprocessing/std")),
    "a tensor more": model(tensors=lambda held: held.update({"model/more.weight": torch.ones(2)})),
    "another group": model(tensors=lambda held: held.update({"optimizer/x": torch.ones(2)})),
    "another shape": model(tensors=_as(lambda x: x[:, :-1])),
    "double precision": model(tensors=_as(lambda x: x.double())),
    "half precision": model(tensors=_as(lambda x: x.half())),
    "whole numbers": model(tensors=_as(lambda x: x.long())),
    "truth values": model(tensors=_as(lambda x: x > 0)),
    "weights not a number": model(tensors=_as(lambda x: x * torch.nan)),
    "one weight infinite": model(tensors=_as(lambda x: x.index_fill(0, torch.tensor([2]), torch.inf))),
    "variance below zero": model(tensors=_as(lambda x: -x - 1, "model/stem.bn.running_var")),
    "variance not a number": model(tensors=_as(lambda x: x * torch.nan, "model/stem.bn.running_var")),
    "mean not a number": model(tensors=_as(lambda x: x * torch.nan, "preprocessing/mean")),
    "spread zero": model(tensors=_as(lambda x: x * 0, "preprocessing/std")),
    "spread below zero": model(tensors=_as(lambda x: -x, "preprocessing/std")),
    "mean of one colour": model(tensors=_as(lambda x: x[:1], "preprocessing/mean")),
    "mean of another size": model(tensors=lambda held: held.update({"preprocessing/mean": torch.zeros(15, 15, 3)})),
    "no tensor at all": model(tensors=lambda held: held.clear()),
}
SOUND = ("another group", "double precision", "half precision")
"""Of these a file may also be read; then its answers are right."""


def _raw(content: bytes) -> Make:
    return lambda folder, _: text(folder / "model.safetensors", content)


def _header(header: bytes, length: int | None = None) -> Make:
    return _raw((len(header) if length is None else length).to_bytes(8, "little") + header + bytes(64))


FILES: dict[str, Make] = {
    "empty": _raw(b""),
    "seven bytes": _raw(b"\1\0\0\0\0\0\0"),
    "a header without end": _header(b"{}", 2**63 - 1),
    "a header of a gigabyte": _header(b"{}", 2**30),
    "no JSON": _header(b"hello, world"),
    "nested without end": _header(b'{"a":' * 50_000),
    "a tensor beyond the end": _header(b'{"a":{"dtype":"F32","shape":[99999],"data_offsets":[0,399996]}}'),
    "a shape without end": _header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'),
    "backwards": _header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}'),
    "a kind unknown": _header(b'{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}'),
    "no tensors": _header(b'{"__metadata__":{"residuum":"{}"}}'),
    "our key, no JSON": _header(b'{"__metadata__":{"residuum":"{"}}'),
    "our key, a list": _header(b'{"__metadata__":{"residuum":"[1]"}}'),
    "our key, deep": _header(b'{"__metadata__":{"residuum":"' + b"[" * 100_000 + b'"}}'),
    "a number for a note": _header(b'{"__metadata__":{"residuum":3}}'),
    "a page": _raw(b"<html>404</html>"),
    "a pickle": _raw(b"\x80\x04\x95\x05\0\0\0\0\0\0\0]q\0."),
    "a zip": _raw(b"PK\3\4" + bytes(50)),
}


def _spoiled(how: str) -> Make:
    return lambda folder, luck: text(folder / "model.safetensors", spoiled(colours_file(), how, luck))


def _named(name: str) -> Make:
    classes = [name, *list(COLOURS)[1:]]
    return _put(("classes",), classes)


def cases() -> Iterator[Case]:
    """All of them, by name."""
    everywhere = dict.fromkeys(VERBS, refused(("model.safetensors", "{}")))
    few = dict.fromkeys(FEW, refused())
    for name, make in DESCRIPTION.items():
        yield Case(f"says: {name}", make, everywhere, ("predict with",) if "class" in name else ())
    for field, value in UNKNOWN.items():
        yield Case(f"net: unknown {field}", net(**{field: value}), few, ("predict with",))
    for field, values in WRONG.items():
        for value in values:
            yield Case(f"net: {field} {value!r:.20}", net(**{field: value}), few)
    for name, make in TENSORS.items():
        must = few if name not in SOUND else dict.fromkeys(FEW, Must((0, 2)))
        if name in SOUND:
            must["predict with"] = Must((0, 2), (("red", "model.safetensors"),))
        yield Case(f"tensors: {name}", make, must)
    for name, make in FILES.items():
        yield Case(f"model file: {name}", make, few, ("predict with",) if name.startswith("our key") else ())
    for i in range(25):
        yield Case(f"model file: {DAMAGES[i % 5]} {i}", _spoiled(DAMAGES[i % 5]), few)
    for i, name in enumerate(("\x1b[31mred", "a\nb", "\u202ered", "[bold]red", "x" * 5000, "<img src=x onerror=y>")):
        yield Case(f"model: class name {i}", _named(name), {"predict with": done(), "evaluate with": Must((0, 2))})
    asks = model(lambda about: about.update(data=_data("nobody-here/at-all")))
    never = ("huggingface", "fetching")
    yield Case(
        "model: its data are on the hub", asks, dict.fromkeys(("lesion its own", "judge"), Must((2,), never=never))
    )
    yield Case("model: as it is", model(), {"predict with": done("red"), "evaluate with": done('"value": 1.0')})


def _data(source: str) -> dict[str, Any]:
    counts = {"train": 1, "validation": 1, "test": None}
    return {"name": source, "source": source, "classes": list(COLOURS), "fingerprint": "0" * 64, "counts": counts,
            "validation_from": "its own", "image_size": 16}  # fmt: skip
