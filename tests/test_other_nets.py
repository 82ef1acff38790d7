"""The other nets with shortcuts: fully connected ones and the U-Net, against what theory and the papers say."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from residuum.errors import UserError
from residuum.models.block import Add, ResidualBlock
from residuum.models.count import multiply_adds, parameters, saved_bytes
from residuum.models.mlp import MLP, MLPSpec
from residuum.models.unet import Concatenate, Forget, UNet, UNetSpec

# --- fully connected nets -----------------------------------------------------------------------

SMALL = MLPSpec(inputs=5, width=8, blocks=3, outputs=4)


def every_mlp() -> list[MLPSpec]:
    return [
        replace(SMALL, shortcut=shortcut, order=order, normalise=normalise, layers=layers)
        for shortcut in ("identity", "none")
        for order in ("original", "preactivation")
        for normalise in (True, False)
        for layers in (1, 2, 3)
    ]


@pytest.mark.parametrize("spec", every_mlp(), ids=str)
def test_every_mlp_runs_and_every_parameter_gets_a_gradient(spec: MLPSpec) -> None:
    torch.manual_seed(0)
    net = MLP(spec)
    y = net(torch.randn(64, 5))
    assert y.shape == (64, 4)
    y.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    assert len(layers) == spec.depth == 2 + 3 * spec.layers
    assert [name for name, _ in net.blocks()] == ["block1", "block2", "block3"]


@pytest.mark.parametrize("spec", every_mlp(), ids=str)
def test_parameters_of_an_mlp(spec: MLPSpec) -> None:
    d, hidden = spec.width, 3 * spec.layers
    weights = spec.inputs * d + hidden * d * d + d * 4 + 4
    beside = (1 + hidden) * d * (2 if spec.normalise else 1)  # BN has scale and shift, its stand-in one bias
    assert parameters(MLP(spec)) == weights + beside


def test_the_blocks_formula() -> None:
    """He et al. 2015, eq. 1, and σ after the addition."""
    block = MLP(replace(SMALL, normalise=False)).stages.block2
    x = torch.randn(7, 8)
    first, second = block.branch.fc1, block.branch.fc2
    hidden = torch.relu(linear(x, first.weight, first.bias))
    torch.testing.assert_close(block(x), torch.relu(linear(hidden, second.weight, second.bias) + x))


def test_the_blocks_formula_with_pre_activation() -> None:
    block = MLP(replace(SMALL, normalise=False, order="preactivation")).stages.block2
    x = torch.randn(7, 8)
    first, second = block.branch.fc1, block.branch.fc2
    hidden = torch.relu(linear(torch.relu(x), first.weight, first.bias))
    torch.testing.assert_close(block(x), linear(hidden, second.weight, second.bias) + x)


def test_pre_activation_adds_the_branches_up() -> None:
    """He et al. 2016, eq. 4: x_L = x_l + the sum of all F between."""
    torch.manual_seed(0)
    net = MLP(replace(SMALL, order="preactivation", blocks=6)).double().eval()
    branches: list[Tensor] = []
    for _, block in net.blocks():
        block.branch.register_forward_hook(lambda _m, _i, F: branches.append(F))
    start = net.stem(torch.randn(9, 5, dtype=torch.float64))
    end = net.stages(start)
    torch.testing.assert_close(end - start, torch.stack(branches).sum(0))


@pytest.mark.parametrize("order", ["original", "preactivation"])
def test_the_plain_mlp_is_the_residual_one_without_its_shortcuts(order: str) -> None:
    residual = MLP(replace(SMALL, order=order)).eval()
    plain = MLP(replace(SMALL, order=order, shortcut="none")).eval()
    plain.load_state_dict(residual.state_dict())
    block, x = residual.stages.block1, torch.randn(6, 8).relu()
    expected = block.after(block.branch(block.before(x)))
    torch.testing.assert_close(plain.stages.block1(x), expected)
    assert not torch.allclose(block(x), expected)


def test_mlps_are_made_of_the_familys_block() -> None:
    blocks = [block for _, block in MLP(SMALL).blocks()]
    assert all(type(block) is ResidualBlock and type(block.add) is Add for block in blocks)


def test_an_mlp_keeps_the_size_of_its_signals_at_the_start() -> None:
    """He et al. 2015b: hidden layers start with variance 2 / fan-in; so half the energy that ReLU takes returns."""
    torch.manual_seed(0)
    net = MLP(MLPSpec(inputs=300, width=500, blocks=10, outputs=10, shortcut="none", normalise=False))
    assert net.stem.fc.weight.var().item() == pytest.approx(2 / 300, rel=0.05)
    assert net.fc.weight.abs().max() <= 500**-0.5
    assert not any(layer.bias.any() for layer in net.modules() if isinstance(layer, nn.Linear))
    start = net.stem(torch.randn(200, 300))
    end = net.stages(start)
    assert 0.4 < (end.square().mean() / start.square().mean()).item() < 2.5


def test_pictures_are_laid_out_in_a_row() -> None:
    net = MLP(replace(SMALL, inputs=3 * 4 * 4)).eval()
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(net(x), net(x.reshape(2, 48)))


def test_an_mlp_is_counted_like_the_others() -> None:
    with torch.device("meta"):
        net = MLP(MLPSpec(inputs=48, width=8, blocks=3, outputs=4))
    assert multiply_adds(net, 3, 4) == 48 * 8 + 6 * 64 + 8 * 4
    assert saved_bytes(net, torch.empty(5, 3, 4, 4, device="meta")) > 0


def test_an_mlp_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="at least one input"):
        replace(SMALL, layers=0)


# --- the U-Net ----------------------------------------------------------------------------------


def unet_parameters(spec: UNetSpec) -> int:
    """Count by the paper's figure: two 3×3 convolutions a level on each side, a 2×2 up-convolution, a last 1×1."""

    def pair(c_in: int, c: int) -> int:
        return 9 * c_in * c + 9 * c * c + 2 * c * (2 if spec.normalise else 1)

    c = [spec.width * 2**level for level in range(spec.levels)]
    down = pair(spec.in_channels, c[0]) + sum(pair(c[i - 1], c[i]) for i in range(1, spec.levels))
    joined = 2 if spec.skips == "concatenate" else 1
    up = sum(4 * 2 * c[i] * c[i] + c[i] + pair(joined * c[i], c[i]) for i in range(spec.levels - 1))
    return down + up + c[0] * spec.classes + spec.classes


def every_unet() -> list[UNetSpec]:
    return [
        UNetSpec(in_channels=2, classes=3, width=4, levels=levels, skips=skips, normalise=normalise)
        for levels in (1, 2, 4)
        for skips in ("add", "concatenate", "none")
        for normalise in (True, False)
    ]


@pytest.mark.parametrize("spec", every_unet(), ids=str)
def test_every_unet_runs_and_every_parameter_gets_a_gradient(spec: UNetSpec) -> None:
    torch.manual_seed(0)
    net = UNet(spec)
    assert parameters(net) == unet_parameters(spec)
    y = net(torch.randn(2, 2, 16, 24))
    assert y.shape == (2, 3, 16, 24)
    y.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_papers_unet() -> None:
    """Width 64, five levels, no BN, one channel in, two classes; 23 convolutions (sec. 2)."""
    spec = UNetSpec(in_channels=1, classes=2, width=64, levels=5, normalise=False)
    with torch.device("meta"):
        net = UNet(spec)
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 23
    assert parameters(net) == unet_parameters(spec) == 31_030_658
    assert net.encoder.level5.convolutions.conv2.out_channels == 1024


def test_adding_and_concatenating_differ_in_one_convolution_a_level_only() -> None:
    """Where two maps are laid side by side, the next 3×3 convolution reads 2c channels for c: 9c² weights more."""
    added, joined, none = (UNet(UNetSpec(width=4, levels=4, skips=skips)) for skips in ("add", "concatenate", "none"))
    shapes = [{name: p.shape for name, p in net.named_parameters()} for net in (added, joined, none)]
    assert shapes[0] == shapes[2]  # adding costs no parameter
    differ = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert shapes[0].keys() == shapes[1].keys()
    assert differ == {f"decoder.level{level}.convolutions.conv1.weight" for level in (1, 2, 3)}
    assert parameters(joined) - parameters(added) == sum(9 * c * c for c in (4, 8, 16))
    with torch.device("meta"):
        nets = [UNet(UNetSpec(width=4, levels=4, skips=skips)) for skips in ("add", "concatenate")]
    more = multiply_adds(nets[1], 3, 32) - multiply_adds(nets[0], 3, 32)
    assert more == sum(9 * c * c * (32 // 2**level) ** 2 for level, c in enumerate((4, 8, 16)))


def test_multiply_adds_of_an_up_convolution() -> None:
    """Each of its inputs is multiplied with the whole weight, whatever the stride."""
    with torch.device("meta"):
        layer = nn.ConvTranspose2d(6, 5, 2, stride=2)
    assert multiply_adds(layer, 6, 8) == 8 * 8 * 6 * 5 * 4


@pytest.mark.parametrize(("skips", "kind"), [("add", Add), ("concatenate", Concatenate), ("none", Forget)])
def test_each_merge_can_be_watched(skips: str, kind: type[nn.Module]) -> None:
    net = UNet(UNetSpec(width=4, levels=3, skips=skips)).eval()
    merges = {name: module for name, module in net.named_modules() if name.endswith("merge")}
    assert list(merges) == ["decoder.level2.merge", "decoder.level1.merge"]
    seen: dict[str, Tensor] = {}
    for name in ("encoder.level1", "encoder.level2", *merges, "decoder.level2.up", "decoder.level1.up"):
        net.get_submodule(name).register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    net(torch.randn(1, 3, 8, 12))
    for level in (1, 2):
        h, F = seen[f"encoder.level{level}"], seen[f"decoder.level{level}.up"]
        assert type(merges[f"decoder.level{level}.merge"]) is kind
        expected = {"add": F + h, "concatenate": torch.cat([h, F], 1), "none": F}[skips]
        torch.testing.assert_close(seen[f"decoder.level{level}.merge"], expected)


def reach(net: UNet) -> int:
    """Count the pixels of a 16×16 picture that the answer in the middle depends on when all below is silenced."""
    for module in net.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    net.eval()(x)[0, :, 8, 8].sum().backward()
    assert x.grad is not None
    return int((x.grad[0].abs().sum(0) > 0).sum())


def test_only_skips_carry_what_does_not_come_from_below() -> None:
    torch.manual_seed(0)
    sizes = {skips: reach(UNet(UNetSpec(width=8, skips=skips))) for skips in ("add", "concatenate", "none")}
    assert sizes == {"add": 9 * 9, "concatenate": 9 * 9, "none": 0}  # four 3×3 convolutions see 9×9 pixels


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 12), (4, 8)])
def test_pictures_that_cannot_be_halved_are_refused(height: int, width: int) -> None:
    with pytest.raises(UserError, match=f"{height}×{width} px") as error:
        UNet(UNetSpec(width=2, levels=4))(torch.randn(1, 3, height, width))
    assert "multiples of 8" in error.value.why


def test_any_sides_that_can_be_halved_are_taken() -> None:
    net = UNet(UNetSpec(width=2, levels=3, classes=5)).eval()
    for height, width in ((4, 4), (4, 20), (28, 12)):
        assert net(torch.randn(1, 3, height, width)).shape == (1, 5, height, width)


def test_a_unet_without_levels_is_refused() -> None:
    with pytest.raises(UserError, match="at least one"):
        UNetSpec(levels=0)


def test_a_unet_starts_with_the_papers_weights() -> None:
    """Sec. 3: standard deviation √(2/N), N the numbers that enter one unit."""
    torch.manual_seed(0)
    net = UNet(UNetSpec(width=32, levels=3, normalise=False))
    assert net.encoder.level2.convolutions.conv1.weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.03)
    assert net.decoder.level2.up.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))
