"""Costs to the last digit: published and independently counted tables, and the count by blocks against whole nets."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import residuum
from residuum.errors import UserError
from residuum.models import comparison
from residuum.models.comparison import COMPARISON_NETS, comparison_net
from residuum.models.count import activation_bytes, cost, costs, multiply_adds, parameters, saved_bytes
from residuum.models.named import NAMED_NETS, named
from residuum.models.published import PUBLISHED
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.models.table import COSTS, count_all, table
from residuum.models_printing import print_models
from residuum.settings import ModelsSettings

pytestmark = pytest.mark.usefixtures("unfilled")


def on_meta(spec: NetSpec) -> ResNet:
    with torch.device("meta"):
        return ResNet(spec)


def count(name: str, classes: int | None = None, **choices: Any) -> int:
    return cost(named(name, classes, **choices), 32)["parameters"]


def macs(name: str, size: int, **choices: Any) -> int:
    return cost(named(name, **choices), size)["multiply_adds"]


# --- nets for large pictures: 1000 classes, 224 px ----------------------------------------------

# depth: parameters of A (= plain), B, C and pre-activation B; multiply-adds of B, stride in the 1×1 and in the 3×3
LARGE = {
    18: (11_515_688, 11_689_512, 12_043_816, 11_687_720, 1_814_073_344, 1_814_073_344),
    34: (21_623_848, 21_797_672, 22_716_840, 21_795_880, 3_663_761_408, 3_663_761_408),
    50: (22_780_456, 25_557_032, 40_128_552, 25_549_352, 3_857_973_248, 4_089_184_256),
    101: (41_772_584, 44_549_160, 76_981_288, 44_541_480, 7_570_194_432, 7_801_405_440),
    152: (57_416_232, 60_192_808, 107_335_720, 60_185_128, 11_282_415_616, 11_513_626_624),
    200: (61_897_256, 64_673_832, 116_027_432, 64_666_152, 14_776_270_848, 15_007_481_856),
}


@pytest.mark.parametrize("depth", LARGE)
def test_large_nets(depth: int) -> None:
    a, b, c, pre, strided_early, strided_late = LARGE[depth]
    name = f"resnet{depth}"
    options = [count(name, shortcut=option) for option in ("A", "none", "B", "C")]
    assert options == [a, a, b, c]
    assert count(f"plain{depth}") == a
    assert count(f"pre{name}") == count(f"pre{name}", first_activation="block") == pre
    assert macs(name, 224) == strided_late
    if depth >= 50:
        assert macs(name, 224, stride_in="1x1") == strided_early
    assert cost(named(name), 224)["depth"] == depth


def test_large_nets_of_basic_blocks_without_projections() -> None:
    assert macs("plain18", 224) == macs("resnet18", 224, shortcut="A") == 1_794_805_760
    assert macs("plain34", 224) == macs("resnet34", 224, shortcut="A") == 3_644_493_824


@pytest.mark.parametrize(
    ("name", "expected", "giga"),
    [
        ("resnet50d", 25_576_264, None),
        ("seresnet50", 28_088_024, None),
        ("resnext50-32x4d", 25_028_904, 4.230),
        ("resnext101-32x8d", 88_791_336, 16.414),
        ("wide-resnet50-2", 68_883_240, 11.398),
        ("wide-resnet101-2", 126_886_696, 22.753),
    ],
)
def test_their_relatives(name: str, expected: int, giga: float | None) -> None:
    assert count(name) == expected
    assert giga is None or round(macs(name, 224) / 1e9, 3) == giga


@pytest.mark.parametrize(("depth", "convolutions"), [(18, 20), (34, 36), (50, 53), (101, 104), (152, 155)])
def test_each_convolution_has_its_bn(depth: int, convolutions: int) -> None:
    modules = list(on_meta(named(f"resnet{depth}")).modules())
    for kind in (nn.Conv2d, nn.BatchNorm2d):
        assert sum(isinstance(module, kind) for module in modules) == convolutions


@pytest.mark.parametrize(("depth", "numbers"), [(18, 9_620), (50, 53_173)])
def test_buffers(depth: int, numbers: int) -> None:
    assert sum(buffer.numel() for buffer in on_meta(named(f"resnet{depth}")).buffers()) == numbers


# --- nets for CIFAR: 10 classes, 32 px ----------------------------------------------------------

# depth: parameters of A (= plain = pre-activation A), B, pre-activation B, C, A with 100 classes;
# multiply-adds of A (= plain) and B
SMALL = {
    20: (269_722, 272_474, 272_282, 283_962, 275_572, 40_551_040, 40_813_184),
    32: (464_154, 466_906, 466_714, 489_594, 470_004, 68_862_592, 69_124_736),
    44: (658_586, 661_338, 661_146, 695_226, 664_436, 97_174_144, 97_436_288),
    56: (853_018, 855_770, 855_578, 900_858, 858_868, 125_485_696, 125_747_840),
    110: (1_727_962, 1_730_714, 1_730_522, 1_826_202, 1_733_812, 252_887_680, 253_149_824),
    1202: (19_421_274, 19_424_026, 19_423_834, 20_538_714, 19_427_124, 2_829_238_912, 2_829_501_056),
}


@pytest.mark.parametrize("depth", SMALL)
def test_cifar_nets(depth: int) -> None:
    a, b, pre_b, c, hundred, macs_a, macs_b = SMALL[depth]
    name = f"resnet{depth}"
    assert a == 97_216 * (depth - 2) // 6 - 21_926
    assert [count(name, shortcut=option) for option in ("A", "none", "B", "C")] == [a, a, b, c]
    assert [count(f"plain{depth}"), count(f"pre{name}"), count(f"pre{name}", shortcut="B")] == [a, a, pre_b]
    assert count(name, 100) == hundred
    assert [macs(name, 32), macs(f"plain{depth}", 32), macs(name, 32, shortcut="B")] == [
        macs_a,
        macs_a,
        macs_b,
    ]
    assert cost(named(name), 32)["depth"] == depth


# depth: parameters of pre-activation, original, pre-activation with 100 classes; multiply-adds
BOTTLENECKS = {
    164: (1_703_258, 1_704_154, 1_726_388, 244_500_992),
    1001: (10_327_706, 10_328_602, 10_350_836, 1_487_849_984),
}


@pytest.mark.parametrize("depth", BOTTLENECKS)
def test_cifar_nets_of_bottlenecks(depth: int) -> None:
    pre, original, hundred, both = BOTTLENECKS[depth]
    assert [count(f"preresnet{depth}"), count(f"resnet{depth}")] == [pre, original]
    assert count(f"preresnet{depth}", 100) == hundred
    assert macs(f"resnet{depth}", 32) == macs(f"preresnet{depth}", 32) == both


@pytest.mark.parametrize(("name", "without"), [("preresnet164", 1_679_034), ("preresnet1001", 10_178_490)])
def test_parameters_but_for_bn(name: str, without: int) -> None:
    modules = on_meta(named(name)).modules()
    layers = [module for module in modules if isinstance(module, nn.Conv2d | nn.Linear)]
    assert sum(parameters(layer) for layer in layers) == without


@pytest.mark.parametrize(
    ("depth", "expected", "expected_macs"),
    [
        (18, 11_173_962, 555_422_720),
        (34, 21_282_122, 1_159_402_496),
        (50, 23_520_842, 1_297_829_888),
        (101, 42_512_970, 2_509_983_744),
        (152, 58_156_618, 3_722_137_600),
    ],
)
def test_large_nets_on_small_pictures(depth: int, expected: int, expected_macs: int) -> None:
    name = f"cifar-resnet{depth}"
    assert (count(name), macs(name, 32)) == (expected, expected_macs)


@pytest.mark.parametrize(
    ("depth", "channels", "theirs"),
    [(18, 512, 11_171_146), (34, 512, 21_279_306), (50, 2048, 23_509_066)],
)
def test_large_pre_activation_nets_on_small_pictures(depth: int, channels: int, theirs: int) -> None:
    """The well-known ones lack the last BN, of two numbers a channel."""
    assert count(f"cifar-resnet{depth}", order="preactivation") - 2 * channels == theirs


@pytest.mark.parametrize(
    ("name", "expected", "hundred", "giga"),
    [
        ("wide-resnet16-4", 2_748_890, 2_772_020, 0.393),
        ("wide-resnet16-8", 10_961_370, 11_007_540, 1.548),
        ("wide-resnet28-10", 36_479_194, 36_536_884, 5.243),
        ("wide-resnet40-4", 8_949_210, 8_972_340, 1.299),
    ],
)
def test_wide_nets(name: str, expected: int, hundred: int, giga: float) -> None:
    assert (count(name), count(name, 100)) == (expected, hundred)
    assert round(macs(name, 32) / 1e9, 3) == giga


# --- the count by blocks is exact ---------------------------------------------------------------

SHALLOW = [name for name, spec in NAMED_NETS.items() if sum(spec.blocks) <= (9 if spec.shortcut == "none" else 16)]
UNUSUAL = {
    "first activation in the block": {"order": "preactivation", "first_activation": "block"},
    "ReLU-only": {"order": "relu-only-preactivation"},
    "BN after addition": {"order": "bn-after-addition"},
    "ReLU before addition": {"order": "relu-before-addition"},
    "gated": {"shortcut": "exclusive-gating"},
    "dropout on the shortcut": {"shortcut": "dropout"},
    "dropout in the branch": {"dropout": 0.3},
    "1×1 in each block": {"shortcut": "1x1"},
    "squeezed": {"squeeze": 4},
    "another width": {"stem_width": 24},
}


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", SHALLOW)
def test_the_count_by_blocks_is_the_count_of_the_whole(name: str) -> None:
    spec = named(name, 7)
    net = ResNet(spec)
    assert cost(spec, 9) == {
        "depth": spec.depth,
        "parameters": parameters(net),
        "multiply_adds": multiply_adds(net, 3, 9),
    }
    assert activation_bytes(spec, 9, 2) == saved_bytes(net, torch.zeros(2, 3, 9, 9))


@pytest.mark.parametrize("choices", UNUSUAL.values(), ids=list(UNUSUAL))
def test_so_it_is_for_every_choice(choices: dict[str, Any]) -> None:
    spec = replace(named("resnet20"), blocks=(4, 1, 3), **choices)
    net = ResNet(spec)
    assert cost(spec, 16)["parameters"] == parameters(net)
    assert cost(spec, 16)["multiply_adds"] == multiply_adds(net, 3, 16)
    assert activation_bytes(spec, 16, 2) == saved_bytes(net, torch.zeros(2, 3, 16, 16))


# --- activations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "plain20", "resnet164", "resnet18", "seresnet18"])
def test_activations_are_those_of_a_real_training_step(name: str) -> None:
    spec = replace(named(name, 5), blocks=(2,) * len(named(name).blocks))
    images = torch.randn(3, 3, 32, 32)
    assert activation_bytes(spec, 32, 3) == saved_bytes(ResNet(spec), images)


def test_activations_by_hand() -> None:
    """Two pictures, one block: what each layer needs again for its gradient, in numbers of 4 bytes."""
    spec = NetSpec(stem="cifar", block="basic", blocks=(1,), widths=(8,), shortcut="A", num_classes=5)
    pictures, maps = 2 * 3 * 16 * 16, 2 * 8 * 16 * 16
    bn = 2 * 8  # mean and inverse deviation
    stem = pictures + maps + bn + maps  # the convolution's input, BN's input and figures, ReLU's answer
    block = (maps + bn + maps) + (maps + bn) + maps  # conv1's, conv2's, and the ReLU after the addition
    pooled, log_probabilities, weight, targets = 2 * 8, 2 * 5, 1, 2 * 2
    expected = stem + block + pooled + log_probabilities + weight + targets
    assert activation_bytes(spec, 16, 2) == 4 * expected


def test_activations_grow_evenly_with_the_batch() -> None:
    two, three, seven = (activation_bytes(named("resnet20"), 32, batch) for batch in (2, 3, 7))
    assert seven - three == 4 * (three - two)
    constant = two - 2 * (three - two)
    bns = [module for module in on_meta(named("resnet20")).modules() if isinstance(module, nn.BatchNorm2d)]
    assert constant == 4 * sum(2 * bn.num_features for bn in bns) + 4  # and the loss's one weight


def test_stochastic_depth_is_counted_with_every_block() -> None:
    spec = named("resnet20")
    assert activation_bytes(replace(spec, stochastic_depth=0.9), 32, 2) == activation_bytes(spec, 32, 2)


def test_what_is_shared_counts_once_and_parameters_not_at_all() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x * x.detach()[:, :]  # saved whole, and as a view
            return self.fc(x) + self.fc(x)  # type: ignore[no-any-return]

    x = torch.randn(2, 4, requires_grad=True)
    assert saved_bytes(Twice(), x) == 4 * (2 * 4 + 2 * 4 + 2 * 3 + 1) + 8 * 2


# --- the nets of comparison ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "giga", "digits"),
    [("vgg16", 138_357_544, 15.47, 2), ("vgg19", 143_667_240, 19.63, 2), ("googlenet", 6_624_904, 1.498, 3)],
)
def test_the_nets_of_comparison(name: str, expected: int, giga: float, digits: int) -> None:
    net = comparison_net(name)
    assert parameters(net) == expected
    assert round(multiply_adds(net, 3, 224) / 1e9, digits) == giga
    (row,) = table(ModelsSettings(), [name])
    assert (row["parameters"], row["shortcut"], row["classes"]) == (expected, "none", 1000)


def test_vgg_in_relation_to_the_family() -> None:
    """He et al. 2015, sec. 3.3: the plain net of 34 layers costs 18 % of VGG-19."""
    share = macs("plain34", 224) / multiply_adds(comparison_net("vgg19"), 3, 224)
    assert 0.18 <= share < 0.19


def test_without_torchvision_the_table_has_what_was_counted_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: NAMED_NETS[name] for name in ("resnet20", "plain20")}
    monkeypatch.setattr("residuum.models.table.NAMED_NETS", few)
    for settings in (ModelsSettings(classes=3), ModelsSettings(classes=3, image_size=64)):
        names = [row["model"] for row in table(settings)]
        assert names == ["resnet20", "plain20", "vgg16", "vgg19", "googlenet"]
    with_it = table(ModelsSettings(classes=2))
    monkeypatch.setattr(comparison, "find_spec", lambda name: None)
    assert table(ModelsSettings(classes=2)) == with_it
    assert [row["library"] for row in with_it] == ["residuum"] * 2 + ["torchvision"] * 3
    other_size = ModelsSettings(image_size=64)
    assert [row["model"] for row in table(other_size)] == ["resnet20", "plain20"]
    with pytest.raises(UserError, match=r"pip install torchvision"):
        table(other_size, ["vgg16"])


def test_pictures_too_small_for_them() -> None:
    assert table(ModelsSettings(image_size=8), ["resnet20"])[0]["image_size"] == 8
    for name in COMPARISON_NETS:
        assert table(ModelsSettings(image_size=comparison.SMALLEST), [name])[0]["image_size"] == 32
    with pytest.raises(UserError, match="cannot see pictures of 31 px"):
        table(ModelsSettings(image_size=31), ["vgg16"])


# --- the table and what was published -----------------------------------------------------------


def test_the_written_costs_are_those_of_the_nets() -> None:
    """If not: python -m residuum.models.table."""
    assert json.loads(COSTS.read_text(encoding="utf-8")) == count_all()


@pytest.mark.parametrize("name", COMPARISON_NETS)
def test_what_is_counted_for_comparison_is_said_to_be_no_net_to_build(name: str) -> None:
    with pytest.raises(UserError, match=f"does not build {name}") as refusal:
        residuum.net(name)
    assert "for comparison alone" in refusal.value.why


def test_a_name_is_no_list_of_names() -> None:
    """It was taken letter by letter: there is no model 'r'."""
    with pytest.raises(UserError, match=re.escape("residuum.model_table(['resnet50'])")):
        residuum.model_table("resnet50")


@pytest.mark.parametrize("name", ["resnet20", "resnet50", "fast-resnet10", "vgg16", "googlenet"])
@pytest.mark.parametrize("classes", [2, 1234])
def test_another_number_of_classes_changes_the_last_layer_alone(name: str, classes: int) -> None:
    (row,) = table(ModelsSettings(classes=classes), [name])
    counted = costs(name, classes, row["image_size"], row["batch"])
    assert {key: row[key] for key in counted} == counted


def test_a_changed_net_is_counted_anew() -> None:
    """He et al. 2015, Table 1: 3.8e9 with the stride in the 1×1; 4.09 in the 3×3, as torchvision's."""
    (usual,), (paper,) = (table(ModelsSettings(stride_in=where), ["resnet50"]) for where in (None, "1x1"))
    assert paper["parameters"] == usual["parameters"] == 25_557_032  # torchvision's metadata
    assert (round(paper["multiply_adds"] / 1e9, 3), round(usual["multiply_adds"] / 1e9, 2)) == (3.858, 4.09)
    assert sorted(one["top1_error"] for one in paper["published"]) == [22.85, 24.7]
    assert {one["source"].partition(",")[0] for one in paper["published"]} == {
        "He et al. 2015 (arXiv 1512.03385)",
        "KaimingHe/deep-residual-networks",
    }
    theirs = {24.01, 22.24, 23.87, 19.142}  # fb.resnet.torch's and torchvision's
    assert {one["top1_error"] for one in usual["published"]} == theirs
    (same,) = table(ModelsSettings(stride_in="3x3"), ["resnet50"])
    assert same == usual


@pytest.mark.parametrize(
    ("shortcut", "more"),
    [
        ("B", 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),  # two projections, each with BN
        ("C", 9 * (16 * 16 + 2 * 16) + 16 * 32 + 8 * 32 * 32 + 9 * 2 * 32 + 32 * 64 + 8 * 64 * 64 + 9 * 2 * 64),
    ],
)
def test_the_options_of_shortcuts_add_their_projections(shortcut: Any, more: int) -> None:
    """He et al. 2015, sec. 3.3: A has no parameters, B projects where the width changes, C everywhere."""
    (row,) = table(ModelsSettings(shortcut=shortcut), ["resnet56"])
    assert row["parameters"] == 853_018 + more
    assert row["shortcut"] == shortcut


def test_published_errors_stand_at_the_net_they_are_of() -> None:
    """He et al. 2015, Tables 2 and 3: ResNet-18 A 27.88, ResNet-34 A 25.03, B 24.52, C 24.19 % top-1."""

    def errors(name: str, **choices: Any) -> set[float]:
        (row,) = table(ModelsSettings(**choices), [name])
        return {one["top1_error"] for one in row["published"] if one["source"].startswith("He et al. 2015")}

    assert [errors("resnet34", shortcut=one) for one in "ABC"] == [{25.03}, {24.52}, {24.19}]
    assert [errors("resnet18", shortcut=one) for one in "AB"] == [{27.88}, set()]
    assert errors("resnet50") == errors("resnet50", stride_in="1x1", order="preactivation") == set()
    assert errors("resnet101", stride_in="1x1", classes=10) == {21.75}
    everything = [one for figures in PUBLISHED.values() for one in figures]
    nets = [*NAMED_NETS, *COMPARISON_NETS]
    shown = sum(len(row["published"]) for row in table(ModelsSettings(), nets))
    assert shown + sum(bool(one.choices) for one in everything) == len(everything)


def test_choices_go_with_classes_size_and_stem() -> None:
    asked = ModelsSettings(classes=100, blocks=(2, 2, 2), stem="deep")
    (row,) = table(asked, ["resnet20"])
    assert (row["depth"], row["blocks"], row["classes"], row["image_size"]) == (16, [2, 2, 2], 100, 224)
    spec = named("resnet20", 100, blocks=(2, 2, 2), stem="deep")
    assert row["parameters"] == parameters(ResNet(spec))


def test_choices_need_a_name_of_the_family() -> None:
    with pytest.raises(UserError, match="which net is changed"):
        table(ModelsSettings(stride_in="1x1"))
    with pytest.raises(UserError, match="vgg16 cannot be changed, but --shortcut was given"):
        table(ModelsSettings(shortcut="C"), ["resnet56", "vgg16"])
    with pytest.raises(UserError, match="did you mean vgg19 or vgg16"):
        table(ModelsSettings(), ["vgg"])
    with pytest.raises(UserError, match="cannot stride in a 1×1"):
        table(ModelsSettings(stride_in="1x1"), ["resnet20"])


def test_the_table_is_there_without_torch() -> None:
    asked = "from residuum.cli import app; app(['models']); import sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert len(done.stdout.split("\n\n")[0].splitlines()) == 1 + len(NAMED_NETS) + len(COMPARISON_NETS)


def test_the_table() -> None:
    rows = {row["model"]: row for row in table(ModelsSettings(), ["resnet56", "preresnet50", "googlenet"])}
    assert {key: rows["resnet56"][key] for key in ("classes", "image_size", "batch", "depth", "blocks")} == {
        "classes": 10,
        "image_size": 32,
        "batch": 128,
        "depth": 56,
        "blocks": [9, 9, 9],
    }
    (fast,) = table(ModelsSettings(), ["fast-resnet10"])
    assert (fast["image_size"], fast["batch"]) == (32, 128)
    assert rows["preresnet50"]["batch"] == rows["googlenet"]["batch"] == 32
    assert rows["preresnet50"]["activation_bytes"] == activation_bytes(named("preresnet50"), 224, 32)
    assert rows["resnet56"]["published"] == [
        {
            "top1_error": 6.97,
            "top5_error": None,
            "data": "CIFAR-10, test",
            "protocol": "single view",
            "source": "He et al. 2015 (arXiv 1512.03385), Table 6",
        }
    ]
    assert len({frozenset(row) for row in rows.values()}) == 1  # the same keys in every row


def test_what_was_published_is_of_nets_we_have() -> None:
    assert set(PUBLISHED) <= set(NAMED_NETS) | set(COMPARISON_NETS)
    for name, figures in PUBLISHED.items():
        assert figures
        for one in figures:
            assert 3 < one.top1_error < 35
            assert one.top5_error is None or one.top5_error < one.top1_error / 2
            assert one.protocol
            assert one.source
            if name in NAMED_NETS:
                assert one.data.startswith("CIFAR" if named(name).stem == "cifar" else "ImageNet")


THEIRS = {
    "resnext50-32x4d": "ResNeXt50_32X4D",
    "wide-resnet50-2": "Wide_ResNet50_2",
    "googlenet": "GoogLeNet",
    **{f"resnet{depth}": f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"vgg{depth}": f"VGG{depth}" for depth in (16, 19)},
}


def test_torchvisions_figures_are_those_of_its_weights() -> None:
    found = 0
    for name, figures in PUBLISHED.items():
        for one in figures:
            if one.source.startswith("torchvision"):
                version = one.protocol.rsplit(" ", 1)[1]
                weights = getattr(torchvision.models, f"{THEIRS[name]}_Weights")[version]
                metrics = weights.meta["_metrics"]["ImageNet-1K"]
                assert one.top1_error == pytest.approx(100 - metrics["acc@1"], abs=5e-4)
                assert one.top5_error is None or one.top5_error == pytest.approx(100 - metrics["acc@5"], abs=5e-4)
                resized = weights.transforms().resize_size[0]
                assert f"from {resized} px" in one.protocol
                found += 1
    assert found == 13


# --- what is printed ----------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *names: str, **choices: Any) -> list[list[str]]:
    """The rows of the table, by their columns."""
    settings = ModelsSettings(names, **choices)
    print_models(settings, table(settings, names), json=False)
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    return [re.split(" {2,}", line) for line in lines]


def test_every_row_has_its_columns_apart(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = printed(capsys)
    assert len(rows) == len(NAMED_NETS) + len(COMPARISON_NETS)
    assert {len(row) for row in rows} == {len(head), len(head) - 1}  # of some nothing was published
    head, row = printed(capsys, "resnet20", shortcut="exclusive-gating")
    assert row[:4] == ["resnet20 --shortcut exclusive-gating", "20", "exclusive-gating", "283,626"]


def test_a_changed_net_does_not_look_like_the_usual_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, *rows = printed(capsys, "resnet20", "preresnet20", order="preactivation", zero_init=False)
    assert [row[0] for row in rows] == [
        "resnet20 --order preactivation --no-zero-init",
        "preresnet20",  # which has both anyway
    ]


@pytest.mark.parametrize("net", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_errors_that_stand_together_were_measured_alike(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, *rows = printed(capsys, net, "plain18", "plain34", "vgg16")
    assert {row[-1].partition(" %, ")[2] for row in rows} == {"ImageNet, 10 crops of 224 px"}
