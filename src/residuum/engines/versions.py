"""The packages of the engines: imported when asked for, quietly, and their versions."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from residuum.errors import UserError
from residuum.version import installing

EXTRAS = {"onnx": "onnx", "onnxruntime": "onnx", "openvino": "openvino", "nncf": "openvino"}
"""Packages, and the extra of residuum's that installs each."""
_TELEMETRY = "openvino_telemetry"


def imported(package: str) -> ModuleType:
    """Import a package of an engine (UserError if it is not installed). Nothing it would report is sent."""
    try:
        with _without_telemetry():
            return importlib.import_module(package)
    except ImportError as error:
        extra = EXTRAS[package]
        raise UserError(f"{package} is not here", str(error), installing(extra)) from error


def versions() -> dict[str, str]:
    """Return the versions of those that are installed, without importing them."""
    found = {}
    for package in ("torch", *EXTRAS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let OpenVINO and NNCF find nothing to report with: they then do without."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
