"""A net answered for by onnxruntime, on the processor: from an ONNX file, without torch.

Letters: B views, S their side in pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from residuum.choices import EnginePrecision, PrecisionWanted
from residuum.engines.contract import Output
from residuum.engines.described import precision_of
from residuum.engines.names import FEATURES, PICTURES, PROBABILITIES, RESIZE_TO, VIEWS
from residuum.engines.versions import imported
from residuum.errors import UserError

ERRORS = 3
"""The level from which on onnxruntime says something; below it, it explains what its optimiser could not do."""


@dataclass(frozen=True)
class OnnxRuntimeEngine:
    """A session; onnxruntime lets several threads run one."""

    session: Any
    precision: EnginePrecision
    name: Literal["onnxruntime"] = "onnxruntime"

    def __call__(self, views: NDArray[np.uint8]) -> Output:
        """Answer for B square views (B, S, S, 3)."""
        return Output(*self.session.run([PROBABILITIES, FEATURES], self._given(views)))

    def _given(self, views: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """An exported graph begins with pictures: told to resize a view to the side it has, it leaves it alone."""
        if self.session.get_inputs()[0].name == VIEWS:
            return {VIEWS: views}
        return {PICTURES: views, RESIZE_TO: np.array(views.shape[1], np.int64)}


def open_onnxruntime(file: Path, precision: PrecisionWanted, threads: int) -> tuple[OnnxRuntimeEngine, dict[str, str]]:
    """Open an ONNX file of ours; return the engine and the file's metadata.

    Raises:
        UserError: onnxruntime is not installed, the file cannot be read, or cannot be computed so.
    """
    onnxruntime = imported("onnxruntime")
    if precision == "bfloat16":
        raise UserError(
            "onnxruntime does not compute in bfloat16 on a processor", "", "--precision float32; openvino and torch do"
        )
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, ERRORS
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds are not public
        raise UserError(f"onnxruntime cannot read {file}", str(error), "export or bench the model again") from error
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return OnnxRuntimeEngine(session, precision_of(file, metadata, precision)), metadata
