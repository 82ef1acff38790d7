"""What the cache keeps for engines, for each model: graphs made of it, and which engine is fastest for it here."""

import hashlib
from contextlib import suppress
from pathlib import Path

from residuum import machine
from residuum.choices import EngineName
from residuum.engines.versions import versions
from residuum.errors import UserError
from residuum.files import IN_THE_CACHE, CannotWrite, cannot_write, is_intact, seal, write_whole
from residuum.records.codec import read_record, write_record
from residuum.records.engines import EngineChoice
from residuum.version import VERSION

INT8: dict[EngineName, str] = {"onnxruntime": "int8.onnx", "openvino": "int8.xml"}


def folder(digest: str) -> Path:
    """Return where what is made of the model with this digest is kept; it need not exist."""
    return machine.cache_folder() / "engines" / f"{digest}-{VERSION}"


def graph(file: Path, digest: str) -> Path:
    """Return the ONNX file of a model file, from views on; made where it is not there, which needs torch and onnx.

    Raises:
        UserError: onnx is not installed, or the cache cannot be written.
    """
    kept = folder(digest) / "float32.onnx"
    if not is_whole(kept):
        from residuum.engines.graph import net_graph
        from residuum.loading import load

        classifier = load(file)
        made = net_graph(classifier.net, classifier.preprocessing, several=classifier.several).SerializeToString()
        try:
            write_whole(kept, made)
            seal_graph(kept)
        except CannotWrite as error:
            raise CannotWrite(error.what, error.why, IN_THE_CACHE) from error
    return kept


def is_whole(graph: Path) -> bool:
    """Say whether a graph is there, as it was written."""
    return is_intact(graph, *_parts(graph))


def seal_graph(graph: Path) -> None:
    """Write down what is in a graph (UserError if it cannot be)."""
    seal(graph, *_parts(graph))


def _parts(graph: Path) -> list[Path]:
    """Return the graph's file and, of OpenVINO's, that of its weights; ONNX's hold their own, whatever lies beside."""
    return [graph, graph.with_suffix(".bin")] if graph.suffix == ".xml" else [graph]


def choice(digest: str) -> EngineChoice | None:
    """Return what was found to be fastest for this model, on this machine with these versions; None if nothing was."""
    with suppress(UserError, OSError):  # whatever is wrong with a cache, torch answers
        return read_record(_choice(digest), EngineChoice)
    return None


def keep_choice(found: EngineChoice) -> None:
    """Remember what is fastest (UserError if the cache cannot be written)."""
    write_record(_choice(found.digest), found)


def forget_choice(digest: str) -> EngineChoice | None:
    """Forget what is fastest, and return what was found (None if nothing was; UserError if it cannot be removed)."""
    found = choice(digest)
    try:
        _choice(digest).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(_choice(digest), 0, error, IN_THE_CACHE) from error
    return found


def _choice(digest: str) -> Path:
    here = machine.environment()
    on = [here.system, here.processor, str(here.cores), *(f"{name} {number}" for name, number in versions().items())]
    return folder(digest) / f"choice-{hashlib.sha256('|'.join(on).encode()).hexdigest()[:16]}.json"
