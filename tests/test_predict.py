"""The verb `predict` for work: any number of pictures, tables, copies, addresses; what cannot be read comes last."""

import csv
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from small_start import coloured_noise, small_model

import residuum
from residuum import Predictor, UserError, load
from residuum.prediction.addresses import fetched
from residuum.prediction.answer import Answer
from residuum.prediction.sorting import class_folders, sort_copy
from residuum.prediction.writing import line

CLASSES = ("red", "=1+1", "蓝/..")
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.safetensors", CLASSES, 24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures; three more that are none, of names that come before, between and after; and a hidden one."""
    root = coloured_noise(tmp_path / "pictures", COLOURS, 3, 30)
    for name in ("a.png", "red/1b.png", "z.jpg"):
        (root / name).write_bytes(b"<html>gone</html>")
    (root / "._red.png").write_bytes(b"not a picture")
    return root


@pytest.fixture
def command(command: Command) -> Command:
    return lambda *words: command("predict", *words, "--threads", "1")


def test_bad_pictures_are_listed_at_the_end_and_the_rest_is_answered(command: Command, model: Path, folder: Path):
    code, out, err = command(model, folder, "--json")
    rows = [json.loads(row) for row in out.splitlines()]
    assert code == 3
    assert ["error" in row for row in rows] == [False] * 6 + [True] * 3
    assert [Path(row["picture"]).name for row in rows[6:]] == ["a.png", "1b.png", "z.jpg"]
    assert {(row["engine"], row["precision"]) for row in rows[:6]} == {("torch", "float32")}
    assert 'computed by torch in float32; it never says "unsure"' in err
    assert "3 of 9 pictures could not be read" in err
    assert err.count("it holds HTML or XML, not pixels") == 3
    code, out, err = command(model, folder)
    assert (code, len(out.splitlines())) == (3, 6)
    code, out, err = command(model, folder / "a.png", folder / "z.jpg")
    assert (code, out) == (2, "")
    assert "2 of 2" in err


def test_a_table_has_a_row_for_each_picture(command: Command, model: Path, folder: Path, tmp_path: Path):
    out = tmp_path / "new" / "answers.csv"
    code, printed, _ = command(model, folder, "--out", out, "--top", 2)
    assert (code, printed) == (3, f"answers  {out}, of 6 of 9 pictures\n")
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    answers = [one for one in residuum.load(model).answers(folder, top=2) if isinstance(one, Answer)]
    safe = {"=1+1": "'=1+1"}  # no spreadsheet shall compute it
    for row, answer in zip(rows, answers, strict=False):
        assert row["picture"] == answer.picture
        assert [row["class"], row["class 2"]] == [safe.get(name, name) for name in answer.classes]
        assert float(row["probability"]) == pytest.approx(answer.probabilities[0], abs=1e-6)
    assert [bool(row["error"]) for row in rows] == [False] * 6 + [True] * 3
    before = out.read_bytes()
    code, _, err = command(model, folder, "--out", out)
    assert code == 2
    assert "never write over" in err
    assert out.read_bytes() == before
    code, _, err = command(model, folder, "--out", tmp_path / "answers.xls")
    assert code == 2
    assert "--format csv" in err
    code, printed, _ = command(model, folder / "red" / "0.png", "--format", "csv", "--top", 100)
    assert printed.splitlines()[0].split(",")[5:7] == ["class 3", "probability 3"]


def test_python_answers_or_says_which_picture_is_none(model: Path, folder: Path, tmp_path: Path):
    found = residuum.predict(model, folder / "red/0.png", folder / "green", out=tmp_path / "a.jsonl", threads=1)
    rows = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert rows == [line(one, "jsonl", 5) for one in found]
    assert len(found) == 4
    with pytest.raises(UserError, match=r"a\.png"):
        residuum.predict(model, folder, threads=1)


def test_few_pictures_take_one_thread_and_leave_torch_as_it_was(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    used, answers_of = [], Predictor.answers_of

    def watched(self: Predictor, *given: Any) -> list[Answer]:
        used.append(torch.get_num_threads())
        return answers_of(self, *given)

    monkeypatch.setattr(Predictor, "answers_of", watched)
    torch.set_num_threads(2)
    for pictures in ([folder / "red/0.png"], [folder / "red/0.png"] * 4):
        residuum.predict(model, *pictures, threads=None if len(pictures) == 1 else 2)
        assert torch.get_num_threads() == 2
    assert used == [1, 2]


def test_copies_lie_in_their_class_and_nothing_is_written_over(
    command: Command, model: Path, folder: Path, tmp_path: Path
):
    into = tmp_path / "sorted"
    answers = [one for one in residuum.load(model).answers(folder) if isinstance(one, Answer)]
    names = {"red": "red", "=1+1": "=1+1", "蓝/..": "蓝_"}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):  # the second time all of them are there
        code, _, err = command(model, folder, "--sort-into", into)
        assert code == 3
        copies = {one.name: len(list(one.iterdir())) for one in into.iterdir()}
        told = re.search(f"copied   into {re.escape(str(into))}: (.*)", err)
        assert told is not None
        assert sorted(int(count.split()[0]) for count in told[1].split(", ")) == sorted(copies.values())
        copies = [path for path in into.rglob("*") if path.is_file()]
        assert sorted(path.read_bytes() for path in copies) == sorted(before[Path(one.picture)] for one in answers)
    for one in answers:
        assert any(path.read_bytes() == before[Path(one.picture)] for path in (into / names[one.best]).iterdir())
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for within in (folder, folder / "sorted", tmp_path):
        code, _, err = command(model, folder, "--sort-into", within)
        assert code == 2
        assert "lie within each other" in err


def test_folders_of_classes_stay_below_and_apart(tmp_path: Path):
    classes = ["..", "/etc/passwd", "a/b", "a_b", "A_B", "unsure", "x" * 400, "蓝" * 100]
    folders = class_folders(tmp_path / "to", classes, [])
    assert len({str(path).casefold() for path in folders.values()}) == len(classes) + 1
    for path in folders.values():
        assert path.parent == tmp_path / "to"
        path.mkdir(parents=True)
    (tmp_path / "x.png").write_bytes(b"1")
    unsure = Answer(str(tmp_path / "x.png"), ("a/b",), (1.0,), distance=2.0, threshold=1.0)
    assert sort_copy(unsure, folders).parent.name == "unsure (2)"


def test_answers_below_what_is_asked_are_unsure_and_sorted_so(
    command: Command, model: Path, folder: Path, tmp_path: Path
):
    _, out, err = command(model, folder, "--json")
    assert 'it never says "unsure"' in err
    usual = {row["picture"]: row["answers"][0] for row in map(json.loads, out.splitlines()) if "answers" in row}
    likeliest = sorted(one["probability"] for one in usual.values())
    limit = (likeliest[2] + likeliest[3]) / 2
    command(model, folder, "--at-least", limit, "--out", tmp_path / "a.csv", "--sort-into", tmp_path / "sorted")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = {row["picture"]: row for row in csv.DictReader(file) if not row["error"]}
    expected = {name: one["probability"] < limit for name, one in usual.items()}
    assert {name: row["unsure"] == "true" for name, row in rows.items()} == expected
    assert all(row["reason"].startswith("the likeliest class has ") == expected[name] for name, row in rows.items())
    assert len(list((tmp_path / "sorted" / "unsure").iterdir())) == sum(expected.values()) == 3
    _, out, err = command(model, folder, "--at-least", limit, "--json")
    assert 'it says "unsure" by --at-least alone' in err
    found = [row for row in map(json.loads, out.splitlines()) if "answers" in row]
    assert {row["picture"]: row["unsure"] for row in found} == expected
    assert not any("distance" in row for row in found)
    held = load(model, threads=1, at_least=limit)
    assert {one.picture: one.unsure for one in held.answers(folder) if isinstance(one, Answer)} == expected


def test_both_reasons_to_be_unsure_are_said():
    far: dict[str, float] = {"distance": 2.0, "threshold": 1.0}
    assert Answer("x", ("a",), (0.5,), **far, at_least=0.6).reason == (
        "unlike the training pictures: 2.000 from the nearest, 1.000 is the limit; "
        "the likeliest class has 50.0%, less than 60.0%"
    )
    assert Answer("x", ("a",), (0.59996,), at_least=0.6).reason == "the likeliest class has 59.996%, less than 60.000%"
    assert Answer("x", ("a",), (0.6,), at_least=0.6).unsure is False
    assert Answer("x", ("a",), (0.1,)).unsure is None
    near = Answer("x", ("a",), (0.5,), distance=0.5, threshold=1.0)
    assert (near.unsure, replace(near, at_least=0.6).unsure) == (False, True)


def test_ctrl_c_leaves_what_is_answered(command: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, answers_of = coloured_noise(tmp_path / "pictures", COLOURS, 10, 30), Predictor.answers_of
    steps = 0

    def stopped(self: Predictor, *given: Any) -> list[Answer]:
        nonlocal steps
        steps += 1
        if steps > 1:
            raise KeyboardInterrupt
        return answers_of(self, *given)

    monkeypatch.setattr(Predictor, "answers_of", stopped)
    code, _, err = command(model, root, "--out", tmp_path / "a.jsonl")
    assert code == 130
    assert "16 of 20 pictures are answered" in err
    assert len((tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()) == 16


def test_a_pipe_is_not_waited_for(model: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png") as found:
        residuum.predict(model, tmp_path / "x.png", threads=1)
    assert "pipe" in found.value.why


# --- addresses ------------------------------------------------------------------------------------


class Hostile(BaseHTTPRequestHandler):
    """Sends a picture, other addresses, too much, too little, or too slowly."""

    picture = b""

    def do_GET(self) -> None:
        kind = self.path.strip("/").removesuffix(".png")
        try:
            if kind.startswith("to-"):
                self.send_response(302)
                self.send_header("Location", kind.removeprefix("to-").replace("_", "/"))
                return self.end_headers()
            if kind == "drip":
                for _ in range(40):
                    self.wfile.write(b"H")
                    time.sleep(0.05)
                return None
            self.send_response(404 if kind == "none" else 200)
            self.send_header("Content-Length", str(10**9 if kind in {"large", "short"} else len(self.picture)))
            self.end_headers()
            self.wfile.write(bytes(300_000) if kind == "large" else self.picture)
        except OSError:  # whoever asked has gone
            return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    photo = coloured_noise(tmp_path_factory.mktemp("site") / "x", {"red": (200, 60, 60)}, 1, 30) / "red/0.png"
    Hostile.picture = photo.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_address_is_fetched_only_when_allowed(command: Command, model: Path, site: str, tmp_path: Path):
    (tmp_path / "x.png").write_bytes(Hostile.picture)
    code, _, err = command(model, f"{site}/x.png")
    assert code == 2
    assert "--allow-urls" in err
    code, out, _ = command(model, f"{site}/x.png", f"{site}/none.png", tmp_path / "x.png", "--allow-urls", "--json")
    rows = [json.loads(row) for row in out.splitlines()]
    assert code == 3
    here, there = ([said["probability"] for said in row["answers"]] for row in rows[:2])
    assert here == pytest.approx(there, abs=1e-6)
    assert [row["picture"] for row in rows] == [f"{site}/x.png", str(tmp_path / "x.png"), f"{site}/none.png"]
    assert "404" in rows[2]["error"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("to-file:___etc_passwd", "not allowed"),
        ("to-ftp:__127.0.0.1_x", "another kind, ftp:"),
        ("to-data:,x", "not allowed"),
        ("large", r"larger than 0\.1 MB"),
        ("short", "broke off"),
        ("drip", r"within 0\.3 seconds"),
        ("none", "404"),
    ],
)
def test_what_an_address_sends_is_bounded(site: str, path: str, said: str):
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot fetch the picture") as found:
        fetched(f"{site}/{path}", most=100_000, seconds=0.3)
    assert time.monotonic() - started < 2
    assert re.search(said, found.value.why)


def test_a_redirection_to_http_is_followed(site: str):
    assert fetched(f"{site}/to-x.png") == Hostile.picture
