"""residuum.net and residuum.net_of, against torchvision's own nets."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import residuum
from residuum.models.named import NAMED_NETS

VISION = torchvision.models


def parameters(net: nn.Module) -> int:
    return sum(one.numel() for one in net.parameters())


@pytest.mark.parametrize(
    ("ours", "theirs", "classes"),
    [
        ("resnet18", "resnet18", None),
        ("resnet34", "resnet34", 10),
        ("resnet50", "resnet50", None),
        ("resnext50-32x4d", "resnext50_32x4d", 10),
        ("wide-resnet50-2", "wide_resnet50_2", None),
    ],
)
def test_a_net_by_name_has_as_many_parameters_as_torchvisions(ours: str, theirs: str, classes: int | None) -> None:
    with torch.device("meta"):
        wanted = VISION.get_model(theirs, num_classes=classes or 1000)
        found = residuum.net(ours, classes=classes)
    assert parameters(found) == parameters(wanted)
    assert found.training
    assert found(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, classes or 1000)


def test_a_named_net_can_be_built_and_says_what_it_is() -> None:
    with torch.device("meta"):
        for name, spec in NAMED_NETS.items():
            if sum(spec.blocks) <= 9:
                assert residuum.net(name).spec == spec


def test_what_is_changed_is_changed() -> None:
    with torch.device("meta"):
        net = residuum.net("resnet50", classes=0, stride_in="1x1", shortcut="C", blocks=[1, 2, 1, 1])
    assert (net.spec.stride_in, net.spec.shortcut, net.spec.blocks) == ("1x1", "C", (1, 2, 1, 1))
    strides = {name: module.stride for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    assert strides["stages.stage2.block1.branch.conv1"] == (2, 2)
    assert strides["stages.stage2.block1.branch.conv2"] == (1, 1)
    assert net.features(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, 2048)


def test_a_seed_repeats_the_weights() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return residuum.net("resnet20").fc.weight

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: residuum.net("resnet55"), "did you mean resnet56 or resnet50"),
        (residuum.net, "'model'"),
        (lambda: residuum.net("resnet50", strid_in="1x1"), "did you mean stride_in"),
        (lambda: residuum.net("resnet50", stride_in="5x5"), "stride_in cannot be '5x5'"),
        (lambda: residuum.net("resnet18", stride_in="1x1"), "resnet18: a basic block cannot stride in a 1×1"),
        (lambda: residuum.net("plain34", shortcut="B"), "use model resnet34"),
        (lambda: residuum.net("resnet50", classes="10"), "classes cannot be '10'"),  # type: ignore[arg-type]
        (lambda: residuum.net("resnet50", classes=-1), "classes -1 is out of range"),
    ],
)
def test_a_net_that_cannot_be_is_one_error_that_says_what(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(residuum.UserError) as error:
        call()
    assert said in str(error.value)


def small() -> nn.Module:
    """A net of torchvision's whose statistics are no longer those of the start."""
    torch.manual_seed(0)
    net = VISION.ResNet(VISION.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7, width_per_group=8)
    net.train()(torch.randn(8, 3, 32, 32))
    return net.eval()


@torch.inference_mode()
def test_a_state_dict_of_torchvisions_gives_a_net_with_the_same_answers() -> None:
    theirs, x = small(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    state = theirs.state_dict()
    ours = residuum.net_of(state)
    assert not ours.training
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(residuum.net_of({"model": state, "epoch": 3})(x), ours(x))  # type: ignore[dict-item]
    other = residuum.net_of(state, stride_in="1x1")
    assert (ours.spec.stride_in, other.spec.stride_in) == ("3x3", "1x1")
    assert not torch.allclose(other(x), theirs(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_its_weights_are_copies() -> None:
    theirs = small()
    ours = residuum.net_of(theirs.state_dict())
    ours.fc.weight.zero_()
    assert theirs.fc.weight.any()  # type: ignore[union-attr, operator]


def test_what_was_assumed_stands_in_the_net() -> None:
    """In the words of Python, and of the net alone: net_of has no --mean, as it shows no pictures."""
    assumed = residuum.net_of(small().state_dict()).assumptions
    (strides,) = [one for one in assumed if "stride_in tells otherwise" in one]
    assert strides.startswith("convolution of a bottleneck that strides: 3x3, as torchvision and timm (")
    told = residuum.net_of(small().state_dict(), stride_in="1x1").assumptions
    assert set(assumed) - set(told) == {one for one in assumed if "stride_in" in one}
    ours = residuum.net("resnet20", classes=10)
    assert ours.assumptions == ()
    assumed += residuum.net_of(ours.state_dict()).assumptions
    assert not any(re.search("--|mean|class names|pixels", one) for one in assumed)
    named = re.findall(r"\(([\w, ]+) tells? otherwise[;)]", " ".join(assumed))
    known = inspect.signature(residuum.net_of).parameters
    assert len(named) == 3
    assert all(name in known for names in named for name in names.split(", "))
    assert residuum.net_of(ours.state_dict(), model="resnet20", zero_channels="end").assumptions == ()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_every_tensor_that_is_missing_is_named(name: str) -> None:
    state = getattr(VISION, name)(num_classes=3).state_dict()
    gone = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.conv1.weight"]
    for key in [*gone, "layer2.0.downsample.1.bias"]:
        with pytest.raises(residuum.UserError) as refusal:
            residuum.net_of({one: tensor for one, tensor in state.items() if one != key})
        assert key in refusal.value.why


def test_tensors_that_are_no_net_are_refused() -> None:
    state = small().state_dict()
    del state["layer2.0.conv2.weight"]
    with pytest.raises(residuum.UserError, match=r"layer2\.0\.conv2\.weight"):
        residuum.net_of(state)
    with pytest.raises(residuum.UserError, match="holds no weights by name"):
        residuum.net_of({"mean": torch.zeros(3)})
    with pytest.raises(residuum.UserError, match="zero_channels both says nothing"):
        residuum.net_of(small().state_dict(), zero_channels="both")
    with pytest.raises(residuum.UserError, match="stride_in cannot be"):
        residuum.net_of(small().state_dict(), stride_in="5x5")  # type: ignore[arg-type]
