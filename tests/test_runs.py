"""The run folder: files whole or not at all, whatever call fails."""

import errno
import os
from pathlib import Path

import made_up_records as made
import pytest

from residuum import machine, runs
from residuum.errors import UserError
from residuum.files import write_json, write_whole
from residuum.records.codec import line
from residuum.records.run import Event


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_the_old_file_stands_when_writing_the_new_one_fails(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(UserError, match="No space left") as error:
        write_whole(path, b"new" * 1_000_000)
    assert "3.0 MB" in error.value.why
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_whole(Path("/dev/full/x"), b"x")
    (tmp_path / runs.METRICS).symlink_to("/dev/full")
    with pytest.raises(UserError, match="cannot write"):
        runs.append_metrics(tmp_path, Event(step=1, message="x" * 100_000))


def test_metrics_survive_a_cut_off_last_line(tmp_path: Path) -> None:
    for at in (1, 2, 3):
        runs.append_metrics(tmp_path, made.step(at))
    path = tmp_path / runs.METRICS
    whole = path.read_bytes()
    for cut in ('{"kind": "st', '{"kind": "event", "step": 4, "message": "é', "\0" * 30):
        path.write_bytes(whole + cut.encode()[:-1])  # of é one byte is left
        assert [line.step for line in runs.read_metrics(tmp_path)] == [1, 2, 3]
    runs.cut_metrics(tmp_path, 2)
    assert [line.step for line in runs.read_metrics(tmp_path)] == [1, 2]
    assert whole.startswith(path.read_bytes())  # to the byte
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))  # nothing but the line's end is missing
    assert [line.step for line in runs.read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"kind": "other"}', '{"kind": "step"}', "[" * 100_000])
def test_another_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    for at in (1, 2):
        runs.append_metrics(tmp_path, made.step(at))
    path = tmp_path / runs.METRICS
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{damage}\n{second}\n")
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl"):
        runs.read_metrics(tmp_path)


def test_a_run_folder_without_its_later_files_can_be_read(tmp_path: Path) -> None:
    write_json(tmp_path / runs.SETTINGS, made.settings_json())
    record = runs.read_run(tmp_path)
    assert (record.evaluation, record.mistakes, record.metrics) == (None, [], [])
    assert (record.environment, record.data) == (None, None)
    (tmp_path / runs.SETTINGS).write_text("{")
    with pytest.raises(UserError, match="not a JSON"):
        runs.read_run(tmp_path)
    with pytest.raises(UserError, match="not a run folder"):
        runs.read_run(tmp_path / "none")


def test_the_environment_names_versions_and_hardware_but_no_place_or_person() -> None:
    described = machine.environment()
    assert described.torch
    assert described.cores >= 1
    text = line(described)
    assert str(Path.home()) not in text
    assert os.uname().nodename not in text


def test_two_runs_of_the_same_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {runs.new_run_folder(None, "x") for _ in range(3)}
    assert len(folders) == 3
