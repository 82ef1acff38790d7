"""Fetching data sets and models from a hub: what there is, and where it is kept. download.py uses the network."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from residuum import machine
from residuum.data.cache import Progress
from residuum.data.download import Asked, Expected, answer, download, is_web_address
from residuum.data.split import configuration
from residuum.errors import UserError, listed, nearest
from residuum.files import replacing
from residuum.plain_data import quoted

SHORT_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
HUB = "https://huggingface.co"
MANIFEST = "manifest.json"
IN_PLACE = {
    "data set": "in place of the name give digits, which are built in, or a folder: one of its Parquet files, fetched "
    "by any other means, will do",
    "model": "give a folder",
}

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_MOST_PAGES = 10_000
_LONGEST_ANSWER = 64 << 20


@dataclass(frozen=True)
class HubName:
    """OWNER/REPOSITORY of a data set, and which of its configurations ("" takes the only one); or of a model."""

    repository: str
    configuration: str = ""
    kind: Literal["data set", "model"] = "data set"
    mirror: str = ""
    """The address of who is asked instead of the hub."""
    purpose: str = "import hf:{}"
    """What a model is fetched for, as it is typed; {} is its name."""
    token: str | None = field(default=None, repr=False)
    """Who asks; by default HF_TOKEN."""

    def __str__(self) -> str:
        """Return the name as people write it."""
        return f"{self.repository}:{self.configuration}" if self.configuration else self.repository

    @property
    def command(self) -> str:
        """What to type to fetch it."""
        if self.kind == "model":
            return f"residuum {self.purpose.format(quoted(self))}"
        name = next((name for name, own in SHORT_NAMES.items() if own == str(self)), self)
        return f"residuum data fetch {quoted(name)}"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: a path below the repository, bytes, and the SHA-256 in hexadecimal.

    Of small files the hub knows git's checksum alone: the SHA-1 of a header and the content.
    """

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def checksum(self) -> str:
        """The one that is listed."""
        return self.sha256 or self.git_sha1

    def hasher(self) -> Any:
        """Return what computes the same checksum when it is shown the content."""
        return hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % self.size)


def hub_name(name: str) -> HubName | None:
    """Read "cifar10" or "owner/name[:config]"; None if `name` is neither."""
    match = re.fullmatch(rf"({_PART}/{_PART})(?::({_PART}))?", SHORT_NAMES.get(name, name))
    return HubName(match[1], match[2] or "") if match else None


def fetched_folder(name: str) -> Path | None:
    """Return the folder of a data set that was fetched as a whole, or None."""
    if (wanted := hub_name(name)) is None:
        return None
    folder = _place(wanted)
    files = fetched_files(folder)
    return folder if files and all(_size(folder / file.path) == file.size for file in files) else None


def fetch(name: str, *, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch a data set's Parquet files into `folder`, by default the cache; return the folder.

    Each file is checked against the checksum that the hub lists before it gets its name. Files that are there
    already and pass are kept, so an interrupted fetch goes on, and a finished one needs no network.
    `progress` counts bytes.

    Raises:
        UserError: the name is unknown, the hub is out of reach, or it sent something else than it lists.
    """
    wanted = hub_name(name)
    if wanted is None:
        raise UserError(f"{name!r} is not the name of a data set", "", nearest(name, SHORT_NAMES))
    target = folder or _place(wanted)
    return _fetch(wanted, target, lambda path: path.endswith(".parquet"), partial(_choose, wanted), progress)


def fetch_model(
    name: str,
    about: Sequence[str],
    weights: Sequence[str],
    progress: Progress | None = None,
    *,
    mirror: str = "",
    purpose: str = "import hf:{}",
) -> Path:
    """Fetch of a model the files `about` it that it has, and the first of `weights` that it has; return the folder.

    All is checked and kept in the cache as a data set's files are. `mirror` is the address of who is asked instead of
    the hub, `purpose` the command that asks; {} in it is the name.

    Raises:
        UserError: the name is unknown, the hub is out of reach, or it sent something else than it lists.
    """
    if not re.fullmatch(f"{_PART}(/{_PART})?", name):
        raise UserError(f"{name!r} is not the name of a model", "", "hf:OWNER/NAME")
    wanted = HubName(name, kind="model", mirror=mirror, purpose=purpose)

    def choose(files: list[RemoteFile]) -> list[RemoteFile]:
        there = {file.path: file for file in files}
        first = [path for path in weights if path in there][:1]
        return [there[path] for path in (*about, *first) if path in there]

    return _fetch(wanted, _place(wanted), {*about, *weights}.__contains__, choose, progress)


def files_there(wanted: HubName, paths: Container[str]) -> list[RemoteFile]:
    """Return what the hub lists of a repository's files at these paths (UserError if it cannot)."""
    return _list_files(wanted, paths.__contains__)


def text_there(wanted: HubName, path: str) -> str:
    """Return a small text file of a model's repository (UserError if the hub does not send it)."""
    with answer(
        f"{endpoint(wanted.mirror)}/{wanted.repository}/resolve/main/{quote(path)}", _asked(wanted)
    ) as response:
        return str(response.read(_LONGEST_ANSWER).decode(errors="replace"))


def _fetch(
    wanted: HubName,
    target: Path,
    matters: Callable[[str], object],
    choose: Callable[[list[RemoteFile]], list[RemoteFile]],
    progress: Progress | None,
) -> Path:
    known = fetched_files(target)
    if not known or not all(_verified(target, file) for file in known):
        _refuse_foreign(target)
        files = choose(_list_files(wanted, matters))
        _require_room(target, files)
        _write_manifest(target, wanted, files, complete=False)
        _download_all(wanted, target, files, progress)
        _write_manifest(target, wanted, files, complete=True)
    return target


# --- the folder --------------------------------------------------------------------------------


def _place(wanted: HubName) -> Path:
    if wanted.kind == "model":
        return machine.cache_folder() / "hub-models" / wanted.repository
    return machine.cache_folder() / "hub" / wanted.repository / (wanted.configuration or "_")


def fetched_files(folder: Path) -> list[RemoteFile]:
    """Return the files of a fetch that was finished, none of another."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [RemoteFile(**file) for file in manifest["files"]]
        return files if manifest["complete"] and all(_is_safe(file.path) for file in files) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


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
        return hashlib.file_digest(content, file.hasher).hexdigest() == file.checksum


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


def _list_files(wanted: HubName, matters: Callable[[str], object]) -> list[RemoteFile]:
    """Ask the hub for those of the repository's files whose path matters."""
    room = "datasets" if wanted.kind == "data set" else "models"
    url = f"{endpoint(wanted.mirror)}/api/{room}/{wanted.repository}/tree/main?recursive=true"
    entries: list[Any] = []
    for _ in range(_MOST_PAGES):
        page, url = _get_page(wanted, url)
        entries += page
        if not url:
            break
    else:
        raise _not_understood(wanted, f"its list of files does not end after {_MOST_PAGES} pages")
    try:
        found = [entry for entry in entries if entry["type"] == "file" and matters(entry["path"])]
        return [_as_remote_file(wanted, entry) for entry in found]
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_understood(wanted, "its list of files has another form than expected") from error


def _as_remote_file(wanted: HubName, entry: Any) -> RemoteFile:
    path, large = entry["path"], entry.get("lfs")
    kind, checksum = ("sha256", large["oid"]) if large else ("git_sha1", entry["oid"])
    if not _is_safe(path):
        raise UserError(f"refused the file {path!r} of {wanted}", "its path leads out of the folder")
    if not re.fullmatch("[0-9a-f]{64}" if large else "[0-9a-f]{40}", checksum):
        raise UserError(
            f"refused the file {path!r} of {wanted}",
            "the hub gives no checksum for it (no SHA-256 in lfs.oid, and none of git's in oid)",
        )
    return RemoteFile(path, int(entry["size"]), **{kind: checksum})


def _is_safe(path: str) -> bool:
    """Say whether `path` names a visible file below the folder, on any system."""
    return all(re.fullmatch(r"[\w=+@,()\[\] -][\w=+@,()\[\] .-]*", part) for part in path.split("/"))


# --- the network -------------------------------------------------------------------------------


def endpoint(mirror: str = "") -> str:
    """Return the address of who is asked: the hub, unless `mirror` or HF_ENDPOINT says otherwise (UserError)."""
    address = mirror or os.environ.get("HF_ENDPOINT") or HUB
    if not is_web_address(address):
        raise UserError(f"HF_ENDPOINT is {address!r}", "it must begin with https:// or http://")
    return address.rstrip("/")


def _asked(wanted: HubName) -> Asked:
    return Asked(
        what=f"{wanted.kind} {wanted}",
        place="the hub",
        host=urlsplit(endpoint(wanted.mirror)).netloc,
        command=wanted.command,
        if_missing=f"check the name; a {wanted.kind} that needs an account needs its token in HF_TOKEN",
        otherwise="give a folder with --from" if "fetch" in wanted.purpose else IN_PLACE[wanted.kind],
        token=wanted.token or (None if wanted.mirror else os.environ.get("HF_TOKEN")),
    )


def _download_all(wanted: HubName, folder: Path, files: list[RemoteFile], progress: Progress | None) -> None:
    total, before = sum(file.size for file in files), 0

    def tell(done: int, _: int) -> None:
        if progress:
            progress(before + done, total)

    for file in files:
        if not _verified(folder, file):
            _download(wanted, folder, file, tell)
        before += file.size
        tell(0, 0)


def _download(wanted: HubName, folder: Path, file: RemoteFile, progress: Progress) -> None:
    """Fetch one file; it gets its name only if size and checksum are right."""
    room = "datasets/" if wanted.kind == "data set" else ""
    url = f"{endpoint(wanted.mirror)}/{room}{wanted.repository}/resolve/main/{quote(file.path)}"
    expected = Expected(file.checksum, file.hasher, "SHA-256" if file.sha256 else "SHA-1", file.size)
    with _writing(folder):
        download(url, folder / file.path, expected, _asked(wanted), progress)


def _get_page(wanted: HubName, url: str) -> tuple[list[Any], str]:
    """Return one page of a list, and the address of the next one, or ""."""
    with answer(url, _asked(wanted)) as response:
        content, link = response.read(_LONGEST_ANSWER), response.headers.get("Link", "")
    following = re.search(r'<([^>]*)>;\s*rel="next"', link)
    try:
        page = json.loads(content)
    except ValueError as error:
        raise _not_understood(wanted, "its list of files is not JSON") from error
    if not isinstance(page, list):
        raise _not_understood(wanted, "its list of files is not a list")
    # Only its query is taken: an answer does not get to choose another machine.
    query = urlsplit(following[1]).query if following else ""
    return page, urlsplit(url)._replace(query=query).geturl() if query else ""


def _not_understood(wanted: HubName, why: str) -> UserError:
    return UserError(f"the hub's answer about {wanted} is not understood", why, "check HF_ENDPOINT")
