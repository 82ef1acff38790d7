"""Which engine answers for a model, and opening it. torch is imported only where it computes."""

from dataclasses import dataclass
from pathlib import Path

from residuum import machine
from residuum.choices import Device, EngineName, EnginePrecision, EngineWanted, PrecisionWanted
from residuum.console import warn
from residuum.engines import kept
from residuum.engines.contract import Engine
from residuum.engines.described import Described, of_exported, of_model_file
from residuum.engines.with_onnxruntime import open_onnxruntime
from residuum.engines.with_openvino import open_openvino
from residuum.errors import UserError
from residuum.plain_data import quoted
from residuum.runs import exported_file, model_path


@dataclass(frozen=True)
class Opened:
    """A model, ready to answer."""

    engine: Engine
    model: Described


def open_engine(
    path: str | Path,
    engine: EngineWanted = "auto",
    precision: PrecisionWanted = "auto",
    device: Device = "auto",
    threads: int | None = None,
) -> Opened:
    """Open a run folder, a model file, or what `residuum export` wrote.

    "auto": for a run or model file, what `residuum bench` found to be fastest here, or else torch, in float32; for an
    exported file, what it was exported for.

    Raises:
        UserError: there is no model, the engine is not installed or cannot do what is asked, or a file is damaged.
    """
    path = Path(path)
    exported = exported_file(path)
    if exported:
        return _open_exported(*exported, engine, precision, device, threads or machine.cores())
    file = model_path(path)
    model = of_model_file(file)
    found = kept.choice(model.digest) if engine == "auto" and device in {"auto", "cpu"} else None
    if found and precision in {"auto", found.precision}:
        try:
            return _opened(
                file, model, found.engine, found.precision, device, threads or min(found.threads, machine.cores())
            )
        except UserError as error:  # what is kept of it is damaged or gone
            if found.engine == "torch":
                raise
            warn(f"{found.engine}, which was found to be fastest, cannot be used: {error.what}")
    return _opened(file, model, engine, precision, device, threads)


def _opened(
    file: Path,
    model: Described,
    engine: EngineWanted,
    precision: PrecisionWanted,
    device: Device,
    threads: int | None,
) -> Opened:
    if engine == "auto" or engine == "torch":  # noqa: PLR1714 - so that mypy knows the others
        return Opened(_with_torch(file, precision, device, threads), model)
    _only_on_processors(engine, device)
    wanted: EnginePrecision = "float32" if precision == "auto" else precision
    graph = _int8(file, model.digest, engine) if wanted == "int8" else kept.graph(file, model.digest)
    return Opened(_open_with(engine, graph, wanted, threads or machine.cores())[0], model)


def _open_exported(
    made_for: EngineName,
    file: Path,
    engine: EngineWanted,
    precision: PrecisionWanted,
    device: Device,
    threads: int,
) -> Opened:
    if engine not in {"auto", made_for}:
        raise UserError(
            f"{file} was exported for {made_for}, not {engine}", "", f"--engine {made_for}, or give the run"
        )
    if made_for == "torch":
        raise UserError(
            f"residuum does not open {file}",
            "torch.export's reader may run code that such a file holds",
            "give the run it was exported from; use_torch.py beside it shows how others open it",
        )
    _only_on_processors(made_for, device, "give the run or model file that it was exported from")
    opened, metadata = _open_with(made_for, file, precision, threads)
    return Opened(opened, of_exported(file, metadata))


def _open_with(
    engine: EngineName, file: Path, precision: PrecisionWanted, threads: int
) -> tuple[Engine, dict[str, str]]:
    return (open_onnxruntime if engine == "onnxruntime" else open_openvino)(file, precision, threads)


def _with_torch(file: Path, precision: PrecisionWanted, device: Device, threads: int | None) -> Engine:
    from residuum.compute import choose_compute
    from residuum.engines.with_torch import TorchEngine
    from residuum.loading import load

    if precision == "int8":
        raise UserError("torch does not compute in int8 here", "", "--engine openvino or onnxruntime")
    compute = choose_compute(device, "float32" if precision == "auto" else precision, threads=threads)
    classifier = load(file)
    compute.place(classifier.net)
    return TorchEngine(classifier, compute)


def _only_on_processors(engine: EngineName, device: Device, mend: str = "--engine torch") -> None:
    if device not in {"auto", "cpu"}:
        raise UserError(f"--device {device}: {engine} computes on processors here", "", mend)


def _int8(file: Path, digest: str, engine: EngineName) -> Path:
    graph = kept.folder(digest) / kept.INT8[engine]
    if not kept.is_whole(graph):
        raise UserError(
            f"there is no int8 form of {file} for {engine} yet, or it is damaged",
            "its ranges are measured on pictures",
            f"residuum bench {quoted(file)} --data PICTURES",
        )
    return graph
