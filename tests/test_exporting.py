"""Exports: what other programs compute from whole pictures is what the run answers."""

import ast
import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from browser import Tab
from numpy.typing import NDArray
from page_reading import in_browser
from PIL import ExifTags, Image
from small_start import SPEC

import residuum
from residuum import loading, runs
from residuum.choices import ExportTarget
from residuum.compute import choose_compute
from residuum.data.folder import FolderPictures
from residuum.data.preprocess import Preprocessing
from residuum.data.resize import evaluation_view
from residuum.engines import with_openvino
from residuum.engines.choose import open_engine
from residuum.engines.described import KEY
from residuum.engines.with_torch import TorchEngine
from residuum.errors import Stopped, UserError
from residuum.evaluation.likeness import directions
from residuum.exporting import export as exporting
from residuum.exporting import real_pictures
from residuum.exporting.export import ExportedModel, export
from residuum.exporting.parity import agreement, refused
from residuum.exporting.real_pictures import RealPictures, by_size, decoded, open_pictures
from residuum.lock import only_holder
from residuum.models.resnet import ResNet
from residuum.outward_printing import print_export
from residuum.outward_settings import ExportSettings
from residuum.records.codec import from_json, read_record
from residuum.records.engines import Exported, Parity
from residuum.records.model import Provenance, View
from residuum.records.review import Likeness

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"{package} is not installed")

CLASSES = ("an owl", "größer", "三")
SIDES = ((40, 31), (40, 31), (24, 57), (19, 30), (25, 26), (24, 24), (50, 50))
"""Heights and widths; the net sees 21 px of 24: some are left alone, one is enlarged, and halves are rounded."""
TARGETS: tuple[ExportTarget, ...] = ("onnx", "openvino", "torch")
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt2"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / runs.MODEL
    how = Preprocessing(21, 24, np.full(3, 120, np.float32), np.full(3, 60, np.float32), "bicubic", "mirrored")
    net = ResNet(replace(SPEC, blocks=(1, 1), widths=(16, 32), num_classes=3)).eval()
    like = Provenance(likeness=Likeness(neighbours=2, threshold=0.25, known=0.05))
    rows = directions(np.random.default_rng(0).normal(size=(7, 32)))
    loading.save_classifier(path, net, net.spec, CLASSES, how, like, rows)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, luck = tmp_path_factory.mktemp("pictures"), np.random.default_rng(1)
    for number, (height, width) in enumerate(SIDES):
        coarse = Image.fromarray(luck.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def seen(picture: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(picture))


@cache
def run_engine(model: Path) -> TorchEngine:
    return TorchEngine(loading.load(model), choose_compute("cpu", "float32", threads=1))


def own(model: Path, picture: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the run answers to a picture, and its features."""
    found = run_engine(model)(evaluation_view(seen(picture), 21, 24, "bicubic")[None])
    return found.probabilities[0], found.features[0]


@pytest.fixture(scope="module")
def exported(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportedModel]:
    out = tmp_path_factory.mktemp("exported")
    settings = {"model": model, "data": pictures, "threads": 1, "licence": "CC0-1.0"}
    return {to: export(ExportSettings(to=to, out=out / to, **settings)) for to in TARGETS}


Asked = Callable[[NDArray[np.uint8]], Any]


LOAD = torch.export.load


@cache
def program_of(file: Path) -> tuple[Any, dict[str, str]]:
    """A program, and what it says of itself: our own, of a moment ago. To load one takes a fifth of a second."""
    about = {KEY: "", "classes": ""}
    return LOAD(file, extra_files=about), about


def loaded_once(file: Path, extra_files: dict[str, str]) -> Any:
    """As torch.export.load, in its place."""
    program, about = program_of(file)
    extra_files.update({name: about[name] for name in extra_files})
    return program


def asked_plainly(file: Path) -> tuple[Asked, dict[str, str]]:
    """Open an exported file as others do."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        about = session.get_modelmeta().custom_metadata_map
        return lambda x: session.run(["probabilities", "features"], {"pictures": x}), about
    if file.suffix == ".xml":
        from residuum.engines.with_openvino import core

        model = core().read_model(file)
        compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        about = {name: model.get_rt_info(name).value for name in (KEY, "classes")}
        return lambda x: [compiled([x])[name] for name in ("probabilities", "features")], about
    exported, about = program_of(file)
    program = exported.module()
    return lambda x: [each.detach().numpy() for each in program(torch.from_numpy(x.copy()))], about


@pytest.mark.parametrize("to", TARGETS)
def test_whole_pictures_are_answered_as_the_run_does(
    to: ExportTarget, exported: dict[str, ExportedModel], model: Path, pictures: Path
) -> None:
    answer, about = asked_plainly(exported[to].path / FILES[to])
    for number in range(len(SIDES)):
        probabilities, features = answer(seen(pictures / f"{number}.png")[None])
        mine, mine_too = own(model, pictures / f"{number}.png")
        np.testing.assert_allclose(probabilities[0], mine, atol=5e-3)  # resizing may be off by a level
        np.testing.assert_allclose(features[0], mine_too, rtol=0.05, atol=0.02)
    two = np.stack([seen(pictures / f"{number}.png") for number in (0, 1)])
    np.testing.assert_allclose(answer(two)[0][1], own(model, pictures / "1.png")[0], atol=5e-3)
    said = from_json(json.loads(about[KEY]), Exported, "what it says of itself")
    assert (said.classes, said.licence, said.digest) == (CLASSES, "CC0-1.0", loading.load(model).digest)
    assert about["classes"].split("\n") == list(CLASSES)


@pytest.mark.parametrize("to", TARGETS)
def test_the_parity_report_tells_what_was_compared(
    to: ExportTarget, exported: dict[str, ExportedModel], pictures: Path
) -> None:
    folder = exported[to].path
    found = read_record(folder / exporting.PARITY, Parity)
    assert found == exported[to].parity
    assert found.pictures == f"7 pictures in {pictures.name}"
    assert [one.precision for one in found.agreements] == ["float32", "bfloat16"][: 1 + (to == "openvino")]
    assert (found.agreements[0].same, found.agreements[0].pictures, found.agreements[0].accuracy) == (1.0, 7, None)
    assert 0 < found.agreements[0].largest < 5e-3


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_exported_folder_is_opened_and_knows_what_the_run_knows(
    to: ExportTarget, exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path
) -> None:
    view = evaluation_view(seen(pictures / "0.png"), 21, 24, "bicubic")[None]
    opened, run = open_engine(exported[to].path, threads=1), open_engine(model, "torch")
    assert opened.engine.precision == "float32"
    for mine, theirs in zip(structs_of(opened.engine(view)), structs_of(run.engine(view)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
    assert opened.model.likeness == run.model.likeness is not None
    np.testing.assert_array_equal(opened.model.kept, run.model.kept)
    same = [(one.model.name, one.model.classes, one.model.view, one.model.digest) for one in (opened, run)]
    assert same[0] == same[1]
    with pytest.raises(UserError, match="was exported for"):
        open_engine(exported[to].path, "torch")
    with pytest.raises(UserError, match="int8"):
        open_engine(exported[to].path, precision="int8")
    for name in (FILES[to], "model.bin"):
        if (exported[to].path / name).exists():
            shutil.copy(exported[to].path / name, tmp_path)
    alone = open_engine(tmp_path / FILES[to]).model
    assert alone.likeness is alone.kept is None  # what it compares with did not come along


def structs_of(output: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return output.probabilities, output.features


def test_exported_models_are_opened_without_torch_and_without_the_network(exported: dict[str, ExportedModel]) -> None:
    files = [str(exported[to].path) for to in ("onnx", "openvino")]
    script = f"""
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from residuum.engines.choose import open_engine
for path in {files!r}:
    open_engine(path, threads=1).engine(np.zeros((2, 21, 21, 3), np.uint8))
for name in ("torch", "onnx", "openvino_telemetry", "sklearn", "pyarrow"):
    assert name not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("to", TARGETS)
def test_the_python_beside_an_export_uses_it(
    to: ExportTarget, exported: dict[str, ExportedModel], model: Path, pictures: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["use", str(pictures / "2.png")])
    runpy.run_path(str(exported[to].path / f"use_{to}.py"))
    said, warned = capfd.readouterr()
    first = said.splitlines()[0]
    assert warned == ""
    mine = own(model, pictures / "2.png")[0]
    assert first.endswith(f"%  {CLASSES[int(mine.argmax())]}")
    assert abs(float(first.split("%")[0]) - 100 * mine.max()) < 0.6


@pytest.mark.parametrize("to", TARGETS)
def test_the_python_beside_an_export_is_as_unsure_as_the_run(
    to: ExportTarget, exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    picture, script = str(pictures / "2.png"), exported[to].path / f"use_{to}.py"
    (answer,) = residuum.load(model, engine="torch", threads=1).predict([picture])
    assert answer.distance is not None
    monkeypatch.setattr(sys, "argv", ["use", picture])
    monkeypatch.setattr(torch.export, "load", loaded_once)
    told = json.loads
    for limit, unsure in ((answer.distance * 0.9, True), (answer.distance * 1.1, False)):
        likeness = {"likeness": {"neighbours": 2, "threshold": limit}}
        monkeypatch.setattr(json, "loads", lambda text, likeness=likeness: {**told(text), **likeness})
        runpy.run_path(str(script))
        assert ("unsure" in capfd.readouterr().out) is unsure


@pytest.mark.parametrize("to", TARGETS)
def test_the_python_beside_an_export_says_what_it_wants(
    to: ExportTarget, exported: dict[str, ExportedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"use_{to}.py"])
    with pytest.raises(SystemExit) as end:  # what is said goes to stderr, and the exit code is 1
        runpy.run_path(str(exported[to].path / f"use_{to}.py"))
    assert f"python use_{to}.py PICTURE" in str(end.value.code)


def test_the_code_on_the_page_uses_an_export(
    exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    page = Path(__file__).parent.parent / "docs" / "tutorials" / "page.md"
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = (one for one in snippets if "import onnxruntime" in one)
    picture = Image.open(pictures / "2.png").transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[ExifTags.Base.Orientation] = 6  # as a camera that was held upright
    picture.save(tmp_path / "PICTURE", "PNG", exif=picture.getexif())
    (tmp_path / "exported").symlink_to(exported["onnx"].path)
    monkeypatch.chdir(tmp_path)
    exec(shown, {})
    said, warned = capfd.readouterr()
    assert warned == ""
    answers = ast.literal_eval(said)
    assert tuple(answers) == CLASSES
    np.testing.assert_allclose([*answers.values()], own(model, pictures / "2.png")[0], atol=6e-3)


@pytest.mark.slow
def test_the_cpp_beside_an_export_uses_it(
    exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path
) -> None:
    import openvino

    home, compiler = Path(openvino.__file__).parent, shutil.which("g++")
    if compiler is None or not (home / "include").is_dir():
        pytest.skip("there is no g++, or OpenVINO came without headers")
    folder, library = exported["openvino"].path, next((home / "libs").glob("libopenvino.so*"))
    build = [compiler, "-std=c++17", folder / "use_openvino.cpp", f"-I{home}/include", library, "-o", tmp_path / "use"]
    subprocess.run([*build, f"-Wl,-rpath,{home}/libs"], check=True)
    Image.open(pictures / "2.png").save(tmp_path / "2.ppm")
    said = subprocess.run([tmp_path / "use", folder / "model.xml", tmp_path / "2.ppm"], capture_output=True, check=True)
    assert CLASSES[int(own(model, pictures / "2.png")[0].argmax())] in said.stdout.decode().splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["onnxruntime-node", "onnxruntime-web"])
def test_the_javascript_beside_an_export_uses_it(
    package: str, exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path
) -> None:
    """The web's is what pages load: WebAssembly."""
    node, modules = shutil.which("node"), Path(os.environ.get("RESIDUUM_NODE_MODULES", "node_modules"))
    if node is None or not (modules / package).is_dir():
        pytest.skip(f"there is no node, or RESIDUUM_NODE_MODULES does not say where {package} is")
    folder = shutil.copytree(exported["onnx"].path, tmp_path / "here")
    script = folder / "use_onnx.mjs"
    script.write_text(script.read_text(encoding="utf-8").replace("onnxruntime-node", package), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(modules.absolute())
    Image.open(pictures / "2.png").save(tmp_path / "2.ppm")
    said = subprocess.run([node, script, tmp_path / "2.ppm"], capture_output=True, check=True).stdout.decode()
    mine = own(model, pictures / "2.png")[0]
    assert said.splitlines()[0].endswith(f"%  {CLASSES[int(mine.argmax())]}")
    assert abs(float(said.split("%")[0]) - 100 * mine.max()) < 0.6


WEB = Path(os.environ.get("RESIDUUM_NODE_MODULES", "node_modules")) / "onnxruntime-web" / "dist"
PAGE = """<!doctype html><meta charset="utf-8"><title>web</title><link rel="icon" href="data:,"><script type="module">
import * as ort from "./ort/ort.wasm.min.mjs";
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create("model.onnx", { logSeverityLevel: 3 });
const plain = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
window.answer = async (address) => {
  const image = await createImageBitmap(await (await fetch(address)).blob(), plain);
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, image.width, image.height);
  const pictures = new ort.Tensor("uint8", data.filter((_, i) => i % 4 < 3), [1, image.height, image.width, 3]);
  const { probabilities, features } = await session.run({ pictures });
  return [[...probabilities.data], [...features.data]];
};
</script>"""


@in_browser
@pytest.mark.skipif(not WEB.is_dir(), reason="RESIDUUM_NODE_MODULES does not say where onnxruntime-web is")
def test_a_page_in_a_browser_answers_by_the_export(
    exported: dict[str, ExportedModel], model: Path, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In Chromium's own WebAssembly, pictures decoded by the browser, nothing asked of anyone else."""
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    shutil.copy(exported["onnx"].path / "model.onnx", tmp_path)
    (tmp_path / "ort").symlink_to(WEB.absolute())
    (tmp_path / "pictures").symlink_to(pictures)
    with served_folder(tmp_path) as address:
        tab: Tab = request.getfixturevalue("chromium")
        tab.requests.clear()
        tab.messages.clear()
        tab.open(address)
        tab.wait("typeof answer == 'function'")
        for number in range(len(SIDES)):
            found = tab.js(f"answer('pictures/{number}.png')")
            for theirs, mine in zip(found, own(model, pictures / f"{number}.png"), strict=True):
                np.testing.assert_allclose(theirs, mine, atol=2e-3)
        assert tab.messages == []
        assert all(one.startswith((address, "about:", "blob:")) for one in tab.requests)


@contextlib.contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """Serve files on this machine; give the address."""

    class Silent(SimpleHTTPRequestHandler):
        extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("kind", ["folders of other classes", "no folders"])
def test_pictures_that_no_class_of_the_model_has_are_compared_without_accuracy(
    kind: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evenly from all of them: the first would be of one class alone."""
    luck = np.random.default_rng(2)
    for name, shade in (("cat", 0), ("dog", 200)):
        for number in range(6):
            file = tmp_path / "photos" / (f"{name}/{number}.png" if "of other" in kind else f"{name}{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(luck.integers(shade, shade + 50, (30, 30, 3), np.uint8)).save(file)
    told, compute = list[str](), choose_compute("cpu", "float32", threads=1)
    monkeypatch.setattr(real_pictures, "say", told.append)
    found = open_pictures(loading.load(model), compute, tmp_path / "photos", 4, 4, "export")
    assert ["no accuracy is told" in one for one in told] == [True] * ("of other" in kind)
    assert (found.where, found.labels) == ("4 pictures in photos", None)
    names = [[part.name(row)[-9:] for row in range(4)] for part in (found.judged, found.calibration)]
    assert not set(names[0]) & set(names[1])
    assert [sum("dog" in name for name in some) for some in names] == [2, 2]


def test_data_that_lie_in_no_folder_want_classes_of_the_model(model: Path) -> None:
    compute = choose_compute("cpu", "float32", threads=1)
    with pytest.raises(UserError, match="does not know all classes of digits"):
        open_pictures(loading.load(model), compute, "digits", 4, 0, "export")


# --- what is refused ------------------------------------------------------------------------------


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    made = exporting.net_graph
    other = ResNet(replace(SPEC, num_classes=3)).eval()
    torch.nn.init.normal_(other.fc.weight)
    monkeypatch.setattr(exporting, "net_graph", lambda net, how, **told: made(other, how, **told))
    with pytest.raises(UserError, match="answers would differ") as error:
        export(ExportSettings(model, to="onnx", data=pictures, threads=1, out=tmp_path / "out"))
    assert "answers stay" in error.value.why
    assert not (tmp_path / "out").exists()


def test_what_openvino_cannot_write_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_model: object, file: str, **_: object) -> None:
        Path(file).with_suffix(".bin").touch()
        raise RuntimeError("basic_ios::clear: iostream error")  # all that OpenVINO says of a full disk

    monkeypatch.setattr(with_openvino, "imported", lambda _: SimpleNamespace(save_model=full))
    with pytest.raises(UserError, match="cannot write"):
        with_openvino.save_openvino(None, tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(model: Path, pictures: Path) -> None:
    for asked, said in (
        ({}, "which model"),
        ({"model": model}, "to what"),
        ({"model": model, "to": "torch", "int8": True}, "int8"),
        ({"model": model, "to": "onnx"}, "which pictures"),
    ):
        with pytest.raises(UserError, match=said):
            export(ExportSettings(**asked))


def test_agreement_is_bounded_by_answers_and_by_accuracy() -> None:
    own = np.eye(2, dtype=np.float32)[np.arange(1000) % 2]
    labels = np.arange(1000) % 2

    def with_changed(count: int, of: int = 1000) -> NDArray[np.float32]:
        return np.concatenate([own[:count, ::-1], own[count:of]])

    changed = agreement("float32", own, with_changed(5), labels)
    assert (changed.same, changed.largest, changed.accuracy.value) == (0.995, 1.0, 0.995)
    assert refused(changed) is None
    assert "99.40% of 1,000 answers stay" in str(refused(agreement("float32", own, with_changed(6), None)))
    assert "points of accuracy" in str(refused(agreement("int8", own, with_changed(20), labels)))
    assert refused(agreement("int8", own, with_changed(20), None)) is None
    assert refused(agreement("float32", own[:10], with_changed(1, 10), labels[:10])) is None  # one of few may go


# --- an export that is stopped -------------------------------------------------------------------


def test_what_is_stopped_leaves_nothing(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM had left a folder behind: nobody heard it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "_compared", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        residuum.export(model=model, to="onnx", data=pictures, threads=1)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_was_killed_goes_with_the_next_export_of_that_name(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{runs.model_name(model)}-onnx"
    killed, at_work, whole, int8 = (
        Path(f"{name}{end}")
        for end in ("-20261127-080000", "-20261127-080001", "-20261127-080002", "-int8-20261127-080000")
    )
    for folder in (killed, at_work, int8):
        (folder / runs.UNFINISHED_EXPORT).mkdir(parents=True)
        (folder / runs.UNFINISHED_EXPORT / "model.onnx").touch()
    whole.mkdir()
    (whole / "model.onnx").touch()
    with only_holder(at_work / runs.UNFINISHED_EXPORT / runs.LOCK):
        made = export(ExportSettings(model, to="onnx", data=pictures, threads=1))
    assert {one.name for one in Path().iterdir()} == {str(one) for one in (at_work, whole, int8, made.path)}
    assert not list(made.path.glob(".*"))
    assert not (made.path / runs.LOCK).exists()


def test_an_unfinished_export_is_not_taken_for_one(tmp_path: Path, pictures: Path) -> None:
    apart = tmp_path / "out" / runs.UNFINISHED_EXPORT
    apart.mkdir(parents=True)
    (apart / "model.onnx").touch()
    for given in (tmp_path / "out", apart, apart / "model.onnx"):
        for verb in (partial(residuum.evaluate, data=pictures), open_engine):
            with pytest.raises(UserError, match="is not finished") as error:
                verb(given)
            assert "export the model again" in error.value.mend


# --- many at a time ------------------------------------------------------------------------------


def test_pictures_of_one_size_are_asked_about_together(pictures: Path) -> None:
    names = [f"{number}.png" for number in (0, 3, 2, 1, 5)]
    labels = np.array([0, 3, 2, 1, 5])
    real = RealPictures("", FolderPictures(str(pictures), names), labels, FolderPictures(str(pictures), []))
    ordered = by_size(real)
    view = View(image_size=21, resize_to=24, interpolation="bicubic")
    groups = list(decoded(ordered.judged, view))
    assert sorted(len(group) for group in groups) == [1, 1, 1, 2]
    assert ordered.labels is not None
    shown = [one for group in groups for one in group]
    for label, picture in zip(ordered.labels, shown, strict=True):
        np.testing.assert_array_equal(picture, seen(pictures / f"{label}.png"))


def test_large_pictures_come_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_pictures, "PIXELS", 3 * 20 * 30)
    one = np.zeros((20, 30, 3), np.uint8)
    assert (real_pictures._most(one), real_pictures._most(one[:1]), real_pictures._most(np.zeros((99, 99, 3)))) == (
        3, real_pictures.BATCH, 1,
    )  # fmt: skip


def test_the_run_is_asked_about_pictures_of_all_sizes_together(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time took 1.7 s each for a large net on a busy machine."""
    asked = list[int]()
    own = TorchEngine.__call__
    monkeypatch.setattr(TorchEngine, "__call__", lambda self, views: asked.append(len(views)) or own(self, views))
    monkeypatch.setattr(exporting, "BATCH", 4)
    made = export(ExportSettings(model, to="onnx", data=pictures, threads=1, out=tmp_path / "out"))
    assert asked == [4, 3]
    assert made.parity.agreements[0].pictures == 7


# --- what is said of an export ---------------------------------------------------------------------


def test_an_export_is_recognised_where_the_net_is_needed(exported: dict[str, ExportedModel]) -> None:
    for verb in (residuum.bench, residuum.lesion, residuum.trim, residuum.grow):
        with pytest.raises(UserError, match="is an export") as refusal:
            verb(exported["onnx"].path)
        assert "predict, serve, evaluate and residuum.load take it" in refusal.value.why
    held = residuum.load(exported["onnx"].path, threads=1)
    assert held.classes == CLASSES
    with pytest.raises(UserError, match="no net and no preprocessing") as refusal:
        _ = held.preprocessing
    assert refusal.value.__cause__ is None


def test_what_uses_an_export_is_said(exported: dict[str, ExportedModel], capsys: pytest.CaptureFixture[str]) -> None:
    print_export(ExportSettings(to="onnx"), exported["onnx"], False)
    folder = exported["onnx"].path
    said = capsys.readouterr().out
    assert f"next     python {folder / 'use_onnx.py'} PICTURE\n" in said
    assert f"residuum serve {folder}\n" in said
    assert "bound    99.5% of the likeliest classes must stay, on 7 pictures in" in said
    assert "each picture resized and cut by the file" in said


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_answers_nearly_alike_and_reports_to_nobody(
    to: ExportTarget, model: Path, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    script = f"""
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from residuum import export
export(model={str(model)!r}, to={to!r}, int8=True, data={str(pictures)!r}, threads=1, out={str(tmp_path / "out")!r})
from nncf.telemetry.wrapper import telemetry
assert "openvino_telemetry" not in sys.modules and type(telemetry).__name__ == "MagicMock"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert open_engine(tmp_path / "out", threads=1).engine.precision == "int8"
    found = read_record(tmp_path / "out" / exporting.PARITY, Parity)
    assert found.calibrated_on == 3
    assert found.agreements[0].largest < 0.1
