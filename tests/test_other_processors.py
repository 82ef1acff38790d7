"""Kernels on processors that are not this one: compiled for ARM, and called there, by an emulator, as here."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_cases import cases
from torch import Tensor

from residuum.kernels import batch_norm, build, crops, pooling, shortcut, update

pytestmark = [pytest.mark.slow, pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")]
PARAMETERS = {
    name: [parameter.strip() for parameter in parameters.split(",")]
    for source in build.SOURCES
    for _, name, parameters in build.DECLARATION.findall(source.read_text(encoding="utf-8"))
}
COMPILERS = {
    "g++": ["aarch64-linux-gnu-g++"],
    "clang++": ["clang++", "--target=aarch64-linux-gnu", "-Wall", "-Wextra", "-Werror"],
}
PRELUDE = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
struct bfloat16;
static char* room(size_t bytes) { return (char*)aligned_alloc(64, (bytes + 63) / 64 * 64); }
static char* take(size_t bytes) {
    char* at = room(bytes);
    if (fread(at, 1, bytes, stdin) != bytes) abort();
    return at;
}
"""


@dataclass
class Calls:
    """What was called: C++ that calls it again, the bytes it reads, and the tensors that it is to write."""

    code: list[str] = field(default_factory=list)
    read: list[bytes] = field(default_factory=list)
    written: list[Tensor] = field(default_factory=list)

    def note(self, name: str, *values: Any, call: Callable[..., None] = build.call) -> None:
        names = [re.split(r"[ *]", parameter)[-1] for parameter in PARAMETERS[name]]
        given, outcomes = [], []
        for value, parameter, label in zip(values, PARAMETERS[name], names, strict=True):
            kind = parameter.removesuffix(label)
            if not isinstance(value, Tensor):
                given.append(
                    "nullptr" if value is None else f"({kind}){float(value) if 'float' in kind else int(value)}"
                )
            elif label == "work" and f"{name}_room" in PARAMETERS:
                wanted = [re.split(r"[ *]", parameter)[-1] for parameter in PARAMETERS[f"{name}_room"]]
                given.append(f"({kind})room({name}_room({', '.join(given[names.index(w)] for w in wanted)}))")
            else:
                given.append(f"({kind})take({value.untyped_storage().nbytes()})")
                self.read.append(_bytes(value))
                if "const" not in kind and label != "work":
                    outcomes.append((len(given) - 1, value))
        call(name, *values)
        places = [f"    auto a{place} = {value};" for place, value in enumerate(given)]
        puts = [f"    fwrite(a{place}, 1, {len(_bytes(value))}, stdout);" for place, value in outcomes]
        arguments = ", ".join(f"a{place}" for place in range(len(given)))
        self.code.append("\n".join(["{", *places, f"    {name}({arguments});", *puts, "}"]))
        self.written += [value.detach().clone() for _, value in outcomes]


def _bytes(tensor: Tensor) -> bytes:
    """All that a tensor's memory holds; here none begins in the middle of one."""
    assert tensor.storage_offset() == 0
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy().tobytes()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    for module in (build, batch_norm, pooling, shortcut, crops, update):
        monkeypatch.setattr(module, "call", found.note)
    for make in cases("everywhere", 0, 60):
        make().check()
    monkeypatch.undo()
    return found


def program(calls: Calls) -> str:
    """Write what makes the same calls of what it is linked with."""
    lines = [f'extern "C" {"int64_t" if name.endswith("_room") else "void"} {name}({", ".join(parameters)});'
             for name, parameters in PARAMETERS.items()]  # fmt: skip
    return "\n".join([PRELUDE, *lines, "int main() {", *calls.code, "}"])


@pytest.mark.parametrize("compiler", COMPILERS)
def test_on_arm_the_kernels_give_the_same(compiler: str, calls: Calls, tmp_path: Path) -> None:
    tools = ("aarch64-linux-gnu-g++", COMPILERS[compiler][0], "qemu-aarch64")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"not here: {', '.join(missing)}")
    main, whole = tmp_path / "main.cpp", tmp_path / "whole"
    main.write_text(program(calls))
    sources = [*map(str, build.SOURCES)]
    command = [*COMPILERS[compiler], *build.FLAGS, "-mcpu=neoverse-n1"]
    for source in (*sources, str(main)):
        subprocess.run([*command, "-c", source, "-o", str(tmp_path / f"{Path(source).stem}.o")], check=True)
    objects = [str(path) for path in tmp_path.glob("*.o")]
    subprocess.run(["aarch64-linux-gnu-g++", "-static", *objects, "-lgomp", "-o", str(whole)], check=True)
    done = subprocess.run(
        ["qemu-aarch64", str(whole)], input=b"".join(calls.read), capture_output=True, check=True, timeout=600
    )
    rest = done.stdout
    for here in calls.written:
        size = here.untyped_storage().nbytes()
        there = torch.frombuffer(bytearray(rest[:size]), dtype=here.dtype).double()
        rest = rest[size:]
        same = torch.as_strided(here, (here.numel(),), (1,)).double()
        rounding = {torch.bfloat16: 2**-7, torch.float32: 1e-4}.get(here.dtype, 0)
        assert (there - same).norm() <= rounding * max(1.0, float(same.norm()))
    assert not rest
    assert len(calls.written) > 100
