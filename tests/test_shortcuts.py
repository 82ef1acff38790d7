"""Each shortcut's row says what its blocks do; a shortcut that was left out somewhere is noticed."""

from typing import get_args

import pytest
import torch
from torch import nn

from residuum.choices import Shortcut
from residuum.depth.lesion import what_is_left
from residuum.depth.measure import shortcut_alone
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet, last_bn
from residuum.models.shortcuts import SHORTCUTS, unlisted
from residuum.models.spec import NetSpec


def net(shortcut: Shortcut) -> ResNet:
    torch.manual_seed(0)
    return ResNet(NetSpec(stem="cifar", block="basic", blocks=(2, 2), widths=(4, 8), shortcut=shortcut, num_classes=3))


def block_of(shortcut: Shortcut, name: str) -> ResidualBlock:
    return dict(net(shortcut).blocks())[name]


def positive() -> torch.Tensor:
    """What comes out of a ReLU: (N, C, H, W)."""
    return torch.rand(5, 4, 6, 6, generator=torch.Generator().manual_seed(1)) + 0.1


@pytest.mark.parametrize("shortcut", get_args(Shortcut))
def test_a_branch_of_zero_is_the_identity_where_the_row_says_so(shortcut: Shortcut) -> None:
    block = block_of(shortcut, "stage1.block2").train()
    nn.init.zeros_(last_bn(block).weight)
    x = positive()
    torch.manual_seed(3)
    assert torch.equal(block(x), x) is (SHORTCUTS[shortcut].changes is None)


@pytest.mark.parametrize("shortcut", [one for one in get_args(Shortcut) if one != "none"])
def test_the_shortcut_alone_passes_its_input_on_where_the_row_says_so(shortcut: Shortcut) -> None:
    block = block_of(shortcut, "stage1.block2").eval()
    x = positive()
    passes = torch.equal(shortcut_alone(block, x), x)
    assert passes is SHORTCUTS[shortcut].passes
    left = what_is_left(net(shortcut).spec, "stage1.block2")
    assert left == ("identity" if passes else "shortcut")


@pytest.mark.parametrize("shortcut", get_args(Shortcut))
def test_it_projects_where_the_row_says_so(shortcut: Shortcut) -> None:
    blocks = dict(net(shortcut).blocks())
    found = {
        name: block.shortcut is not None and any(isinstance(m, nn.Conv2d) for m in block.shortcut.modules())
        for name, block in blocks.items()
    }
    changing = {"stage2.block1"}
    wanted = {"never": set(), "where the shape changes": changing, "everywhere": set(blocks)}
    assert {name for name, projects in found.items() if projects} == wanted[SHORTCUTS[shortcut].projects]


@pytest.mark.parametrize("left_out", get_args(Shortcut))
def test_a_shortcut_without_a_row_is_noticed(left_out: Shortcut) -> None:
    assert unlisted(SHORTCUTS) == set()
    assert unlisted({name: row for name, row in SHORTCUTS.items() if name != left_out}) == {left_out}
