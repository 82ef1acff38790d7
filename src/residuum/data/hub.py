"""Fetching a data set from a hub: the one place in residuum that uses the network."""

import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from residuum import machine
from residuum.data.cache import Progress, remove_unfinished
from residuum.data.split import configuration
from residuum.errors import UserError, listed, nearest
from residuum.files import replacing

SHORT_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
HUB = "https://huggingface.co"
MANIFEST = "manifest.json"
TIMEOUT = 30.0
"""Seconds without a byte after which we give up."""

_MOST_PAGES = 10_000
_LONGEST_ANSWER = 64 << 20


@dataclass(frozen=True)
class HubName:
    """OWNER/REPOSITORY, and which of its configurations; "" takes the only one."""

    repository: str
    configuration: str = ""

    def __str__(self) -> str:
        """Return the name as people write it."""
        return f"{self.repository}:{self.configuration}" if self.configuration else self.repository


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: a path below the repository, bytes, and the SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


def hub_name(name: str) -> HubName | None:
    """Read "cifar10" or "owner/name[:config]"; None if `name` is neither."""
    part = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
    match = re.fullmatch(rf"({part}/{part})(?::({part}))?", SHORT_NAMES.get(name, name))
    return HubName(match[1], match[2] or "") if match else None


def fetched_folder(name: str) -> Path | None:
    """Return the folder of a data set that was fetched as a whole, or None."""
    wanted = hub_name(name)
    folder = _place(wanted) if wanted else None
    files = _read_manifest(folder) if folder else None
    if folder is None or files is None:
        return None
    whole = all(_size(folder / file.path) == file.size for file in files)
    return folder if whole else None


def fetch(name: str, *, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch a data set's Parquet files into `folder`, by default the cache; return the folder.

    Each file is checked against the SHA-256 that the hub lists before it gets its name. Files that are there
    already and pass are kept, so an interrupted fetch goes on, and a finished one needs no network.
    `progress` counts bytes.

    Raises:
        UserError: the name is unknown, the hub is out of reach, or it sent something else than it lists.
    """
    wanted = hub_name(name)
    if wanted is None:
        raise UserError(f"{name!r} is not the name of a data set", "", nearest(name, SHORT_NAMES))
    target = folder or _place(wanted)
    known = _read_manifest(target)
    if known is None or not all(_verified(target, file) for file in known):
        _refuse_foreign(target)
        files = _choose(wanted, _list_files(wanted))
        _require_room(target, files)
        _write_manifest(target, wanted, files, complete=False)
        _download_all(wanted, target, files, progress)
        _write_manifest(target, wanted, files, complete=True)
    return target


# --- the folder --------------------------------------------------------------------------------


def _place(wanted: HubName) -> Path:
    return machine.cache_folder() / "hub" / wanted.repository / (wanted.configuration or "_")


def _read_manifest(folder: Path) -> list[RemoteFile] | None:
    """Return the files of a fetch that was finished, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [RemoteFile(**file) for file in manifest["files"]]
        return files if manifest["complete"] and all(_is_safe(file.path) for file in files) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_manifest(folder: Path, wanted: HubName, files: list[RemoteFile], *, complete: bool) -> None:
    content = {"name": str(wanted), "complete": complete, "files": [asdict(file) for file in files]}
    with _writing(folder), replacing(folder / MANIFEST) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _verified(folder: Path, file: RemoteFile) -> bool:
    path = folder / file.path
    if _size(path) != file.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _refuse_foreign(folder: Path) -> None:
    """Never write into a folder with other things in it."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and _size(folder / MANIFEST) < 0)):
        raise UserError(
            f"{folder} exists and is not an empty folder",
            "a fetch never writes into a folder with other files in it",
            "give a new folder",
        )


def _require_room(folder: Path, files: list[RemoteFile]) -> None:
    needed = sum(file.size for file in files if _size(folder / file.path) != file.size)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"no room for the data in {folder}",
            f"it needs {needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are free",
            "make room, or set RESIDUUM_CACHE to a folder on a larger disk",
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}",
            error.strerror or str(error),
            "make room, or set RESIDUUM_CACHE to another folder",
        ) from error


# --- what to fetch -----------------------------------------------------------------------------


def _choose(wanted: HubName, files: list[RemoteFile]) -> list[RemoteFile]:
    """Take the files of the configuration that was asked for, or of the one that is meant."""
    folders = {configuration(PurePosixPath(file.path)) for file in files}
    if not folders:
        raise UserError(f"{wanted} holds no parquet files", "", "download it by hand and give the folder")
    chosen = wanted.configuration or (folders.pop() if len(folders) == 1 else "default")
    taken = [file for file in files if configuration(PurePosixPath(file.path)) == chosen]
    if not taken:
        raise UserError(
            f"{wanted} holds several data sets" if not wanted.configuration else f"there is no {wanted}",
            f"its folders are {listed(sorted(folders))}",
            f"choose one: {wanted.repository}:FOLDER",
        )
    return taken


def _list_files(wanted: HubName) -> list[RemoteFile]:
    """Ask the hub for the repository's Parquet files."""
    url = f"{_endpoint()}/api/datasets/{wanted.repository}/tree/main?recursive=true"
    entries: list[Any] = []
    for _ in range(_MOST_PAGES):
        page, url = _get_page(wanted, url)
        entries += page
        if not url:
            break
    else:
        raise _not_understood(wanted, f"its list of files does not end after {_MOST_PAGES} pages")
    try:
        found = [entry for entry in entries if entry["type"] == "file" and entry["path"].endswith(".parquet")]
        return [_as_remote_file(wanted, entry) for entry in found]
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_understood(wanted, "its list of files has another form than expected") from error


def _as_remote_file(wanted: HubName, entry: Any) -> RemoteFile:
    path, checksum = entry["path"], (entry.get("lfs") or {}).get("oid", "")
    if not _is_safe(path):
        raise UserError(f"refused the file {path!r} of {wanted}", "its path leads out of the folder")
    if not re.fullmatch("[0-9a-f]{64}", checksum):
        raise UserError(
            f"refused the file {path!r} of {wanted}",
            "the hub gives no checksum for it (no SHA-256 in lfs.oid)",
        )
    return RemoteFile(path, int(entry["size"]), checksum)


def _is_safe(path: str) -> bool:
    """Say whether `path` names a visible file below the folder, on any system."""
    return all(re.fullmatch(r"[\w=+@,()\[\] -][\w=+@,()\[\] .-]*", part) for part in path.split("/"))


# --- the network -------------------------------------------------------------------------------


def _endpoint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or HUB
    if urlsplit(endpoint).scheme not in {"http", "https"}:
        raise UserError(f"HF_ENDPOINT is {endpoint!r}", "it must begin with https:// or http://")
    return endpoint.rstrip("/")


def _download_all(wanted: HubName, folder: Path, files: list[RemoteFile], progress: Progress | None) -> None:
    total, done = sum(file.size for file in files), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    for file in files:
        if _verified(folder, file):
            advance(file.size)
        else:
            _download(wanted, folder, file, advance)


def _download(wanted: HubName, folder: Path, file: RemoteFile, advance: Callable[[int], None]) -> None:
    """Fetch one file; it gets its name only if size and checksum are right."""
    url = f"{_endpoint()}/datasets/{wanted.repository}/resolve/main/{quote(file.path)}"
    path, digest, size = folder / file.path, hashlib.sha256(), 0
    with _writing(folder), replacing(path) as unfinished:
        remove_unfinished(path.parent)
        for block in _blocks(wanted, url):
            size += len(block)
            if size > file.size:
                break
            digest.update(block)
            unfinished.write(block)
            advance(len(block))
        if size != file.size:
            what = "more" if size > file.size else f"{size} bytes instead"
            raise _spoiled(wanted, file, f"the hub lists {file.size} bytes and sent {what}")
        if digest.hexdigest() != file.sha256:
            raise _spoiled(wanted, file, f"its SHA-256 is {digest.hexdigest()}, listed is {file.sha256}")


def _spoiled(wanted: HubName, file: RemoteFile, why: str) -> UserError:
    mend = f"run `residuum data fetch {wanted}` again: what arrived whole is kept"
    return UserError(f"{file.path} of {wanted} did not arrive as it should", why, mend)


def _get_page(wanted: HubName, url: str) -> tuple[list[Any], str]:
    """Return one page of a list, and the address of the next one, or ""."""
    with _reaching(wanted), _request(url) as response:
        answer, link = response.read(_LONGEST_ANSWER), response.headers.get("Link", "")
    following = re.search(r'<([^>]*)>;\s*rel="next"', link)
    try:
        page = json.loads(answer)
    except ValueError as error:
        raise _not_understood(wanted, "its list of files is not JSON") from error
    if not isinstance(page, list):
        raise _not_understood(wanted, "its list of files is not a list")
    # Only its query is taken: an answer does not get to choose another machine.
    query = urlsplit(following[1]).query if following else ""
    return page, urlsplit(url)._replace(query=query).geturl() if query else ""


def _blocks(wanted: HubName, url: str) -> Iterator[bytes]:
    with _reaching(wanted), _request(url) as response:
        while block := response.read(1 << 20):
            yield block


def _request(url: str) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "residuum"})
    return urllib.request.urlopen(request, timeout=TIMEOUT)


@contextmanager
def _reaching(wanted: HubName) -> Iterator[None]:
    """Turn what the network raises into one clear message."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        unknown = error.code in {401, 403, 404}
        raise UserError(
            f"the hub has no data set {wanted}" if unknown else f"the hub failed to send {wanted}",
            f"{urlsplit(_endpoint()).netloc} answered {error.code} {error.reason}",
            "check the name; a data set that needs an account must be fetched by hand"
            if unknown
            else "try later",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"cannot reach the hub for {wanted}",
            f"{urlsplit(_endpoint()).netloc}: {str(reason) or type(error).__name__}",
            f"run `residuum data fetch {wanted}` on a connected machine, or give a folder",
        ) from error


def _not_understood(wanted: HubName, why: str) -> UserError:
    return UserError(f"the hub's answer about {wanted} is not understood", why, "check HF_ENDPOINT")
