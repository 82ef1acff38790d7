"""int8 by NNCF: the ranges of activations are measured on pictures, weights and convolutions become whole numbers.

Letters: N pictures, S the side of a view in pixels.
"""

import io
import logging
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.choices import Activation, EngineName
from residuum.engines.names import CENTRED, SCALED, VIEWS
from residuum.engines.versions import imported
from residuum.engines.with_openvino import core, save_openvino
from residuum.files import write_whole

CALIBRATION = 300
"""Pictures, as NNCF takes by default."""


def quantised(model: Any, views: NDArray[np.uint8], act: Activation) -> Any:
    """Return an ONNX or OpenVINO model that begins with VIEWS in int8; (N, S, S, 3) are what ranges are measured on.

    Raises:
        UserError: nncf is not installed.
    """
    for name in ("nncf", "torch.utils.cpp_extension"):  # the second, which it imports, misses a GPU
        logging.getLogger(name).setLevel(logging.ERROR)
    nncf = imported("nncf")
    nncf.set_log_level(logging.ERROR)
    one_by_one: Iterable[Any] = (views[i : i + 1] for i in range(len(views)))
    data = nncf.Dataset(list(one_by_one), lambda view: {VIEWS: view})
    preset = nncf.QuantizationPreset.PERFORMANCE if act == "relu" else nncf.QuantizationPreset.MIXED
    with redirect_stdout(io.StringIO()):  # its bars of progress
        apart = nncf.IgnoredScope(names=[CENTRED, SCALED])  # pixels are normalised exactly
        return nncf.quantize(model, data, preset=preset, subset_size=len(views), ignored_scope=apart)


def write_int8(graph: Path, engine: EngineName, views: NDArray[np.uint8], act: Activation, to: Path) -> None:
    """Write the int8 form of an ONNX file, for an engine (UserError if a package is missing, or the disk full)."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if engine == "onnxruntime":
        onnx = imported("onnx")
        write_whole(to, quantised(onnx.load(str(graph)), views, act).SerializeToString())
    else:
        model = quantised(core().read_model(str(graph)), views, act)
        save_openvino(model, to)
