"""A net answered for by OpenVINO, on the processor: from an ONNX file or its own, without torch.

Letters: B views, S their side in pixels.
"""

import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.choices import EnginePrecision, PrecisionWanted
from residuum.engines.contract import Output
from residuum.engines.described import KEY, precision_of
from residuum.engines.names import FEATURES, PROBABILITIES, VIEWS
from residuum.engines.versions import imported
from residuum.errors import UserError
from residuum.files import ELSEWHERE, UNFINISHED, CannotWrite, cannot_write

HINTS: dict[EnginePrecision, str] = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""What OpenVINO is told to compute in what is not quantised; left alone, it chooses by the processor, and answers
differ from one to the next."""
FIXED, ANY = (1, 16), -1
"""Views in a batch that a model of its own is compiled for, which takes less time; the others share one."""


class OpenVinoEngine:
    """A model, compiled when it is first needed: for one view, for sixteen, and for any other number.

    Each thread that asks has requests of its own.
    """

    name: Literal["openvino"] = "openvino"

    def __init__(self, compile_for: Callable[[int], Any], precision: EnginePrecision) -> None:
        self.precision = precision
        self._compile_for, self._compiled = compile_for, dict[int, Any]()
        self._lock, self._own = threading.Lock(), threading.local()

    def __call__(self, views: NDArray[np.uint8]) -> Output:
        """Answer for B square views (B, S, S, 3)."""
        found = self._request(len(views) if len(views) in FIXED else ANY).infer([views], share_inputs=True)
        return Output(found[PROBABILITIES], found[FEATURES])

    def _request(self, batch: int) -> Any:
        requests: dict[int, Any] = self._own.__dict__.setdefault("requests", {})
        if batch not in requests:
            with self._lock:
                if batch not in self._compiled:
                    self._compiled[batch] = self._compile_for(batch)
            requests[batch] = self._compiled[batch].create_infer_request()
        return requests[batch]


@cache
def core() -> Any:
    """Return OpenVINO's core, one for all, which is never given up (UserError if OpenVINO is not installed).

    Where there are matrix units, a core gives the thread that made it a stack for signals, and takes that away at its
    end, also from under the next core, or from another thread: the next signal then ends the process with a fault.
    """
    return imported("openvino").Core()


def open_openvino(file: Path, precision: PrecisionWanted, threads: int) -> tuple[OpenVinoEngine, dict[str, str]]:
    """Open an ONNX or OpenVINO file of ours; return the engine and the file's metadata.

    Raises:
        UserError: OpenVINO is not installed, or the file cannot be read, or not be computed so.
    """
    try:
        model = core().read_model(str(file))
        metadata = {KEY: str(model.get_rt_info(KEY).value)} if model.has_rt_info(KEY) else {}
        precision, many = precision_of(file, metadata, precision), from_views(model)
    except RuntimeError as error:
        raise UserError(f"OpenVINO cannot read {file}", str(error), "export or bench the model again") from error
    how = compiled_how(precision, threads)

    def compile_for(batch: int) -> Any:
        fitting = many.clone()
        fitting.reshape([batch, *list(many.input(0).partial_shape)[1:]])
        return core().compile_model(fitting, "CPU", how)

    return OpenVinoEngine(compile_for, precision), metadata


def save_openvino(model: Any, to: Path) -> None:
    """Write OpenVINO's two files, both whole or none (UserError where they cannot be)."""
    try:
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=UNFINISHED) as folder:
            imported("openvino").save_model(model, str(Path(folder) / to.name), compress_to_fp16=False)
            for name in (f"{to.stem}.bin", to.name):
                (Path(folder) / name).replace(to.with_name(name))
    except OSError as error:
        raise cannot_write(to, 0, error) from error
    except RuntimeError as error:  # all that OpenVINO says of a full disk
        raise CannotWrite(f"OpenVINO cannot write {to}", str(error), ELSEWHERE) from error


def compiled_how(precision: EnginePrecision, threads: int) -> dict[str, Any]:
    """Return what OpenVINO is told: one batch after the other, each by all threads.

    Where its oneDNN is kept to AVX2, it still sees a processor with bfloat16 and ends in a fault: it is told float32.
    """
    kept = precision == "bfloat16" and machine.is_kept_to_avx2()
    return {
        "INFERENCE_PRECISION_HINT": HINTS["float32" if kept else precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }


def from_views(model: Any) -> Any:
    """Return the model from its views on: what an exported one does to whole pictures before is left out."""
    openvino = imported("openvino")
    if model.input(0).any_name == VIEWS:
        return model
    cut = next(output for op in model.get_ordered_ops() for output in op.outputs() if VIEWS in output.names)
    views = openvino.opset13.parameter(cut.partial_shape, np.uint8)
    views.output(0).set_names({VIEWS})
    for reader in cut.get_target_inputs():
        reader.replace_source_output(views.output(0))
    return openvino.Model(model.get_results(), [views])
