"""Nets whose BN statistics are folded into the convolutions: a batch's own statistics are no substitute for them, so
trim leaves BN as it is; and of whatever net, trim's model is the better of the two that it measured."""

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
    plain_score,
    quickly,
    save,
    tiny,
    trim_settings,
)
from torch import nn

from residuum.depth.choose import choose
from residuum.depth.measure import recalibrated
from residuum.depth.remove import still_removable, without
from residuum.depth.search import accuracies, least_harmful_first
from residuum.depth.trim import trim
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


def test_folded_statistics_are_not_measured_anew() -> None:
    net, gone = folded(lived_in(tiny((3, 2)))), ["stage1.block2"]
    expected = without(net, gone).state_dict()
    for name, tensor in recalibrated(net, gone, batches(), CPU).state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert accuracies(net, gone, batches(), batches(), CPU) == ([plain_score(without(net, gone), batches())[1]], None)


def test_of_a_net_with_some_folded_layers_the_others_are_measured_anew() -> None:
    net = lived_in(tiny((2, 2)))
    fold(*pairs(net)[2])
    again = recalibrated(net, [], batches(), CPU)
    changed = [
        not torch.equal(new.running_var, old.running_var)  # type: ignore[arg-type]
        for (_, new), (_, old) in zip(pairs(again), pairs(net), strict=True)
    ]
    assert changed == [place != 2 for place in range(len(changed))]


def test_the_search_of_a_folded_net_goes_by_the_loss_with_bn_as_it_is() -> None:
    served = batches((5, 1))  # of a batch of one, too
    net, gone = folded(lived_in(tiny((3, 2)))), list[str]()
    for cut in least_harmful_first(net, served, CPU):
        candidates = still_removable(net.spec, gone) if cut.deleted else []
        losses = [plain_score(without(net, [*gone, name]), served)[0] for name in candidates]
        assert cut.searched == pytest.approx(min(losses, default=plain_score(net, served)[0]), abs=1e-6)
        gone += [cut.deleted] if cut.deleted else []
    assert len(gone) == 3


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
def test_trim_leaves_folded_bn_alone_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep: float
) -> None:
    quickly(monkeypatch)
    net = lived_in(tiny((4, 3), widths=(8, 16)))
    learn_last_layer(net)
    save(tmp_path / "m.safetensors", folded(net), data=made.data("digits", "another"), settings=None)
    printed, page, found = said_of(tmp_path / "m.safetensors", tmp_path / "out", capsys, keep=keep)
    assert found.is_folded
    assert not found.recalibrated
    assert [point.accuracy_recalibrated for point in found.curve] == [None] * 6
    assert [draw.accuracy_recalibrated for draw in found.random] == [None]
    assert found.after == found.curve[3 if keep < 1 else 0].accuracy
    assert is_folded(load(tmp_path / "out").net)
    assert_the_model_is_as_said(tmp_path / "out", found)
    assert ("folded into the convolutions" in printed) == (keep < 1)
    assert ("the model is the net as it was" in printed) == (keep == 1)
    assert "statistics are folded into the convolutions of this net" in page
    assert ">recalibrated<" not in page
    assert ("Nothing is taken out" in page) == (keep == 1)


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
def test_public_weights_with_folded_bn_lose_nothing_to_recalibration(tmp_path: Path) -> None:
    weights = third_party("half-resnet50.safetensors")
    asked = ImportSettings(str(weights), stride_in="1x1", out=str(tmp_path / "half.safetensors"))
    net = load(import_weights(asked).path).net
    assert is_folded(net)
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    served = [made_batch(x)]
    smaller = recalibrated(net, ["stage3.block4"], served, CPU)
    with torch.no_grad():
        assert torch.equal(smaller(x), without(net, ["stage3.block4"])(x))


def made_batch(x: torch.Tensor) -> Any:
    (one,) = batches((len(x),))
    return type(one)(x, one.labels, one.rows, 0)
