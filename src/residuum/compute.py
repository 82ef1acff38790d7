"""Where and in what number format a net computes: chosen by what is fastest, or as told."""

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from residuum import machine, ranks
from residuum.choices import Device, Layout, Precision
from residuum.console import say
from residuum.errors import UserError
from residuum.fastest import fastest, forget
from residuum.kernels.build import library
from residuum.records.machine import Machine

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _LARGEST = -3, -1, 2**31 - 1  # malloc.h

MOST_WORKERS = 32
THREADS_AT_FIRST = torch.get_num_threads()
"""torch's, before we set them: a process begins with them."""


@dataclass(frozen=True)
class Compute:
    """The choice: device, precision of the convolutions, memory layout, processor threads."""

    device: torch.device
    precision: Precision
    layout: Layout
    threads: int

    def place(self, net: nn.Module) -> nn.Module:
        """Move the net to the device and layout; its parameters stay float32."""
        net.to(self.device)
        if self.layout == "channels-last":
            net.to(memory_format=torch.channels_last)
        return net

    def lay_out(self, images: Tensor) -> Tensor:
        """Return pictures (N, C, H, W) on the device, in the layout."""
        order = torch.channels_last if self.layout == "channels-last" else torch.contiguous_format
        return images.to(self.device, memory_format=order)

    @property
    def uses_kernels(self) -> bool:
        """Say whether training has a plan with compiled operations: on a processor with a compiler, channels last."""
        return self.device.type == "cpu" and self.layout == "channels-last" and library() is not None

    def workers(self, told: int | None) -> int:
        """Return how many processes decode large pictures: as told, but not more than 32 or the cores there are.

        By default a process a thread, at most 32: no net asks for more than they give.
        """
        if told is None:
            return min(self.threads, MOST_WORKERS)
        return min(told, max(MOST_WORKERS, machine.cores()))

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision as torch names it."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which convolutions run in the chosen precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def choose_compute(
    device: Device = "auto", precision: Precision = "auto", layout: Layout = "auto", threads: int | None = None
) -> Compute:
    """Resolve "auto": a GPU if there is one; on a processor what was measured to be fastest (fastest.py).

    Where the precision is told, as it is for predictions, nothing is measured for it: what was, is used.

    Raises:
        UserError: the device asked for is not there, or computes BN's gradients wrong.
    """
    kind = _device(device)
    _prepare(kind, layout)
    most = max(1, machine.cores() // ranks.on_this_machine())  # processes that train together share its cores
    if kind != "cpu":
        has_bfloat16 = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16 else "float32"
        if layout == "auto":
            layout = "contiguous" if kind == "mps" else "channels-last"
        return Compute(torch.device(kind), precision, layout, min(threads or machine.cores(), most))
    measured = fastest(measuring=precision == "auto")
    best, threads = measured.best(precision, layout), threads or measured.threads
    threads = min(threads, most) if ranks.on_this_machine() > 1 else threads
    torch.set_num_threads(threads)
    _keep_freed_memory()
    return Compute(torch.device(kind), best.precision, best.layout, threads)


def _prepare(kind: str, layout: Layout) -> None:
    """Let NVIDIA's GPUs give the same numbers each time, float32 in full; see whether Apple's give the right ones."""
    if kind == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    elif kind == "mps":
        check_batch_norm(kind, torch.channels_last if layout == "channels-last" else torch.contiguous_format)


@cache
def check_batch_norm(kind: str, order: torch.memory_format) -> None:
    """Compare BN's gradients on a device with the processor's: MPS had them silently wrong in channels last.

    Raises:
        UserError: they differ (pytorch/pytorch issues 174345 and 175189).
    """
    here, there = (_gradients_of_batch_norm(device, order) for device in ("cpu", kind))
    if not all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(here, there, strict=True)):
        raise UserError(
            f"--device {kind} computes the gradients of batch normalisation wrong",
            "they differ from the processor's, so that a net would learn something else and nobody would notice",
            "--device cpu, --layout contiguous, or another version of torch",
        )


def _gradients_of_batch_norm(device: str, order: torch.memory_format) -> list[Tensor]:
    """Return those of a (4, 3, 5, 5) input, the scales and the shifts, on the processor."""
    x = torch.linspace(-1, 1, 300).sin().view(4, 3, 5, 5).to(device).contiguous(memory_format=order).requires_grad_()
    norm = nn.BatchNorm2d(3).to(device)
    nn.functional.relu(norm(x)).square().sum().backward()  # type: ignore[no-untyped-call]
    return [gradient.cpu() for gradient in (x.grad, norm.weight.grad, norm.bias.grad) if gradient is not None]


def _keep_freed_memory() -> None:
    """Let glibc keep large freed tensors: each step asks for the same again, and new pages would have to be zeroed."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, _LARGEST)


def this_machine(*, anew: bool) -> Machine:
    """Return what there is, what was measured (`anew`: again) and what is used where nothing else is told."""
    if anew:
        forget()
    used = choose_compute()
    return Machine(
        environment=machine.environment(),
        devices=_devices(),
        kernels=library() is not None,
        measured=fastest(),
        device=cast(Device, used.device.type),
        precision=used.precision,
        layout=used.layout,
        threads=used.threads,
    )


def _devices() -> tuple[Device, ...]:
    """Return where torch can compute, the fastest first."""
    present: dict[Device, bool] = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return (*(kind for kind, here in present.items() if here), "cpu")


def _device(wanted: Device) -> Device:
    present = _devices()
    if wanted == "auto":
        return present[0]
    if wanted not in present:
        raise UserError(
            f"--device {wanted}: this machine has none that torch can use",
            "torch sees: " + ", ".join(present),
            "leave --device out, or install the torch build for your device",
        )
    return wanted


def say_if_busy(verb: str, began: float, waited: float, *, deciding: bool = True) -> float:
    """Say that times measured since then may mislead, and what they decide, where others computed.

    Return `machine.share_waited`.
    """
    share = machine.share_waited(began, waited)
    if share > machine.BUSY:
        say(
            f"note: others were computing, threads waited {share:.0%} of the time: these times may mislead"
            + (", and with them the choice" if deciding else "")
        )
        say(f"call {verb} again when the machine is quiet")
    return share
