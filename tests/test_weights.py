"""Trained weights by name: the catalogue against those who published them, fetching from a server and a folder of our
own, and what a training of few photographs makes of it."""

import hashlib
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import new_cache
from made_up_machine import measured_as
from msgspec import structs
from narrow_resnet import NarrowResNet
from PIL import Image
from safetensors.torch import save_file
from test_hub import Server as HubServer
from torch import nn

import residuum
from residuum import cli
from residuum.data.download import IDLE, Asked, Expected, Unreached, download
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.exchange.fetch_weights import PLACE
from residuum.loading import load, save_classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.plain_data import as_json
from residuum.recipe import Task
from residuum.recipes.quick import quick
from residuum.records.codec import write_record
from residuum.records.model import Provenance
from residuum.records.weights import Fetched
from residuum.settings import TrainSettings
from residuum.training import way
from residuum.training.record import command, with_start
from residuum.training.resolve import resolve
from residuum.training.run import train
from residuum.weights import fetched as on_this_machine
from residuum.weights.catalogue import Weights, catalogue, find
from residuum.weights.fetched import fetched, model_file, record_file, start_file

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_CACHE", str(new_cache(tmp_path / "cache")))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setattr(on_this_machine, "STARTER_FILE", tmp_path / "no starter")
    monkeypatch.setattr(way, "multiply_adds_per_s", lambda: 1e12)


# --- the catalogue -------------------------------------------------------------------------------


def test_what_is_said_of_torchvisions_weights_is_what_torchvision_says() -> None:
    known = {name: one for name, one in catalogue().items() if one.library == "torchvision"}
    assert len(known) == 16
    for name, one in known.items():
        version = "IMAGENET1K_V2" if name.endswith("-v2") else "IMAGENET1K_V1"
        theirs = torchvision.models.get_model_weights(name.removesuffix("-v2"))[version]
        assert f"{one.url}/{one.file}" == theirs.url
        assert one.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        assert one.bytes == pytest.approx(theirs.meta["_file_size"] * 2**20, abs=1)
        assert named(str(one.net)).depth  # a net of ours
        transforms = theirs.transforms()
        assert (transforms.crop_size, transforms.resize_size) == ([224], [one.resize_to])
        assert one.plain == ("simple training recipe" in theirs.meta["_docs"])
        assert len(one.checksum) == 8
        int(one.checksum, 16)


@pytest.mark.slow  # importing timm takes seconds
def test_what_is_said_of_timms_weights_is_what_timm_says() -> None:
    timm = pytest.importorskip("timm")
    for name, one in catalogue().items():
        if one.library == "timm":
            theirs = timm.get_pretrained_cfg(name)
            assert str(one.licence).lower() == theirs.license
            owner = theirs.hf_hub_id  # some versions name the repository, some its owner alone
            assert one.repository == (f"{owner}{name}" if owner.endswith("/") else owner)


@pytest.mark.parametrize(
    ("given", "name", "repository"),
    [
        ("torchvision:resnet18", "resnet18", ""),
        ("resnet50.a1_in1k", "resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("timm:resnet26.bt_in1k", "resnet26.bt_in1k", "timm/resnet26.bt_in1k"),
        ("hf:owner/net", "owner/net", "owner/net"),
    ],
)
def test_names_of_three_libraries_are_understood(given: str, name: str, repository: str) -> None:
    assert (find(given).name, find(given).repository) == (name, repository)


@pytest.mark.parametrize("given", ["resnet5O", "../x", "a/b/c", "", "x y"])
def test_other_names_are_refused(given: str) -> None:
    with pytest.raises(UserError, match="there are no weights"):
        find(given)


# --- a file from the network ---------------------------------------------------------------------


class Files(BaseHTTPRequestHandler):
    """Sends `server.sent`; breaks off after `server.breaks_at` bytes, if that is set."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)  # type: ignore[attr-defined]
        body = self.server.sent.get(self.path.removeprefix("/"))  # type: ignore[attr-defined]
        if body is None:
            return self.send_error(404)
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : self.server.breaks_at])  # type: ignore[attr-defined]
        return None

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class FileServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Files)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.sent: dict[str, bytes] = {"file": CONTENT}
        self.asked: list[str] = []
        self.breaks_at: int | None = None
        self.ranges = True


def running(server: ThreadingHTTPServer) -> Iterator[Any]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[FileServer]:
    yield from running(FileServer())


def got(server: FileServer, path: Path, content: bytes = CONTENT) -> str:
    asked = Asked("weights x", "the server", "host", "residuum weights fetch x")
    expected = Expected(hashlib.sha256(content).hexdigest()[:8], hashlib.sha256)
    return download(f"{server.address}/file", path, expected, asked, lambda done, total: None)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke_off(server: FileServer, tmp_path: Path, ranges: bool) -> None:
    server.breaks_at, server.ranges = 5000, ranges
    with pytest.raises(Unreached, match="only in part") as refusal:
        got(server, tmp_path / "x")
    assert "5,000 of 10,240" in refusal.value.why
    assert not (tmp_path / "x").exists()
    server.breaks_at = None
    assert got(server, tmp_path / "x") == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == ["", "bytes=4999-"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x"]


def test_what_a_killed_process_left_is_gone_on_with_and_what_another_writes_is_not(
    server: FileServer, tmp_path: Path
) -> None:
    left = tmp_path / f".unfinished-{hashlib.sha256(CONTENT).hexdigest()[:8]}-other"
    left.write_bytes(CONTENT[:3000])
    got(server, tmp_path / "x")
    assert left.exists()
    then = time.time() - IDLE - 1
    os.utime(left, (then, then))
    got(server, tmp_path / "y")
    assert not left.exists()
    assert server.asked == ["", "bytes=2999-"]


def test_a_file_that_is_not_the_one_published_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not arrive as it should"):
        got(server, tmp_path / "x", b"another")
    assert not any(path.is_file() for path in tmp_path.iterdir())


# --- fetching ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A small net of torchvision's."""
    torch.manual_seed(0)
    return NarrowResNet([1, 1, 1, 1], 5).eval()


@pytest.fixture(scope="module")
def published(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as torchvision publishes them, named by their checksum."""
    path = tmp_path_factory.mktemp("published") / "tiny.pth"
    torch.save(theirs.state_dict(), path)
    return path.rename(path.with_name(f"tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))


@pytest.fixture
def tiny(published: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """The catalogue has it, and the server."""
    server.sent = {published.name: published.read_bytes()}
    one = Weights(name="tiny", library="torchvision", file=published.name, url=server.address, licence="MIT", top1=1.0)
    monkeypatch.setitem(catalogue(), "tiny", one)
    return one


def kept() -> set[str]:
    """All files in the cache of weights."""
    return {path.name for path in on_this_machine.folder().rglob("*") if path.is_file()}


def assert_same_answers(ours: nn.Module, theirs: nn.Module) -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_weights_are_fetched_checked_imported_and_found_again(
    tiny: Weights, server: FileServer, theirs: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="not on this machine") as refusal:
        start_file("tiny")
    assert refusal.value.mend == "residuum weights fetch tiny"
    found = residuum.weights_fetch("tiny")
    assert found.sha256.startswith(tiny.checksum)
    assert found.checked == f"SHA-256 begins with {tiny.checksum}, as torchvision's name for the file says"
    assert (found.source, found.licence) == (f"{server.address}/{tiny.file}", "MIT")
    assert kept() == {"tiny.safetensors", "tiny.json"}
    classifier = load(start_file("tiny"))
    assert_same_answers(classifier.net, theirs)
    assert (classifier.preprocessing.image_size, classifier.preprocessing.resize_to) == (224, 256)
    asked = len(server.asked)
    assert residuum.weights_fetch("torchvision:tiny") == found
    assert len(server.asked) == asked
    assert "on this machine already" in capsys.readouterr().err
    (row,) = residuum.weights_list(here=True)
    assert (row["name"], row["checksum"], row["top1"]) == ("tiny", found.sha256, 1.0)
    assert len(residuum.weights_list()) == len(catalogue())


def test_a_broken_fetch_is_gone_on_with(tiny: Weights, server: FileServer) -> None:
    server.breaks_at = 100_000
    with pytest.raises(Unreached, match="only in part") as refusal:
        residuum.weights_fetch("tiny")
    assert "residuum weights fetch tiny" in refusal.value.mend
    assert fetched() == {}
    server.breaks_at = None
    residuum.weights_fetch("tiny")
    assert server.asked == ["", "bytes=99999-"]
    assert kept() == {"tiny.safetensors", "tiny.json"}


def test_a_folder_or_a_file_serves_offline(
    tiny: Weights, published: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "stick" / tiny.file
    other.parent.mkdir()
    other.write_bytes(b"another file")
    with pytest.raises(UserError, match="is not the file that torchvision published"):
        residuum.weights_fetch("tiny", from_=other)
    with pytest.raises(UserError, match="does not hold the weights tiny"):
        residuum.weights_fetch("tiny", from_=tmp_path)
    assert kept() == set()
    monkeypatch.setenv(PLACE, str(published.parent))
    assert residuum.weights_fetch("tiny").source == str(published)
    assert published.is_file()
    assert server.asked == []


def test_offline_and_in_the_wrong_place_there_is_one_clear_error(tiny: Weights, server: FileServer) -> None:
    with pytest.raises(UserError, match="cannot reach") as refusal:
        residuum.weights_fetch("tiny", from_="http://127.0.0.1:9")
    assert "--from" in refusal.value.mend
    with pytest.raises(UserError, match="has no weights tiny"):
        residuum.weights_fetch("tiny", from_=f"{server.address}/elsewhere")
    assert kept() == set()


def test_weights_of_another_kind_of_net_leave_nothing(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"features.0.weight": torch.zeros(2, 2)}, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    file = f"vgg-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.sent = {file: content}
    monkeypatch.setitem(catalogue(), "vgg", Weights(name="vgg", library="torchvision", file=file, url=server.address))
    with pytest.raises(UserError, match="does not know"):
        residuum.weights_fetch("vgg")
    assert kept() == set()


@pytest.fixture(scope="module")
def repository(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As timm saves a net: its settings, the weights, and a card."""
    folder = tmp_path_factory.mktemp("hub") / "timm" / "tiny.made_up"
    folder.mkdir(parents=True)
    shown = {"input_size": [3, 96, 96], "crop_pct": 0.75, "interpolation": "bicubic"}
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10", "pretrained_cfg": shown}))
    (folder / "README.md").write_text("---\ntags:\n- x\nlicense: cc-by-nc-4.0\n---\n# A net")
    save_file(theirs.state_dict(), folder / "model.safetensors")
    return folder


def test_a_hubs_weights_are_checked_by_the_checksum_that_it_lists(repository: Path, theirs: nn.Module) -> None:
    for server in running(HubServer()):
        server.name, server.kind, server.files_below = "timm/tiny.made_up", "models", ""
        server.hold({path.name: path.read_bytes() for path in repository.iterdir()})
        found = residuum.weights_fetch("tiny.made_up", from_=server.address)
        assert server.tokens == [None] * len(server.tokens)
    content = (repository / "model.safetensors").read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert (found.licence, found.checked) == ("cc-by-nc-4.0", "SHA-256 as the hub lists it")
    assert kept() == {"tiny.made_up.safetensors", "tiny.made_up.json"}
    assert not (on_this_machine.folder().parent / "hub-models" / "timm" / "tiny.made_up").exists()
    classifier = load(start_file("timm:tiny.made_up"))
    assert_same_answers(classifier.net, theirs)
    assert (classifier.preprocessing.image_size, classifier.preprocessing.resize_to) == (96, 128)


def test_a_repository_in_a_folder_serves_offline(repository: Path) -> None:
    found = residuum.weights_fetch("tiny.made_up", from_=repository.parents[1])
    assert (found.licence, found.checked) == ("cc-by-nc-4.0", "against nothing: a folder declares no checksum")
    assert repository.is_dir()
    with pytest.raises(UserError, match="does not hold the weights"):
        residuum.weights_fetch("owner/other", from_=repository.parents[1])


def test_the_command_lists_and_fetches(
    tiny: Weights, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["residuum", "weights", *words])
        cli.main()
        return capsys.readouterr().out

    assert "next     residuum train PHOTOS --start tiny" in said("fetch", "tiny", "--from", str(published.parent))
    starred = [line for line in said("list").splitlines() if line.startswith("* ")]
    assert [line.split()[1] for line in starred] == ["tiny", "is"]
    assert [row["name"] for row in json.loads(said("list", "--here", "--json"))] == ["tiny"]


# --- what few photographs start from -------------------------------------------------------------

SIDE = 72


def photographs(root: Path, per_class: tuple[int, ...] = (6, 6), side: int = SIDE) -> Path:
    luck = np.random.default_rng(0)
    for name, count in zip(("ants", "bees", "crabs"), per_class, strict=False):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(luck.integers(0, 255, (side, side, 3), np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos") / "mine")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file."""
    torch.manual_seed(0)
    spec = replace(named("resnet20", 3), blocks=(1, 1, 1), widths=(8, 8, 8))
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_classifier(path, ResNet(spec).eval(), spec, ("x", "y", "z"), how, Provenance())
    return path


def hold(model: Path, name: str, multiply_adds: int = 1_000_000) -> None:
    """Put weights of this name into the cache."""
    record_file(name).parent.mkdir(parents=True, exist_ok=True)
    model_file(name).write_bytes(model.read_bytes())
    about = {"source": "x", "sha256": "0", "checked": "x", "licence": None, "date": "2026-01-01"}
    write_record(record_file(name), Fetched(name=name, multiply_adds=multiply_adds, **about))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "start", "recipe"),
    [({}, "resnet18", "head"), ({"tune": "head"}, "resnet18", "head"), ({"tune": "all"}, "resnet18", "tune_all"),
     ({"start": "resnet34"}, "resnet34", "head"), ({"from_nothing": True}, None, "quick"),
     ({"model": "resnet20"}, None, "quick"), ({"epochs": 1}, None, "quick"), ({"blocks": (1, 1, 1, 1)}, None, "quick"),
     ({"recipe": "sgd_one_cycle"}, None, "sgd_one_cycle"), ({"validation": 0.3}, "resnet18", "head")],
)  # fmt: skip
def test_few_photographs_start_from_what_was_fetched_unless_something_else_is_said(
    photos: Path, model: Path, given: dict[str, Any], start: str | None, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(model, "resnet18")
    if "start" in given:
        hold(model, "resnet34")
    resolved = resolve(TrainSettings(photos, precision="float32", **given))
    assert (resolved.settings.start, resolved.recipe.name) == (start, recipe)
    said = "12 photographs are few: the net starts from resnet18, the best of the weights fetched here"
    err = capsys.readouterr().err
    assert ("--validation 0.3 keeps nothing aside: each picture is judged" in err) == ("validation" in given)
    chosen = start is not None and "start" not in given
    assert (said in err) == chosen
    assert ("12 photographs are few for a new net: it learns far less" in err) == (start is None)
    again = resolve(TrainSettings(**vars(resolved.settings)))
    assert (again.settings, again.recipe) == (resolved.settings, resolved.recipe)
    assert "photographs are few: the net starts" not in capsys.readouterr().err


def test_of_several_the_plain_and_then_the_more_accurate_that_is_in_time_is_taken(
    photos: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(way, "multiply_adds_per_s", lambda: 12e9 / way.LONG)  # 10⁹ for each of 12 pictures

    def chosen() -> str | Path | None:
        return resolve(TrainSettings(photos, precision="float32")).settings.start

    hold(model, "resnet50-v2")
    assert chosen() == "resnet50-v2"
    hold(model, "resnet18")  # less accurate, but its features are those of the plain recipe
    assert chosen() == "resnet18"
    hold(model, "resnet34", 999_000_000)
    assert chosen() == "resnet34"
    assert "starts from resnet34, the best of the weights fetched here (" in capsys.readouterr().err
    hold(model, "resnet152", 1_001_000_000)  # takes too long
    assert chosen() == "resnet34"
    assert "the best of the weights fetched here that are quick enough" in capsys.readouterr().err
    for name in ("resnet50-v2", "resnet18", "resnet34"):
        record_file(name).unlink()
    assert chosen() == "resnet152"  # better than nothing
    assert "the quickest of the weights fetched here" in capsys.readouterr().err
    monkeypatch.setattr(on_this_machine, "STARTER_FILE", model)
    assert chosen() == "starter"
    said = capsys.readouterr().err
    assert "residuum's own, since the weights fetched here would take long" in said
    assert "weights fetch " not in said


def test_without_weights_the_starter_serves_and_better_ones_are_named(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resolve(TrainSettings(photos, precision="float32")).recipe.name == "quick"
    said = capsys.readouterr().err
    assert said.count("12 photographs are few for a new net") == 1
    assert "residuum weights fetch resnet50, then this command again with --start resnet50" in said
    with pytest.raises(UserError, match="brings no starter"):
        resolve(TrainSettings(photos, start="starter"))
    monkeypatch.setattr(on_this_machine, "STARTER_FILE", model)
    record = train(TrainSettings(photos, precision="float32", out=tmp_path / "run"))
    said = capsys.readouterr().err
    assert "starts from residuum's own starter" in said
    assert "with --start resnet50 and another --out" in said
    assert (record.settings.settings["start"], record.settings.settings["recipe"]) == ("starter", "head")
    assert residuum.weights_list(here=True)[0]["name"] == "starter"
    hold(model, "resnet18")  # which the same call would take now
    assert record.settings.command == f"residuum train {photos} --start starter --precision float32"
    again = resolve(cli._settings_of(tuple(shlex.split(record.settings.command)[1:])))
    assert as_json(again.settings) == record.settings.settings


def test_a_new_net_for_few_photographs_is_new_again_when_there_are_weights(photos: Path, model: Path) -> None:
    asked = TrainSettings(photos, precision="float32")
    first = resolve(asked)
    said = command(with_start(asked, first))
    hold(model, "resnet18")
    assert said == f"residuum train {photos} --from-nothing --precision float32"
    assert resolve(asked).settings.start == "resnet18"
    again = resolve(cli._settings_of(tuple(shlex.split(said)[1:])))
    assert as_json(again.settings) == as_json(first.settings)


def test_pictures_that_are_no_photographs_of_ones_own_go_their_way(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(model, "resnet18")
    for data in ("digits", photographs(tmp_path / "small", side=64)):
        assert resolve(TrainSettings(data, precision="float32")).settings.start is None
    assert "few" not in capsys.readouterr().err


# --- how long, and what cannot work --------------------------------------------------------------


def test_a_new_net_on_few_pictures_takes_a_bounded_number_of_passes(capsys: pytest.CaptureFixture[str]) -> None:
    spec = named("resnet18", 2)
    counts = {}
    for pictures in (100, 500, 999, 1000):
        task = Task(num_pictures=pictures, image_size=128, depth=18)
        counts[pictures] = way.fewer_passes(task, spec, quick(task))
    assert counts[100] is None
    assert counts[1000] is None  # no longer few
    multiply_adds = 1.8144e9 * (128 / 224) ** 2  # Table 1 of 2015, at another size
    for pictures in (500, 999):
        wanted = way.BOUND / (3 * multiply_adds * pictures)
        assert counts[pictures] == pytest.approx(wanted, abs=1)
    assert "(--epochs 40)" in capsys.readouterr().err


def test_what_takes_long_is_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("residuum.training.way.multiply_adds_per_s", lambda: 1e9)
    resolve(TrainSettings(photos, model="resnet18", precision="float32", epochs=40))
    assert "takes about" not in capsys.readouterr().err
    monkeypatch.setattr("residuum.fastest.fastest", lambda **_: measured_as(1))
    resolve(TrainSettings(photos, model="resnet50", image_size=224, precision="float32", epochs=40))
    minutes = 3 * 4.089e9 * 40 * 10 / 1e9 / 60  # of 12 pictures two are kept aside
    assert f"takes about {minutes:.0f} minutes here: fewer --epochs" in capsys.readouterr().err
    slow = structs.replace(measured_as(1, float32=1.0), waited=0.62)
    monkeypatch.setattr("residuum.fastest.fastest", lambda **_: slow)
    resolve(TrainSettings(photos, model="resnet50", image_size=224, precision="float32", epochs=40))
    busy = "others were computing when this machine was timed, and threads waited 62% of the time"
    assert f"takes about {minutes:.0f} minutes here (or far less: {busy}): fewer" in capsys.readouterr().err


def test_one_class_and_a_picture_alone_in_its_class_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds only one class, 'ants'[\s\S]*put it beside another class"):
        resolve(TrainSettings(photographs(tmp_path / "one", (3,)), start=model))
    alone = photographs(tmp_path / "alone", (3, 1, 3))
    with pytest.raises(UserError, match="only one picture shows 'bees'"):
        resolve(TrainSettings(alone, start=model))
    assert resolve(TrainSettings(alone, from_nothing=True, precision="float32")).recipe.name == "quick"


def test_two_starts_at_once_contradict(photos: Path, model: Path) -> None:
    with pytest.raises(UserError, match="contradict"):
        resolve(TrainSettings(photos, start=model, from_nothing=True))
