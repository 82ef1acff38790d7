"""A net that is trained in one's own loop comes back: saved from Python, or imported under residuum's own names.

The oracle is the net itself, as torch computes it before it is saved.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

import residuum
from residuum.errors import UserError
from residuum.exchange.import_weights import import_weights
from residuum.loading import load
from residuum.models.named import RESIDUAL_NETS
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.outward_settings import ImportSettings
from residuum.records.codec import read_record
from residuum.records.depth import Lesion
from residuum.runs import LESION

SMALL = {"classes": 10, "blocks": (1, 1, 1), "widths": (4, 8, 8)}
SHOWN: dict[str, Any] = {"mean": (0.3, 0.4, 0.5), "std": (0.2, 0.25, 0.5), "image_size": 8}
DIGITS = tuple("0123456789")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(net: nn.Module, steps: int = 3) -> nn.Module:
    """A loop as people write it: running means, counters and weights are no longer those of a new net."""
    digits = load_digits()
    colours = torch.tensor(digits.images[:96], dtype=torch.float32)[:, None].expand(-1, 3, 8, 8) / 16
    x = (colours - torch.tensor(SHOWN["mean"])[:, None, None]) / torch.tensor(SHOWN["std"])[:, None, None]
    labels = torch.tensor(digits.target[:96])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for step in range(steps):
        rows = slice(32 * step, 32 * step + 32)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
        optimizer.step()
    return net


def some(net: ResNet, seed: int = 0) -> ResNet:
    """Fill a net with numbers that show, of either sign: no scale is 1, no mean 0."""
    uniforms = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.5
            tensor.uniform_(low, low + 1, generator=uniforms)
    return net.eval()


def answers(net: nn.Module, side: int = 8) -> Tensor:
    x = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return net.eval()(x)  # type: ignore[no-any-return]


def saved(net: nn.Module, path: str = "own.safetensors", **otherwise: Any) -> Path:
    return residuum.save(net, path, **{"classes": DIGITS, **SHOWN, **otherwise})


# --- residuum.save --------------------------------------------------------------------------------


def test_a_net_of_ones_own_loop_is_judged_asked_taken_apart_and_exported() -> None:
    net = trained(residuum.net("resnet20", **SMALL))
    before = answers(net)
    path = saved(net)
    classifier = load(path)
    assert torch.equal(answers(classifier.net), before)
    assert classifier.classes == DIGITS
    assert classifier.spec == net.spec
    np.testing.assert_allclose(classifier.preprocessing.mean, np.array(SHOWN["mean"]) * 255, rtol=1e-6)
    np.testing.assert_allclose(classifier.preprocessing.std, np.array(SHOWN["std"]) * 255, rtol=1e-6)
    assert (classifier.preprocessing.image_size, classifier.preprocessing.resize_to) == (8, 8)
    figures = residuum.evaluate(path, "digits", threads=1)
    assert (figures.images, figures.same_data_as_training) == (360, None)
    pictures = load_digits().images[:3] * 255 / 16
    shown = [np.repeat(one.round().astype(np.uint8)[..., None], 3, axis=2) for one in pictures]
    answered = residuum.load(path, engine="torch").predict(shown)
    x = torch.tensor(np.stack(shown), dtype=torch.float32).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(SHOWN["mean"])[:, None, None]) / torch.tensor(SHOWN["std"])[:, None, None]
    with torch.inference_mode():
        wanted = torch.softmax(net(x), 1)
    assert [one.best for one in answered] == [DIGITS[int(row.argmax())] for row in wanted]
    to = "onnx" if find_spec("onnx") and find_spec("onnxruntime") else "torch"  # which takes half a second longer
    exported = residuum.export(path, to=to, data="digits", pictures=20, threads=1, out="exported")
    assert exported.parity.agreements[0].same == 1.0
    card = residuum.card(path).read_text(encoding="utf-8")
    assert "It was trained in a loop of its maker's own" in card
    folder = residuum.lesion(path, "digits", images=20, threads=1, out="lesion")
    assert read_record(folder / LESION, Lesion).data.may_be_learnt
    assert "it may have learnt them" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_of_a_model_file_says_what_takes_one() -> None:
    path = saved(residuum.net("resnet20", **SMALL))
    with pytest.raises(UserError) as refusal:
        residuum.report(path)
    named = set(re.findall(r"residuum (\w+)", refusal.value.mend))
    assert {"evaluate", "lesion", "card"} <= named
    assert all(hasattr(residuum, name) for name in named)


def test_a_model_file_has_the_name_that_is_given() -> None:
    path = saved(residuum.net("resnet20", **SMALL), "mine")
    assert (path, path.is_file()) == (Path("mine"), True)
    assert residuum.load("mine", threads=1).classes == residuum.load(path, threads=1).classes == DIGITS


def test_load_lays_a_net_out_as_is_fastest_and_answers_as_it_to_the_bit_in_that_layout() -> None:
    net = trained(residuum.net("resnet20", **SMALL))
    held = residuum.load(saved(net), engine="torch", device="cpu", threads=1)
    there = held.net.state_dict()
    assert all(torch.equal(tensor, there[name]) for name, tensor in net.state_dict().items())
    torch.testing.assert_close(answers(held.net), answers(net), rtol=1e-4, atol=1e-5)
    assert torch.equal(answers(held.net), answers(held.engine.compute.place(net)))  # type: ignore[attr-defined]


class Shifted(nn.Module):
    """A wrapper of somebody's own, which does more than hand on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.module = net

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x + 1)  # type: ignore[no-any-return]


def without_the_last_relu(net: ResNet) -> None:
    net.stages.stage1.block1.after = nn.Identity()  # type: ignore[union-attr, assignment]


def doubled_by_a_hook(net: ResNet) -> None:
    next(net.blocks())[1].branch.register_forward_hook(lambda module, given, F: 2 * F)


def halved_before(net: ResNet) -> None:
    net.stages.register_forward_pre_hook(lambda module, given: (given[0] / 2,))


def with_tanh(net: ResNet) -> None:
    next(net.blocks())[1].branch.add_module("tanh", nn.Tanh())


def leaky(net: ResNet) -> None:
    net.stages.stage2.block1.branch.relu1 = nn.LeakyReLU(0.1)  # type: ignore[union-attr, assignment]


def capped(net: ResNet) -> None:
    net.stem.relu = nn.ReLU6()


def forward_replaced(net: ResNet) -> None:
    net.pool.forward = lambda x: x.amax((2, 3), keepdim=True)  # type: ignore[method-assign, assignment]


def another_epsilon(net: ResNet) -> None:
    net.stem.bn.eps = 1e-3  # type: ignore[union-attr, assignment]


def relu_before_bn(net: ResNet) -> None:
    stem = dict(net.stem.named_children())
    net.stem = nn.Sequential(OrderedDict([(name, stem[name]) for name in ("conv", "relu", "bn")]))


def without_a_branchs_relu(net: ResNet) -> None:
    del next(net.blocks())[1].branch.relu1


def answers_a_pair(net: ResNet) -> None:
    net.register_forward_hook(lambda module, given, y: (y, y))


def another_specification(net: ResNet) -> None:
    net.spec = replace(net.spec, activation="gelu")


CHANGES = [
    (without_the_last_relu, r"stages\.stage1\.block1\.after is an Identity, not a ReLU"),
    (doubled_by_a_hook, r"stages\.stage1\.block1\.branch has a forward hook"),
    (halved_before, "stages has a forward hook"),
    (with_tanh, r"branch\.tanh \(Tanh\) was added"),
    (leaky, "relu1 is a LeakyReLU, not a ReLU"),
    (capped, r"stem\.relu is a ReLU6, not a ReLU"),
    (forward_replaced, "pool has another forward"),
    (another_epsilon, r"stem\.bn has another eps"),
    (relu_before_bn, "stem has its modules in another order"),
    (without_a_branchs_relu, r"branch\.relu1 \(ReLU\) is gone"),
    (answers_a_pair, "the net has a forward hook"),
    (another_specification, r"relu \(ReLU\) was added"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_net_that_was_changed_so_that_it_answers_otherwise_is_refused(
    change: Callable[[ResNet], None], said: str, kind: torch.dtype
) -> None:
    """In numbers that are too coarse to tell rounding from a change, too."""
    net = some(residuum.net("resnet20", **SMALL)).to(kind).train()
    change(net)
    with pytest.raises(UserError, match=f"(?s)no longer what its spec says.*{said}.*relu-only-preactivation.*nets.md"):
        saved(net)
    assert all(module.training for module in net.modules())
    assert list(Path().iterdir()) == []


def test_a_changed_backbone_and_a_changed_net_that_nothing_was_learnt_by_are_refused() -> None:
    backbone, new = residuum.net("resnet20", **{**SMALL, "classes": 0}), residuum.net("resnet56", classes=10)
    for net, classes in ((backbone, ()), (new, DIGITS)):
        leaky(net)
        with pytest.raises(UserError, match="LeakyReLU"):
            saved(net, classes=classes)


def watched(net: ResNet) -> None:
    seen: list[Tensor] = []
    for module in net.modules():
        module.register_forward_hook(lambda module, given, y: seen.append(y))  # type: ignore[func-returns-value]
    net.stages.last_seen = torch.ones(3)  # type: ignore[assignment]


def with_dropout(net: ResNet) -> None:
    net.stages.stage3.add_module("dropout", nn.Dropout(0.5))  # type: ignore[operator]


def sharing_statistics(net: ResNet) -> None:
    nn.SyncBatchNorm.convert_sync_batchnorm(net)


def frozen(net: ResNet) -> None:
    net.stem.eval().requires_grad_(False)
    next(net.blocks())[1].branch.bn1.momentum = 0.01  # type: ignore[union-attr, assignment]


@pytest.mark.parametrize("change", [watched, with_dropout, sharing_statistics, frozen])
def test_a_change_that_changes_no_answer_is_saved(change: Callable[[ResNet], None]) -> None:
    net = trained(residuum.net("resnet20", **SMALL))
    before = answers(net)
    change(net.train())
    modes = [module.training for module in net.modules()]
    assert torch.equal(answers(load(saved(net)).net), before)
    assert [module.training for module in net.modules()] == modes


def test_a_wrapper_of_ones_own_is_named() -> None:
    with pytest.raises(UserError, match=r"(?s)inside a Shifted.*\.module"):
        saved(Shifted(residuum.net("resnet20", **SMALL)))


def test_a_net_that_is_compiled_wrapped_averaged_or_coarser_is_the_net_inside() -> None:
    net = trained(residuum.net("resnet20", **SMALL))
    before = answers(net)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    for number, one in enumerate((torch.compile(net, backend="eager"), nn.DataParallel(net), averaged)):
        assert torch.equal(answers(load(saved(one, f"{number}.safetensors")).net), before)
    net.double()
    assert torch.equal(answers(load(saved(net, "double.safetensors")).net), before)
    assert next(net.parameters()).dtype == torch.float64  # what was given stays as it is


def test_a_last_layer_of_ones_own_is_kept() -> None:
    net = some(residuum.net("resnet20", **{**SMALL, "classes": 7}))
    net.fc = nn.Linear(8, 3)
    classifier = load(saved(net, classes="abc"))
    assert classifier.classes == ("a", "b", "c")
    assert torch.equal(answers(classifier.net), answers(net))
    backbone = residuum.net("resnet20", **{**SMALL, "classes": 0})
    assert load(saved(backbone, "back.safetensors", classes=()), backbone=True).classes == ()


def diverged() -> nn.Module:
    net = residuum.net("resnet20", **SMALL)
    net.fc.weight.data[0, 0] = torch.nan
    return net


def rebuilt() -> nn.Module:
    net = residuum.net("resnet20", **SMALL)
    net.fc = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 10))  # type: ignore[assignment]
    return net


@pytest.mark.parametrize(
    ("make", "otherwise", "said"),
    [
        (lambda: torchvision.models.resnet18(num_classes=10), {}, r"(?s)none of residuum's.*residuum\.net_of\("),
        (diverged, {}, r"fc\.weight that are not finite"),
        (rebuilt, {}, r"(?s)no longer what its spec says.*fc\.0\.bias"),
        (lambda: residuum.net("resnet20", **SMALL), {"classes": "abc"}, "3 class names for a net of 10 outputs"),
        (lambda: residuum.net("resnet20", **SMALL), {"classes": ["a"] * 10}, "named twice"),
        (lambda: residuum.net("resnet20", **SMALL), {"mean": (123.0, 117.0, 104.0)}, "divide by 255"),
        (lambda: residuum.net("resnet20", **SMALL), {"resize_to": 8, "image_size": 9}, "no central square of 9 px"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(make: Callable[[], nn.Module], otherwise: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        saved(make(), **otherwise)
    assert list(Path().iterdir()) == []


def test_a_saved_net_is_never_written_over() -> None:
    before = saved(residuum.net("resnet20", **SMALL)).read_bytes()
    with pytest.raises(UserError, match=r"own\.safetensors exists"):
        saved(residuum.net("resnet20", **SMALL))
    assert Path("own.safetensors").read_bytes() == before


# --- import and net_of, under residuum's own names ------------------------------------------------


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", RESIDUAL_NETS)
def test_every_named_net_is_told_by_its_tensors(name: str) -> None:
    """But for how it begins, which trained weights no longer show."""
    spec = replace(RESIDUAL_NETS[name], num_classes=5, dirac_init=False, small_head=False)
    assert inferred(named_tensors(spec)) == spec


def named_tensors(spec: NetSpec) -> dict[str, Tensor]:
    """A net's tensors without numbers; of a deep one's stages, blocks after the second are told by the second."""
    with torch.device("meta"):
        net = ResNet(replace(spec, blocks=tuple(min(2, count) for count in spec.blocks)))
    state: dict[str, Tensor] = {}
    for key, tensor in net.state_dict().items():
        _, stage, block, *_ = (*key.split("."), "")
        last = spec.blocks[int(stage.removeprefix("stage")) - 1] if block == "block2" else 2
        state |= {key.replace(".block2.", f".block{number}."): tensor for number in range(2, last + 1)}
    return state


def inferred(state: dict[str, Tensor], **told: Any) -> NetSpec:
    from residuum.exchange.fit import infer, renamed
    from residuum.exchange.groups import Group
    from residuum.exchange.own import NetTold, completed
    from residuum.exchange.recognise import recognise

    group = Group(state)
    layout, _ = recognise(group, "")
    return completed(infer(renamed(group, layout, "")), layout.name, NetTold(**told))[0]


OPEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("resnet20", {"shortcut": "none"}, {"shortcut": "none"}),
    ("resnet20", {"shortcut": "B"}, {}),
    ("resnet20", {"shortcut": "C"}, {}),
    ("resnet20", {"shortcut": "1x1"}, {}),
    ("resnet20", {"shortcut": "constant"}, {"shortcut": "constant"}),
    ("resnet20", {"shortcut": "exclusive-gating"}, {}),
    ("resnet20", {"shortcut": "shortcut-gating"}, {"shortcut": "shortcut-gating"}),
    ("resnet20", {"order": "bn-after-addition"}, {}),
    ("resnet20", {"order": "relu-before-addition"}, {"order": "relu-before-addition"}),
    ("resnet20", {"order": "relu-only-preactivation", "shortcut": "B"}, {}),
    ("resnet20", {"order": "relu-only-preactivation"}, {"order": "relu-only-preactivation"}),
    ("preresnet20", {"shortcut": "B"}, {}),
    ("resnet20", {"activation": "gelu"}, {"activation": "gelu"}),
    ("resnet20", {"shortcut": "B", "projection_pool": True}, {"projection_pool": True}),
    ("resnet164", {}, {}),
    ("resnet164", {"stride_in": "3x3"}, {"stride_in": "3x3"}),
    ("resnet50", {"blocks": (1, 1, 1, 1)}, {}),
    ("resnet50", {"blocks": (1, 1, 1, 1), "stride_in": "1x1"}, {"stride_in": "1x1"}),
    ("fast-resnet10", {"widths": (8, 8, 8), "blocks": (1, 1, 1)}, {"model": "fast-resnet10"}),
]


@pytest.mark.parametrize(("name", "changed", "told"), OPEN)
def test_what_names_leave_open_is_as_the_named_net_or_as_told(
    name: str, changed: dict[str, Any], told: dict[str, Any]
) -> None:
    narrow = {"widths": (8, 8, 16, 16) if name == "resnet50" else (4, 8, 8)}
    net = some(residuum.net(name, classes=10, **{"blocks": (1, 1, 1), **narrow, **changed}))
    assert torch.equal(answers(residuum.net_of(net.state_dict(), **told), 33), answers(net, 33))


def test_a_choice_that_is_told_wrongly_changes_the_answers() -> None:
    """So that the test above can fail: these choices leave no trace in names and shapes."""
    net = some(residuum.net("resnet20", **SMALL))
    for told in ({"shortcut": "none"}, {"order": "relu-before-addition"}, {"activation": "gelu"}):
        assert not torch.equal(answers(residuum.net_of(net.state_dict(), **told)), answers(net))  # type: ignore[arg-type]


def test_weights_saved_by_ones_own_loop_are_imported(capsys: pytest.CaptureFixture[str]) -> None:
    net = trained(residuum.net("resnet20", **SMALL))
    before = answers(net)
    save_file(net.state_dict(), "weights.safetensors")
    torch.save({"epoch": 3, "model": {f"module._orig_mod.{k}": v for k, v in net.state_dict().items()}}, "state.pt")
    Path("names.txt").write_text("\n".join(DIGITS), encoding="utf-8")
    for file in ("weights.safetensors", "state.pt"):
        done = import_weights(ImportSettings(file, classes="names.txt", **SHOWN, resize_to=8, interpolation="bilinear"))
        assert done.path == Path(file).with_name(f"{Path(file).stem}-residuum.safetensors")
        assert (done.layout, done.spec) == ("residuum", net.spec)
        assert torch.equal(answers(load(done.path).net), before)
        left = [one for one in done.assumptions if "left out" not in one]
        assert re.search(r"as residuum\.net builds resnet20: shortcut A, .*\(--model, --shortcut, --order", left[0])
        assert len(left) == 2
        assert "--zero-channels" in left[1]
        assert load(done.path).classes == DIGITS
    unnamed = import_weights(ImportSettings("weights.safetensors", out="unnamed.safetensors", model="resnet20"))
    assert unnamed.unnamed
    assert not any("--shortcut" in one for one in unnamed.assumptions)
    assert {flag for one in unnamed.assumptions for flag in re.findall(r"--[a-z-]+", one)} >= {"--mean", "--classes"}


def test_a_backbone_of_ones_own_has_no_classes() -> None:
    net = some(residuum.net("resnet20", **{**SMALL, "classes": 0}))
    torch.save(net.state_dict(), "back.pt")
    done = import_weights(ImportSettings("back.pt"))
    assert done.left_out == ()
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(load(done.path, backbone=True).net.features(x), net.features(x))


def test_a_net_that_is_named_wrongly_is_refused() -> None:
    state = residuum.net("resnet20", **SMALL).state_dict()
    with pytest.raises(UserError, match="no weights of resnet50"):
        residuum.net_of(state, model="resnet50")
    with pytest.raises(UserError, match="there is no model 'resnet21'"):
        residuum.net_of(state, model="resnet21")
    with pytest.raises(UserError, match="nothing was imported"):
        residuum.net_of({name: one for name, one in state.items() if name != "stem.bn.bias"})
    with pytest.raises(UserError, match="says nothing about weights under the names of torchvision"):
        residuum.net_of(torchvision.models.resnet18().state_dict(), model="resnet18")
    with pytest.raises(UserError, match="layout that residuum does not know") as refusal:
        residuum.net_of({"features.0.weight": torch.ones(3, 3)})
    assert "residuum.save" in refusal.value.mend
