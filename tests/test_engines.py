"""Engines: onnxruntime and OpenVINO answer as torch does, for every net of the family, and without torch."""

import ctypes
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_start import small_model

from residuum.choices import EngineName, Order, Shortcut
from residuum.compute import choose_compute
from residuum.data.preprocess import Preprocessing, normalise
from residuum.engines import kept
from residuum.engines.choose import open_engine
from residuum.engines.graph import net_graph
from residuum.engines.names import FEATURES, PROBABILITIES, VIEWS
from residuum.engines.versions import versions
from residuum.engines.with_openvino import compiled_how, core, save_openvino
from residuum.engines.with_torch import TorchEngine
from residuum.errors import UserError
from residuum.loading import load
from residuum.models.named import NAMED_NETS
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")
CORE = core() if "openvino" in versions() else None

HOW = Preprocessing(21, 24, np.array([120, 110, 100], np.float32), np.array([60, 50, 70], np.float32))
"""An odd side, so that halving a map rounds."""


def small(spec: NetSpec) -> NetSpec:
    """The same net with as few blocks and channels as show every layer it has: its last block is one of many alike."""
    widths = tuple(max(1, width // spec.widths[0]) * 4 * spec.groups for width in spec.widths[:2])
    stem_width = None if spec.stem_width is None else 8
    return replace(spec, blocks=(1, min(2, spec.blocks[0])), widths=widths, stem_width=stem_width,
                   squeeze=min(spec.squeeze, 2), num_classes=5)  # fmt: skip


def forms() -> dict[str, NetSpec]:
    """Every named net, small, and every shortcut in every order that it goes with; alike ones once."""
    found = [small(spec) for spec in NAMED_NETS.values()]
    one = replace(small(NAMED_NETS["resnet20"]), blocks=(1, 1), widths=(4, 6))
    for shortcut in get_args(Shortcut):
        for order in get_args(Order):
            with suppress(UserError):
                found.append(replace(one, shortcut=shortcut, order=order))
    found.append(replace(one, stochastic_depth=0.5, zero_channels="both", pooling="both", projection_pool=True))
    found.append(replace(one, pooling="roots"))
    return {
        f"{spec.stem}-{spec.block}-{spec.shortcut}-{spec.order}-{i}": spec
        for i, spec in enumerate(dict.fromkeys(found))
    }


def grown_up(spec: NetSpec) -> ResNet:
    """Return a net whose BN has statistics, scales and shifts of some training."""
    net = ResNet(spec).eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor, low in (
                (layer.weight, 0.5),
                (layer.bias, -0.5),
                (layer.running_mean, -0.5),
                (layer.running_var, 0.5),
            ):
                torch.nn.init.uniform_(tensor, low, low + 1)
    return net


FORMS = [*forms().items()]
TEN_EACH = [FORMS[start : start + 10] for start in range(0, len(FORMS), 10)]


@pytest.mark.parametrize("nets", TEN_EACH, ids=[nets[0][0] for nets in TEN_EACH])
def test_every_net_of_the_family_answers_alike_in_every_engine(nets: list[tuple[str, NetSpec]]) -> None:
    """OpenVINO compiles ten at once: most of the time it takes is the same for one."""
    views = np.random.default_rng(0).integers(0, 256, (3, 21, 21, 3), np.uint8)
    models, wanted = [], []
    for name, spec in nets:
        torch.manual_seed(0)
        net = grown_up(spec)
        with torch.inference_mode():
            features = net.features(normalise(torch.from_numpy(views), HOW))
            probabilities = torch.softmax(net.fc(features), 1)
        models.append(net_graph(net, HOW).SerializeToString())
        wanted.append(probabilities)
        session = onnxruntime.InferenceSession(models[-1], providers=["CPUExecutionProvider"])
        found = session.run([PROBABILITIES, FEATURES], {VIEWS: views})
        np.testing.assert_allclose(found[0], probabilities, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(found[1], features, rtol=1e-3, atol=1e-4 * float(features.abs().max()), err_msg=name)
    if CORE is not None:
        for (name, _), found, expected in zip(nets, by_openvino(models, views), wanted, strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)


def by_openvino(models: list[bytes], views: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Probabilities by each of the models, which are compiled as one that shows all of them the same views."""
    from openvino import Model

    assert CORE is not None
    read = [CORE.read_model(model, b"") for model in models]
    shown = read[0].get_parameters()[0]
    for other in read[1:]:
        other.input(0).replace(shown.output(0))
    answers = [model.output(PROBABILITIES) for model in read]
    for number, answer in enumerate(answers):
        answer.get_tensor().set_names({f"{PROBABILITIES} {number}"})
    results = [answer.node for answer in answers]
    found = CORE.compile_model(Model(results, [shown]), "CPU", compiled_how("float32", 1))([views])
    return [found[number] for number in range(len(models))]


# --- opening ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "three.safetensors", ("a", "b", "c"), 16)


@pytest.fixture(scope="module")
def views() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), np.uint8)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_a_model_file_is_opened_by_every_engine(engine: EngineName, model: Path, views: NDArray[np.uint8]) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    opened = open_engine(model, engine, threads=1)
    classifier = load(model)
    assert (opened.engine.name, opened.engine.precision) == (engine, "float32")
    assert (opened.model.name, opened.model.classes, opened.model.digest) == (
        "three",
        ("a", "b", "c"),
        classifier.digest,
    )
    own = TorchEngine(classifier, choose_compute("cpu", "float32", threads=1))(views)
    found = opened.engine(views)
    np.testing.assert_allclose(found.probabilities, own.probabilities, atol=1e-5)
    np.testing.assert_allclose(found.features, own.features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_share_an_engine(engine: EngineName, model: Path, views: NDArray[np.uint8]) -> None:
    pytest.importorskip(engine)
    answer = open_engine(model, engine, threads=1).engine
    alone = [answer(views[i : i + 1]).probabilities for i in range(5)]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(lambda i: answer(views[i % 5 : i % 5 + 1]).probabilities, range(100)))
    for i, found in enumerate(together):
        np.testing.assert_array_equal(found, alone[i % 5])


def test_what_an_engine_cannot_do_is_said(model: Path, tmp_path: Path) -> None:
    for asked, said in (
        ({"engine": "onnxruntime", "precision": "bfloat16"}, "bfloat16"),
        ({"engine": "onnxruntime", "precision": "int8"}, "residuum bench"),
        ({"engine": "torch", "precision": "int8"}, "int8"),
        ({"engine": "openvino", "device": "cuda"}, "processors"),
    ):
        with pytest.raises(UserError, match=said):
            open_engine(model, **asked)
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(UserError, match="may run code"):
        open_engine(tmp_path)
    (tmp_path / "other.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot read"):
        open_engine(tmp_path / "other.onnx")
    with pytest.raises(UserError, match="no run or model"):
        open_engine(tmp_path / "nothing")


@pytest.mark.skipif(CORE is None, reason="needs OpenVINO")
def test_the_int8_forms_of_both_engines_lie_side_by_side(
    model: Path, views: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seal of ONNX's was written before OpenVINO's weights lay beside it, and held against both from then on."""
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path))
    assert CORE is not None
    digest = load(model).digest
    graph, forms = kept.graph(model, digest), {name: kept.folder(digest) / kept.INT8[name] for name in kept.INT8}
    forms["onnxruntime"].write_bytes(graph.read_bytes())  # in place of int8: NNCF takes long
    kept.seal_graph(forms["onnxruntime"])
    save_openvino(CORE.read_model(str(graph)), forms["openvino"])
    kept.seal_graph(forms["openvino"])
    for engine in ("onnxruntime", "openvino"):
        opened = open_engine(model, engine, "int8", threads=1).engine  # type: ignore[arg-type]
        assert (opened.name, opened.precision, len(opened(views).features)) == (engine, "int8", 5)
    weights = forms["openvino"].with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-100] + bytes(100))
    open_engine(model, "onnxruntime", "int8", threads=1)
    with pytest.raises(UserError, match="no int8 form"):
        open_engine(model, "openvino", "int8", threads=1)


class SignalStack(ctypes.Structure):
    """stack_t of <signal.h>."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def place_for_signals() -> int | None:
    """Where this thread handles signals; None: on its usual stack."""
    found = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.place


@pytest.mark.skipif(sys.platform != "linux" or CORE is None, reason="needs Linux and OpenVINO")
def test_signals_have_a_place_after_engines_are_given_up(model: Path, views: NDArray[np.uint8]) -> None:
    kept = [open_engine(model, "openvino", threads=1).engine for _ in range(3)]
    assert [len(engine(views).features) for engine in kept] == [5, 5, 5]
    watched = [weakref.ref(engine) for engine in kept]
    for _ in range(3):  # in the order they were made, each in another thread
        held = [kept.pop(0)]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
    assert [engine() for engine in watched] == [None] * 3
    place, maps = place_for_signals(), Path("/proc/self/maps").read_text(encoding="ascii")
    parts = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps.splitlines()]
    assert place is None or any(start <= place < end for start, end in parts)
