"""The verb `weights fetch`: trained weights by name, checked and imported, into the user's cache."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from residuum import machine
from residuum.console import say, show_progress
from residuum.data.download import Asked, Expected, download, is_web_address
from residuum.data.hub import HUB, fetch_model, fetched_files
from residuum.errors import UserError
from residuum.exchange.import_weights import import_weights
from residuum.exchange.known import IMAGENET
from residuum.exchange.sources import CONFIG, PROCESSOR, WEIGHT_FILES
from residuum.files import IN_THE_CACHE, UNFINISHED, cannot_write
from residuum.models.count import cost
from residuum.outward_settings import FetchWeightsSettings, ImportSettings
from residuum.plain_data import quoted
from residuum.records.codec import write_record
from residuum.records.weights import Fetched
from residuum.weights.catalogue import Weights, find
from residuum.weights.fetched import fetched, folder, model_file, record_file

PLACE = "RESIDUUM_WEIGHTS"
"""The environment variable that names a folder or a mirror, where --from does not."""
CARD = "README.md"
"""What a repository says of itself; its licence stands there."""

_OTHER = "check --from; weights in a file of another name: residuum import FILE"
_TORCHVISION = {**IMAGENET, "image_size": 224, "interpolation": "bilinear", "stride_in": "3x3"}


@dataclass(frozen=True)
class _Got:
    """What was got, before it is imported."""

    path: Path
    """A file, or a folder with its settings beside the weights."""
    source: str
    sha256: str
    checked: str
    licence: str | None


def fetch_weights(settings: FetchWeightsSettings) -> Fetched:
    """Fetch weights by name, check them, and keep them in the cache as a model file; what is there already is returned.

    Raises:
        UserError: the name means nothing, they are out of reach, are not what was published, or are of a net that
            residuum does not have. Nothing is left then but, where the network failed, what had arrived.
    """
    if settings.name is None:
        raise UserError(
            "which weights?", "residuum weights list shows what there is", "residuum weights fetch resnet50"
        )
    wanted = find(settings.name)
    if (there := fetched().get(wanted.name)) is not None:
        say(f"{wanted.name} is on this machine already")
        return there
    place = str(settings.from_ or os.environ.get(PLACE) or "")
    with _got(wanted, place) as got:
        return _kept(wanted, got)


def _kept(wanted: Weights, got: _Got) -> Fetched:
    """Import what was got, and write down what it is."""
    target = model_file(wanted.name)
    unfinished = target.with_name(f"{UNFINISHED}{os.getpid()}-{target.name}")
    told = {**_TORCHVISION, "resize_to": wanted.resize_to} if wanted.file else {}
    try:
        imported = import_weights(ImportSettings(got.path, out=unfinished, **told))  # type: ignore[arg-type]
        record = Fetched(
            name=wanted.name,
            source=got.source,
            sha256=got.sha256,
            checked=got.checked,
            licence=got.licence,
            multiply_adds=cost(imported.spec, imported.image_size)["multiply_adds"],
            date=machine.environment().date,
        )
        unfinished.replace(target)
        write_record(record_file(wanted.name), record)
    except OSError as error:
        raise cannot_write(target, 0, error, IN_THE_CACHE) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return record


# --- where from ---------------------------------------------------------------------------------


@contextmanager
def _got(wanted: Weights, place: str) -> Iterator[_Got]:
    """Get the weights from `place`, a folder, a file or a mirror, or "" for where they were published.

    What was downloaded is removed again: it is kept imported.
    """
    if place and not is_web_address(place):
        yield _local_file(wanted, Path(place)) if wanted.file else _local_folder(wanted, Path(place))
    elif wanted.file:
        got = _downloaded(wanted, place or wanted.url)
        try:
            yield got
        finally:
            got.path.unlink(missing_ok=True)
    else:
        got = _from_hub(wanted, place)
        try:
            yield got
        finally:
            shutil.rmtree(got.path, ignore_errors=True)


def _downloaded(wanted: Weights, place: str) -> _Got:
    url = f"{place.rstrip('/')}/{wanted.file}"
    host = urlsplit(url).netloc
    asked = Asked(
        what=f"weights {wanted.name}",
        place=host,
        host=host,
        command=f"residuum weights fetch {quoted(wanted.name)}",
        if_missing=f"it was asked for {url}",
        otherwise=f"bring {wanted.file} here and give its folder with --from",
    )
    expected = Expected(wanted.checksum, hashlib.sha256, said_by="published under that name")
    path = folder() / wanted.file
    try:
        sha256 = download(url, path, expected, asked, show_progress(f"fetching {wanted.name}"))
    except OSError as error:
        raise cannot_write(path, wanted.bytes or 0, error, IN_THE_CACHE) from error
    return _Got(path, url, sha256, _by_name(wanted), wanted.licence)


def _by_name(wanted: Weights) -> str:
    return f"SHA-256 begins with {wanted.checksum}, as {wanted.library}'s name for the file says"


def _local_file(wanted: Weights, place: Path) -> _Got:
    path = place / wanted.file if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{place} does not hold the weights {wanted.name}", f"there is no {path}", _OTHER)
    sha256 = _sha256(path)
    if not sha256.startswith(wanted.checksum):
        raise UserError(
            f"{path} is not the file that {wanted.library} published as {wanted.file}",
            f"its SHA-256 is {sha256}, which does not begin with {wanted.checksum}",
            f"for weights of your own: residuum import {quoted(path)}",
        )
    return _Got(path, str(path), sha256, _by_name(wanted), wanted.licence)


def _local_folder(wanted: Weights, place: Path) -> _Got:
    names = (wanted.repository, wanted.repository.rpartition("/")[2], "")
    home = next((place / name for name in names if (place / name / CONFIG).is_file()), None)
    weights = next((home / name for name in WEIGHT_FILES if (home / name).is_file()), None) if home else None
    if home is None or weights is None:
        raise UserError(
            f"{place} does not hold the weights {wanted.name}",
            f"expected {wanted.repository}/ there, with {CONFIG} and one of {', '.join(WEIGHT_FILES)}",
            _OTHER,
        )
    checked = "against nothing: a folder declares no checksum"
    return _Got(home, str(home), _sha256(weights), checked, wanted.licence or _licence(home))


def _from_hub(wanted: Weights, mirror: str) -> _Got:
    about, progress = (CONFIG, PROCESSOR, CARD), show_progress(f"fetching {wanted.name}")
    asked = f"weights fetch {quoted(wanted.name)}"
    home = fetch_model(wanted.repository, about, WEIGHT_FILES, progress, mirror=mirror, purpose=asked)
    sums = {file.path: file.sha256 or file.git_sha1 for file in fetched_files(home)}
    weights = next((name for name in WEIGHT_FILES if name in sums), None)
    if weights is None:
        shutil.rmtree(home, ignore_errors=True)
        raise UserError(f"{wanted.repository} holds no weights", "expected one of: " + ", ".join(WEIGHT_FILES))
    source = f"{mirror or HUB}/{wanted.repository}"
    return _Got(home, source, _sha256(home / weights), "SHA-256 as the hub lists it", wanted.licence or _licence(home))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _licence(home: Path) -> str | None:
    """Return the licence that a repository's card names in its head, if any."""
    try:
        text = (home / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    named = re.search(r"^license:\s*([\w.+-]+)\s*$", head[1], re.MULTILINE) if head else None
    return named[1] if named else None
