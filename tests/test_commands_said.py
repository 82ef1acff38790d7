"""Commands that are said to people: the shell takes each as it stands, whatever is in the names."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import every_sixth_digit
from conftest import in_this_process as command
from small_start import small_model

import residuum
from residuum import runs
from residuum.cli import VERBS

SAID = re.compile(r"\bresiduum ((?:" + "|".join(verb.name for verb in VERBS) + r")\b[^\n)`]*)")
PLACEHOLDER = re.compile(r"[A-Z]+(\.[a-z]+)?(\.\.\.)?|OTHER=.*")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with every_sixth_digit():
        path = tmp_path_factory.mktemp("said") / "my runs" / "run 9"
        residuum.train("digits", epochs=1, batch_size=64, blocks=(1, 1, 1), out=str(path))
        yield path


def commands(text: str) -> list[list[str]]:
    return [shlex.split(found[1].split(", ")[0].split("; ")[0]) for found in SAID.finditer(text)]


def strays(words: list[str]) -> list[str]:
    """Return the words that are neither part of the verb, a flag or its plain value, a placeholder, nor there."""
    verb = next(name for n in (2, 1) if (name := " ".join(words[:n])) in {verb.name for verb in VERBS})
    rest = words[len(verb.split()) :]
    plain = {"onnx", "digits"}
    return [w for w in rest if not (w.startswith("--") or w in plain or PLACEHOLDER.fullmatch(w) or Path(w).exists())]


@pytest.mark.usefixtures("few_digits")
def test_what_is_said_of_a_run_with_a_space_in_its_name_can_be_typed(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped, nothing, odd = tmp_path / "run 2", tmp_path / "no model.safetensors", tmp_path / "it's"
    shutil.copytree(run, stopped)
    (stopped / runs.MODEL).unlink()
    nothing.write_bytes(b"what is this?")
    alone = small_model(tmp_path / "net of nobody.safetensors", ("a", "b", "c"), 8)
    asked: list[tuple[object, ...]] = [
        ("train", "digits", "--epochs", 1, "--batch-size", 64, "--blocks", 1, 1, 1, "--out", odd),
        ("grow", run, "--blocks", 1, 1, 2, "--out", tmp_path / "another net.safetensors"),
        ("train", "--resume", run),
        ("train", "--resume", stopped, "--epochs", 7),
        ("train", "digits", "--out", stopped),
        ("evaluate", stopped),
        ("import", run),
        ("evaluate", nothing, "digits"),
        ("bench", nothing),
        ("evaluate", alone),
        ("lesion", alone),
        ("export", run),
        ("serve", run, run),
        ("lesion", run, "--images", 5),
        ("data", "review", run),
    ]
    silent = []
    for words in asked:
        code, out, err = command(words, capsys, monkeypatch)
        said = commands("\n".join([*err.splitlines()[code == 0 :], out]))
        assert [strays(one) for one in said] == [[] for _ in said], (words, out, err)
        silent += [words[0]] if not said else []
    assert silent == []
