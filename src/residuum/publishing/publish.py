"""The verb `publish`: a model, its card and its figures to the Hugging Face hub, and a look at what lies there then.

Sent by huggingface_hub (an extra), as the hub's own protocol of large files asks for; what lies there afterwards is
checked by our own list of it (data/hub.py), whoever sent it.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum import runs
from residuum.data.hub import HubName, RemoteFile, endpoint, files_there, text_there
from residuum.errors import UserError, listed
from residuum.models.file import write_model
from residuum.outward_settings import PublishSettings
from residuum.publishing.card import CARD, card, card_place, checked_licence, is_unchanged, sealed, stated_licence
from residuum.publishing.subject import Subject, subject, to_send
from residuum.version import installing

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WAIT = 30.0
"""Seconds after which a hub that says nothing is given up."""
_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


@dataclass(frozen=True)
class Sent:
    """A file of the repository that residuum puts there."""

    path: str
    """Below the repository."""
    bytes: int
    sha256: str
    git_sha1: str
    was_there: bool = False
    """Whether it lay there already, the same."""


@dataclass(frozen=True)
class Published:
    """What was sent, or would be."""

    repository: str
    address: str
    public: bool
    dry_run: bool
    files: tuple[Sent, ...]
    left_out: tuple[str, ...]
    """What was not sent and why, a sentence each."""
    card: str
    """The card's text."""


def publish(settings: PublishSettings) -> Published:
    """Send a model to the hub, as one commit, and check what lies there. What is there already is not sent again.

    Raises:
        UserError: there is no such model; the hub is out of reach or refuses; the repository holds files of the same
            names that residuum did not put there; it is public and that was not asked for; what lies there in the end
            is not what was sent.
    """
    of = subject(settings.run, "publish RUN OWNER/NAME")
    name = settings.repository or ""
    if not re.fullmatch(_NAME, name):
        raise UserError(f"{name!r} is not the name of a repository" if name else "where to?", "", "OWNER/NAME")
    with tempfile.TemporaryDirectory(prefix="residuum-publish-") as folder:
        files = _prepared(of, settings, Path(folder))
        found = Published(
            repository=name,
            address=f"{endpoint()}/{name}",
            public=settings.public,
            dry_run=settings.dry_run,
            files=tuple(_described(path, file) for path, file in files.items()),
            left_out=_left_out(of, settings),
            card=files[CARD].read_text(encoding="utf-8"),
        )
        return found if settings.dry_run else _sent(found, files, settings)


# --- what is sent -----------------------------------------------------------------------------------


def _prepared(of: Subject, settings: PublishSettings, folder: Path) -> dict[str, Path]:
    """Lay out what is to be sent in `folder`; return it by its path in the repository."""
    sent = replace(of, model=to_send(of, likeness=settings.pictures))
    if sent.about == of.about:
        shutil.copyfile(of.file, folder / runs.MODEL)
    else:
        write_model(folder / runs.MODEL, sent.model)
    (folder / CARD).write_text(_card(sent, settings), encoding="utf-8")
    names = [CARD, runs.MODEL]
    for name in (runs.EVALUATION, *([runs.MISTAKES] if settings.pictures else [])):
        if of.run is not None and (of.run.path / name).is_file():
            shutil.copyfile(of.run.path / name, folder / name)
            names.append(name)
    return {name: folder / name for name in names}


def _card(of: Subject, settings: PublishSettings) -> str:
    """Return the card that lies beside the model where a person has changed it, else a new one."""
    place, licence = card_place(of), checked_licence(settings.licence)
    text = place.read_bytes().decode(errors="replace") if place.exists() else ""
    if not text or is_unchanged(text):
        return card(of, licence or stated_licence(place), settings.repository or "")
    if of.weights_digest not in text:
        why = f"it does not name the weights' SHA-256 {of.weights_digest}"
        raise UserError(f"{place} is not the card of this model", why, "residuum card RUN --anew writes a new one")
    if licence:
        raise UserError("--licence is not written into a card that you changed", "", f"write it into {place}")
    return sealed(text)


def _left_out(of: Subject, settings: PublishSettings) -> tuple[str, ...]:
    if settings.pictures:
        return ()
    said = []
    if of.model.likeness:
        said.append("the features of training pictures, by which it says unsure: --pictures sends them")
    if of.run is not None and of.run.mistakes:
        said.append("the small pictures of its mistakes: --pictures sends them")
    return tuple(said)


def _described(path: str, file: Path) -> Sent:
    content, size = hashlib.sha256(), file.stat().st_size
    git = hashlib.sha1(b"blob %d\0" % size)
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            content.update(block)
            git.update(block)
    return Sent(path, size, content.hexdigest(), git.hexdigest())


# --- sending ----------------------------------------------------------------------------------------


def _sent(wanted: Published, files: dict[str, Path], settings: PublishSettings) -> Published:
    api = _hub()
    there = HubName(wanted.repository, kind="model", purpose="publish RUN {}", token=str(api.token))
    head, public = _found(api, wanted)
    if public and not wanted.public:
        why = "everybody would see the model"
        raise UserError(f"{wanted.repository} is public already", why, "choose another, or say --public")
    listed_there = files_there(there, files) if head else []
    same = {file.path for file in listed_there if _is(file, wanted)}
    _refuse_foreign(there, [file.path for file in listed_there if file.path not in same], settings)
    if not head:
        with _asking(f"make {wanted.repository}"):
            api.create_repo(wanted.repository, private=not wanted.public)
    new = {path: file for path, file in files.items() if path not in same}
    if new:
        _commit(api, wanted.repository, new, head)
    _check(wanted, files_there(there, files))
    told = tuple(replace(file, was_there=file.path in same) for file in wanted.files)
    return replace(wanted, files=told, public=public if head else wanted.public)


def _hub() -> "HfApi":
    """Return the hub's client with a token: that of HF_TOKEN, or of `hf auth login`."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        mend = installing("hub")
        raise UserError("publishing needs huggingface_hub", "it is not installed", mend) from error
    if not (token := get_token()):
        mend = "hf auth login; or put a token that may write into HF_TOKEN"
        raise UserError("the hub must know who publishes", "there is no token", mend)
    return HfApi(endpoint=endpoint(), token=token)


def _found(api: "HfApi", wanted: Published) -> tuple[str | None, bool]:
    """Return the repository's last commit and whether it is public; (None, False) if there is no repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with _asking(f"tell of {wanted.repository}"):
        try:
            info = api.repo_info(wanted.repository, timeout=WAIT)
        except RepositoryNotFoundError:
            return None, False
    return info.sha, not info.private


def _refuse_foreign(there: HubName, changed: list[str], settings: PublishSettings) -> None:
    """Never write over what residuum has not put there: a card there that is as it was written tells that it has."""
    if not changed or settings.replace:
        return
    card_there = files_there(there, [CARD])
    if not card_there or not is_unchanged(text_there(there, CARD)):
        raise UserError(
            f"{there.repository} has {listed(changed)} already",
            "residuum has not put that there, or it was changed there since",
            "choose another name, or say --replace: the old ones stay in the repository's history",
        )


def _commit(api: "HfApi", repository: str, files: dict[str, Path], head: str | None) -> None:
    """Send the files as one commit on top of `head`; it is refused if another has come in between."""
    from huggingface_hub import CommitOperationAdd

    added = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()]
    with _asking(f"take {listed(files)}"):
        api.create_commit(repository, added, commit_message="Model and card, by residuum", parent_commit=head)


def _is(file: RemoteFile, wanted: Published) -> bool:
    """Say whether a file there is the one that is wanted there."""
    mine = {one.path: one for one in wanted.files}[file.path]
    return file.size == mine.bytes and file.checksum == (mine.sha256 if file.sha256 else mine.git_sha1)


def _check(wanted: Published, there: list[RemoteFile]) -> None:
    right = {file.path for file in there if _is(file, wanted)}
    if wrong := [file.path for file in wanted.files if file.path not in right]:
        raise UserError(
            f"{wanted.repository} does not hold {listed(wrong)} as it was sent",
            "the hub lists another checksum for it, or none",
            "publish again: what lies there right is not sent again",
        )


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn whatever the hub's client raises, and it lets through what lies below it, into one message."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except Exception as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        cause = str(error.__cause__ or error).strip().split("\n")[0][:200] or type(error).__name__
        mend = "check that the token may write there" if status in {401, 403} else "try again: it goes on from there"
        raise UserError(f"the hub did not {what}", cause, mend) from error
