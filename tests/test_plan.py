"""The plan of a net: derived from its own forward, decided once, printable; and no strided 1×1 convolution by torch."""

import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from residuum.choices import Order, Shortcut, Stem, StrideIn
from residuum.cli import main
from residuum.compute import Compute
from residuum.errors import UserError
from residuum.kernels import build
from residuum.kernels.pairs import has_matrix_units
from residuum.models import plan
from residuum.models.layers import convolution
from residuum.models.named import named
from residuum.models.operations import OPERATIONS, Operation
from residuum.models.plan import Piece, Plan, lines, make_forward, trace
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec

KERNELS = Path(build.__file__).parent
CPU = Compute(torch.device("cpu"), "bfloat16", "channels-last", 1)
PLAIN = Compute(torch.device("cpu"), "float32", "contiguous", 1)
compiled = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
amx = pytest.mark.skipif(not has_matrix_units(), reason="this processor has no bfloat16 matrix units")


def small(**choices: Any) -> NetSpec:
    net: dict[str, Any] = {"stem": "cifar", "block": "basic", "blocks": (1, 2), "widths": (16, 32)}
    return NetSpec(**{**net, "shortcut": "A", "num_classes": 4, **choices})


def pictures(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


# --- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "plain20", "fast-resnet10"])
@pytest.mark.parametrize("compute", [CPU, PLAIN])
def test_every_layer_stands_in_one_step(name: str, compute: Compute) -> None:
    said = [line.split("  ")[1].strip() for line in (line[4:] for line in lines(named(name), compute))]
    steps = [[part.rsplit(".", 1)[-1] for part in layers.split(" + ")] for layers in said]
    net = ResNet(named(name))
    leaves = {path: layer for path, layer in net.named_modules() if not list(layer.children())}
    wanted = [path.rsplit(".", 1)[-1] for path, layer in leaves.items() if not isinstance(layer, nn.Identity)]
    if name.startswith("plain"):
        wanted = [layer for layer in wanted if layer != "add"]  # a plain block adds nothing
    assert sorted(layer for step in steps for layer in step) == sorted([*wanted, "flatten"])


@compiled
def test_what_stands_together_is_one_step() -> None:
    said = "\n".join(lines(named("resnet20"), CPU))
    assert "stages.stage1.block1.branch.bn2 + add + after" in said
    assert "stages.stage2.block1.shortcut.zeros " in said
    assert re.search("BN, addition, activation +batch_norm.cpp", said)
    assert "16×32×32 → 32×16×16" in said


def test_without_kernels_torch_computes_all() -> None:
    for line in lines(named("resnet20"), PLAIN):
        assert " torch " in line


def test_the_plan_of_a_changed_net_has_its_layers() -> None:
    (found,) = plan.plans(plan.ModelsSettings(("resnet20",), shortcut="B", blocks=(1, 1, 1), plan=True)).values()
    assert "shortcut.conv" in "\n".join(found)
    assert "block2" not in "\n".join(found)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["residuum", "models", "resnet20", "--plan"])
    with suppress(SystemExit):
        main()
    assert "stages.stage3.block3.branch.conv2" in capsys.readouterr().out
    with pytest.raises(UserError, match="whose plan"):
        plan.plans(plan.ModelsSettings(plan=True))


# --- when it is decided --------------------------------------------------------------------------


def counting() -> tuple[tuple[Operation, ...], list[str]]:
    """The operations, noting each time one is asked whether it applies."""
    found: list[str] = []

    def noted(operation: Operation) -> Operation:
        def applies(*given: Any) -> bool:
            found.append(operation.name)
            return operation.applies(*given)

        return replace(operation, applies=applies)

    return tuple(map(noted, OPERATIONS)), found


@compiled
def test_decisions_are_made_once_for_each_kind_of_batch() -> None:
    operations, found = counting()
    torch.manual_seed(0)
    piece = Piece(ResNet(small()).to(memory_format=torch.channels_last).stages.stage2, operations)
    x = pictures(2, 16, 8, 8)
    first = piece(x)
    many = len(found)
    assert many > 0
    again = piece(x)
    assert len(found) == many
    torch.testing.assert_close(first[0], again[0], rtol=0, atol=0)
    piece(pictures(3, 16, 8, 8))  # another number of pictures
    piece.module.eval()
    with torch.no_grad():
        piece(x)
    assert len(found) == 3 * many
    assert len(piece.steps) == 3


def test_a_layer_that_is_trained_from_now_on_is_decided_anew() -> None:
    """Its weights lay still at first, so that it was computed without a gradient."""
    still = Operation(
        "still",
        "here",
        (nn.Conv2d,),
        lambda conv, x: not conv.weight.requires_grad,
        lambda conv, x: conv(x).detach(),
    )
    piece = Piece(nn.Sequential(nn.Conv2d(3, 4, 1).requires_grad_(False)), [still])
    x = pictures(2, 3, 4, 4)
    assert not piece(x)[0].requires_grad
    piece.module.requires_grad_(True)
    piece(x)[0].sum().backward()
    assert all(weight.grad is not None for weight in piece.module.parameters())


def test_blocks_of_a_stage_that_are_skipped_and_those_that_are_not_are_traced_apart() -> None:
    spec = small(stochastic_depth=0.5)
    skipping, whole = (ResNet(one).stages.stage2 for one in (spec, small()))
    assert any(block.skipped for block in skipping)
    (apart, _), (into, _) = trace(skipping), trace(whole)
    assert {call.path for call in apart} < {name for name, _ in skipping.named_modules()}
    assert len(apart) < len(into)


def test_alike_blocks_are_traced_once() -> None:
    net = ResNet(small(blocks=(1, 4)))
    calls = [trace(block)[0] for _, block in net.blocks()]
    assert calls[2] is calls[3] is calls[4]
    assert calls[0] is not calls[1]


@compiled
def test_where_gradients_are_asked_for_in_evaluation_the_net_itself_computes() -> None:
    net = ResNet(small()).to(memory_format=torch.channels_last).eval()
    x = pictures(2, 3, 8, 8).requires_grad_()
    logits = make_forward(net, CPU)(x)
    torch.testing.assert_close(logits, net(x), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert gradient.isfinite().all()


def test_no_switch_lives_on_the_net() -> None:
    net = ResNet(small())
    before = set(vars(net))
    assert make_forward(net, PLAIN) is net
    forward = make_forward(net, CPU, checkpointing=True)
    forward(pictures(2, 3, 8, 8))
    assert set(vars(net)) == before
    assert isinstance(forward, Plan)


# --- no entry is left out ------------------------------------------------------------------------

NOT_OF_A_NET = {"crops.cpp", "update.cpp"}
"""What data and optimizer call themselves."""


def left_out(operations: tuple[Operation, ...]) -> set[str]:
    """The C++ that no operation of a net names."""
    named_ = " ".join(operation.source for operation in operations)
    files = {path.name for path in build.SOURCES} - NOT_OF_A_NET
    return {file for file in files if file not in named_}


def test_every_kernel_stands_in_the_list_and_one_left_out_is_seen() -> None:
    assert left_out(OPERATIONS) == set()
    assert left_out(tuple(o for o in OPERATIONS if "pooling" not in o.source)) == {"pooling.cpp"}


@amx
def test_every_operation_is_taken_by_some_net() -> None:
    nets = [named("fast-resnet10"), named("resnet50", 10), named("resnet20", shortcut="B")]
    said = "\n".join(line for spec in nets for line in lines(spec, CPU, 32))
    for operation in OPERATIONS:
        assert operation.name.split(", ", maxsplit=1)[0] in said


def test_every_compiled_function_is_called_by_name() -> None:
    python = "\n".join(path.read_text(encoding="utf-8") for path in KERNELS.glob("*.py"))
    for source in build.SOURCES:
        functions = build.declared(source.read_text(encoding="utf-8"))
        assert functions, source.name
        for name in functions:
            assert f'"{name.removesuffix("_room")}"' in python, name


def test_a_declaration_that_cannot_be_read_is_loud() -> None:
    assert build.declared('extern "C" void f(const float* x, int64_t n, int threads) {}')["f"][0] is None
    with pytest.raises(KeyError, match="double"):
        build.declared('extern "C" void f(double x) {}')
    with pytest.raises(AssertionError, match="twice"):
        build.declared('extern "C" void f(int n) {}\nextern "C" void f(int n) {}')


@compiled
def test_a_function_or_a_value_left_out_is_loud() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        build.call("no_such_function")
    with pytest.raises(AssertionError, match="muon_move takes 6"):
        build.call("muon_move", 1.0)


# --- strided 1×1 convolutions --------------------------------------------------------------------


@cache
def name_of(operation: Any) -> str:
    """Its name, which torch puts together anew each time."""
    return operation.name()  # type: ignore[no-any-return]


class NoStrided1x1(TorchDispatchMode):
    """Refuse a 1×1 convolution with a stride, forward and back: torch's corrupts memory with AVX2.

    And any with a stride that gives one column, forward and back: torch's gives garbage with AVX-512.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and to keep torch's compiler out of a call takes longer than the call."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = name_of(func)
        if "convolution" not in name:
            return func(*args, **(kwargs or {}))
        at = 2 if "backward" in name else 1
        weight, stride = args[at], args[at + 2]
        if weight.shape[2:] == (1, 1) and max(stride) > 1:
            raise AssertionError(f"a 1×1 convolution of stride {stride} reached torch")
        found = func(*args, **(kwargs or {}))
        if max(stride) > 1:
            y = args[0] if "backward" in name else found
            assert y.shape[3] > 1, (
                f"{tuple(weight.shape)} with stride {stride} gave one column of {tuple(args[0].shape)}"
            )
        return found


def combinations() -> Iterator[NetSpec]:
    """Legal nets: every shortcut, order, block and stride, with the stems and ways of halving in turn."""
    stems = itertools.cycle(get_args(Stem))
    others = itertools.cycle([{}, {"halving": "max-pool"}, {"projection_pool": True}, {"first_stage_halves": True}, {}])
    kinds = [{"block": "basic"}, {"block": "bottleneck"}, {"block": "bottleneck", "stride_in": "1x1"}]
    for shortcut, order, kind in itertools.product(get_args(Shortcut), get_args(Order), kinds):
        choices = {"shortcut": shortcut, "order": order, **kind, "stem": next(stems)}
        if choices["stem"] == "whitening" and "preactivation" in order:
            choices["first_activation"] = "block"
        for other in (next(others), {}):
            try:
                yield small(**choices, **other, blocks=(1, 1))
                break
            except UserError:
                continue


def test_the_watch_sees_one() -> None:
    conv, x = nn.Conv2d(16, 16, 1, 2), torch.randn(1, 16, 4, 4)
    with NoStrided1x1(), pytest.raises(AssertionError, match="reached torch"):
        conv(x)
    with NoStrided1x1(), pytest.raises(AssertionError, match="one column"):
        nn.Conv2d(16, 16, 3, 2, 1)(x[..., :2])


def legal_small_nets() -> Iterator[NetSpec]:
    """Every legal combination of the choices that decide which convolutions a net has."""
    for stem, block, shortcut, order, stride_in, pools, halves in itertools.product(
        get_args(Stem), ("basic", "bottleneck"), get_args(Shortcut), get_args(Order), get_args(StrideIn),
        (False, True), (False, True),
    ):  # fmt: skip
        try:
            yield NetSpec(
                stem=stem, block=block, blocks=(1, 1), widths=(4, 8), shortcut=shortcut, order=order,
                stride_in=stride_in, projection_pool=pools, first_stage_halves=halves, num_classes=3,
                first_activation="block" if stem == "whitening" and "preactivation" in order else "stem",
            )  # fmt: skip
        except UserError:
            continue


def test_no_net_computes_a_strided_1x1_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net whose stem was computed in one, and whose stages after as large a map in another, computes nothing new."""
    for layer in (nn.Conv2d, nn.Linear):
        monkeypatch.setattr(layer, "reset_parameters", lambda _: None)
    monkeypatch.setattr("residuum.models.resnet.initialise", lambda _: None)  # no number is read
    monkeypatch.setattr(nn.BatchNorm2d, "__init__", lambda self, _channels: nn.Module.__init__(self))
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda _self, x: x)  # to make one takes as long as a convolution
    nets = list(legal_small_nets())
    assert len(nets) > 400
    image, seen, computed = torch.zeros(1, 3, 16, 16), set[tuple[object, ...]](), 0
    for spec in nets:
        stages = {**vars(spec), "stem": spec.sees_small}
        parts = {("stem", spec.stem, spec.order, spec.block), ("stages", *stages.values())}
        if parts <= seen:
            continue
        net = ResNet(spec)
        with NoStrided1x1(), torch.inference_mode():
            net.stages(net.stem(image))
        seen, computed = seen | parts, computed + 1
    assert computed > 400


def test_no_strided_1x1_convolution_reaches_torch() -> None:
    specs = list(combinations())
    assert len(specs) > 90
    for spec, in_bfloat16 in zip(specs, itertools.cycle([True, True, False]), strict=False):
        torch.manual_seed(0)
        net = ResNet(spec).to(memory_format=torch.channels_last)
        for forward in (net, make_forward(net, CPU)):
            with NoStrided1x1(), torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                logits = forward(pictures(2, 3, 16, 16))
                logits.float().square().sum().backward()


def test_one_column_is_computed_right_and_as_two() -> None:
    torch.manual_seed(0)
    for (size, stride), sides, channels in itertools.product(
        [(3, 2), (7, 2), (7, 3)], [(1, 1), (9, 1), (4, 2)], [3, 16]
    ):
        conv = convolution(channels, 16, size, stride).to(memory_format=torch.channels_last)
        x, rounded = pictures(2, channels, *sides).requires_grad_(), conv.weight.detach().bfloat16().double()
        for call in (conv, lambda x, conv=conv: Piece(nn.Sequential(conv))(x)[0]):
            with NoStrided1x1(), torch.autocast("cpu", torch.bfloat16):
                y = call(x)
                dx, dw = torch.autograd.grad(y.float().square().sum(), [x, conv.weight])
            wide = x.detach().bfloat16().double().requires_grad_()
            exact = nn.functional.conv2d(wide, rounded.requires_grad_(), None, stride, size // 2)
            wanted = torch.autograd.grad(exact.square().sum(), [wide, rounded])
            for one, other in zip((y, dx, dw), (exact, *wanted), strict=True):
                error = (one.double() - other).norm() / other.norm()
                assert error < 0.02, (size, stride, sides, channels)
