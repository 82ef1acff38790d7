"""Other people's weights: every prefix and wrapper that training scripts put about a net, and what is no net at all.

The net is the one that knows colours, under the names of the usual CIFAR nets: read rightly, it answers a red
picture "red".
"""

import argparse
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from corpus.case import Case, Make, Must, done, refused
from corpus.things import COLOURS, DAMAGES, colours_model, spoiled, text

ANSWERED = {"import": done("red")}
State = dict[str, Tensor]


@cache
def _state() -> tuple[tuple[str, Tensor], ...]:
    import tempfile

    from residuum.exchange.layouts import to_theirs, torchvision_like
    from residuum.loading import load

    with tempfile.TemporaryDirectory() as folder:
        net = load(colours_model(Path(folder))).net
    layout = torchvision_like(head="fc")
    named = ((to_theirs(layout, name), tensor) for name, tensor in net.state_dict().items())
    return tuple((name, tensor) for name, tensor in named if name)


def state() -> State:
    """The net's tensors under foreign names."""
    return dict(_state())


def torch_file(content: Callable[[State], Any], name: str = "net.pth", **how: Any) -> Make:
    """A file that torch.save writes."""

    def make(folder: Path, _: Random) -> Path:
        torch.save(content(state()), folder / name, **how)
        return folder / name

    return make


def prefixed(prefix: str, more: Callable[[State], Any] | None = None) -> Callable[[State], State]:
    """Put a prefix before every name, and other groups beside them."""
    return lambda state: {**{prefix + name: tensor for name, tensor in state.items()}, **(more(state) if more else {})}


def _safetensors(content: Callable[[State], State], **how: Any) -> Make:
    def make(folder: Path, _: Random) -> Path:
        save_file(content(state()), folder / "net.safetensors", **how)
        return folder / "net.safetensors"

    return make


def _sharded(folder: Path, _: Random) -> Path:
    tensors, where = state(), {}
    for part, names in enumerate((list(tensors)[::2], list(tensors)[1::2]), start=1):
        file = f"model-{part:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file)
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    return text(folder / "model.safetensors.index.json", json.dumps(index))


def _sharded_with_a_part_missing(folder: Path, luck: Random) -> Path:
    index = _sharded(folder, luck)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return index


def _sharded_out_of_it(folder: Path, luck: Random) -> Path:
    index = _sharded(folder, luck)
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], "../../../etc/passwd")
    return text(index, json.dumps(content))


class Trap:
    """Whoever unpickles this leaves a trace."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("trap-was-sprung"),))


PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.", "resnet.", "encoder.", "module.backbone.",
            "model.encoder.net.", "student.", "online_network.backbone.", "m.")  # fmt: skip

SOUND: dict[str, Make] = {
    "alone": torch_file(lambda state: state),
    "ordered": torch_file(OrderedDict),
    "old format": torch_file(lambda state: state, _use_new_zipfile_serialization=False),
    "safetensors": _safetensors(lambda state: state),
    "safetensors with notes": _safetensors(lambda state: state, metadata={"format": "pt"}),
    "suffix bin": torch_file(lambda state: state, "pytorch_model.bin"),
    "suffix ckpt": torch_file(lambda state: {"state_dict": prefixed("model.")(state), "epoch": 3}, "last.ckpt"),
    "suffix th": torch_file(lambda state: {"state_dict": prefixed("module.")(state)}, "net.th"),
    "no suffix": torch_file(lambda state: state, "weights"),
    "sharded": _sharded,
    "half precision": torch_file(lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()}),
    "double precision": torch_file(
        lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    ),
    "brain floats": torch_file(
        lambda state: {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}
    ),
    "parameters": torch_file(
        lambda state: {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}
    ),
    "uncounted batches": torch_file(
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    ),
    "optimizer beside": torch_file(
        lambda state: {"model": state, "optimizer": {"state": {0: torch.ones(3)}, "lr": 0.1}, "epoch": 90}
    ),
    "two sets": torch_file(lambda state: {"state_dict": {k: v * 0 for k, v in state.items()}, "state_dict_ema": state}),
    "state, model": torch_file(lambda state: {"state": {"model": state}}),
    "namespace beside": torch_file(lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1)}),
    "path beside": torch_file(lambda state: {"model": state, "path": Path("x").as_posix(), "done": True, "loss": 0.1}),
    "loss beside": torch_file(prefixed("model.", lambda _: {"criterion.weight": torch.ones(6)})),
    "metrics beside": torch_file(prefixed("model.", lambda _: {"train_acc.tp": torch.ones(6)})),
    "scaler beside": torch_file(lambda state: {"model": state, "teacher": None, "scaler": {"scale": 65536}}),
    "head in a Sequential": torch_file(
        lambda state: {k.replace("fc.", "fc.1."): v for k, v in state.items()}
    ),
    "flat convolution's head": torch_file(lambda state: {k.replace("fc.", "linear."): v for k, v in state.items()}),
    "called classifier": torch_file(lambda state: {k.replace("fc.", "classifier.") : v for k, v in state.items()}),
    **{f"prefix {prefix}": torch_file(prefixed(prefix)) for prefix in PREFIXES},
}  # fmt: skip

REFUSED: dict[str, tuple[Make, tuple[str | tuple[str, ...], ...]]] = {
    "a trap": (torch_file(lambda state: {"model": state, "x": Trap()}), ("run code",)),
    "a bare pickle": (lambda folder, _: text(folder / "net.pth", pickle.dumps(Trap())), ("{}",)),
    "a whole module": (torch_file(lambda _: torch.nn.Linear(2, 2)), ("{}",)),
    "no tensors": (torch_file(lambda _: {"epoch": 3}), ("{}",)),
    "a list": (torch_file(lambda state: list(state.values())), ("{}",)),
    "a number": (torch_file(lambda _: 3), ("{}",)),
    "nothing": (torch_file(lambda _: {}), ("{}",)),
    "another net": (torch_file(lambda _: {"features.0.weight": torch.ones(4, 3, 3, 3)}), ("features.0.weight",)),
    "a tensor too many": (torch_file(lambda state: {**state, "layer9.0.conv1.weight": torch.ones(2, 2)}), ("{}",)),
    "a tensor missing": (
        torch_file(lambda state: {k: v for k, v in state.items() if k != "layer1.0.bn1.weight"}),
        ("layer1.0",),
    ),
    "a wrong shape": (torch_file(lambda state: {**state, "layer1.0.conv1.weight": torch.ones(4, 4, 1, 1)}), ("{}",)),
    "not a number": (torch_file(lambda state: {**state, "fc.weight": state["fc.weight"] * torch.nan}), ("fc",)),
    "infinite": (torch_file(lambda state: {**state, "fc.bias": state["fc.bias"] + torch.inf}), ("fc",)),
    "complex": (torch_file(lambda state: {**state, "fc.bias": state["fc.bias"].to(torch.complex64)}), ("{}",)),
    "whole numbers": (torch_file(lambda state: {**state, "fc.bias": state["fc.bias"].long()}), ("fc",)),
    "sparse": (torch_file(lambda state: {**state, "fc.weight": state["fc.weight"].to_sparse()}), ("{}",)),
    "meta": (torch_file(lambda state: {**state, "fc.weight": state["fc.weight"].to("meta")}), ("{}",)),
    "a part missing": (_sharded_with_a_part_missing, ("00002",)),
    "parts out of it": (_sharded_out_of_it, ("passwd",)),
    "empty": (lambda folder, _: text(folder / "net.pth", b""), ("{}",)),
    "a page": (lambda folder, _: text(folder / "net.pth", "<html>404</html>"), ("{}",)),
    "pointer": (lambda folder, _: text(folder / "net.bin", "version https://git-lfs.github.com/spec/v1\n"), ("{}",)),
    "onnx": (lambda folder, _: text(folder / "net.onnx", b"\x08\x07"), ("ONNX",)),
    "another zip": (lambda folder, _: _zip(folder / "net.pt"), ("{}",)),
}


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    return path


def _headless(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def _one_output(state: State) -> State:
    return {**state, "fc.weight": state["fc.weight"][:1], "fc.bias": state["fc.bias"][:1]}


def _spoiled(how: str) -> Make:
    def make(folder: Path, luck: Random) -> Path:
        torch.save(state(), folder / "net.pth")
        return text(folder / "net.pth", spoiled((folder / "net.pth").read_bytes(), how, luck))

    return make


def cases() -> Iterator[Case]:
    """All of them, by name."""
    for name, make in SOUND.items():
        quick = name in ("alone", "sharded", "head in a Sequential", "prefix encoder.", "namespace beside")
        yield Case(f"weights: {name}", make, ANSWERED, ("import",) if quick else ())
    for name, (make, words) in REFUSED.items():
        yield Case(f"weights: {name}", make, {"import": refused(*words)}, ("import",) if name == "a trap" else ())
    yield Case("weights: headless", torch_file(_headless), {"import bare": done(), "import to start": done()})
    one = Must((0, 2), never=("100.0 %",))  # two classes, or refused
    yield Case("weights: one output", torch_file(_one_output), {"import bare": one})
    for i in range(10):
        how = DAMAGES[1 + i % 4]
        must = refused() if how != "inserted" else Must((0, 2))
        yield Case(f"weights: {how} {i}", _spoiled(how), {"import": must})


CLASSES = "\n".join(COLOURS)
