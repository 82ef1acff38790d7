"""Fetching data sets, from a hub of our own on this machine."""

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from residuum import machine
from residuum.data import download, hub
from residuum.data.cache import content_key
from residuum.data.hub import SHORT_NAMES, fetch, fetch_model, fetched_folder, hub_name
from residuum.data.open import open_data
from residuum.errors import UserError

NAME = "uoft-cs/cifar10"
TRAIN = "plain_text/train-00000-of-00001.parquet"
TEST = "plain_text/test-00000-of-00001.parquet"


def parquet(labels: list[int]) -> bytes:
    file = io.BytesIO()
    pictures = pa.array([b"picture %d" % i for i in range(len(labels))], pa.binary())
    pq.write_table(pa.table({"img": pictures, "label": labels}), file)
    return file.getvalue()


class Hub(BaseHTTPRequestHandler):
    """Answers like the hub from `server.files`; `server.listing` may lie."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.tokens.append(self.headers.get("Authorization"))
        if self.path.startswith(f"/api/{self.server.kind}/{self.server.name}/tree/main?"):
            self.send_page()
        elif self.path.startswith(f"/{self.server.files_below}{self.server.name}/resolve/main/"):
            self.send_file(self.path.split("/resolve/main/")[1])
        elif self.path.startswith("/elsewhere/"):
            self.server.moved = False
            self.send_file(self.path.removeprefix("/elsewhere/"))
        else:
            self.send_error(404)

    def send_page(self) -> None:
        page = int(self.path.partition("&page=")[2] or 0)
        entries, pages = self.server.listing, self.server.pages
        body = json.dumps(entries[page::pages]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if page + 1 < pages:
            path = self.path.partition("&page=")[0]
            self.send_header("Link", f'<{self.server.address}{path}&page={page + 1}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, path: str) -> None:
        if self.server.moved:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere/{path}")
            self.end_headers()
            return
        body = self.server.sent[path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100] if path in self.server.breaks_off else body)

    def log_message(self, *_arguments) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A hub with one data set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.name, self.pages, self.moved, self.asked, self.tokens = NAME, 1, False, [], []
        self.kind, self.files_below = "datasets", "datasets/"
        self.breaks_off: set[str] = set()
        self.hold({"README.md": b"# hello", TRAIN: parquet([0, 1, 2]), TEST: parquet([2, 1])})

    def hold(self, files: dict[str, bytes]) -> None:
        self.sent = dict(files)
        self.listing = [{"type": "directory", "oid": "0", "size": 0, "path": "plain_text"}]
        self.listing += [self.entry(path, content) for path, content in files.items()]

    def entry(self, path: str, content: bytes) -> dict:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "oid": git, "size": len(content), "path": path}
        if path.endswith((".parquet", ".safetensors", ".bin")):
            entry["lfs"] = {
                "oid": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 130,
            }
        return entry

    def files_asked_for(self) -> list[str]:
        return [path.split("/resolve/main/")[1] for path in self.asked if "/resolve/main/" in path]


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Server]:
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    with Server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- all is well -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", NAME])
def test_a_data_set_is_fetched_checked_and_opened(server, name):
    seen = []
    assert fetched_folder(name) is None
    folder = fetch(name, progress=lambda done, total: seen.append((done, total)))
    assert contents(folder) == {TRAIN, TEST, "manifest.json"}
    assert (folder / TRAIN).read_bytes() == server.sent[TRAIN]
    assert folder == fetched_folder(name)
    assert folder.is_relative_to(machine.cache_folder())
    total = len(server.sent[TRAIN]) + len(server.sent[TEST])
    assert seen[-1] == (total, total)
    manifest = json.loads((folder / "manifest.json").read_text())
    sums = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert sums == {path: hashlib.sha256(server.sent[path]).hexdigest() for path in (TRAIN, TEST)}


def test_open_data_fetches_once_and_then_needs_no_network(server, monkeypatch):
    data = open_data("cifar10")
    assert (data.name, data.source, data.classes) == ("cifar10", NAME, ["0", "1", "2"])
    asked = len(server.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert content_key(open_data(NAME).train.pictures) == content_key(data.train.pictures)
    assert fetch("cifar10") == fetched_folder(NAME)
    assert len(server.asked) == asked


def test_a_folder_of_ones_own_can_be_chosen(server, tmp_path):
    assert fetch("cifar10", folder=tmp_path / "mine") == tmp_path / "mine"
    assert open_data(str(tmp_path / "mine")).classes == ["0", "1", "2"]
    assert not machine.cache_folder().exists()


def test_a_local_folder_goes_before_the_hub(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cifar10").mkdir()
    Path("cifar10/train.parquet").write_bytes(parquet([0, 1]))
    assert open_data("cifar10").source == str(tmp_path / "cifar10")
    assert server.asked == []


def test_a_long_list_is_read_page_by_page(server):
    server.pages = 3
    assert contents(fetch("cifar10")) == {TRAIN, TEST, "manifest.json"}


def test_the_next_page_is_never_fetched_from_another_machine(server):
    server.pages, server.address = 3, "http://localhost:9"
    assert contents(fetch("cifar10")) == {TRAIN, TEST, "manifest.json"}


def test_a_list_without_end_is_refused(server, monkeypatch):
    monkeypatch.setattr(hub, "_MOST_PAGES", 5)
    server.pages = 6
    with pytest.raises(UserError, match="does not end"):
        fetch("cifar10")


def test_a_file_may_lie_on_another_machine(server):
    server.moved = True
    assert contents(fetch("cifar10")) == {TRAIN, TEST, "manifest.json"}


def test_a_configuration_is_chosen_by_name(server):
    server.hold(
        {f"{folder}/train-0.parquet": parquet(labels) for folder, labels in (("big", [0, 1, 2]), ("small", [0, 1]))}
    )
    with pytest.raises(UserError, match="its folders are 'big', 'small'"):
        fetch(NAME)
    data = open_data(f"{NAME}:small")
    assert (data.name, data.source, len(data.train)) == ("cifar10-small", f"{NAME}:small", 2)
    assert len(open_data(f"{NAME}:big").train) == 3
    with pytest.raises(UserError, match=f"there is no {NAME}:medium"):
        fetch(f"{NAME}:medium")


MODEL = {"config.json": b"{}", "model.safetensors": b"safe", "pytorch_model.bin": b"pickled"}
ABOUT, WEIGHTS = ("config.json", "preprocessor_config.json"), ("model.safetensors", "pytorch_model.bin")


def hold_a_model(server: Server, files: dict[str, bytes]) -> None:
    server.hold({".gitattributes": b"*.bin lfs", **files})
    server.name, server.kind, server.files_below = "owner/tiny-resnet", "models", ""


@pytest.mark.parametrize("safe", [True, False])
def test_of_a_model_the_settings_and_one_file_of_weights_are_fetched(server, safe, monkeypatch):
    files = {path: content for path, content in MODEL.items() if safe or path != "model.safetensors"}
    hold_a_model(server, files)
    taken = {"config.json", "model.safetensors" if safe else "pytorch_model.bin"}
    folder = fetch_model("owner/tiny-resnet", ABOUT, WEIGHTS)
    assert contents(folder) == {*taken, "manifest.json"}
    assert {path: (folder / path).read_bytes() for path in taken} == {path: files[path] for path in taken}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch_model("owner/tiny-resnet", ABOUT, WEIGHTS) == folder


def test_a_models_settings_are_checked_by_gits_checksum(server):
    hold_a_model(server, MODEL)
    server.sent["config.json"] = b"[]"
    with pytest.raises(UserError, match=r"(?s)SHA-1.*residuum import hf:owner/tiny-resnet"):
        fetch_model("owner/tiny-resnet", ABOUT, WEIGHTS)


@pytest.mark.parametrize("name", ["a/b/c", "../x", "", "a b"])
def test_other_names_are_not_names_of_models(server, name):
    with pytest.raises(UserError, match="is not the name of a model"):
        fetch_model(name, ABOUT, WEIGHTS)
    with pytest.raises(UserError, match="the hub has no model owner/other"):
        fetch_model("owner/other", ABOUT, WEIGHTS)


def test_a_token_is_shown_to_the_hub_alone(server, monkeypatch):
    server.moved = True
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch("cifar10")
    shown = dict(zip(server.asked, server.tokens, strict=True))
    assert any("/elsewhere/" in path for path in shown)
    assert all(token == (None if "/elsewhere/" in path else "Bearer secret") for path, token in shown.items())


def test_the_default_configuration_is_taken_where_there_is_one(server):
    server.hold({"default/train/0.parquet": parquet([0, 1]), "other/train/0.parquet": parquet([1, 0])})
    assert contents(fetch(NAME)) == {"default/train/0.parquet", "manifest.json"}


# --- what arrives is not what was promised -----------------------------------------------------


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (flipped, "SHA-256"),
        (lambda content: content[:-1], "instead"),
        (lambda content: content + b"x", "and sent more"),
        (lambda content: b"", "0 bytes instead"),
    ],
)
def test_a_file_that_is_not_the_one_listed_is_removed(server, change, why):
    server.sent[TEST] = change(server.sent[TEST])
    with pytest.raises(UserError, match=why):
        fetch("cifar10")
    assert fetched_folder("cifar10") is None
    assert contents(machine.cache_folder() / "hub" / NAME / "_") == {TRAIN, "manifest.json"}


def test_a_file_without_end_is_cut_off(server):
    server.sent[TRAIN] += bytes(5_000_000)
    seen = []
    with pytest.raises(UserError, match="and sent more"):
        fetch("cifar10", progress=lambda done, total: seen.append(done <= total))
    assert all(seen)


def test_an_interrupted_fetch_goes_on_with_what_is_missing(server):
    server.breaks_off = {TEST}
    with pytest.raises(UserError):
        fetch("cifar10")
    assert fetched_folder("cifar10") is None
    server.breaks_off, server.asked = set(), []
    folder = fetch("cifar10")
    assert server.files_asked_for() == [TEST]
    assert {path: (folder / path).read_bytes() for path in (TRAIN, TEST)} == {
        path: server.sent[path] for path in (TRAIN, TEST)
    }


def test_a_file_that_has_gone_is_fetched_again(server):
    (fetch("cifar10") / TEST).unlink()
    assert fetched_folder("cifar10") is None
    server.asked.clear()
    assert (fetch("cifar10") / TEST).read_bytes() == server.sent[TEST]
    assert server.files_asked_for() == [TEST]


def test_a_file_damaged_on_disk_is_fetched_again(server):
    folder = fetch("cifar10")
    (folder / TRAIN).write_bytes(flipped(server.sent[TRAIN]))
    server.asked.clear()
    assert (fetch("cifar10") / TRAIN).read_bytes() == server.sent[TRAIN]
    assert server.files_asked_for() == [TRAIN]


@pytest.mark.parametrize(
    "path",
    [
        "../train-0.parquet",
        "/etc/train-0.parquet",
        "a/../../train-0.parquet",
        "a//train-0.parquet",
        "a\\..\\train-0.parquet",
        "C:train-0.parquet",
        ".hidden/train-0.parquet",
        "a\n/train-0.parquet",
        "./train-0.parquet",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(server, path, tmp_path):
    server.hold({path: parquet([0, 1])})
    with pytest.raises(UserError, match="leads out of the folder"):
        fetch("cifar10")
    assert contents(tmp_path) == set()


def test_a_file_without_a_checksum_is_refused(server):
    del server.listing[-1]["lfs"]
    server.listing[-1]["oid"] = "0"
    with pytest.raises(UserError, match="no checksum"):
        fetch("cifar10")
    assert server.files_asked_for() == []


@pytest.mark.parametrize("listing", [{"error": "no"}, ["text"], [{"type": "file"}], [{"type": "file", "path": 7}]])
def test_an_answer_of_another_form_is_refused(server, listing, monkeypatch):
    monkeypatch.setattr(Hub, "send_page", lambda self: send_json(self, listing))
    with pytest.raises(UserError, match="not understood"):
        fetch("cifar10")


def test_an_answer_that_is_a_web_page_is_refused(server, monkeypatch):
    monkeypatch.setattr(Hub, "send_page", lambda self: send_bytes(self, b"<html>log in</html>"))
    with pytest.raises(UserError, match="not JSON"):
        fetch("cifar10")


def send_json(handler: Hub, answer) -> None:
    send_bytes(handler, json.dumps(answer).encode())


def send_bytes(handler: Hub, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_data_set_without_parquet_files_is_refused(server):
    server.hold({"README.md": b"# hello"})
    with pytest.raises(UserError, match="holds no parquet files"):
        fetch("cifar10")


# --- out of reach ------------------------------------------------------------------------------


def test_an_unknown_data_set_is_said_to_be_unknown(server):
    with pytest.raises(UserError, match="the hub has no data set uoft-cs/cifar100"):
        open_data("cifar100")


def test_a_fault_of_the_hub_is_named(server, monkeypatch):
    monkeypatch.setattr(Hub, "send_page", lambda self: self.send_error(503))
    with pytest.raises(UserError, match=r"(?s)failed to send.*503"):
        fetch("cifar10")


def test_offline_there_is_one_clear_message(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match="cannot reach the hub") as caught:
        open_data("cifar10")
    assert caught.value.mend.startswith("run `residuum data fetch cifar10` on a connected machine, or ")
    assert "digits, which are built in" in caught.value.mend
    assert contents(tmp_path) == set()


def test_a_hub_that_says_nothing_is_given_up(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    release = threading.Event()
    monkeypatch.setattr(Hub, "send_page", lambda self: release.wait(10))
    with pytest.raises(UserError, match=r"(?s)cannot reach the hub.*timed out"):
        fetch("cifar10")
    release.set()


def test_without_leave_nothing_is_fetched(server):
    with pytest.raises(UserError, match="residuum data fetch cifar10"):
        open_data("cifar10", fetch_allowed=False)
    assert server.asked == []


def test_a_path_mistyped_is_not_looked_for_on_the_hub(server, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no folder .*data/pets"):
        open_data("data/pets")
    assert server.asked == []


def test_a_folder_with_other_files_is_never_written_to(server, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not an empty folder"):
        fetch("cifar10", folder=tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt"}


def test_a_disk_too_small_is_noticed_beforehand(server, monkeypatch):
    for entry in server.listing:
        entry["size"] = 10**18
    with pytest.raises(UserError, match="no room for the data"):
        fetch("cifar10")
    assert server.files_asked_for() == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        fetch("cifar10", folder=tmp_path / "file" / "below")


def test_only_web_addresses_are_endpoints(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", tmp_path.as_uri())
    with pytest.raises(UserError, match="must begin with https"):
        fetch("cifar10")


@pytest.mark.parametrize("name", ["cifar", "a/b/c", "../x", "a/..", "owner/name:", "a b/c", "owner/.name", "", "/x"])
def test_other_names_are_not_names_on_the_hub(name):
    assert hub_name(name) is None
    with pytest.raises(UserError, match="is not the name of a data set"):
        fetch(name)


def test_short_names_stand_for_full_ones():
    assert {short: str(hub_name(short)) for short in SHORT_NAMES} == SHORT_NAMES
