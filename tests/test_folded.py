"""Nets whose BN statistics are folded into the convolutions: a batch's own statistics are no substitute for them, so
trim takes them out again first; and of whatever net, trim's model is the better of the two that it measured."""

import copy
from pathlib import Path
from typing import Any

import made_up_records as made
import pytest
import torch
from conftest import third_party
from test_depth import (
    CPU,
    batches,
    learn_last_layer,
    lived_in,
    pictures,
    quickly,
    save,
    tiny,
    trim_settings,
)
from torch import nn

from residuum.depth.choose import choose
from residuum.depth.measure import recalibrated
from residuum.depth.recalibrate import recalibrate
from residuum.depth.remove import without
from residuum.depth.trim import trim
from residuum.depth.unfold import folded_again, unfold
from residuum.depth_printing import print_trim
from residuum.exchange.import_weights import import_weights
from residuum.loading import load
from residuum.models.resnet import ResNet, is_folded, unfolded
from residuum.outward_settings import ImportSettings
from residuum.records.codec import read_record
from residuum.records.depth import Trim
from residuum.reporting.depth_page import write_depth_report

WHERE: dict[str, Any] = {"device": "cpu", "threads": 1}


def pairs(net: ResNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the BN behind it."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    found = list(zip(layers[::2], layers[1::2], strict=True))
    assert all(isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d) for conv, bn in found)
    return found  # type: ignore[return-value]


@torch.no_grad()
def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> None:
    """(Wx − μ)·γ/σ + β = (Wγ/σ)x + (β − μγ/σ): what is left of BN is a shift."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    factor = bn.weight / (bn.running_var + bn.eps).sqrt()
    conv.weight.mul_(factor[:, None, None, None])
    bn.bias.sub_(bn.running_mean * factor)
    bn.weight.fill_(1)
    bn.running_mean.zero_()
    bn.running_var.fill_(1 - bn.eps)


def folded(net: ResNet) -> ResNet:
    """The same net with BN folded; spoils `net`."""
    for conv, bn in pairs(net):
        fold(conv, bn)
    return net


def test_a_folded_net_answers_as_before_and_no_longer_by_batches() -> None:
    """What the tests below go by: folded, evaluation is the same, and BN by each batch's statistics is not."""
    x = pictures(8)
    with torch.no_grad():
        net, whole = folded(lived_in(tiny())), lived_in(tiny())
        torch.testing.assert_close(net(x), whole(x), rtol=1e-4, atol=1e-4)
        assert is_folded(net)
        assert not is_folded(whole)
        assert len(unfolded(whole)) == len(pairs(whole))
        net.train()
        assert float((net(x) - whole(x)).abs().max()) > 0.1


@pytest.mark.parametrize("which", [slice(None), slice(2, 5), slice(0)], ids=["all", "some", "none"])
def test_unfolded_a_net_answers_as_before(which: slice) -> None:
    shown = [batch.images for batch in batches()]
    net = lived_in(tiny((3, 2)))
    for conv, bn in pairs(net)[which]:
        fold(conv, bn)
    with torch.no_grad():
        before = net(shown[0])
        assert unfold(net, shown) == len(pairs(net)[which])
        assert len(unfolded(net)) == len(pairs(net))
        torch.testing.assert_close(net(shown[0]), before, rtol=1e-4, atol=1e-4)
        assert unfold(net, []) == 0
        folded_again(net)
        assert is_folded(net)
        torch.testing.assert_close(net(shown[0]), before, rtol=1e-4, atol=1e-4)


def test_the_statistics_of_an_unfolded_net_are_those_of_its_pictures() -> None:
    shown, inputs = [batch.images for batch in batches((5, 3))], dict[nn.Module, list[torch.Tensor]]()
    net = folded(lived_in(tiny((2, 2))))
    for _, bn in pairs(net):
        bn.register_forward_pre_hook(lambda bn, given: inputs.setdefault(bn, []).append(given[0].detach()))
    unfold(net, shown)
    for _, bn in pairs(net):
        x = torch.cat(inputs[bn]).double()
        assert bn.running_mean is not None
        assert bn.running_var is not None
        torch.testing.assert_close(bn.running_mean.double(), x.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(bn.running_var.double(), x.var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-5)


def test_a_channel_that_is_always_the_same_is_no_fault() -> None:
    net = folded(lived_in(tiny((2, 2))))
    with torch.no_grad():
        pairs(net)[1][0].weight[0] = 0
        x = batches()[0].images
        before = net(x)
        unfold(net, [x])
        torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-4)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in net.state_dict().values())


def test_recalibrated_an_unfolded_net_is_the_one_that_was_folded() -> None:
    """BN of x by x's own statistics does not depend on the scale that a convolution gave x."""
    served, gone = batches((8, 8)), ["stage1.block2"]
    whole = lived_in(tiny((3, 2)))
    recalibrate(whole, [batch.images for batch in served])  # its own pictures' statistics, as an unfolded net has
    net = folded(copy.deepcopy(whole))
    unfold(net, [batch.images for batch in served])
    x = pictures(8)
    with torch.no_grad():
        expected = recalibrated(whole, gone, served, CPU)(x)
        torch.testing.assert_close(recalibrated(net, gone, served, CPU)(x), expected, rtol=0.02, atol=0.02)
        assert float((without(whole, gone)(x) - expected).abs().max()) > 0.1


# --- trim, as a user calls it ---------------------------------------------------------------------


def model_of(path: Path, net: ResNet) -> Path:
    learn_last_layer(net)
    save(path, net, data=made.data("digits", "another"), settings=None)
    return path


def said_of(model: Path, out: Path, capsys: pytest.CaptureFixture[str], **how: object) -> tuple[str, str, Trim]:
    """Trim; return what the command prints and what the page says, and the file."""
    settings = trim_settings(model, out, **how)
    trim(settings)
    page = write_depth_report(out).read_text(encoding="utf-8").replace("\u00a0", " ")
    capsys.readouterr()
    print_trim(settings, out, json=False)
    return capsys.readouterr().out, page, read_record(out / "trim.json", Trim)


def assert_the_model_is_as_said(out: Path, found: Trim) -> None:
    """Another way to the same figure: the file is opened again and judged on the same pictures."""
    metrics = load(out).about.metrics
    assert metrics is not None
    assert metrics.top1.value == pytest.approx(found.after)


@pytest.mark.parametrize("keep", [0.57, 1.0])
def test_trim_unfolds_bn_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], keep: float
) -> None:
    quickly(monkeypatch)
    net = lived_in(tiny((4, 3), widths=(8, 16)))
    learn_last_layer(net)
    save(tmp_path / "m.safetensors", folded(net), data=made.data("digits", "another"), settings=None)
    out = trim(trim_settings(tmp_path / "m.safetensors", tmp_path / "out", keep=keep))
    layers = len(pairs(net))
    assert f"{layers} of {layers} BN layers were folded into their convolutions" in capfd.readouterr().err
    found = read_record(out / "trim.json", Trim)
    assert not found.is_folded
    assert None not in [point.accuracy_recalibrated for point in found.curve]
    smaller = load(out).net
    assert is_folded(smaller)  # so that training treats it as what it is
    assert_the_model_is_as_said(out, found)
    if keep == 1.0:
        with torch.no_grad():
            whole, x = load(tmp_path / "m.safetensors").net, pictures(8)
            torch.testing.assert_close(smaller(x), whole(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("target", [{"keep": 0.57}, {"max_drop": 5.0}])
def test_a_model_that_recalibration_would_spoil_keeps_bn_as_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: dict[str, float]
) -> None:
    """Statistics of white pictures stand for any that go wrong."""
    quickly(monkeypatch)
    silent = lived_in(tiny((4, 3), widths=(8, 16)))
    for name, block in silent.blocks():
        if name in {"stage1.block2", "stage2.block3", "stage1.block4"}:
            nn.init.zeros_(pairs_of(block)[-1].weight)
            nn.init.zeros_(pairs_of(block)[-1].bias)
    model = model_of(tmp_path / "m.safetensors", silent)
    right = recalibrated

    def wrong(net: ResNet, gone: list[str], training: Any, *how: Any) -> ResNet:
        return right(net, gone, batches((50,), seed=1), *how)

    monkeypatch.setattr("residuum.depth.trim.recalibrated", wrong)
    printed, page, found = said_of(model, tmp_path / "out", capsys, **target)
    assert found.chosen is not None
    assert found.chosen.removed >= 3
    chosen = found.curve[found.chosen.removed]
    assert chosen.accuracy_recalibrated is not None
    assert chosen.accuracy_recalibrated < chosen.accuracy == found.after
    assert_the_model_is_as_said(tmp_path / "out", found)
    assert f"{found.after:.2%} after" in printed
    assert "BN as trained, which is better here than recalibrated" in printed
    assert "BN as trained, which is better here than recalibrated" in page
    assert found.by_chance == [found.random[0].accuracy[found.chosen.removed]]


def pairs_of(block: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_the_drop_is_of_the_model_that_is_written() -> None:
    curve = [
        made.point(0, accuracy=1.0, accuracy_recalibrated=0.47),
        made.point(1, accuracy=0.96, accuracy_recalibrated=0.4),
        made.point(2, accuracy=0.5, accuracy_recalibrated=0.9),
    ]
    assert choose({"max_drop": 5.0}, curve) == (
        1,
        "the most with --max-drop 5: 4.00 points of validation accuracy lost",
    )
    assert choose({"max_drop": 10.0}, curve)[0] == 2
    none, why = choose({"max_drop": 1.0}, curve)
    assert (none, why) == (0, "none with --max-drop 1: to take any out costs 4.00 points of validation accuracy")
    assert [point.recalibrated for point in curve] == [False, False, True]


@pytest.mark.slow
def test_public_weights_with_folded_bn_are_the_same_unfolded(tmp_path: Path) -> None:
    weights = third_party("half-resnet50.safetensors")
    asked = ImportSettings(str(weights), stride_in="1x1", out=str(tmp_path / "half.safetensors"))
    net = load(import_weights(asked).path).net
    assert is_folded(net)
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net.features(x)
        assert unfold(net, [x]) == 53
        torch.testing.assert_close(net.features(x), before, rtol=1e-3, atol=1e-3)
