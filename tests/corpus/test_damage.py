"""Hypothesis on top of the corpus: sound files, flipped, truncated, inserted into and overwritten where it likes."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus import models, pictures, runs, tables, weights
from corpus.case import Must, command, wrong_with
from corpus.things import colours_model, png, run_of

Damage = list[tuple[str, float, bytes]]
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flipped", "truncated", "inserted", "overwritten", "twice"]),
        st.floats(0, 1),
        st.binary(min_size=1),
    ),
    min_size=1, max_size=4,
)  # fmt: skip
"""What is done one after another: its kind, where (as a share of the file), and with what bytes."""


def damaged(content: bytes, damage: Damage) -> bytes:
    for how, share, more in damage:
        at = int(share * len(content))
        if how == "flipped" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (more[0] or 1)]) + content[at + 1 :]
        elif how == "truncated":
            content = content[:at]
        elif how == "inserted":
            content = content[:at] + more + content[at:]
        elif how == "overwritten":
            content = content[:at] + more + content[at + len(more) :]
        elif how == "twice":
            content = content + content[at:]
    return content


class Whole:
    """A sound file, where it lies, and the words that use it."""

    def __init__(self, folder: Path, name: str) -> None:
        model, self.red = colours_model(folder), folder / "red.png"
        self.red.write_bytes(png("red"))
        self.words: list[object]
        if name in pictures.SOUND:
            self.file = folder / name
            self.file.write_bytes(pictures.SOUND[name](Random(0)))
            self.words = ["predict", model, self.file, "--json"]
        elif name == "model":
            self.file, self.words = model, ["predict", model, self.red, "--json"]
        elif name == "table":
            self.file = tables.SOUND["names"](folder, Random(0)) / "train-00000-of-00001.parquet"
            self.words = ["data", "check", self.file.parent]
        elif name == "weights":
            self.file = weights.SOUND["alone"](folder, Random(0))
            self.words = ["import", self.file, "--out", folder / "imported.safetensors"]
        elif name == "checkpoint":
            run = run_of("interrupted", folder)
            self.file, self.words = run / "checkpoint.safetensors", ["train", "--resume", run]
        else:
            run = run_of("finished", folder)
            self.file, self.words = run / name, ["report", run]
        self.content = self.file.read_bytes()


WHOLE = ("baseline.jpg", "progressive.jpg", "png.png", "palette.png", "gif.gif", "lossy.webp", "packed.tiff",
         "cmyk.tiff", "bmp.bmp", "portable.ppm", "model", "table", "weights", *runs.READ_BY_REPORT)  # fmt: skip
FIRST = ("baseline.jpg", "model", "table")
ANSWER = Must((0, 2, 3))


def tried(name: str, folder: Path, capture: Any, examples: int) -> None:
    whole = Whole(folder, name)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(DAMAGE)
    def once(damage: Damage) -> None:
        whole.file.write_bytes(content := damaged(whole.content, damage))
        said = command(whole.words, capture)
        assert not wrong_with(said, ANSWER, whole.file.name), f"{said.code}\n{said.out}\n{said.err}"
        if name == "model" and content != whole.content:
            assert said.code == 2, said.out
        assert whole.file.read_bytes() == content

    once()


def _parameters() -> list[Any]:
    quick = [pytest.param(name, 6, id=name) for name in FIRST]
    return quick + [pytest.param(name, 300, id=f"{name}, often", marks=pytest.mark.slow) for name in WHOLE]


@pytest.mark.parametrize(("name", "examples"), _parameters())
def test_any_damage_is_answered_or_refused(
    name: str, examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tried(name, tmp_path, capfd, examples)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_model_says_of_itself_it_is_answered_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    """One value anywhere in a sealed model's description is another; it is answered or refused."""
    folder = tmp_path_factory.mktemp("says")

    def change(about: dict[str, Any]) -> None:
        inner: Any = about
        while isinstance(inner, dict) and inner:
            place = data.draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[place], dict) or not inner[place] or data.draw(st.booleans()):
                inner[place] = data.draw(_JSON)
                return
            inner = inner[place]

    model = models.model(change)(folder, Random(0))
    (folder / "red.png").write_bytes(png("red"))
    said = command(["predict", model, folder / "red.png", "--json"], capfd)
    assert not wrong_with(said, ANSWER, model.name), f"{said.code}\n{said.out}\n{said.err}"
