"""One plan for one net: which step computes what, decided once, and printable.

Each piece of the net (stem, a block, the end) is traced by torch.fx, so that its steps are what its own forward does.
What computes a step is decided on the first batch of each signature (shape, precision, layout, mode and the like), and
again on the first of the next. The numbers are the net's own to rounding; what a hook on a layer within a piece would
see is lost.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from residuum.compute import Compute, choose_compute
from residuum.errors import UserError
from residuum.models.block import ResidualBlock
from residuum.models.memory import checkpointed, in_turn
from residuum.models.named import named
from residuum.models.operations import OPERATIONS, TORCH, Operation
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.plain_data import asked
from residuum.setting_parts import NetChoices
from residuum.settings import ModelsSettings

Forward = Callable[[Tensor], Tensor]
"""(N, C_in, H, W) to (N, K): a net, or its plan."""
Value = Tensor | tuple[Tensor, Tensor]
"""A tensor; or two that are one in memory, for the branch and for the shortcut (kernels/batch_norm.py)."""


def make_forward(net: ResNet, compute: Compute, *, checkpointing: bool = False) -> "Plan | ResNet":
    """Return what computes net(x) in training and judging: a plan where kernels are compiled, else the net itself.

    With `checkpointing`, training keeps fewer activations and computes them again (memory.py); no number changes.
    """
    return Plan(net, compute, checkpointing) if compute.uses_kernels or checkpointing else net


# --- one piece of the net ------------------------------------------------------------------------


class Read(NamedTuple):
    """A value that a layer reads: the piece's input (0) or what its n-th layer gave, and which of the two it is."""

    value: int
    which: int


class Call(NamedTuple):
    """A layer's turn in the forward pass of its piece."""

    path: str
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class Step:
    """Some layers of a piece, what stands for them and computes them, and what they read and write."""

    paths: tuple[str, ...]
    operation: Operation
    compute: Callable[..., Value]
    reads: tuple[Read, ...]
    writes: int
    frees: tuple[int, ...]
    """Values that nobody reads any more."""
    shapes: tuple[torch.Size, ...] = ()
    """Of what it read first and of what it gave."""


class Piece:
    """A module as steps: called like it, with a Value, it returns one."""

    def __init__(self, module: nn.Module, operations: Sequence[Operation] = OPERATIONS) -> None:
        self.module, self.operations = module, (*operations, TORCH)
        self.calls, self.result = trace(module)
        self.layers = [module.get_submodule(call.path) for call in self.calls]
        self.with_weights = [layer for layer in self.layers if isinstance(getattr(layer, "weight", None), Tensor)]
        self.last_reads = {read.value: at for at, call in enumerate(self.calls) for read in call.reads}
        self.readers = [read.value for call in self.calls for read in call.reads]
        self.steps: dict[Any, tuple[Step, ...]] = {}

    def __call__(self, x: Value) -> Value:
        """(N, C_in, H, W) to what the module makes of it."""
        values: list[Any] = [_twice(x), *[None] * len(self.calls)]
        signature = self._signature(values[0][0])
        steps = self.steps.get(signature)
        for step in self._decided(signature, values) if steps is None else steps:
            result = step.compute(*[values[value][which] for value, which in step.reads])
            for value in step.frees:
                values[value] = None
            values[step.writes] = _twice(result)
        return values[self.result]  # type: ignore[no-any-return]

    def _signature(self, x: Tensor) -> Any:
        """Return all that decisions depend on."""
        learns = tuple(layer.weight.requires_grad for layer in self.with_weights)
        mode = (*(layer.training for layer in self.layers), torch.is_grad_enabled(), x.requires_grad)
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        return x.shape, x.stride(), x.dtype, mode, learns, autocast, torch.get_num_threads()

    def _decided(self, signature: Any, values: list[Any]) -> Iterator[Step]:
        """Yield the steps in turn, each decided on the values that those before it gave, and keep them."""
        steps, at = [], 0
        while at < len(self.calls):
            step = self._choose(at, values)
            shape = values[step.reads[0].value][0].shape
            yield step
            at = step.writes
            steps.append(replace(step, shapes=(shape, values[at][0].shape)))
        self.steps[signature] = tuple(steps)

    def _choose(self, at: int, values: list[Any]) -> Step:
        """Return the step that begins with this call, by the first operation that applies."""
        row = self._row(at)
        for operation in self.operations:
            layers = operation.match(row)
            if layers is None:
                continue
            end = at + sum(layer is not None for layer in layers)
            calls = self.calls[at:end]
            reads = (*calls[0].reads, *(read for call in calls[1:] for read in call.reads[1:]))
            if operation.applies(*layers, *[values[value][which] for value, which in reads]):
                frees = {read.value for read in reads if self.last_reads[read.value] < end} - {self.result}
                compute = partial(operation.compute, *layers)
                return Step(tuple(call.path for call in calls), operation, compute, reads, end, tuple(frees))
        raise AssertionError("torch computes everything")

    def _row(self, at: int) -> list[nn.Module]:
        """Return the layer and those behind it, each reading first what the one before gave, which no other reads."""
        end = at + 1
        while end < len(self.calls) and self.calls[end].reads[0].value == end and self.readers.count(end) == 1:
            end += 1
        return self.layers[at:end]


def _twice(x: Value) -> tuple[Tensor, Tensor]:
    return x if isinstance(x, tuple) else (x, x)


# --- tracing -------------------------------------------------------------------------------------


class _Layers(fx.Tracer):
    """Blocks and sequences are looked into, all other modules are layers. A block that is skipped at random is one."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential) and (not isinstance(m, ResidualBlock) or m.skipped > 0)


_TRACES: dict[Any, tuple[tuple[Call, ...], int]] = {}


def trace(module: nn.Module) -> tuple[tuple[Call, ...], int]:
    """Return the layers that module(x) calls, in turn, and which value is its result; alike modules are traced once.

    A value that both a block's branch and its shortcut read is handed out twice: the shortcut reads the second.
    """
    key = tuple((path, type(layer), *_told_by(layer)) for path, layer in module.named_modules())
    if key not in _TRACES:
        _TRACES[key] = _traced(module)
    return _TRACES[key]


def _told_by(layer: nn.Module) -> tuple[bool, ...]:
    """What a layer's trace depends on besides its type."""
    return (layer.shared, layer.skipped > 0) if isinstance(layer, ResidualBlock) else ()


def _traced(module: nn.Module) -> tuple[tuple[Call, ...], int]:
    calls: list[Call] = []
    values: dict[Any, Read] = {}
    whole = nn.Sequential(module)
    for node in _Layers().trace(whole).nodes:
        if node.op == "placeholder":
            values[node] = Read(0, -1)
        elif node.op == "output":
            return tuple(calls), values[node.args[0]].value
        else:
            assert node.op == "call_module", f"{node.target} is no layer"
            path = str(node.target).removeprefix("0").removeprefix(".")
            which = int(path.startswith("shortcut"))
            arguments = [values[argument] for argument in node.args]
            reads = tuple(Read(value, which if either < 0 else either) for value, either in arguments)
            if isinstance(whole.get_submodule(str(node.target)), nn.Identity):
                values[node] = reads[0]
            else:
                calls.append(Call(path, reads))
                values[node] = Read(len(calls), -1)
    raise AssertionError("a graph has an output")


# --- the whole net -------------------------------------------------------------------------------


class Plan:
    """A net's pieces in turn: called like the net, (N, C_in, H, W) to (N, K).

    Where gradients are asked for in evaluation, and where a plan has nothing to offer, the net itself computes.
    """

    def __init__(self, net: ResNet, compute: Compute, checkpointing: bool = False) -> None:
        piece: Callable[[Any], Callable[[Any], Any]] = Piece if compute.uses_kernels else lambda module: module
        self.net, self.checkpointing, self.uses_kernels = net, checkpointing, compute.uses_kernels
        self.stem, self.end = piece(net.stem), piece(net.end)
        self.stages = [[(block, piece(block)) for block in stage.children()] for stage in net.stages.children()]

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K)."""
        if self._leaves_it_to_the_net():
            return self.net(x)  # type: ignore[no-any-return]
        return self._classified(self._through(self.stem(x), 0, len(self.stages)))

    def begin(self, x: Tensor, stages: int) -> Tensor:
        """Take pictures (N, C_in, H, W) through the stem and the first `stages` stages."""
        if self._leaves_it_to_the_net():
            return self.net.begin(x, stages)
        return _twice(self._through(self.stem(x), 0, stages))[0]

    def go_on(self, x: Tensor, stages: int) -> Tensor:
        """Take what `begin` gave to logits (N, K)."""
        if self._leaves_it_to_the_net():
            return self.net.go_on(x, stages)
        return self._classified(self._through(x, stages, len(self.stages)))

    def _leaves_it_to_the_net(self) -> bool:
        return not self.net.training and (torch.is_grad_enabled() or not self.uses_kernels)

    def _through(self, y: Value, first: int, stop: int) -> Value:
        last_kept = max(1, len(self.stages) - 1) if self.checkpointing and self.net.training else 0
        for number, stage in enumerate(self.stages[first:stop], start=first):
            y = (checkpointed if number < last_kept else in_turn)(stage, y)
        return y

    def _classified(self, y: Value) -> Tensor:
        return self.net.classify(_twice(self.end(y))[0])


def plans(settings: ModelsSettings) -> dict[str, list[str]]:
    """Return the lines of each net that is named, as it would train on this machine.

    Raises:
        UserError: none is named, a name is unknown, or choices contradict.
    """
    if not settings.names:
        raise UserError("whose plan?", "", "residuum models resnet20 --plan")
    compute, image_size, choices = choose_compute(), settings.image_size, asked(NetChoices, settings)
    specs = {name: named(name, settings.classes, **choices) for name in settings.names}
    return {name: lines(spec, compute, image_size) for name, spec in specs.items()}


def lines(spec: NetSpec, compute: Compute, image_size: int | None = None) -> list[str]:
    """Return a line for each step of a training step's forward pass: its number, layers, operation, what computes it,
    and the shapes, C×H×W, that it reads and gives. Two empty pictures are shown to a new net for it.

    `image_size` in pixels is by default 32 for nets of small pictures and 224 for the others.
    """
    side = image_size or (32 if spec.sees_small else 224)
    net = ResNet(spec)
    compute.place(net)
    head = nn.Sequential(OrderedDict(pool=net.pool, flatten=nn.Flatten(), fc=net.fc))
    blocks = [(f"stages.{name}", block) for name, block in net.blocks()]
    x: Value = torch.zeros(2, spec.in_channels, side, side)
    found: list[tuple[str, Step]] = []
    for name, module in [("stem", net.stem), *blocks, ("end", net.end), ("", head)]:
        piece = Piece(module, OPERATIONS if compute.uses_kernels else ())
        with compute.autocast():
            x = piece(x)
        found += [(name, step) for steps in piece.steps.values() for step in steps]
    return [_line(number, name, step) for number, (name, step) in enumerate(found, start=1)]


def _line(number: int, piece: str, step: Step) -> str:
    first, *others = (f"{piece}.{path}".strip(".") for path in step.paths)
    layers = " + ".join([first, *(path.rsplit(".", 1)[-1] for path in others)])
    taken = step.compute.args  # type: ignore[attr-defined]
    parts = zip(step.operation.name.split(", "), taken, strict=False)
    name = ", ".join(part for part, layer in parts if layer is not None) or type(taken[0]).__name__
    shapes = " → ".join("×".join(map(str, shape[1:])) for shape in step.shapes)
    return f"{number:>4}  {layers:<50} {name:<29} {step.operation.source:<36} {shapes}"
