"""Other people's weights: what they compute there, they compute here, and the other way round.

The oracles are torchvision, timm and transformers; where no library has a layout, a small net written here.
"""

import argparse
import collections
import datetime
import functools
import json
import os
import pickle
import re
import sys
import types
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import third_party
from made_up_machine import measured_as
from narrow_resnet import NarrowResNet
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models._meta import _IMAGENET_CATEGORIES
from torchvision.models.resnet import BasicBlock, Bottleneck

import residuum
from residuum import compute
from residuum.cli import app
from residuum.data.open import open_data
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.exchange.export_weights import (
    export_weights,
    how_timm_builds,
    how_torchvision_builds,
    layout_for,
    theirs,
)
from residuum.exchange.fit import infer, renamed
from residuum.exchange.groups import Group
from residuum.exchange.import_weights import Imported, import_weights
from residuum.exchange.layouts import timm_v2, to_ours, to_theirs, torchvision_like, transformers
from residuum.exchange.opening import open_file
from residuum.exchange.recognise import recognise
from residuum.loading import Classifier, load, save_classifier
from residuum.models.named import NAMED_NETS, named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.outward_printing import print_imported
from residuum.outward_settings import ExportWeightsSettings, ImportSettings
from residuum.records.codec import to_json
from residuum.records.model import Provenance
from residuum.settings import EvaluateSettings

DATA = Path(os.environ.get("RESIDUUM_DATA", Path(__file__).parents[2] / "shared" / "data"))
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KUANGLIU_MEAN, KUANGLIU_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written without --out lands in the working folder."""
    monkeypatch.chdir(tmp_path)


VISION = torchvision.models


# --- nets to import -----------------------------------------------------------------------------


@functools.cache
def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Uniform numbers from -1 to 1, and normal ones, of which each tensor of a net has others."""
    luck = torch.Generator().manual_seed(seed)
    return torch.empty(2**20 + 4096).uniform_(-1, 1, generator=luck), torch.empty(2**14).normal_(generator=luck)


def filled(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Build a net and give every tensor a value that shows: nothing stays at 0 or 1."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_"):
            patch.setattr(torch.nn.init, name, lambda weight, *_, **__: weight)  # it is filled below
        net = build()
    uniform, normal = drawn(seed)
    for place, (name, tensor) in enumerate(net.state_dict().items()):
        numbers = uniform if tensor.ndim == 4 or name.endswith("running_var") else normal
        count, start = tensor.numel(), 331 * place % 4096  # of the longest there are more than were drawn
        enough = numbers if start + count <= len(numbers) else numbers.repeat(1 + (start + count) // len(numbers))
        own = enough[start : start + count].view(tensor.shape)
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):
            tensor.copy_(own / 2 + 1)
        elif tensor.ndim == 4:  # as wide as He's normal numbers, and drawn sooner
            torch.mul(own, (6 / tensor[0].numel()) ** 0.5, out=tensor)
        else:  # scales of either sign, shifts, means, the last layer
            torch.mul(own, 0.5, out=tensor)
    return net.eval()


def hugging_face(**config: Any) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    class Logits(ResNetForImageClassification):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).logits  # type: ignore[no-any-return]

    return Logits(ResNetConfig(num_labels=7, **config))


def timm_net(name: str, **options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.create_model(name, num_classes=11, **options)  # type: ignore[no-any-return]


class Shift(nn.Module):
    """Option A as two repositories have it: zero channels at the end, or half on both sides."""

    def __init__(self, zeros: int, side: str) -> None:
        super().__init__()
        self.zeros = (0, 0, 0, 0, zeros // 2, zeros // 2) if side == "both" else (0, 0, 0, 0, 0, zeros)

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, ::2, ::2], self.zeros)


class Pair(nn.Module):
    """Two 3×3 convolutions and a shortcut, under the names that the CIFAR repositories use."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: str, side: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.word = shortcut
        h: nn.Module = nn.Sequential()
        if stride != 1 or c_in != c_out:
            convolution = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            h = Shift(c_out - c_in, side) if side else nn.Sequential(convolution, nn.BatchNorm2d(c_out))
        self.add_module(shortcut, h)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (branch + getattr(self, self.word)(x)).relu()  # type: ignore[no-any-return]


class Small(nn.Module):
    """A CIFAR ResNet of three stages."""

    def __init__(self, *, shortcut: str, head: str, side: str = "", classes: int = 10, blocks: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        c_in = 4
        for stage, width in enumerate((4, 8, 16), start=1):
            pairs = []
            for i in range(blocks):
                pairs.append(Pair(c_in, width, 2 if stage > 1 and i == 0 else 1, shortcut, side))
                c_in = width
            self.add_module(f"layer{stage}", nn.Sequential(*pairs))
        self.head = head
        self.add_module(head, nn.Linear(16, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        for stage in (1, 2, 3):
            x = getattr(self, f"layer{stage}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))  # type: ignore[no-any-return]


def akamaster(**options: Any) -> Small:
    return Small(shortcut="shortcut", head="linear", **{"side": "both", **options})


def saved(net: nn.Module, path: Path = Path("theirs.pth")) -> Path:
    torch.save(net.state_dict(), path)
    return path


def imported(tensors: Any, **flags: Any) -> Imported:
    torch.save(tensors, "theirs.pth")
    Path("ours.safetensors").unlink(missing_ok=True)
    return import_weights(ImportSettings("theirs.pth", out="ours.safetensors", **flags))


def assert_same_answers(theirs: nn.Module, ours: nn.Module, side: int = 33) -> None:
    x = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for net in (theirs, ours):
        seen = x.clone().requires_grad_()
        logits = net.double()(seen)
        (gradient,) = torch.autograd.grad(logits.square().sum(), seen)
        found.append((logits.detach(), gradient))
    (wanted, slope), (given, our_slope) = found
    assert wanted.std() > 1e-3
    torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our_slope, slope, rtol=1e-10, atol=1e-10 * float(slope.abs().max()))


# --- the libraries' nets, in and out --------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """A library's net, its import, and the folder where both lie."""

    name: str
    theirs: nn.Module
    imported: Imported
    folder: Path


SHORT = [1, 2, 1, 1]
LIBRARY_NETS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "resnet18": (VISION.resnet18, "torchvision"),
    "resnet50": (VISION.resnet50, "torchvision"),
    "resnext50_32x4d": (VISION.resnext50_32x4d, "torchvision"),
    "wide_resnet50_2": (VISION.wide_resnet50_2, "torchvision"),
    "width_per_group 24": (lambda: VISION.ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=24), "torchvision"),
    "resnet50d": (partial(timm_net, "resnet50d"), "timm"),
    "seresnet50": (partial(timm_net, "seresnet50"), "timm"),
    "resnetv2_50": (partial(timm_net, "resnetv2_50"), "timm's resnetv2"),
    "resnetv2_101": (partial(timm_net, "resnetv2_101"), "timm's resnetv2"),
    "resnetv2_152": (partial(timm_net, "resnetv2_152"), "timm's resnetv2"),
    "resnetv2_18": (partial(timm_net, "resnetv2_18"), "timm's resnetv2"),
    "resnetv2_34d": (partial(timm_net, "resnetv2_34d"), "timm's resnetv2"),
}
SHORT_NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: VISION.ResNet(BasicBlock, SHORT),
    "resnet50": lambda: VISION.ResNet(Bottleneck, SHORT, 11),
    "resnext50_32x4d": lambda: VISION.ResNet(Bottleneck, SHORT, 11, groups=32, width_per_group=4),
    "width_per_group 24": lambda: VISION.ResNet(Bottleneck, SHORT, 11, width_per_group=24),
    **{
        name: partial(timm_net, name, layers=SHORT, **narrow)
        for name, narrow in {
            "resnet50d": {"channels": (16, 32, 64, 128)},
            "seresnet50": {"channels": (32, 64, 128, 256)},
            "resnetv2_50": {"channels": (64, 128, 256, 512), "stem_chs": 16},
            "resnetv2_18": {"channels": (16, 32, 64, 128)},
            "resnetv2_34d": {"channels": (16, 32, 64, 128)},
        }.items()
    },
}
LIKE_OURS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50-32x4d",
    "wide_resnet50_2": "wide-resnet50-2",
    "resnet50d": "resnet50d",
    "seresnet50": "seresnet50",
}


def exchanged(name: str, build: Callable[[], nn.Module], folder: Path) -> Exchange:
    net = filled(build)
    path = folder / "theirs.safetensors"
    save_file(net.state_dict(), path)
    return Exchange(name, net, import_weights(ImportSettings(str(path), out=str(folder / "ours.safetensors"))), folder)


@pytest.fixture(scope="module", params=SHORT_NETS)
def exchange(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    name = request.param
    return exchanged(name, SHORT_NETS[name], tmp_path_factory.mktemp(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARY_NETS)
def test_a_whole_library_net_computes_here_what_it_computes_there(name: str, tmp_path: Path) -> None:
    exchange = exchanged(name, LIBRARY_NETS[name][0], tmp_path)
    classifier = load(exchange.imported.path)
    exported_answers_and_tensors(exchange, classifier)
    assert_same_answers(exchange.theirs, classifier.net)


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", LIKE_OURS)
def test_a_library_net_is_known_by_its_keys_and_shapes(name: str) -> None:
    with torch.device("meta"):
        state = LIBRARY_NETS[name][0]().state_dict()
    group = Group(state)
    layout, _ = recognise(group, name)
    assert layout.name == LIBRARY_NETS[name][1]
    spec = infer(renamed(group, layout, name))
    assert spec == named(LIKE_OURS[name], spec.num_classes)


def test_a_library_net_computes_here_what_it_computes_there(exchange: Exchange) -> None:
    done = exchange.imported
    assert done.layout == LIBRARY_NETS[exchange.name][1]
    if done.layout == "timm's resnetv2":
        assert (done.spec.order, done.spec.first_activation) == ("preactivation", "block")
    classifier = load(done.path)
    assert classifier.spec == done.spec
    exported_answers_and_tensors(exchange, classifier)  # in float32, before the nets become float64
    assert_same_answers(exchange.theirs, classifier.net)


def exported_answers_and_tensors(exchange: Exchange, classifier: Classifier) -> None:
    """Out again: the library takes the file strictly and answers alike; back in, nothing has changed."""
    layout = "torchvision" if exchange.imported.layout == "torchvision" else "timm"
    out = exchange.folder / "exported.safetensors"
    settings = ExportWeightsSettings(str(exchange.imported.path), layout=layout, out=str(out))
    exported = export_weights(settings)
    tensors = load_file(exported.path)
    wanted = exchange.theirs.state_dict()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tensors.items())
    with safe_open(exported.path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    made: dict[str, Any] = {}
    with torch.device("meta"):  # the weights are read below: nothing need be filled in
        exec(exported.how_to_load.partition("; net.load")[0], made)
    made["net"].to_empty(device="cpu").load_state_dict(tensors, strict=True)
    x = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        torch.testing.assert_close(made["net"].eval()(x), exchange.theirs(x), rtol=0, atol=0)
    again = residuum.net_of(tensors)
    assert again.spec == exchange.imported.spec
    back = again.state_dict()
    assert all(torch.equal(back[name], tensor) for name, tensor in classifier.net.state_dict().items())
    out.unlink()


def test_the_line_that_loads_an_export_runs_as_it_stands() -> None:
    spec = named("resnet18", 3)
    net = ResNet(replace(spec, blocks=(1, 1, 1, 1)))
    how = open_imagenet_preprocessing()
    save_classifier(Path("m.safetensors"), net, net.spec, ("a", "b", "c"), how, Provenance())
    for layout in ("torchvision", "timm"):
        exported = export_weights(ExportWeightsSettings("m.safetensors", layout=layout))
        assert exported.path == Path(f"m-{layout}.safetensors")
        made: dict[str, Any] = {}
        exec(exported.how_to_load, made)
        assert_same_answers(made["net"].eval(), net.float().eval())


def open_imagenet_preprocessing() -> Any:
    from residuum.data.preprocess import Preprocessing

    return Preprocessing(224, 256, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32), "bicubic")


def test_what_is_known_of_torchvision_and_timm(exchange: Exchange) -> None:
    classifier = load(exchange.imported.path)
    how = classifier.preprocessing
    second = exchange.name.startswith("resnetv2")
    mean, std = ((0.5,) * 3, (0.5,) * 3) if second else (IMAGENET_MEAN, IMAGENET_STD)
    np.testing.assert_allclose(how.mean, np.array(mean) * 255, rtol=1e-6)
    np.testing.assert_allclose(how.std, np.array(std) * 255, rtol=1e-6)
    expected = (224, 235, "bicubic") if second else (224, 256, "bilinear")
    assert (how.image_size, how.resize_to, how.interpolation) == expected
    said = "\n".join(exchange.imported.assumptions)
    for flag in ("--mean", "--std", "--image-size", "--resize-to", "--interpolation", "--classes"):
        assert flag in said
    assert ("--stride-in" in said) == (exchange.imported.spec.block == "bottleneck")
    assert "--zero-channels" not in said
    if exchange.name == "resnet18":
        assert "V2 weights take 232" in said
        assert classifier.classes == tuple(_IMAGENET_CATEGORIES)


# --- transformers -------------------------------------------------------------------------------

TINY = {"embedding_size": 8, "depths": [2, 1, 2]}
HUGGING_FACE_NETS = {
    "basic": {**TINY, "layer_type": "basic", "hidden_sizes": [8, 16, 24]},
    "bottleneck": {**TINY, "layer_type": "bottleneck", "hidden_sizes": [32, 64, 96]},
    "paper": {
        **TINY,
        "layer_type": "bottleneck",
        "hidden_sizes": [32, 64, 96],
        "downsample_in_bottleneck": True,
    },
}
PROCESSOR = {
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "do_normalize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "size": 200,
    "crop_pct": 0.8,
    "resample": 3,
}


@pytest.mark.parametrize("name", HUGGING_FACE_NETS)
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_transformers(name: str, file: str) -> None:
    pytest.importorskip("transformers")
    net = filled(lambda: hugging_face(**HUGGING_FACE_NETS[name]))
    net.config.id2label = {i: f"kind {i}" for i in range(7)}  # type: ignore[union-attr]
    net.save_pretrained("folder")  # type: ignore[operator]
    Path("folder/preprocessor_config.json").write_text(json.dumps(PROCESSOR), encoding="utf-8")
    if file == "pytorch_model.bin":
        Path("folder/model.safetensors").unlink()
        torch.save(net.state_dict(), "folder/pytorch_model.bin")
    done = import_weights(ImportSettings("folder"))
    assert done.path == Path("folder-residuum.safetensors")
    assert done.layout == "transformers"
    assert done.assumptions == ()  # config and processor say all of it
    assert done.spec.stride_in == ("1x1" if name == "paper" else "3x3")
    classifier = load(done.path)
    assert classifier.classes == tuple(f"kind {i}" for i in range(7))
    how = classifier.preprocessing
    assert (how.image_size, how.resize_to, how.interpolation) == (200, 250, "bicubic")
    np.testing.assert_allclose(how.mean, np.array([0.1, 0.2, 0.3]) * 255, rtol=1e-6)
    np.testing.assert_allclose(how.std, np.array([0.4, 0.5, 0.6]) * 255, rtol=1e-6)
    assert_same_answers(net, classifier.net)


def test_a_single_file_of_transformers_needs_more_assumptions() -> None:
    pytest.importorskip("transformers")
    net = filled(lambda: hugging_face(**HUGGING_FACE_NETS["paper"]))
    saved(net)
    done = import_weights(ImportSettings("theirs.pth", stride_in="1x1"))
    assert_same_answers(net, load(done.path).net)
    assert "--stride-in" not in "\n".join(done.assumptions)
    assert "--mean" in "\n".join(done.assumptions)
    assert "--stride-in" in "\n".join(imported(net.state_dict()).assumptions)


def test_what_a_wrong_guess_costs_is_said_where_something_was_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    net = filled(lambda: NarrowResNet([1, 1, 1, 1], 4))
    guessed = imported(net.state_dict())
    print_imported(ImportSettings("theirs.pth"), guessed, json=False)
    told = capsys.readouterr().err
    assert len(re.findall("--(?:mean|std) tells otherwise; a wrong guess can cost tens of points", told)) == 2
    assert told.count("tens of points") == 2  # of sizes it costs less; a basic block strides nowhere else
    assert "judge it on some" in told
    Path("ours.safetensors").unlink()
    given = imported(net.state_dict(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    print_imported(ImportSettings("theirs.pth"), given, json=False)
    assert "judge it" not in capsys.readouterr().err
    print_imported(ImportSettings("theirs.pth"), given, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["preprocessing"] == {
        "image_size": 224,
        "resize_to": 256,
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    assert {"resize_to", "interpolation"} <= {*found["assumed"]}
    assert not {"mean", "std"} & {*found["assumed"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "vit"}, "'vit'"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"downsample_in_first_stage": True}, "first stage"),
    ],
)
def test_folders_of_other_nets_are_refused(change: dict[str, Any], said: str) -> None:
    Path("folder").mkdir()
    config = {"model_type": "resnet", "id2label": {"0": "a"}, **change}
    Path("folder/config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(akamaster().state_dict(), "folder/pytorch_model.bin")
    with pytest.raises(UserError) as refusal:
        import_weights(ImportSettings("folder"))
    assert said in str(refusal.value)


def test_folders_without_what_is_needed_are_refused() -> None:
    Path("folder").mkdir()
    with pytest.raises(UserError, match=r"no config\.json"):
        import_weights(ImportSettings("folder"))
    Path("folder/config.json").write_text('{"model_type": "resnet"}', encoding="utf-8")
    with pytest.raises(UserError, match="holds no weights"):
        import_weights(ImportSettings("folder"))
    Path("folder/settings.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="run folder"):
        import_weights(ImportSettings("folder"))


def test_a_folder_that_timm_saved_says_how_it_wants_to_be_used() -> None:
    Path("folder").mkdir()
    cfg = {"input_size": [3, 64, 64], "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.5] * 3}
    names = [f"kind {i}" for i in range(11)]
    config = {"architecture": "resnet10", "pretrained_cfg": {**cfg, "std": [0.25] * 3}, "label_names": names}
    Path("folder/config.json").write_text(json.dumps(config), encoding="utf-8")
    net = filled(lambda: NarrowResNet([1, 1, 1, 1], 11))
    save_file(net.state_dict(), "folder/model.safetensors")
    classifier = load(import_weights(ImportSettings("folder")).path)
    how = classifier.preprocessing
    assert (how.image_size, how.resize_to, how.interpolation) == (64, 71, "bicubic")
    assert classifier.classes == tuple(names)
    np.testing.assert_allclose(how.std, 63.75)


# --- the CIFAR repositories ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "layout", "mean", "shortcut"),
    [
        (akamaster(blocks=2), "akamaster", IMAGENET_MEAN, ("A", "both")),
        (akamaster(side=""), "kuangliu", KUANGLIU_MEAN, ("B", "end")),
        (Small(shortcut="downsample", head="fc"), "usual", KUANGLIU_MEAN, ("B", "end")),
        (Small(shortcut="downsample", head="classifier", side="end"), "usual", KUANGLIU_MEAN, ("A", "end")),
    ],
)
def test_cifar_layouts(net: nn.Module, layout: str, mean: Any, shortcut: tuple[str, str]) -> None:
    net = filled(lambda: net)
    done = imported(net.state_dict())
    assert layout in done.layout
    assert (done.spec.shortcut, done.spec.zero_channels) == shortcut
    classifier = load(done.path)
    assert_same_answers(net, classifier.net, 16)
    how = classifier.preprocessing
    assert (how.image_size, how.resize_to, how.interpolation) == (32, 32, "bilinear")
    np.testing.assert_allclose(how.mean, np.array(mean) * 255, rtol=1e-6)
    assert classifier.classes == CIFAR10
    assert ("--zero-channels" in "\n".join(done.assumptions)) == (shortcut[0] == "A")


@pytest.mark.parametrize("side", ["end", "both"])
def test_both_sides_of_option_a(side: str) -> None:
    net = filled(lambda: akamaster(side=side))
    done = imported(net.state_dict(), zero_channels=side)
    assert_same_answers(net, load(done.path).net, 16)
    other = imported(net.state_dict(), zero_channels="both" if side == "end" else "end")
    with pytest.raises(AssertionError):
        assert_same_answers(net, load(other.path).net, 16)


def test_the_known_class_names_are_those_of_the_data(cifar10: Path) -> None:
    assert tuple(open_data(str(cifar10)).classes) == CIFAR10


def test_a_hundred_classes_are_numbered_and_take_cifar_100s_mean() -> None:
    done = imported(filled(lambda: akamaster(classes=100)).state_dict())
    classifier = load(done.path)
    assert classifier.classes[::99] == ("class 0", "class 99")
    np.testing.assert_allclose(classifier.preprocessing.mean / 255, (0.5071, 0.4867, 0.4408), rtol=1e-6)


# --- wrappers and prefixes ----------------------------------------------------------------------


PREFIXES = (
    "module.", "model.", "_orig_mod.", "net.", "module._orig_mod.", "backbone.", "resnet.", "encoder.",
    "module.model.", "a.b.c.d.", "_forward_module.model._fsdp_wrapped_module.",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_whatever_stands_before_a_known_layout_is_taken_off(prefix: str) -> None:
    net = filled(akamaster)
    done = imported({prefix + name: tensor for name, tensor in net.state_dict().items()})
    assert done.left_out == ()
    assert_same_answers(net, load(done.path).net, 16)


def test_what_compiling_and_sharding_put_within_a_key_is_taken_off() -> None:
    net = filled(akamaster)
    for within in ("_orig_mod.", "_checkpoint_wrapped_module."):
        done = imported({name.replace("layer1.", f"layer1.{within}"): one for name, one in net.state_dict().items()})
        assert_same_answers(net.float(), load(done.path).net, 16)


def below(prefix: str, net: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize(
    ("beside", "left_out"),
    [
        ({"criterion.weight": torch.ones(10)}, ("criterion.weight",)),
        ({"train_acc.tp": torch.ones(9), "val_acc.tp": torch.ones(9), "val_acc.fp": torch.ones(9)},
         ("train_acc.tp", "val_acc.* (2 tensors)")),
        ({"n_averaged": torch.tensor(3)}, ("n_averaged",)),
        ({"decoder.layer.0.weight": torch.ones(3, 3)}, ("decoder.layer.0.weight",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_groups_beside_the_net_are_left_out_and_listed(
    prefix: str, beside: dict[str, Tensor], left_out: tuple[str, ...]
) -> None:
    if not prefix and "decoder.layer.0.weight" in beside:
        with pytest.raises(UserError, match="nothing was imported") as refusal:  # it may be a part of the net
            imported({**below(prefix, akamaster()), **beside})
        assert "1 extra (decoder.layer.0.weight)" in refusal.value.why
        return
    net = filled(akamaster)
    done = imported({**below(prefix, net), **beside})
    assert done.left_out == left_out
    assert_same_answers(net, load(done.path).net, 16)


def two_sets(first: str, second: str) -> tuple[nn.Module, nn.Module, dict[str, Tensor]]:
    one, other = filled(akamaster, 0), filled(akamaster, 1)
    return one, other, {**below(first, one), **below(second, other)}


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ("ema_model.module.", "model."),
        ("teacher.backbone.", "student.backbone."),
        ("online_encoder.", "target_encoder."),
        ("backbone.", "backbone_momentum."),
    ],
)
def test_of_two_sets_the_published_one_is_taken(taken: str, left: str) -> None:
    net, _, state = two_sets(taken, left)
    done = imported(state)
    assert f"{taken.rstrip('.')} is taken" in done.assumptions[0]
    assert_same_answers(net, load(done.path).net, 16)


def test_of_two_nets_the_user_says_which() -> None:
    first, second, state = two_sets("a.", "b.")
    with pytest.raises(UserError, match="holds 2 nets") as refusal:
        imported(state)
    assert refusal.value.why == "their keys begin with a, b"
    assert "--prefix a" in refusal.value.mend
    with pytest.raises(UserError, match="no net at --prefix c"):
        imported(state, prefix="c")
    for prefix, net in (("a", first), ("b.", second)):
        assert_same_answers(net, load(imported(state, prefix=prefix).path).net, 16)


def test_a_net_that_a_wrapper_holds_twice_is_one_net() -> None:
    net = filled(akamaster)
    done = imported({"model": {**below("module.model.", net), **below("module.attacker.model.", net)}})
    assert done.left_out == ("model.module.attacker.* (44 tensors)",)


# --- the last layer -------------------------------------------------------------------------------


def headed(net: nn.Module, head: str) -> dict[str, Tensor]:
    return {name.replace("linear.", head): tensor for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("head", ["fc.", "fc.1.", "classifier.1.", "head.fc.", "last_linear.", "fc.drop.linear."])
def test_a_last_layer_may_stand_in_a_sequential(head: str) -> None:
    net = filled(partial(akamaster, side=""))
    assert_same_answers(net, load(imported(headed(net, head)).path).net, 16)


def numbered(net: nn.Module) -> nn.Sequential:
    """A net's children one after another, as many take their backbone from a library's net."""
    return nn.Sequential(net.conv1, net.bn1, nn.ReLU(), net.layer1, net.layer2, net.layer3)  # type: ignore[arg-type]


def assert_same_features(theirs: nn.Module, ours: nn.Module) -> None:
    x = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours.features(x), numbered(theirs)(x).mean((2, 3)))  # type: ignore[operator]


def headless(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("linear.")}


MLP_HEAD = {"fc.0.weight": torch.ones(16, 16), "fc.0.bias": torch.ones(16), "fc.2.weight": torch.ones(10, 16)}
WITHOUT_CLASSES: dict[str, Callable[[nn.Module], Any]] = {
    "no head": headless,
    "behind a name": lambda net: {"backbone." + name: tensor for name, tensor in headless(net).items()},
    "two layers": lambda net: {**headless(net), **MLP_HEAD},
    "children of a Sequential": lambda net: below("backbone.", numbered(net)),
    "a projection beside": lambda net: {**below("backbone.", numbered(net)), "projector.0.weight": torch.ones(9, 16)},
    "a projection within": lambda net: {**headless(net), "projection_head.0.weight": torch.ones(9, 16)},
    "a projection of MoCo": lambda net: {**below("module.encoder_q.", net), "module.queue": torch.ones(10, 8)},
    "something between": lambda net: {
        **{"backbone." + name: tensor for name, tensor in headless(net).items()},
        "neck.weight": torch.ones(16),
        "fc.weight": torch.ones(10, 16),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", WITHOUT_CLASSES)
def test_a_net_without_a_classifier_is_a_backbone(kind: str) -> None:
    net = filled(partial(akamaster, side=""))
    done = imported(WITHOUT_CLASSES[kind](net))
    backbone = load(done.path, backbone=True)
    assert backbone.classes == ()
    assert_same_features(net, backbone.net)
    with pytest.raises(UserError, match="is a backbone") as refusal:
        load(done.path)
    assert refusal.value.mend.endswith(f"residuum train DATA --start {done.path}")


def test_a_last_layer_beside_the_net_is_taken_where_nothing_stands_between() -> None:
    net = filled(partial(akamaster, side=""))
    done = imported({("" if "linear" in name else "backbone.") + name: one for name, one in net.state_dict().items()})
    assert done.left_out == ()
    assert "its last layer is linear, which stands beside the net" in done.assumptions
    assert_same_answers(net, load(done.path).net, 16)


def test_a_last_layer_in_a_table_of_modules_is_listed_no_longer() -> None:
    net = filled(partial(akamaster, side=""))
    state = {("backbone." if "linear" not in name else "") + name: one for name, one in headed(net, "head.fc.").items()}
    moved = {name.replace("backbone.head", "head"): one for name, one in state.items()}
    done = imported({"meta": {}, "state_dict": moved})
    assert done.left_out == ("meta",)
    assert_same_answers(net, load(done.path).net, 16)


def test_colours_that_a_net_normalises_by_itself_are_read() -> None:
    colours = {"0.mean": torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), "0.std": torch.tensor([0.1, 0.2, 0.3])}
    how = load(imported({**below("1.", filled(akamaster)), **colours}).path).preprocessing
    np.testing.assert_allclose(how.mean, np.array([0.4, 0.5, 0.6]) * 255, rtol=1e-6)
    np.testing.assert_allclose(how.std, np.array([0.1, 0.2, 0.3]) * 255, rtol=1e-6)


def test_pruned_weights_are_taken_with_their_masks() -> None:
    from torch.nn.utils import prune

    net = filled(akamaster)
    for module in (net.conv1, net.layer1[0].conv1):  # type: ignore[index, union-attr]
        prune.random_unstructured(module, "weight", 0.5)  # type: ignore[arg-type]
    done = imported(net.state_dict())
    assert any("pruned" in said for said in done.assumptions)
    for module in (net.conv1, net.layer1[0].conv1):  # type: ignore[index, union-attr]
        prune.remove(module, "weight")  # type: ignore[arg-type]
    assert_same_answers(net, load(done.path).net, 16)


def test_folders_in_parts_of_other_kinds_are_refused_by_name() -> None:
    for file, said in {"__0_0.distcp": "torch.distributed", "step/mp_rank_00_model_states.pt": "DeepSpeed"}.items():
        path = Path(said) / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        with pytest.raises(UserError, match=f"is a checkpoint of {said}"):
            import_weights(ImportSettings(said))
    saved(akamaster(), Path("net.pt"))
    with zipfile.ZipFile("net.pt") as packed:
        packed.extractall()  # into a folder "net", as some browsers do
    with pytest.raises(UserError, match="checkpoint of torch that was unpacked") as refusal:
        import_weights(ImportSettings("net"))
    with zipfile.ZipFile("again.pt", "w") as again:  # as the mend says
        for path in filter(Path.is_file, Path("net").rglob("*")):
            again.write(path)
    assert "zip -0 -r net.pt net" in refusal.value.mend
    assert import_weights(ImportSettings("again.pt", out="again.safetensors")).path
    Path("mixin").mkdir()
    Path("mixin/config.json").write_text("{}")
    saved(akamaster(), Path("mixin/model.safetensors"))
    with pytest.raises(UserError, match="no ResNet of transformers or timm") as refusal:
        import_weights(ImportSettings("mixin"))
    assert refusal.value.mend.endswith("residuum import FOLDER/FILE")
    Path("one").mkdir()
    saved(akamaster(), Path("one/net.pth"))
    with pytest.raises(UserError, match=r"no config\.json") as refusal:
        import_weights(ImportSettings("one"))
    assert refusal.value.mend.endswith("residuum import one/net.pth")


def test_one_output_is_two_classes_by_the_sigmoid() -> None:
    net = filled(partial(akamaster, classes=1))
    Path("names.txt").write_text("ham\nspam\n", encoding="utf-8")
    classifier = load(imported(net.state_dict(), classes="names.txt").path)
    x = torch.randn(4, 3, 16, 16)
    with torch.inference_mode():
        yes = torch.sigmoid(net(x))
    torch.testing.assert_close(classifier(x), torch.cat([1 - yes, yes], 1))
    assert classifier.classes == ("ham", "spam")


def test_a_last_layer_without_bias_has_bias_zero() -> None:
    net = filled(akamaster)
    net.linear.bias.data.zero_()  # type: ignore[union-attr, operator]
    done = imported({name: tensor for name, tensor in net.state_dict().items() if name != "linear.bias"})
    assert any("no bias" in said for said in done.assumptions)
    assert_same_answers(net, load(done.path).net, 16)


def test_any_width_of_group_is_read_from_the_tensors() -> None:
    for width, groups in ((80, 1), (5, 3), (16, 8), (33, 2)):
        with torch.device("meta"):
            state = VISION.ResNet(Bottleneck, SHORT, width_per_group=width, groups=groups).state_dict()
        group = Group(state)
        spec = infer(renamed(group, recognise(group, "")[0], ""))
        assert (spec.widths[0], spec.groups, spec.out_channels) == (width * groups, groups, (256, 512, 1024, 2048))
        with torch.device("meta"):
            assert len(ResNet(spec).state_dict()) == len(state)


# --- tables, parts, and what lies beside ------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "model_state", "model_state_dict", "state_dict_ema"])
def test_wrappers_are_opened_and_what_lies_beside_is_named(wrapper: str) -> None:
    net = filled(akamaster)
    beside = {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}}, "epoch": 9, "best_acc": 0.5}
    done = imported({**beside, wrapper: net.state_dict()})
    assert done.left_out == ("optimizer", "epoch", "best_acc")
    assert "left out of what the file holds: optimizer, epoch, best_acc" in done.assumptions
    assert_same_answers(net, load(done.path).net, 16)


@pytest.mark.parametrize("tables", [("state", "model"), ("a", "b", "c"), ("module",), ("best", "state_dict")])
def test_weights_lie_in_tables_of_tables(tables: tuple[str, ...]) -> None:
    net = filled(akamaster)
    content: Any = net.state_dict()
    for name in reversed(tables):
        content = {"epoch": 3, name: content}
    done = imported(content)
    assert done.left_out == tuple(".".join((*tables[:depth], "epoch")) for depth in range(len(tables)))
    assert_same_answers(net, load(done.path).net, 16)


def test_inert_types_beside_weights_are_passed_over() -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("x")),
        "when": datetime.datetime.now(datetime.UTC),
        "best": np.float64(0.5),
        "curve": np.ones(3),
        "history": collections.defaultdict(list, {"loss": [1.0]}),
        "last": collections.deque([1.0], 3),
        "plain": types.SimpleNamespace(a=1),
        "tags": frozenset({"a"}),
        "id": uuid.uuid4(),
        "random": np.random.get_state(),
    }
    net = filled(akamaster)
    for legacy in (False, True):
        torch.save({**beside, "model": net.state_dict()}, "theirs.pth", _use_new_zipfile_serialization=not legacy)
        done = import_weights(ImportSettings("theirs.pth", out=f"legacy-{legacy}.safetensors"))
        assert done.left_out == tuple(beside)
    assert_same_answers(net, load(done.path).net, 16)


def in_parts(net: nn.Module, suffix: str) -> Path:
    stem, names = {"safetensors": "model", "bin": "pytorch_model"}[suffix], list(net.state_dict())
    where = {name: f"{stem}-{1 + i % 2:05d}-of-00002.{suffix}" for i, name in enumerate(names)}
    for file in set(where.values()):
        tensors = {name: tensor for name, tensor in net.state_dict().items() if where[name] == file}
        torch.save(tensors, file) if suffix == "bin" else save_file(tensors, file)
    index = Path(f"{stem}.{suffix}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8")
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_in_parts_are_one(suffix: str) -> None:
    net = filled(akamaster)
    index = in_parts(net, suffix)
    part = next(Path().glob(f"*-00002-of-00002.{suffix}"))
    for given in (index, part):
        found = import_weights(ImportSettings(str(given))).path
        assert found == Path(f"{index.name.partition('.')[0]}-residuum.safetensors")
        assert_same_answers(net.float(), load(found).net, 16)
        found.unlink()
    index.unlink()
    assert import_weights(ImportSettings(str(part), out="o.safetensors")).left_out == ()
    next(Path().glob(f"*-00001-of-00002.{suffix}")).unlink()
    with pytest.raises(UserError, match="2 parts, and 1 are not beside it"):
        import_weights(ImportSettings(str(part), out="o.safetensors"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight_map": {"a.b": "../model.bin"}}, "outside its folder"),
        ({"weight_map": {"a.b": "/etc/passwd"}}, "outside its folder"),
        ({"weight_map": {"a.b": "nowhere.bin"}}, "1 are not beside it"),
        ({"weight_map": {"a.b": 3}}, "no index of weights"),
        ({"weight_map": {}}, "no index of weights"),
        ([], "no index of weights"),
        ({"weight_map": {"a.b": "there.bin"}}, "names 1 tensors that its parts do not hold"),
    ],
)
def test_an_index_that_cannot_be_followed_is_refused(content: Any, said: str) -> None:
    torch.save({"c.d": torch.ones(1)}, "there.bin")
    Path("x.bin.index.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        import_weights(ImportSettings("x.bin.index.json"))


def test_averaged_weights_are_taken_and_said_so() -> None:
    raw, averaged = filled(akamaster, 0), filled(akamaster, 1)
    both = {"state_dict": raw.state_dict(), "state_dict_ema": averaged.state_dict()}
    done = imported(both)
    assert_same_answers(averaged, load(done.path).net, 16)
    assert "state_dict_ema is taken (--prefix tells otherwise)" in done.assumptions[0]
    net = residuum.net_of({f"{name}.{key}": one for name, of in both.items() for key, one in of.items()})
    assert net.assumptions[0].endswith("state_dict_ema is taken")


def test_what_torch_averages_itself_is_read() -> None:
    net = filled(akamaster)
    done = imported(torch.optim.swa_utils.AveragedModel(net).state_dict())
    assert done.left_out == ("n_averaged",)
    assert_same_answers(net, load(done.path).net, 16)


def test_old_half_and_shared_tensors() -> None:
    net = filled(akamaster)
    state = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    done = imported({name: tensor.half() for name, tensor in state.items()})
    said = "\n".join(done.assumptions)
    assert "num_batches_tracked" in said
    assert "float16 becomes float32" in said
    ours = load(done.path).net.state_dict()
    assert int(ours["stem.bn.num_batches_tracked"]) == 0
    torch.testing.assert_close(ours["fc.weight"], state["linear.weight"].half().float(), rtol=0, atol=0)
    counted = load(imported({name: tensor.double() for name, tensor in net.state_dict().items()}).path).net.state_dict()
    assert counted["stem.bn.num_batches_tracked"].dtype == torch.int64
    assert int(counted["stem.bn.num_batches_tracked"]) == 7
    net.bn1.bias = net.bn1.weight  # type: ignore[assignment, union-attr]
    assert_same_answers(net, load(imported(net.state_dict()).path).net, 16)


# --- what the user says ---------------------------------------------------------------------------


def test_flags_override_what_is_known_and_are_no_assumptions() -> None:
    net = filled(akamaster)
    Path("names.txt").write_text("\n".join("abcdefghij") + "\n\n", encoding="utf-8")
    flags: dict[str, Any] = {
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "image_size": 40,
        "resize_to": 48,
    }
    flags |= {"interpolation": "bicubic", "shortcut": "A", "zero_channels": "end", "classes": "names.txt"}
    done = imported(net.state_dict(), **flags)
    assert "--" not in "\n".join(done.assumptions)
    classifier = load(done.path)
    how = classifier.preprocessing
    np.testing.assert_allclose(how.mean, np.array([0.1, 0.2, 0.3]) * 255, rtol=1e-6)
    np.testing.assert_allclose(how.std, np.array([0.4, 0.5, 0.6]) * 255, rtol=1e-6)
    assert (how.image_size, how.resize_to, how.interpolation) == (40, 48, "bicubic")
    assert done.spec.zero_channels == "end"
    assert classifier.classes == tuple("abcdefghij")


def test_the_resize_keeps_its_proportion_to_the_cut() -> None:
    net = filled(lambda: NarrowResNet([1, 1, 1, 1], 3))
    done = imported(net.state_dict(), image_size=112)
    assert load(done.path).preprocessing.resize_to == 128
    assert any("128" in said and "proportion" in said for said in done.assumptions)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"stride_in": "1x1"}, "basic block"),
        ({"zero_channels": "end"}, "option B"),
        ({"resize_to": 16}, "--resize-to must be at least"),
        ({"classes": "short.txt"}, "3 class names"),
        ({"classes": "twice.txt"}, "twice"),
        ({"classes": "nowhere.txt"}, "cannot be read"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(flags: dict[str, Any], said: str) -> None:
    Path("short.txt").write_text("a\nb\nc", encoding="utf-8")
    Path("twice.txt").write_text("a\nb\nb", encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        imported(akamaster(side="").state_dict(), **flags)
    assert said in str(refusal.value)
    assert not Path("ours.safetensors").exists()


def test_what_it_came_from_is_kept_in_the_model() -> None:
    done = imported({"state_dict": filled(akamaster).state_dict(), "epoch": 3})
    about = load(done.path).about
    assert about.data is None
    assert about.settings is None
    assert about.import_.assumptions == done.assumptions
    assert about.import_.left_out == ("epoch",)
    (step,) = about.lineage
    assert step.verb == "import"
    assert len(step.from_) == 16
    assert str(Path.cwd()) not in json.dumps(to_json(about))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_asks_for_code_is_refused_by_name(legacy: bool) -> None:
    content = {"nets": {"best": akamaster().state_dict()}, "step": functools.partial(print, "sprung")}
    torch.save(content, "theirs.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match="asks to run code") as refusal:
        import_weights(ImportSettings("theirs.pth"))
    assert "functools.partial" in refusal.value.why
    assert 'save_file(checkpoint["nets"]["best"], "weights.safetensors")' in refusal.value.mend
    assert list(Path().glob("*.safetensors")) == []


class Sprung:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_a_trap_is_not_sprung() -> None:
    torch.save({"state_dict": akamaster().state_dict(), "x": Sprung()}, "theirs.pth")
    with pytest.raises(UserError, match="asks to run code") as refusal:
        import_weights(ImportSettings("theirs.pth"))
    assert "builtins.getattr" in refusal.value.why
    assert not Path("sprung").exists()


@pytest.mark.parametrize("content", [{"fc.weight": [1, 2]}, {"fc.weight": Sprung()}])
def test_a_pickle_that_torch_did_not_write_is_called_that(content: Any) -> None:
    Path("theirs.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="is a pickle, and not one") as refusal:
        import_weights(ImportSettings("theirs.pkl"))
    assert "save_file(" in refusal.value.mend
    assert not Path("sprung").exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_what_is_cut_short_is_to_be_fetched_again(legacy: bool) -> None:
    torch.save(akamaster().state_dict(), "theirs.th", _use_new_zipfile_serialization=not legacy)
    whole = Path("theirs.th").read_bytes()
    Path("theirs.th").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as a checkpoint") as refusal:
        import_weights(ImportSettings("theirs.th"))
    assert "fetch it again" in refusal.value.mend
    assert "weights_only" not in str(refusal.value)


def test_loading_a_checkpoint_names_what_brings_it_in() -> None:
    torch.save(akamaster().state_dict(), "theirs.pt")
    with pytest.raises(UserError, match=re.escape("residuum import theirs.pt")):
        residuum.load("theirs.pt")


def faulty(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**filled(akamaster).state_dict(), **{name.replace("__", "."): t for name, t in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def test_missing_extra_and_misshapen_tensors_are_listed() -> None:
    shape = torch.zeros(8, 4, 5, 5)
    state = faulty(
        layer2__0__bn1__bias=None,
        layer1__0__bn1__bias=None,
        extra__weight=torch.ones(1),
        layer2__0__conv1__weight=shape,
    )
    with pytest.raises(UserError) as refusal:
        imported(state)
    why = refusal.value.why
    assert "2 missing (layer1.0.bn1.bias, layer2.0.bn1.bias)" in why
    assert "1 extra (extra.weight)" in why
    assert "1 of another shape (layer2.0.conv1.weight is 8×4×5×5, needed 8×4×3×3)" in why
    assert not Path("ours.safetensors").exists()


def test_a_long_list_is_cut_and_counted() -> None:
    with pytest.raises(UserError) as refusal:
        imported(faulty(**{f"more{i}__weight": torch.ones(1) for i in range(30)}))
    assert "30 extra (" in refusal.value.why
    assert refusal.value.why.count("more") == 4


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (lambda: {n: t for n, t in faulty().items() if not n.startswith("bn1.")}, "pre-activation"),
        (lambda: faulty(bn1__weight=None), "1 missing (bn1.weight)"),
        (lambda: faulty(layer1__0__conv1__weight=None), "1 missing (layer1.0.conv1.weight)"),
        (lambda: faulty(conv1__weight=None), "the net needs conv1.weight"),
        (lambda: {n: t for n, t in faulty().items() if "running" not in n}, "without batch normalisation"),
        (lambda: faulty(conv1__weight=torch.full((4, 3, 3, 3), torch.nan)), "not finite"),
        (lambda: faulty(conv1__weight=torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64)), "not finite"),
        (lambda: faulty(bn1__running_var=torch.full((4,), -1.0)), "bn1.running_var holds a variance below zero"),
        (lambda: faulty(bn1__num_batches_tracked=torch.tensor(1j)), "bn1.num_batches_tracked is complex64"),
        (lambda: faulty(conv1__weight=torch.ones(4, 0, 3, 3)), "it is 4×0×3×3 there"),
        (lambda: faulty(conv1__weight=torch.ones(4, 3, 3, 3, dtype=torch.int8)), "int8"),
        (lambda: faulty(conv1__weight=torch.ones(4, 1, 3, 3)), "1 channels"),
        (lambda: faulty(conv1__weight=torch.ones(4)), "does not hold a whole net"),
        (lambda: faulty(layer2__0__conv2__weight=None), "layer2.0.conv2.weight"),
        (
            lambda: faulty(layer1__0__shortcut__0__weight=torch.ones(4, 4, 1, 1)),
            "some blocks and not in others",
        ),
        (lambda: faulty(layer7000__0__conv1__weight=torch.ones(4, 4, 3, 3)), "does not hold a whole net"),
        (lambda: faulty(layer1__90000__conv1__weight=torch.ones(4, 4, 3, 3)), "layer1.90000.conv1.weight"),
        (lambda: {"encoder.block.weight": torch.ones(1)}, "layout that residuum does not know"),
        (
            lambda: below("m.k.", akamaster()) | {"m.k.linear.weight": akamaster().linear.weight.to("meta")},
            "m.k.linear.weight is a shape without numbers",
        ),
        (
            lambda: below("m.", akamaster()) | {"m.linear.weight": torch.ones(10, 16).to_sparse()},
            "m.linear.weight is sparse",
        ),
        (
            lambda: below("m.", akamaster()) | {"m.linear.weight": torch.ones(10, 16, dtype=torch.complex64)},
            "m.linear.weight is complex64",
        ),
        (
            lambda: {n: t for n, t in below("m.k.", akamaster()).items() if n != "m.k.bn1.bias"},
            "1 missing (m.k.bn1.bias)",
        ),
        (
            lambda: {n: t for n, t in below("m.k.", akamaster()).items() if n != "m.k.layer2.0.conv2.weight"},
            "the net needs m.k.layer2.0.conv2.weight",
        ),
        (
            lambda: below("visual.", akamaster()) | {"visual.conv2.weight": torch.ones(4, 4, 3, 3)},
            "1 extra (visual.conv2.weight)",
        ),
        (lambda: {name: tensor.numpy() for name, tensor in akamaster().state_dict().items()}, "(not a tensor)"),
        (lambda: torch.ones(3), "one tensor without a name"),
        (lambda: {"conv1_conv/kernel:0": torch.ones(3)}, "no weights by name"),
        (lambda: {"epoch": 3, "loss": 0.5}, "no weights by name"),
        (lambda: [1, 2, 3], "no weights by name"),
    ],
)
def test_what_is_no_whole_net_is_refused(state: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        imported(state())
    assert said in str(refusal.value)
    assert not Path("ours.safetensors").exists()


@pytest.mark.parametrize("name", ["resnetv2_50x1_bit", "resnetv2_50d_gn", "resnetv2_50d_evos", "resnet50_gn"])
def test_timm_nets_without_bn_are_refused_with_the_reason(name: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    with pytest.raises(UserError, match="without batch normalisation") as refusal:
        recognise(Group(state), name)
    assert "GroupNorm" in refusal.value.why


def test_files_of_other_kinds_are_refused() -> None:
    def refused(path: str, said: str) -> None:
        with pytest.raises(UserError) as refusal:
            import_weights(ImportSettings(path, out="ours.safetensors"))
        assert said in str(refusal.value)

    starts = {
        b"": "empty", b"\0" * 99: "zeros", b"\n<!DOCTYPE html><html>": "web page", b"%PDF-1.4": "PDF",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1": "Git LFS", b'{"error": "gone"}': "JSON",
        b"\x1f\x8b\x08\0": "gzip", b"\x89HDF\r\n": "HDF5", b"GGUF\3": "GGUF",
        b"a" * 257 + b"ustar": "tar archive",
    }  # fmt: skip
    for start, said in starts.items():
        Path("odd.pth").write_bytes(start)
        refused("odd.pth", said)
    with zipfile.ZipFile("photos.pth", "w") as archive:
        archive.writestr("a.jpg", "")
    refused("photos.pth", "is an archive")
    torch.save(nn.Linear(2, 2), "module.pth")
    refused("module.pth", "save_file(checkpoint.state_dict()")
    for name, said in [("net.onnx", "ONNX"), ("bit.npz", "NumPy"), ("net.h5", "Keras")]:
        Path(name).write_bytes(b"something")
        refused(name, said)
    with zipfile.ZipFile("script.pt", "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
        archive.writestr("net/constants.pkl", "")
    refused("script.pt", "TorchScript")
    Path("text.pth").write_text("hello", encoding="utf-8")
    refused("text.pth", "cannot be read")
    refused("nowhere.pth", "no file")
    whole = saved(akamaster()).read_bytes()
    Path("cut.pth").write_bytes(whole[: len(whole) // 2])
    refused("cut.pth", "damaged")
    at = whole.index(b"PK\1\2")  # the list of what the archive holds
    for damage in (whole[: at + 6] + b"\x40" + whole[at + 7 :], whole[:at] + b"XX" + whole[at + 2 :]):
        Path("cut.pth").write_bytes(damage)
        refused("cut.pth", "damaged")
    torch.save(akamaster().state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    Path("cut.pth").write_bytes(Path("old.pth").read_bytes()[:3000])
    refused("cut.pth", "damaged")
    with pytest.raises(UserError, match="which weights"):
        import_weights(ImportSettings())


def test_nothing_is_written_over() -> None:
    save_file(filled(akamaster).state_dict(), "net.safetensors")
    before = Path("net.safetensors").read_bytes()
    assert import_weights(ImportSettings("net.safetensors")).path == Path("net-residuum.safetensors")
    for source, out in (("net.safetensors", None), ("net.safetensors", "net.safetensors")):
        with pytest.raises(UserError, match="exists") as refusal:
            import_weights(ImportSettings(source, out=out, image_size=48))
        assert refusal.value.mend == "choose another --out"
    assert Path("net.safetensors").read_bytes() == before
    assert load("net-residuum.safetensors").preprocessing.image_size == 32
    with pytest.raises(UserError, match="residuum model already"):
        import_weights(ImportSettings("net-residuum.safetensors", out="other.safetensors"))


@pytest.mark.parametrize("length", [0x80, 0x180, 0x4B50])
def test_a_safetensors_header_may_be_as_long_as_a_pickle_or_an_archive_begins(length: int) -> None:
    """The first byte of a pickle is 0x80, the first two of an archive "PK"; a header's length may read the same."""
    tensors = {"fc.weight": torch.ones(2, 3)}
    save_file(tensors, "net.safetensors", metadata={"a": ""})
    missing = length - int.from_bytes(Path("net.safetensors").read_bytes()[:8], "little")
    save_file(tensors, "net.safetensors", metadata={"a": "x" * missing})
    assert int.from_bytes(Path("net.safetensors").read_bytes()[:8], "little") == length
    assert open_file(Path("net.safetensors")).tensors["fc.weight",].equal(tensors["fc.weight"])


# --- by name: everything but the fetching ----------------------------------------------------------


def test_a_name_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    net = filled(lambda: NarrowResNet(SHORT, 1000))
    asked: dict[str, Any] = {}

    def built(name: str, **options: Any) -> nn.Module:
        assert (name, options) == ("resnet18", {"weights": None, "num_classes": 1000})
        return NarrowResNet(SHORT, 1000)

    def fetch(weights: Any, **options: Any) -> dict[str, Tensor]:
        asked.update(options, weights=weights)
        return net.state_dict()

    monkeypatch.setattr(VISION._api.WeightsEnum, "get_state_dict", fetch)
    monkeypatch.setattr(VISION, "get_model", built)
    done = import_weights(ImportSettings("torchvision:resnet18"))
    assert done.path == Path("resnet18-residuum.safetensors")
    assert done.assumptions == ()
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    classifier = load(done.path)
    assert classifier.preprocessing.resize_to == 256
    assert classifier.classes == tuple(_IMAGENET_CATEGORIES)
    assert classifier.about.import_.source == "torchvision:resnet18:IMAGENET1K_V1"
    assert_same_answers(net, classifier.net)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:vgg16", "not a residual net"),
        ("torchvision:resnet18:NO_SUCH", "cannot fetch"),
        ("timm:no_such_net", "cannot fetch"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, said: str) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(UserError, match=said):
        import_weights(ImportSettings(name))


def test_a_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError) as refusal:
        import_weights(ImportSettings("timm:resnet18.a1_in1k"))
    assert refusal.value.mend == "pip install timm"


def test_a_network_fault_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ConnectionError("no route\nand a long story")

    monkeypatch.setattr(VISION._api.WeightsEnum, "get_state_dict", fail)
    with pytest.raises(UserError) as refusal:
        import_weights(ImportSettings("torchvision:resnet18"))
    assert refusal.value.why == "ConnectionError: no route"


def test_a_name_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    create = timm.create_model
    net = filled(lambda: create("resnet18.a1_in1k", channels=(16, 32, 64, 128)))

    def fetch(name: str, *, pretrained: bool) -> nn.Module:
        assert (name, pretrained) == ("resnet18.a1_in1k", True)
        return net

    monkeypatch.setattr(timm, "create_model", fetch)
    done = import_weights(ImportSettings("timm:resnet18.a1_in1k"))
    assert done.path == Path("resnet18.a1_in1k-residuum.safetensors")
    how = load(done.path).preprocessing
    assert (how.image_size, how.resize_to, how.interpolation) == (224, 235, "bicubic")
    assert [said for said in done.assumptions if "--classes" not in said] == []
    assert_same_answers(net, load(done.path).net)


def test_a_net_that_blurs_before_it_strides_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are those of a net without blur: only its answers tell."""
    timm = pytest.importorskip("timm")
    create = timm.create_model
    net = filled(lambda: create("resnet18", aa_layer=nn.AvgPool2d, channels=(16, 32, 64, 128)))
    monkeypatch.setattr(timm, "create_model", lambda *_args, **_options: net)
    with pytest.raises(UserError, match="computes something else"):
        import_weights(ImportSettings("timm:resnet18.blurred"))


def test_a_name_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched, and that it is whole: test_hub.py."""
    pytest.importorskip("transformers")
    net = filled(lambda: hugging_face(**HUGGING_FACE_NETS["basic"]))
    net.save_pretrained("snapshot")  # type: ignore[operator]

    def fetch(name: str, about: Sequence[str], weights: Sequence[str], progress: object) -> Path:
        assert name == "owner/tiny-resnet"
        assert {*about} == {"config.json", "preprocessor_config.json"}
        assert weights == ("model.safetensors", "pytorch_model.bin")  # the safe one first
        return Path("snapshot")

    monkeypatch.setattr("residuum.exchange.sources.fetch_model", fetch)
    done = import_weights(ImportSettings("hf:owner/tiny-resnet"))
    assert done.path == Path("tiny-resnet-residuum.safetensors")
    assert_same_answers(net, load(done.path).net)


# --- out ------------------------------------------------------------------------------------------

IMAGENET_LIKE = {name: spec for name, spec in NAMED_NETS.items() if spec.stem != "cifar" and sum(spec.blocks) < 20}
VARIANTS: dict[str, NetSpec] = {
    "se d": replace(named("seresnet50"), stem="deep", projection_pool=True, squeeze=4),
    "narrow basic": replace(named("resnet18"), widths=(24, 40, 72, 136), stem_width=64),
    "groups and widths": replace(named("resnext50-32x4d"), widths=(256, 512, 1024, 2048), bottleneck_factor=1),
    "pre, timm's": replace(named("preresnet50"), first_activation="block"),
    "pre, deep": replace(named("preresnet18"), first_activation="block", stem="deep", projection_pool=True),
    "pre, three stages": replace(
        named("preresnet18"), first_activation="block", blocks=(1, 1, 1), widths=(8, 16, 24), stem_width=16
    ),
}


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("name", [*IMAGENET_LIKE, *VARIANTS])
def test_every_net_is_built_by_the_library_or_refused_with_the_reason(name: str, library: str) -> None:
    pytest.importorskip(library)
    spec = {**IMAGENET_LIKE, **VARIANTS}[name]
    build = how_torchvision_builds if library == "torchvision" else how_timm_builds
    try:
        line = build(spec)
    except UserError as error:
        assert error.why  # noqa: PT017 - either way out is right; what is wrong is seen below
        assert name in REFUSED[library] or spec.shortcut != "B"
        return
    assert name not in REFUSED[library]
    made: dict[str, Any] = {}
    with torch.device("meta"):
        exec(line, made)
        ours = theirs(dict(ResNet(spec).state_dict()), layout_for(spec, library))
    expected = {n: t.shape for n, t in made["net"].state_dict().items()}
    assert {n: t.shape for n, t in ours.items()} == expected


_PRE = {name for name, spec in IMAGENET_LIKE.items() if spec.order == "preactivation"}
_SE = {name for name, spec in IMAGENET_LIKE.items() if spec.squeeze}
REFUSED = {"timm": _PRE, "torchvision": _PRE | _SE | {"resnet50d"} | (set(VARIANTS) - {"groups and widths"})}


@pytest.mark.parametrize(
    ("spec", "library", "said"),
    [
        (named("resnet20"), "torchvision", "3×3"),
        (named("resnet20"), "timm", "shortcut is A"),
        (named("resnet18", shortcut="C"), "timm", "shortcut is C"),
        (named("plain18"), "torchvision", "shortcut is none"),
        (named("resnet50", stride_in="1x1"), "torchvision", "in the 1×1"),
        (named("resnet18", order="relu-before-addition"), "timm", "relu-before-addition"),
        (named("preresnet18"), "torchvision", "original order alone"),
        (named("resnet18", 10, activation="gelu"), "timm", "it has ReLU"),
        (named("preresnet18"), "timm", "in the stem"),
        (named("seresnet50"), "torchvision", "squeeze"),
        (named("resnet50d"), "torchvision", "three convolutions"),
        (replace(named("resnet18"), blocks=(1, 1, 1), widths=(64, 128, 256)), "torchvision", "four stages"),
        (replace(named("resnet18"), blocks=(1, 1, 1), widths=(64, 128, 256)), "timm", "four stages"),
        (replace(named("resnet18"), widths=(32, 64, 128, 256)), "torchvision", "64, 128, 256, 512"),
        (replace(named("resnet50"), widths=(30, 60, 120, 250), bottleneck_factor=1), "timm", "base width"),
        (replace(VARIANTS["pre, timm's"], groups=2), "timm", "no groups"),
        (replace(VARIANTS["pre, timm's"], widths=(60, 128, 256, 512)), "timm", "multiples of 8"),
    ],
)
def test_a_net_that_a_library_lacks_is_refused_with_the_reason(spec: NetSpec, library: str, said: str) -> None:
    build = how_torchvision_builds if library == "torchvision" else how_timm_builds
    with pytest.raises(UserError) as refusal:
        build(spec)
    assert said in refusal.value.why


def test_an_export_never_writes_over_the_model() -> None:
    done = imported(filled(akamaster).state_dict())
    with pytest.raises(UserError, match="no such net"):
        export_weights(ExportWeightsSettings(str(done.path)))
    save_file(filled(lambda: VISION.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)).state_dict(), "net.safetensors")
    path = import_weights(ImportSettings("net.safetensors", out="m.safetensors")).path
    before = path.read_bytes()
    for out in (str(path), "net.safetensors"):
        with pytest.raises(UserError, match="exists"):
            export_weights(ExportWeightsSettings(str(path), out=out))
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="which model"):
        export_weights(ExportWeightsSettings())


@pytest.mark.parametrize(
    "layout",
    [torchvision_like(), torchvision_like(deep=True, pooled=True), timm_v2(deep=True), transformers()],
)
def test_a_table_reads_the_same_both_ways(layout: Any) -> None:
    preactivated = layout.order == "preactivation"
    spec = replace(
        named("preresnet50" if preactivated else "resnet50", 5),
        first_activation=layout.first_activation,
        stem="deep" if preactivated or layout.projection_pool else "imagenet",
    )
    with torch.device("meta"):
        names = list(ResNet(spec).state_dict())
    others = [to_theirs(layout, name) for name in names]
    assert max(Counter(others).values()) == 1
    assert [to_ours(layout, str(other)) for other in others] == names


# --- judging what was imported --------------------------------------------------------------------


@pytest.fixture
def digits_model() -> Path:
    """A net that was never trained here, for the built-in digits."""
    Path("digits.txt").write_text("\n".join("0123456789"), encoding="utf-8")
    return imported(filled(akamaster).state_dict(), classes="digits.txt", image_size=8).path


def test_an_imported_model_is_judged_on_pictures_that_are_given(digits_model: Path) -> None:
    with pytest.raises(UserError, match="which pictures") as refusal:
        evaluate(EvaluateSettings(str(digits_model)))
    assert f"residuum evaluate {digits_model} DATA" in refusal.value.mend
    figures = evaluate(EvaluateSettings(str(digits_model), "digits", threads=1))
    assert figures.same_data_as_training is None
    assert 0 <= figures.top1.value <= 1


def test_what_to_do_next_names_classes_where_they_were_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    def told(state: dict[str, Tensor], **flags: Any) -> str:
        settings = ImportSettings("theirs.pth", out="ours.safetensors", **flags)
        print_imported(settings, imported(state, **flags), False)
        return capsys.readouterr().out

    net = filled(partial(akamaster, classes=3))
    Path("names.txt").write_text("x\ny\nz\n", encoding="utf-8")
    again = "residuum import ours.safetensors --out ours-named.safetensors --classes NAMES.txt"
    assert told(dict(net.state_dict())).endswith(f"next     {again}\n")
    next_lines = "next     residuum evaluate ours.safetensors DATA\n"
    next_lines += "         residuum bench ours.safetensors --data DATA\n"
    next_lines += "         residuum export ours.safetensors --to onnx --data DATA\n"
    assert told(dict(filled(akamaster).state_dict())).endswith(next_lines)  # CIFAR-10's names
    assert told(dict(net.state_dict()), classes="names.txt").endswith(next_lines)
    assert told(headless(net)).endswith("next     residuum train DATA --start ours.safetensors\n")


def test_a_class_that_an_imported_net_does_not_know_leads_to_its_names() -> None:
    """What is printed is given as it stands: the same net with the same preprocessing, and nothing is written over."""
    told: dict[str, Any] = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "image_size": 8, "zero_channels": "end"}
    path = imported(filled(akamaster).state_dict(), **told).path  # CIFAR-10's names, for digits
    before = path.read_bytes()
    with pytest.raises(UserError, match="does not know all classes of digits") as refusal:
        evaluate(EvaluateSettings(str(path), "digits", threads=1))
    assert "in the order of 'airplane', 'automobile', 'bird', …" in refusal.value.mend
    Path("NAMES.txt").write_text("\n".join("0123456789"), encoding="utf-8")
    Path("theirs.pth").unlink()  # where it lay is not known
    command = refusal.value.mend.partition("; then residuum import ")[2].split()
    app(["import", *command], exit_on_error=False)
    first, second = load(path), load("ours-named.safetensors")
    assert path.read_bytes() == before
    assert second.classes == tuple("0123456789")
    assert evaluate(EvaluateSettings("ours-named.safetensors", "digits", threads=1)).images
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(first(x), second(x))
    for name in ("mean", "std"):
        np.testing.assert_array_equal(getattr(first.preprocessing, name), getattr(second.preprocessing, name))
    assert replace(first.preprocessing, mean=0, std=0) == replace(second.preprocessing, mean=0, std=0)  # type: ignore[arg-type]
    assert second.spec == first.spec
    assert second.about.lineage == first.about.lineage
    guessed = ["--classes" in str(one.about.import_) for one in (first, second)]
    assert guessed == [True, False]
    with pytest.raises(UserError, match=r"--out ours-named-2\.safetensors"):
        evaluate(EvaluateSettings(str(path), "digits", threads=1))
    Path("NAMES.txt").write_text("a\nb", encoding="utf-8")
    with pytest.raises(UserError, match="2 class names"):
        import_weights(ImportSettings(path, classes="NAMES.txt"))
    with pytest.raises(UserError, match="says itself what --mean would tell"):
        import_weights(ImportSettings(path, classes="NAMES.txt", mean=(0.5, 0.5, 0.5)))


def test_evaluation_is_in_float32_unless_told(digits_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "fastest", lambda **_: measured_as(bfloat16=1.0))
    chosen: list[str] = []
    autocast = compute.Compute.autocast
    monkeypatch.setattr(compute.Compute, "autocast", lambda self: (chosen.append(self.precision), autocast(self))[1])
    for precision in ("auto", "float32", "bfloat16"):
        evaluate(EvaluateSettings(str(digits_model), "digits", precision=precision, threads=1))
    assert list(dict.fromkeys(chosen)) == ["float32", "bfloat16"]
    assert chosen.count("float32") == 2 * chosen.count("bfloat16")


def test_a_model_from_before_there_was_a_choice_of_interpolation_is_bilinear(digits_model: Path) -> None:
    from residuum.models.file import read_tensors, sealed

    tensors, metadata = read_tensors(digits_model)
    about = json.loads(metadata["residuum"])
    assert about["preprocessing"].pop("interpolation") == "bilinear"
    assert about["preprocessing"].pop("views") == "single"
    digits_model.write_bytes(sealed(tensors, {"residuum": json.dumps(about)}))
    assert load(digits_model).preprocessing.interpolation == "bilinear"
    assert load(digits_model).preprocessing.views == "single"


def test_bicubic_reaches_evaluation_and_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 8 px seen at 12: how they are enlarged must show in the figures and in the answers."""
    from PIL import Image

    from residuum.prediction.predict import predict
    from residuum.settings import PredictSettings

    Path("digits.txt").write_text("\n".join("0123456789"), encoding="utf-8")
    uniforms = np.random.default_rng(0)
    Image.fromarray(uniforms.integers(0, 256, (9, 9, 3), np.uint8)).save("x.png")
    found = {}
    for interpolation in ("bilinear", "bicubic"):
        flags = {"classes": "digits.txt", "image_size": 12, "interpolation": interpolation}
        path = str(imported(filled(akamaster).state_dict(), **flags).path)
        figures = evaluate(EvaluateSettings(path, "digits", threads=1))
        (answer,) = predict(PredictSettings(path, ("x.png",), threads=1))
        found[interpolation] = (figures.loss, answer.probabilities, figures.protocol)
    assert all(a != b for a, b in zip(*found.values(), strict=True))


@pytest.fixture
def public_weights() -> Path:
    return third_party("resnet20-12fca82f.th")


def test_public_weights_need_only_their_path(public_weights: Path) -> None:
    done = import_weights(ImportSettings(str(public_weights)))
    assert done.path == Path("resnet20-12fca82f-residuum.safetensors")
    assert done.spec == named("resnet20", zero_channels="both")
    assert "akamaster" in done.layout
    assert done.left_out == ("best_prec1",)
    assert load(done.path).classes == CIFAR10


@pytest.mark.slow
def test_public_weights_score_here_what_was_published(public_weights: Path, cifar10: Path) -> None:
    done = import_weights(ImportSettings(str(public_weights)))
    figures = evaluate(EvaluateSettings(str(done.path), str(cifar10)))
    assert figures.split == "test"
    assert figures.images == 10_000
    assert figures.top1.value == 0.9173
