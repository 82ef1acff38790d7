"""The verb `export`: a folder with the model for another program, what uses it, and how well its answers agree.

Letters: B pictures, H and W their sides in pixels, K classes.
"""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray
from safetensors.numpy import save

from residuum import machine
from residuum.choices import EngineName, EnginePrecision, ExportTarget
from residuum.compute import Compute, choose_compute
from residuum.console import say, show_progress, visible
from residuum.data.contract import ColumnNames
from residuum.data.decode import Pixels
from residuum.engines.described import KEPT, KEY, LIKENESS
from residuum.engines.graph import net_graph
from residuum.engines.names import PROBABILITIES
from residuum.engines.versions import imported, versions
from residuum.engines.with_openvino import compiled_how, core, save_openvino
from residuum.engines.with_torch import TorchEngine
from residuum.errors import UserError
from residuum.evaluation.exported import cut, views_of
from residuum.evaluation.shares import Probabilities
from residuum.exporting import pictures_onnx, pictures_openvino
from residuum.exporting.parity import LEAST_SAME, Answering, agreement, refused
from residuum.exporting.place import place_for
from residuum.exporting.quantise import CALIBRATION, quantised
from residuum.exporting.real_pictures import BATCH, RealPictures, by_size, decoded, open_pictures
from residuum.files import write_json, write_whole
from residuum.loading import Classifier, load_for
from residuum.outward_settings import ExportSettings
from residuum.plain_data import quoted
from residuum.records.codec import with_version
from residuum.records.engines import Exported, Parity
from residuum.records.evaluation import Figures
from residuum.runs import EXPORTED
from residuum.weights.fetched import STARTER_FILE, fetched, model_file

ENGINES: dict[ExportTarget, EngineName] = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
PARITY = "parity.json"
SNIPPETS: dict[ExportTarget, tuple[str, ...]] = {
    "onnx": ("use_onnx.py", "use_onnx.mjs"),
    "openvino": ("use_openvino.py", "use_openvino.cpp"),
    "torch": ("use_torch.py",),
}
"""What lies beside an exported file and uses it."""
CLASSES = "classes"
"""Under which a file's metadata have the class names, one a line, for programs without JSON."""
SEVERAL = "several"
"""Under which they have "true" for several labels a picture, likewise; it is left out for one."""


@dataclass(frozen=True)
class ExportedModel:
    """The folder, and how well its answers agree."""

    path: Path
    parity: Parity


def export(settings: ExportSettings) -> ExportedModel:
    """Export a model, ask it about real pictures, and keep it if it answers as the run does.

    Raises:
        UserError: there is no model, no pictures are known, a package is missing, or the answers differ too much.
    """
    classifier = load_for("export", settings.model)
    if settings.to is None:
        raise UserError("to what?", "", f"residuum export {quoted(settings.model)} --to onnx, openvino or torch")
    if settings.int8 and settings.to == "torch":
        raise UserError("torch programs are not exported in int8", "", "--to onnx or --to openvino")
    compute = choose_compute("cpu", "float32", threads=settings.threads)
    calibrating = CALIBRATION if settings.int8 else 0
    pictures = open_pictures(classifier, compute, settings.data, settings.pictures, calibrating, "export")
    if settings.int8 and not len(pictures.calibration):
        raise UserError("a single picture leaves none to measure int8's ranges on", "", "--data with more pictures")
    compute.place(classifier.net)
    file = EXPORTED[ENGINES[settings.to]]
    name = f"{classifier.name}-{settings.to}{'-int8' * settings.int8}"
    with place_for(settings.out, name, file, classifier.source) as place:
        parity = _written(place / file, classifier, compute, pictures, settings)
    return ExportedModel(place.parent, parity)


def _written(
    file: Path, classifier: Classifier, compute: Compute, pictures: RealPictures, settings: ExportSettings
) -> Parity:
    """Write the model, ask it, write what lies beside it; return how well its answers agree (UserError as above)."""
    assert settings.to is not None
    write = {"onnx": _write_onnx, "openvino": _write_openvino, "torch": _write_program}[settings.to]
    about = described(classifier, settings)
    say(f"writing the net for {settings.to}" + (f" in int8, on {len(pictures.calibration)} pictures" * settings.int8))
    asked = write(file, classifier, about, views_of(pictures.calibration, about.view), compute.threads)
    parity = _compared(classifier, compute, pictures, asked, settings)
    write_json(file.with_name(PARITY), with_version(parity))
    _write_beside(file.parent, classifier, settings.to)
    return parity


def described(classifier: Classifier, settings: ExportSettings) -> Exported:
    """Return what the exported file says of itself."""
    about, columns = classifier.about, ColumnNames.of(classifier.about.settings)
    return Exported(
        name=classifier.name,
        digest=classifier.digest,
        engine=ENGINES[settings.to or "onnx"],
        precision="int8" if settings.int8 else "float32",
        classes=about.classes,
        several=about.several,
        label_separator=columns.separator or UNSET,
        image_column=columns.image or UNSET,
        label_column=columns.label or UNSET,
        view=about.preprocessing,
        likeness=None if about.likeness is UNSET else about.likeness,
        licence=settings.licence or _licence(classifier),
        metrics=about.metrics,
        import_=None if about.import_ is UNSET else about.import_,
        lineage=about.lineage,
        environment=machine.environment(),
    )


def _licence(classifier: Classifier) -> str | None:
    """Return the licence of fetched weights, or of those that came with residuum; None of others."""
    if classifier.file.resolve() == STARTER_FILE.resolve():
        return "Apache-2.0"
    own = classifier.file.resolve()
    return next((one.licence for one in fetched().values() if model_file(one.name).resolve() == own), None)


def _metadata(about: Exported) -> dict[str, str]:
    about_it = json.dumps(with_version(about), ensure_ascii=False)
    several = {SEVERAL: "true"} if about.several is True else {}
    return {KEY: about_it, CLASSES: "\n".join(_lines(about.classes)), **several}


def _lines(names: Iterable[str]) -> Iterable[str]:
    return (visible(name.replace("\n", " ")) for name in names)


# --- what is written, and how it is asked --------------------------------------------------------

Answers = dict[EnginePrecision, Answering]
"""How the written file is asked about pictures, in each precision that it can be computed in."""
Views = NDArray[np.uint8]
Write = Callable[[Path, Classifier, Exported, Views, int], Answers]


def _write_onnx(file: Path, classifier: Classifier, about: Exported, calibration: Views, threads: int) -> Answers:
    onnx, onnxruntime = imported("onnx"), imported("onnxruntime")
    model = net_graph(classifier.net, classifier.preprocessing, several=classifier.several)
    if about.precision == "int8":
        model = quantised(model, calibration, classifier.spec.activation)
    model = pictures_onnx.with_pictures(model, about.view)
    onnx.helper.set_model_props(model, _metadata(about))
    onnx.checker.check_model(model)
    write_whole(file, model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0].name
    return {about.precision: lambda pictures: session.run([PROBABILITIES], {asked: pictures})[0]}


def _write_openvino(file: Path, classifier: Classifier, about: Exported, calibration: Views, threads: int) -> Answers:
    graph = net_graph(classifier.net, classifier.preprocessing, several=classifier.several)
    model = core().read_model(graph.SerializeToString(), b"")
    if about.precision == "int8":
        model = quantised(model, calibration, classifier.spec.activation)
    model = pictures_openvino.with_pictures(model, about.view)
    for key, text in _metadata(about).items():
        model.set_rt_info(text, key)
    save_openvino(model, file)

    def asked(precision: EnginePrecision) -> Answering:
        compiled = core().compile_model(str(file), "CPU", compiled_how(precision, threads))
        return lambda pictures: compiled([pictures])[PROBABILITIES]

    precisions: tuple[EnginePrecision, ...] = ("int8",) if about.precision == "int8" else ("float32", "bfloat16")
    return {precision: asked(precision) for precision in precisions}


def _write_program(file: Path, classifier: Classifier, about: Exported, calibration: Views, threads: int) -> Answers:
    from residuum.exporting.program import program

    made = program(classifier)
    whole = io.BytesIO()  # written by torch itself, a full disk would end the process
    torch.export.save(made, whole, extra_files=_metadata(about))
    write_whole(file, whole.getvalue())
    module = made.module()

    def asked(pictures: NDArray[np.uint8]) -> Probabilities:
        with torch.no_grad():
            return module(torch.from_numpy(pictures))[0].numpy()  # type: ignore[no-any-return]

    return {"float32": asked}


def _write_beside(out: Path, classifier: Classifier, to: ExportTarget) -> None:
    """Write what uses the file, and what says which pictures are unlike those trained on."""
    if classifier.kept is not None:
        write_whole(out / LIKENESS, save({KEPT: classifier.kept.astype(np.float16)}))
    if to == "onnx":  # onnxruntime for JavaScript shows no metadata
        write_whole(out / "classes.txt", ("\n".join(_lines(classifier.classes)) + "\n").encode())
    for name in SNIPPETS[to]:
        content = Path(__file__).with_name(name).read_bytes()
        if classifier.several:
            content = content.replace(b"const SEVERAL = false;", b"const SEVERAL = true;")
        write_whole(out / name, content)


def _judged(classifier: Classifier) -> Figures | None:
    """Return how the run was judged, where that was on pictures it had not seen."""
    found = classifier.about.metrics
    return found if found and found.split != "train" and not found.seen else None


# --- comparing -----------------------------------------------------------------------------------


def _both(
    classifier: Classifier, compute: Compute, real: RealPictures, asked: Answers
) -> tuple[Probabilities, dict[EnginePrecision, Probabilities]]:
    """Return the run's own answers (N, K) and those of what was written, in each precision, to N pictures.

    Both are asked about many at a time: the run, which sees views, whatever the pictures' sizes.
    """
    progress = show_progress(f"asking what was written, and the net, about {real.where}")
    view, engine = classifier.about.preprocessing, TorchEngine(classifier, compute)
    own, waiting = list[Probabilities](), list[Pixels]()
    found: dict[EnginePrecision, list[Probabilities]] = {precision: [] for precision in asked}
    for some in decoded(real.judged, view):
        progress(len(own) * BATCH, len(real.judged))
        for precision, answering in asked.items():
            found[precision].append(answering(np.stack(some)))
        waiting += [cut(picture, view) for picture in some]
        while len(waiting) >= BATCH:
            own.append(engine(np.stack(waiting[:BATCH])).probabilities)
            del waiting[:BATCH]
    if waiting:
        own.append(engine(np.stack(waiting)).probabilities)
    progress(len(real.judged), len(real.judged))
    return np.concatenate(own), {precision: np.concatenate(theirs) for precision, theirs in found.items()}


def _compared(
    classifier: Classifier, compute: Compute, real: RealPictures, asked: Answers, settings: ExportSettings
) -> Parity:
    """Ask the written file and the run about real pictures, from their pixels on.

    Raises:
        UserError: too many answers differ, or too much accuracy is lost.
    """
    ordered = by_size(real)
    own, found = _both(classifier, compute, ordered, asked)
    several, labels = classifier.several, ordered.labels
    agreements = [agreement(each, own, theirs, labels, several=several) for each, theirs in found.items()]
    first = agreements[0]  # what was exported; bfloat16 is a way to compute it that may be left
    least = settings.least_same or LEAST_SAME[first.precision]
    if why := refused(first, least):
        raise UserError(
            f"{settings.model} was not exported: its answers would differ",
            f"{first.precision}: {why}",
            "--least-same allows more",
        )
    return Parity(
        pictures=real.where,
        calibrated_on=len(real.calibration) if settings.int8 else None,
        least_same=least,
        agreements=tuple(agreements),
        seen=real.seen,
        judged=_judged(classifier) if real.seen else None,
        environment=machine.environment(),
        versions=versions(),
    )
