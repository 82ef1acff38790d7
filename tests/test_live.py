"""Blocks switched off, live: against nets whose branches give zero, against smaller nets, and as the server says it."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from test_explain import IMAGES, ORDERS, small
from torch import Tensor, nn

from residuum.data.preprocess import Preprocessing
from residuum.depth.remove import without
from residuum.errors import UserError
from residuum.explanation.blocks import (
    answers_with_blocks_off,
    block_names,
    can_be_off,
    going_off,
    off_at_depth,
)
from residuum.explanation.live import net_as_json, switched
from residuum.loading import Classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.model import Provenance

OFF = ["stage1.block2", "stage3.block2"]


def silenced(net: ResNet, names: list[str]) -> ResNet:
    """The same net with branches that give zero, by their weights."""
    found = copy.deepcopy(net)
    silence(found, names)
    return found


def silence(net: ResNet, names: list[str]) -> None:
    for name, block in net.blocks():
        for layer in block.branch.modules() if name in names else ():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                layer.weight.data.zero_()
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.data.zero_()


def answers(net: ResNet) -> Tensor:
    with torch.no_grad():
        return net(IMAGES).softmax(1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "constant", "shortcut-gating"])
def test_a_block_that_is_off_adds_nothing(order: str, shortcut: str) -> None:
    net = small(order=order, shortcut=shortcut)
    found = answers_with_blocks_off(net, IMAGES, OFF)
    assert [name for name, _ in found] == [name for name, _ in net.blocks()]
    quiet = silenced(net, OFF)
    for name, behind in reversed(found):  # behind the last all are on but those; then one more is silent each time
        torch.testing.assert_close(behind, answers(quiet), msg=name)
        silence(quiet, [name])
    assert not torch.allclose(found[-1][1], answers(net), atol=1e-3)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_what_follows_the_addition_is_not_forgotten(activation: str) -> None:
    """A GELU of a GELU is another number; a ReLU of a ReLU is not."""
    net = small(activation=activation)
    torch.testing.assert_close(answers_with_blocks_off(net, IMAGES, OFF)[-1][1], answers(silenced(net, OFF)))


@pytest.mark.parametrize("shortcut", ["none", "A"])
def test_a_net_less_its_blocks_is_the_smaller_net(shortcut: str) -> None:
    net = small(shortcut=shortcut)
    torch.testing.assert_close(answers_with_blocks_off(net, IMAGES, OFF)[-1][1], answers(without(net, OFF)))


def test_what_changes_the_shape_or_is_not_there_is_refused() -> None:
    net = small()
    assert can_be_off(net.spec) == ["stage1.block1", "stage1.block2", "stage2.block2", "stage3.block2"]
    with pytest.raises(UserError, match=r"stage2\.block1 cannot be off"):
        answers_with_blocks_off(net, IMAGES, ["stage2.block1"])
    with pytest.raises(UserError, match=r"no block 'stage9\.block1'"):
        answers_with_blocks_off(net, IMAGES, ["stage9.block1"])


# --- depth as a dial ----------------------------------------------------------------------------


def counts(spec: NetSpec, gone: list[str]) -> tuple[int, ...]:
    """Blocks left in each stage."""
    left = [name for name in block_names(spec) if name not in gone]
    return tuple(sum(name.startswith(f"stage{stage}.") for name in left) for stage in range(1, len(spec.blocks) + 1))


def test_a_shallower_net_is_the_named_one() -> None:
    """ResNet-56 less what a ResNet-32 lacks has a ResNet-32's blocks; ResNet-50 goes down evenly too."""
    spec = named("resnet56")
    for depth, n in [(56, 9), (32, 5), (20, 3), (8, 1)]:
        assert counts(spec, off_at_depth(spec, depth)) == (n, n, n)
    assert len(off_at_depth(spec, 31)) == len(off_at_depth(spec, 30)) == 13
    spec = named("resnet50")
    assert counts(spec, off_at_depth(spec, 41)) == (3, 4, 3, 3)
    assert [counts(spec, going_off(spec)[:k]) for k in (1, 5)] == [(3, 4, 5, 3), (3, 3, 3, 2)]
    with pytest.raises(UserError, match="51 layers deep"):
        off_at_depth(spec, 51)
    with pytest.raises(UserError, match="4 layers deep"):
        off_at_depth(named("resnet20"), 4)


# --- as the server says it ----------------------------------------------------------------------


def classifier(net: ResNet) -> Classifier:
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    return Classifier(net, net.spec, ("a", "b", "蓝", "d"), how, Provenance(), Path("x.safetensors"))  # type: ignore[arg-type]


VIEW = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def test_all_that_is_said_of_one_picture() -> None:
    one = classifier(small())
    found = switched(one, VIEW, ["stage3.block2"], of="蓝", top=2).as_json()
    images = (torch.from_numpy(VIEW).permute(2, 0, 1)[None] - 120.0) / 60
    with torch.no_grad():
        expected = silenced(one.net, ["stage3.block2"])(images).softmax(1)[0]
    assert found["answers"][0] == {
        "class": one.classes[int(expected.argmax())],
        "probability": pytest.approx(float(expected.max()), abs=1e-6),
    }
    assert (found["of"], found["off"], found["layers"], len(found["after"])) == ("蓝", ["stage3.block2"], 12, 6)
    assert found["after"][-1]["block"] == "stage3.block2"
    assert found["after"][-1]["probability"] == pytest.approx(float(expected[2]), abs=1e-6)
    assert [len(each["answers"]) for each in found["after"]] == [2] * 6
    assert found["seen"].startswith("data:image/png;base64,")
    both = switched(one, VIEW, ["stage1.block1"], depth=12).as_json()
    assert both["off"] == ["stage1.block1", "stage3.block2"]
    with pytest.raises(UserError, match="no class 'z'"):
        switched(one, VIEW, of="z")


def test_what_the_page_draws_of_a_net() -> None:
    net = net_as_json(named("resnet50"))
    assert (net["depth"], net["layers_in_block"], net["shortcut"]) == (50, 3, "B")
    found = net["blocks"]
    assert found[0] == {"name": "stage1.block1", "can_be_off": False, "goes": None, "channels": 256}
    assert sum(each["can_be_off"] for each in found) == 12
    assert sorted(each["goes"] for each in found if each["goes"]) == list(range(1, 13))


@pytest.mark.usefixtures("unfilled")
def test_each_block_is_computed_once() -> None:
    """The answers behind the 54 blocks of a ResNet-110 take no convolution more than its own answer."""
    net = ResNet(named("resnet110")).eval()
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    answers_with_blocks_off(net, torch.zeros(1, 3, 32, 32))
    assert passes == 109
