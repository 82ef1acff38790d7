"""How near is an engine of ours to the engine alone, what do int8 and bfloat16 bring, and do answers stay?

    python benchmarks/engines.py resnet50.safetensors --photographs imagenet-sample
    python benchmarks/engines.py half-resnet50.safetensors --photographs imagenet-sample --parts parity cold
    python benchmarks/engines.py half-resnet50.safetensors --photographs imagenet-sample --parts resizing
    python benchmarks/engines.py resnet20.safetensors --photographs cifar10 --parts parity --pictures 10000

The model is a model file, such as `residuum import` writes; photographs are a folder of pictures, or a data set of its
classes. Parts:
speed: engines in turn, round by round. `alone` is the engine called directly, compiled for this batch, on tensors that
are normalised already; `ours` is what `open_engine` gives, on uint8 views. Ratios are of the same round. With --avx2
onnxruntime and OpenVINO, in float32 and int8, see a processor without AVX-512 and matrix units (as_avx2.c).
cold: processor seconds of `residuum predict` of one photograph, a process each time, with an exported model.
parity: what `residuum export` reports for each target and precision.
resizing: how far any probability of a whole picture, which the exported graph resizes itself, is from the run's own
answer to the view that Pillow cuts, bilinear and bicubic; and how far the engine is from it on that same view.
Writes results/engines-PART-MODEL.json.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figures, asked, ratios, seconds_of, spread, write
from msgspec import structs

from residuum.choices import Interpolation
from residuum.compute import Compute, choose_compute
from residuum.engines import kept
from residuum.engines.choose import open_engine
from residuum.engines.described import of_model_file
from residuum.engines.names import NORMALISED, SCALED
from residuum.engines.versions import imported, versions
from residuum.engines.with_openvino import compiled_how, core
from residuum.errors import UserError
from residuum.evaluation.exported import views_of
from residuum.exporting.bench import WAYS, _int8, _possible
from residuum.exporting.export import (
    ENGINES,
    _both,
    _write_onnx,
    _write_openvino,
    _write_program,
    described,
    export,
)
from residuum.exporting.quantise import CALIBRATION
from residuum.exporting.real_pictures import RealPictures, by_size, open_pictures
from residuum.loading import Classifier, load
from residuum.outward_settings import ExportSettings
from residuum.records.codec import to_json
from residuum.runs import EXPORTED

BATCHES = (1, 16)
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")
NUMBERS = np.random.default_rng(0)


def alone(file: Path, engine: str, precision: str, batch: int, side: int, threads: int) -> Callable[[], object]:
    """Return the engine called directly, on tensors (B, 3, S, S) that are ready; in int8 on rows (B, S, 3·S), which its
    graph makes whole numbers of first."""
    start, shape = (SCALED, (batch, side, 3 * side)) if precision == "int8" else (NORMALISED, (batch, 3, side, side))
    ready = NUMBERS.standard_normal(shape).astype(np.float32)
    if engine == "openvino":
        openvino = imported("openvino")
        model = core().read_model(file)
        scaled = next(o for op in model.get_ordered_ops() for o in op.outputs() if start in o.names)
        tensors = openvino.opset13.parameter(ready.shape, np.float32)
        for reader in scaled.get_target_inputs():
            reader.replace_source_output(tensors.output(0))
        bare = openvino.Model(model.get_results(), [tensors])
        request = core().compile_model(bare, "CPU", compiled_how(precision, threads)).create_infer_request()  # type: ignore[arg-type]
        return lambda: request.infer([ready], share_inputs=True, share_outputs=True)
    onnx, onnxruntime = imported("onnx"), imported("onnxruntime")
    model = onnx.load(file)
    last = next(node for node in model.graph.node if start in node.output)
    before, asked_for = [last], [*last.input]
    while asked_for:
        made = [node for node in model.graph.node if asked_for[0] in node.output]
        before, asked_for = before + made, asked_for[1:] + [name for node in made for name in node.input]
    for node in before:
        model.graph.node.remove(node)
    tensors = onnx.helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, ready.shape)
    del model.graph.input[:]
    model.graph.input.append(tensors)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {start: ready})


def speed(model: Path, photographs: str, rounds: int, threads: int, avx2: bool) -> Figures:
    classifier = load(model)
    side = classifier.preprocessing.image_size
    real = open_pictures(classifier, choose_compute("cpu", "float32"), photographs, 1, CALIBRATION, "bench")
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for engine, precision in _possible(real):
        if avx2 and (engine == "torch" or precision == "bfloat16"):
            continue
        if precision == "int8":
            _int8(classifier, engine, real)
        opened = open_engine(model, engine, precision, "cpu", threads).engine
        for batch in BATCHES:
            views = NUMBERS.integers(0, 256, (batch, side, side, 3), np.uint8)
            calls[f"ours {engine} {precision}", batch] = lambda opened=opened, views=views: opened(views)
            if engine != "torch":
                name = "float32.onnx" if precision != "int8" else kept.INT8[engine]
                file = kept.folder(of_model_file(model).digest) / name
                calls[f"alone {engine} {precision}", batch] = alone(file, engine, precision, batch, side, threads)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for key, call in calls.items():
        call()
        for _ in range(rounds if key[1] == 1 else 0):  # small batches are warmed up more often
            call()
    for _ in range(rounds):
        for (name, batch), call in calls.items():
            often = 5 if batch == 1 else 3  # the first finds caches full of another engine's, and its threads awake
            times[name, batch].append(min(1000 * seconds_of(call) for _ in range(often)))
    return {f"batch {batch}": _compared({n: t for (n, b), t in times.items() if b == batch}) for batch in BATCHES}


def _compared(times: dict[str, list[float]]) -> Figures:
    """Sum up milliseconds by name, and the ratios that are asked for."""
    asked_for = {
        **{f"ours / alone, {name.removeprefix('ours ')}": (name.replace("ours", "alone"), name) for name in times
           if name.startswith("ours") and "torch" not in name},
        "openvino: bfloat16 / int8": ("ours openvino bfloat16", "ours openvino int8"),
        "openvino: float32 / int8": ("ours openvino float32", "ours openvino int8"),
        "onnxruntime: float32 / int8": ("ours onnxruntime float32", "ours onnxruntime int8"),
        "torch float32 / openvino float32": ("ours torch float32", "ours openvino float32"),
        "torch float32 / openvino int8": ("ours torch float32", "ours openvino int8"),
    }  # fmt: skip
    found = {name: (times[of], times[by]) for name, (of, by) in asked_for.items() if of in times and by in times}
    return {
        "n": len(next(iter(times.values()))),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "times as fast": {name: spread(ratios(*pair)) for name, pair in found.items()},
    }


def exports(model: Path, photographs: str, pictures: int, threads: int, out: Path) -> dict[str, Figures]:
    """Export to every target and precision; return what each reported."""
    found = {}
    for to, int8 in (("onnx", False), ("onnx", True), ("openvino", False), ("openvino", True), ("torch", False)):
        name = f"{to}{' int8' * int8}"
        try:
            made = export(ExportSettings(model, to=to, int8=int8, data=photographs, pictures=pictures,
                                         threads=threads, out=out / name))  # type: ignore[arg-type]  # fmt: skip
        except UserError as error:
            found[name] = {"refused": str(error)}
        else:
            parity = to_json(made.parity)
            found[name] = {key: parity[key] for key in ("pictures", "calibrated_on", "least_same", "agreements")}
    return found


def resizing(model: Path, photographs: str, pictures: int, threads: int, out: Path) -> Figures:
    """Compare N whole pictures, and their views, by each target and precision, with the run's own answers."""
    classifier, compute = load(model), choose_compute("cpu", "float32", threads=threads)
    real = by_size(open_pictures(classifier, compute, photographs, pictures, 0, "export"))
    compute.place(classifier.net)
    found: Figures = {"pictures": real.where}
    for how in INTERPOLATIONS:
        shown = replace(
            classifier,
            preprocessing=replace(classifier.preprocessing, interpolation=how),
            about=structs.replace(
                classifier.about, preprocessing=structs.replace(classifier.about.preprocessing, interpolation=how)
            ),
        )
        found[how] = _resized(shown, compute, real, threads, out / how)
    return found


def _resized(classifier: Classifier, compute: Compute, real: RealPictures, threads: int, out: Path) -> Figures:
    out.mkdir(parents=True)
    view, none = classifier.about.preprocessing, np.zeros((0, 1, 1, 3), np.uint8)
    asked, opened = {}, {}
    for to, written in {"onnx": _write_onnx, "openvino": _write_openvino, "torch": _write_program}.items():
        file = out / EXPORTED[ENGINES[to]]  # type: ignore[index]
        about = described(classifier, ExportSettings(classifier.file, to=to))  # type: ignore[arg-type]
        ways = written(file, classifier, about, none, threads)
        asked |= {f"{to} {precision}": answering for precision, answering in ways.items()}
        if to != "torch":
            opened |= {f"{to} {one}": open_engine(file, "auto", one, "cpu", threads).engine for one in ways}
    own, theirs = _both(classifier, compute, real, asked)  # type: ignore[arg-type]
    views = views_of(real.judged, view)
    some = [views[start : start + BATCHES[-1]] for start in range(0, len(views), BATCHES[-1])]
    alike = {name: np.concatenate([engine(batch).probabilities for batch in some]) for name, engine in opened.items()}
    return {
        name: {
            "same": float((own.argmax(1) == answers.argmax(1)).mean()),
            "whole pictures": _apart(own, answers),
            **({"views": _apart(own, alike[name])} if name in alike else {}),
        }
        for name, answers in theirs.items()  # type: ignore[attr-defined]
    }


def _apart(own: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]) -> Figures:
    """Sum up the largest difference of any of the K probabilities, of N pictures."""
    largest = np.abs(own - answers).max(1)
    points = {"median": 0.5, "95 % within": 0.95, "max": 1.0}
    return {name: float(f"{np.quantile(largest, point):.3g}") for name, point in points.items()}


def cold(folders: dict[str, Path], photograph: Path, rounds: int, threads: int) -> Figures:
    """Return processor seconds of `residuum predict`, the model in the disk's cache."""
    found: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(rounds + 1):
        for name, folder in folders.items():
            words = ["-m", "residuum", "predict", str(folder), str(photograph), "--threads", str(threads)]
            process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            assert status == 0, name
            found[name].append(used.ru_utime + used.ru_stime)
    return {"n": rounds, "processor seconds": {name: spread(times[1:]) for name, times in found.items()}}


def as_avx2() -> None:
    """Begin this command again, where CPUID is answered by as_avx2.c."""
    if "as_avx2" in os.environ.get("LD_PRELOAD", ""):
        return
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/as_avx2.so"
        build = ["cc", "-O2", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("as_avx2.c")]
        subprocess.run(build, check=True)
        done = subprocess.run([sys.executable, *sys.argv], env={**os.environ, "LD_PRELOAD": library}, check=False)
    raise SystemExit(done.returncode)


def main(
    model: str,
    *,
    photographs: str,
    parts: tuple[str, ...] = ("speed", "cold", "parity"),
    pictures: int = 200,
    rounds: int = 25,
    threads: int = 2,
    avx2: bool = False,
) -> None:
    if avx2:
        as_avx2()
    name = Path(model).stem
    about: dict[str, Any] = {"model": name, "threads": threads, "versions": versions(), "ways": WAYS}
    command = f"python benchmarks/engines.py {Path(model).name} --photographs {Path(photographs).name}"
    end, how = ("-avx2", " --avx2") if avx2 else ("", "")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RESIDUUM_CACHE"] = f"{folder}/cache"
        if "speed" in parts:
            found = speed(Path(model), photographs, rounds, threads, avx2)
            write(f"engines-speed-{name}{end}", f"{command} --parts speed{how}", {**about, **found})
        out, reported = Path(folder) / "exported", {}
        if {"cold", "parity"} & set(parts):
            reported = exports(Path(model), photographs, pictures, threads, out)
        if "parity" in parts:
            said = f"{command} --parts parity --pictures {pictures}{how}"
            write(f"engines-parity-{name}{end}", said, {**about, **reported})
        if "resizing" in parts:
            said = f"{command} --parts resizing --pictures {pictures}"
            found = resizing(Path(model), photographs, pictures, threads, Path(folder) / "resized")
            write(f"engines-resizing-{name}", said, {**about, **found})
        if "cold" in parts:
            photograph = next(path for path in sorted(Path(photographs).rglob("*")) if path.is_file())
            opened = {to: out / to for to in reported if to != "torch" and (out / to).is_dir()}
            ways = {**opened, "torch": Path(model)}
            write(f"engines-cold-{name}", command, {**about, **cold(ways, photograph, rounds, threads)})


if __name__ == "__main__":
    asked(main)
