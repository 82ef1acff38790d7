"""The rules that keep the package easy to find one's way in. Each is also shown a bad example.

A check takes the package as {path below src/residuum: text} and returns the faults it finds.
"""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

Files = dict[str, str]

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "residuum"
MAP = ROOT / "docs" / "code.md"

# --- the ladder: what each room may import, besides itself --------------------------------------

BASE = {
    "errors",
    "version",
    "chinese",
    "console",
    "ranks",
    "choices",
    "plain_data",
    "setting_parts",
    "settings",
    "outward_settings",
    "recipe",
    "files",
    "records",
    "machine",
    "lock",
    "apart",
    "runs",
}
PARTS = BASE | {"kernels", "fastest", "compute", "models", "data", "recipes"}
USES = PARTS | {"loading", "weights", "evaluation", "engines"}
ALL = USES | {
    "exchange",
    "exporting",
    "tracking",
    "training",
    "forecast",
    "prediction",
    "depth",
    "dispatch",
    "explanation",
    "studies",
    "sweeps",
    "publishing",
    "reporting",
    "page",
    "serving",
}
LADDER = {
    "errors": set(),
    "version": set(),
    "chinese": set(),
    "chinese_help": {"chinese"},
    "console": set(),
    "ranks": {"console", "errors"},
    "choices": set(),
    "plain_data": {"errors"},
    "setting_parts": {"choices", "plain_data"},
    "settings": {"choices", "errors", "plain_data", "setting_parts"},
    "outward_settings": {"choices", "errors", "plain_data", "setting_parts"},
    "recipe": {"choices"},
    "files": {"errors"},
    "commit": {"version"},
    "machine": {"commit", "records", "version"},
    "records": {"errors", "files", "choices", "plain_data", "settings", "recipe", "version"},
    "lock": {"errors", "files", "records"},
    "apart": {"errors"},
    "runs": {"apart", "choices", "errors", "files", "lock", "plain_data", "records"},
    "tracking": BASE,
    "kernels": BASE,
    "fastest": BASE | {"kernels"},
    "compute": BASE | {"kernels", "fastest"},
    "models": BASE | {"kernels", "compute"},
    "data": BASE | {"kernels"},
    "recipes": BASE,
    "loading": PARTS,
    "weights": BASE | {"models"},
    "engines": PARTS | {"loading"},
    "evaluation": PARTS | {"loading", "engines"},
    "exchange": PARTS | {"loading", "weights"},
    "exporting": USES,
    "training": USES | {"tracking"},
    "forecast": USES | {"training"},
    "prediction": USES | {"explanation"},
    "depth": USES | {"training"},
    "explanation": USES | {"training", "depth"},
    "serving": USES | {"prediction", "explanation", "page"},
    "dispatch": USES | {"training"},
    "studies": USES | {"training", "prediction", "depth", "dispatch"},
    "sweeps": USES | {"training", "dispatch", "studies"},
    "page": set(),
    "publishing": USES,
    "reporting": BASE,  # beside the ladder: it reads run folders and nothing else
    "printing": ALL,  # for the types of what it prints
    "depth_printing": ALL | {"printing"},
    "judged_printing": ALL | {"printing"},
    "explained_printing": ALL | {"printing"},
    "models_printing": ALL | {"printing"},
    "outward_printing": ALL | {"printing"},
    "pictures_printing": ALL | {"printing"},
    "as_found": set(),
    "verb": {"as_found", "errors", "plain_data", "runs", "version"},
    "nets": ALL | {"verb"},
    "verbs": ALL
    | {
        "printing",
        "depth_printing",
        "judged_printing",
        "explained_printing",
        "models_printing",
        "pictures_printing",
        "verb",
    },
    "outward_verbs": ALL | {"printing", "outward_printing", "verb"},
    "cli": BASE | {"chinese_help", "printing", "verb", "verbs", "outward_verbs"},
    "__main__": {"cli"},
    "__init__": ALL | {"as_found", "verb", "verbs", "outward_verbs", "nets"},  # the package top, which nobody imports
}

PRINTING = {
    "console.py",
    "printing.py",
    "depth_printing.py",
    "judged_printing.py",
    "explained_printing.py",
    "models_printing.py",
    "outward_printing.py",
    "pictures_printing.py",
    "serving/service.py",
}
PRINTING |= {f"exporting/use_{engine}.py" for engine in ("onnx", "openvino", "torch")}
"""The command, the server's log, and the programs that an export brings along."""
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
TEXT = {".py", ".html", ".css", ".js"}
BLOCK_FILE = "models/block.py"
VAGUE = {"utils", "helpers", "common", "manager", "core"}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BANNED = {"eval", "exec", "builtins.eval", "builtins.exec", "os.system", "yaml.load"}


def package() -> Files:
    """Read the package; files that are not text are there by name only."""
    paths = [p for p in sorted(PACKAGE.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    return {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") if p.suffix in TEXT else "" for p in paths}


parsed = functools.cache(ast.parse)


@functools.cache
def nodes_of(tree: ast.Module) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


def trees(files: Files) -> dict[str, ast.Module]:
    return {path: parsed(text) for path, text in files.items() if path.endswith(".py")}


# --- reading imports ---------------------------------------------------------------------------


def module_of(path: str) -> str:
    """Return the dotted name: "models/block.py" is residuum.models.block."""
    return ".".join(["residuum", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


def room_of(path: str) -> str:
    return Path(path).parts[0].removesuffix(".py")


def room_named(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def origin(node: ast.ImportFrom, path: str) -> str:
    """Return the absolute name that `from X import` reads from, relative forms included."""
    if not node.level:
        return node.module or ""
    home = ["residuum", *Path(path).parent.parts]
    return ".".join(home[: len(home) - node.level + 1] + ([node.module] if node.module else []))


@functools.cache
def imports(tree: ast.Module, path: str) -> tuple[tuple[str, str, int], ...]:
    return tuple(found_imports(tree, path))


def found_imports(tree: ast.Module, path: str) -> Iterator[tuple[str, str, int]]:
    """Yield all that is imported anywhere in the module, functions included.

    Each is (module, module.thing, line), as `thing` may be a module too; without a thing, the module twice.
    """
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = origin(node, path)
            yield from ((home, f"{home}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and spelled(node.func, {}).endswith(("import_module", "__import__")):
            named = [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from ((name, name, node.lineno) for name in named)


def inner_imports(files: Files) -> Iterator[tuple[str, str, int]]:
    """Yield (path, module of the package that it imports, line)."""
    known = {module_of(path) for path in files} | {f"residuum.{room_of(path)}" for path in files}
    for path, tree in trees(files).items():
        for module, thing, line in imports(tree, path):
            if module.split(".")[0] == "residuum":
                yield path, thing if thing in known else module, line


# --- the checks --------------------------------------------------------------------------------


def climbing(files: Files) -> list[str]:
    """Find rooms without a place on the ladder, and imports that climb it or reach for the package top."""
    rooms = {room_of(path) for path in files if path.endswith(".py")}
    faults = [f"{room} has no place on the ladder" for room in sorted(rooms - set(LADDER))]
    for path, module, line in inner_imports(files):
        room, other = room_of(path), room_named(module)
        if room in LADDER and room != other and other not in LADDER[room]:
            faults.append(f"{path}:{line} imports {module}: {room} may not import {other}")
    return faults


def circles(files: Files) -> list[str]:
    """Find one circle of imports between modules, if there is any."""
    graph: dict[str, set[str]] = {}
    for path, module, _ in inner_imports(files):
        graph.setdefault(module_of(path), set()).add(module)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def long_files(files: Files) -> list[str]:
    lengths = {path: len(text.splitlines()) for path, text in files.items()}
    return [f"{path} has {n} lines" for path, n in lengths.items() if n > LONGEST_FILE]


def long_functions(files: Files) -> list[str]:
    return [
        f"{path}:{node.lineno} {node.name} has {length} lines"
        for path, tree in trees(files).items()
        for node in nodes_of(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]


def deep_files(files: Files) -> list[str]:
    """Find files below a second folder level; residuum itself is the first."""
    return [f"{path} lies too deep" for path in files if len(Path(path).parts) > 2]


def stray_blocks(files: Files) -> list[str]:
    return [
        f"{path}:{node.lineno} defines {node.name}: blocks live in {BLOCK_FILE}"
        for path, tree in trees(files).items()
        for node in nodes_of(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Block", "Bottleneck"))
        if path != BLOCK_FILE
    ]


def vague_names(files: Files) -> list[str]:
    return [
        f"{path} has a name that says nothing"
        for path in files
        if any(VAGUE & set(Path(part).stem.lower().split("_")) for part in Path(path).parts)
    ]


def spelled(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return `a.b.c` in full, the first part as it was imported: np.load is numpy.load; "" for the rest."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        head = spelled(node.value, aliases)
        return f"{head}.{node.attr}" if head else ""
    return ""


def aliases_of(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def loads_safely(call: ast.Call, name: str) -> bool:
    """Say whether a torch.load asks for weights only, and a numpy.load does not ask for pickles."""
    said = {k.arg: k.value.value for k in call.keywords if k.arg and isinstance(k.value, ast.Constant)}
    if name == "torch.load":
        return said.get("weights_only") is True
    silent = len(call.args) < 3 and not any(k.arg in {None, "allow_pickle"} for k in call.keywords)
    return silent or said.get("allow_pickle") is False


def unsafe_uses(files: Files) -> list[str]:
    """Find whatever could run code out of a file or a string."""
    faults = []
    for path, tree in trees(files).items():
        aliases = aliases_of(tree)
        imported = {(module.split(".")[0], line) for module, _, line in imports(tree, path)}
        faults += [f"{path}:{line} imports {name}" for name, line in sorted(imported) if name in PICKLES]
        calls = {id(node.func): node for node in nodes_of(tree) if isinstance(node, ast.Call)}
        for node in nodes_of(tree):
            name = spelled(node, aliases) if isinstance(node, ast.Name | ast.Attribute) else ""
            loads = name in {"torch.load", "numpy.load"}
            if name in BANNED or (loads and not (id(node) in calls and loads_safely(calls[id(node)], name))):
                faults.append(f"{path}:{node.lineno} uses {name}")
    return faults


def stray_prints(files: Files) -> list[str]:
    """Find what prints outside of the command: the library logs, by console.say."""
    return [
        f"{path}:{node.lineno} prints"
        for path, tree in trees(files).items()
        if path not in PRINTING
        for node in nodes_of(tree)
        if isinstance(node, ast.Call) and spelled(node.func, {}) in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]


def unmapped(files: Files, text: str) -> list[str]:
    """Find first-level rooms and modules that the map does not name."""
    names = {f"{Path(p).parts[0]}/" if "/" in p else p for p in files if p.endswith(".py")}
    return sorted(name for name in names if not re.search(rf"(?<!\w){re.escape(name)}", text))


def out_of_order(files: Files, text: str) -> list[str]:
    """Find imports of rooms that the map names further down than the one that imports."""
    places = {room: place for place, room in enumerate(re.findall(r"^\| `(\w+)(?:\.py|/)`", text, re.MULTILINE))}
    pairs = {(room_of(path), room_named(module)) for path, module, _ in inner_imports(files)}
    return [f"{a} imports {b}" for a, b in sorted(pairs) if places.get(a, len(places)) < places.get(b, 0)]


def unquoted_commands(files: Files) -> list[str]:
    """Find what a command that is said has in it as it came: the shell would part a path at its spaces."""
    faults = []
    for path, tree in trees(files).items():
        for text in [node for node in nodes_of(tree) if isinstance(node, ast.JoinedStr)]:
            before = ""
            for part in text.values:
                words = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
                if words and not words.startswith("quoted(") and COMMAND_BEFORE.search(before):
                    faults.append(f"{path}:{text.lineno} says a command with {words} unquoted")
                before += str(part.value) if isinstance(part, ast.Constant) else "X"
    return faults


VERBS = "bench|card|evaluate|explain|export|grow|import|lesion|models|plan|predict|publish|report|serve|show|study"
VERBS += r"|sweep|train|trim|export-weights|data \w+|weights \w+"
COMMAND_BEFORE = re.compile(rf"\bresiduum ({VERBS})\b[^.;:`\n]* $|--(data|from|out|resume|start) $")


CHECKS = [
    climbing,
    circles,
    long_files,
    long_functions,
    deep_files,
    stray_blocks,
    vague_names,
    unsafe_uses,
    stray_prints,
    unquoted_commands,
]


# --- the package passes ------------------------------------------------------------------------


def test_there_is_a_package_to_check():
    files = package()
    assert {"errors.py", "runs.py", "models/block.py", "py.typed"} <= set(files)
    assert len(list(inner_imports(files))) > 20


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_keeps_the_rule(check):
    assert check(package()) == []


def test_no_room_has_the_name_of_a_public_function():
    """Importing a room sets its name on the package: it would take the function's place."""
    import residuum

    rooms = {room_of(path) for path in package() if path.endswith(".py")} - {"__init__", "__main__"}
    assert rooms & set(residuum.__all__) == set()
    assert {"studies", "training"} <= rooms


def test_the_map_names_the_whole_package():
    assert unmapped(package(), MAP.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", ["code.md", "zh/code.md"])
def test_the_map_has_the_order_of_the_imports(page):
    assert out_of_order(package(), (MAP.parent / page).read_text(encoding="utf-8")) == []


def test_a_map_out_of_order_is_found():
    files = {"models/block.py": "from residuum.choices import Order", "choices.py": ""}
    assert out_of_order(files, "| `choices.py` | names |\n| `models/` | nets |") == []
    assert out_of_order(files, "| `models/` | nets |\n| `choices.py` | names |") == ["models imports choices"]


# --- each check is seen to fail ----------------------------------------------------------------

DOWN = {
    "__init__.py": "def load(run):\n    from residuum.verbs import train\n",
    "cli.py": "from residuum import verbs\n",
    "verbs.py": "from residuum.training import run\n",
    "training/run.py": "from residuum import loading\n",
    "loading.py": "from residuum.models.block import BasicBlock\nimport numpy, torch.nn\n",
    "models/block.py": "from residuum.models.spec import Spec\nclass BasicBlock: ...\n",
    "models/spec.py": "from residuum import runs\n",
    "runs.py": "from .errors import UserError\n",
    "errors.py": "",
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_example_passes(check):
    assert check(DOWN) == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("models/block.py", "import residuum.loading", "models may not import loading"),
        ("models/block.py", "from residuum.training.run import go", "models may not import training"),
        ("models/block.py", "def f():\n  from residuum import cli", "block.py:2 imports residuum.cli"),
        ("models/block.py", "from ..training import run", "models may not import training"),
        ("models/block.py", "import importlib\nimportlib.import_module('residuum.cli')", "import cli"),
        ("models/block.py", "__import__('residuum.cli')", "import cli"),
        ("models/block.py", "if True:\n  import residuum", "models may not import __init__"),
        ("models/block.py", "from residuum import __version__", "models may not import __init__"),
        ("models/block.py", "from .. import load", "models may not import __init__"),
        ("models/block.py", "from residuum.data.folder import listed", "models may not import data"),
        ("data/folder.py", "from residuum.recipes import quick", "data may not import recipes"),
        ("loading.py", "import residuum.evaluation.metrics", "loading may not import evaluation"),
        ("training/run.py", "import residuum.prediction.label", "training may not import prediction"),
        ("prediction/label.py", "import residuum.training.run", "prediction may not import training"),
        ("prediction/label.py", "import residuum.reporting.page", "prediction may not import reporting"),
        ("reporting/page.py", "import residuum.models.spec", "reporting may not import models"),
        ("runs.py", "import residuum.settings", "runs may not import settings"),
        ("errors.py", "import residuum.runs", "errors may not import runs"),
        ("cli.py", "import residuum.__main__", "cli may not import __main__"),
        ("attic/old.py", "", "attic has no place on the ladder"),
    ],
)
def test_climbing_is_found(path, text, fault):
    faults = climbing({**DOWN, path: text})
    assert len(faults) == 1
    assert fault in faults[0]


def test_evaluation_may_load():
    assert climbing({**DOWN, "evaluation/evaluate.py": "from residuum.loading import load"}) == []


def test_circles_are_found():
    late = {**DOWN, "models/spec.py": "def f():\n  from residuum.models.block import BasicBlock"}
    assert len(circles(late)) == 1
    assert "residuum.models.spec -> residuum.models.block" in circles(late)[0]
    package_circle = {"models/__init__.py": "from residuum.models import a", "models/a.py": "from . import x"}
    assert len(circles(package_circle)) == 1


def test_long_and_deep_files_are_found():
    assert long_files({"runs.py": "\n" * 400}) == []
    assert long_files({"runs.py": "\n" * 401}) == ["runs.py has 401 lines"]
    assert deep_files({"models/block.py": "", "models/blocks/basic.py": ""}) == ["models/blocks/basic.py lies too deep"]


def test_long_functions_are_found():
    text = "def f():\n" + "    x = 1\n" * 49
    assert long_functions({"runs.py": text}) == []
    assert long_functions({"runs.py": "class A:\n    " + text.replace("\n", "\n    ") + "    x = 1\n"}) == [
        "runs.py:2 f has 51 lines"
    ]


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck", "PreActivationBottleneck"])
def test_a_second_home_of_blocks_is_found(name):
    assert len(stray_blocks({**DOWN, "models/resnet.py": f"def f():\n  class {name}: ..."})) == 1


def test_what_prints_is_found():
    text = "import sys\ndef f():\n  print(1)\n  sys.stderr.write('')\n"
    assert len(stray_prints({"data/folder.py": text})) == 2
    assert stray_prints({"printing.py": text, "data/folder.py": "from residuum.console import say\nsay('')"}) == []


def test_an_unquoted_path_in_a_command_is_found():
    def found(text):
        return unquoted_commands({"runs.py": text})

    assert len(found('say(f"next     residuum data review {run} {data} DATA")')) == 2
    assert len(found('say(f"the same with --out {run}")')) == 1
    assert found('say(f"next     residuum report {quoted(run)}; residuum does not open {run}")') == []


@pytest.mark.parametrize("path", ["utils.py", "data/helpers.py", "core/net.py", "data/_common.py"])
def test_vague_names_are_found(path):
    assert len(vague_names({**DOWN, path: ""})) == 1
    assert len(vague_names({**DOWN, "training/run_manager.py": ""})) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n  from pickle import loads",
        "import importlib\nimportlib.import_module('pickle')",
        "import shelve as s",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import torch\ntorch.load('x', **options)",
        "import torch\nread = torch.load",
        "from torch import load\nload('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=wanted)",
        "import numpy as np\nnp.load('x', None, True)",
        "import numpy as np\nnp.load('x', **options)",
        "eval('1')",
        "list(map(eval, ['1']))",
        "exec('1')",
        "import yaml\nyaml.load('x')",
        "import os\nos.system('ls')",
        "from os import system as run\nrun('ls')",
    ],
)
def test_unsafe_uses_are_found(text):
    assert len(unsafe_uses({"data/folder.py": text})) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "net.eval()",
        "'''Nothing is ever unpickled: no pickle, no eval('''",
        "from residuum.loading import load\nload('x')",
    ],
)
def test_safe_uses_are_left_alone(text):
    assert unsafe_uses({"data/folder.py": text}) == []


def test_gaps_in_the_map_are_found():
    files = {"models/block.py": "", "models/spec.py": "", "cli.py": "", "py.typed": ""}
    assert unmapped(files, "`models/` the nets, `cli.py` the command") == []
    assert unmapped(files, "`submodels/` the nets, my_cli.py") == ["cli.py", "models/"]
