"""The run folder: files whole or not at all, whatever call fails."""

import errno
import io
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import made_up_records as made
import pytest

from residuum import console, machine, runs
from residuum.apart import refuse_below
from residuum.console import say
from residuum.data import workers
from residuum.errors import UserError
from residuum.files import UNFINISHED, cannot_write, hold, replacing, write_json, write_whole
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
    wrong_place = OSError(errno.EROFS, "Read-only file system")
    assert str(cannot_write(tmp_path / "x", 9, wrong_place)).count("\n") == 1  # nothing is said of room
    assert cannot_write(tmp_path / "x", 9, wrong_place).mend == "choose another place with --out"
    (tmp_path / runs.METRICS).symlink_to("/dev/full")
    with pytest.raises(UserError, match="cannot write"):
        runs.append_metrics(tmp_path, Event(step=1, message="x" * 100_000))


def test_where_pictures_lie_that_are_links_is_not_written_to(tmp_path: Path) -> None:
    photos, kept = tmp_path / "photos", tmp_path / "kept"
    (photos / "train").mkdir(parents=True)
    for link, place in {photos / "cat": kept / "cat", photos / "train" / "dog": kept / "dog"}.items():
        place.mkdir(parents=True)
        link.symlink_to(place)
        with pytest.raises(UserError, match="lies in the folder of the pictures"):
            refuse_below(place / "run", str(photos))
    (photos / "up").symlink_to(tmp_path)  # which is not followed
    refuse_below(kept / "run", str(photos))


def test_a_file_is_no_run_and_is_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("")
    with pytest.raises(UserError, match="is not a run folder") as caught:
        runs.read_begun(file)
    assert (caught.value.why, caught.value.mend) == ("it is a file", "give the folder that `residuum train` printed")
    with pytest.raises(UserError, match="is not an empty folder") as caught:
        runs.new_run_folder(file, "name")
    assert caught.value.mend == "choose another --out"


def test_of_a_file_in_a_run_the_run_is_named(tmp_path: Path) -> None:
    (tmp_path / runs.SETTINGS).write_text("{}")
    with pytest.raises(UserError) as caught:
        runs.read_begun(tmp_path / runs.MODEL)
    assert caught.value.mend == f"give {tmp_path}"


def test_metrics_survive_a_cut_off_last_line(tmp_path: Path) -> None:
    for at in (1, 2, 3):
        runs.append_metrics(tmp_path, made.step(at))
    path = tmp_path / runs.METRICS
    whole = path.read_bytes()
    for cut in ('{"kind": "st', '{"kind": "event", "step": 4, "message": "é', "\0" * 30):
        path.write_bytes(whole + cut.encode()[:-1])  # of é one byte is left
        assert [line.step for line in runs.read_metrics(tmp_path)] == [1, 2, 3]
    runs.cut_metrics(tmp_path, 2, warn=pytest.fail)
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


def test_going_on_leaves_out_lines_that_cannot_be_read(tmp_path: Path) -> None:
    for at in (1, 2, 3):
        runs.append_metrics(tmp_path, made.step(at))
    path = tmp_path / runs.METRICS
    first, second, third = path.read_bytes().splitlines(keepends=True)
    nulled = second.replace(b'"step": 2', b'"step": null')
    path.write_bytes(b"".join((b"\xff\n", first, nulled, b"\0\n", b"\n", second, third)))
    said = list[str]()
    runs.cut_metrics(tmp_path, 2, said.append)
    assert path.read_bytes() == first + second
    assert [text.split()[0] for text in said] == ["4"]


def test_a_line_that_cannot_be_written_leaves_no_half_of_itself(tmp_path: Path) -> None:
    import resource

    runs.append_metrics(tmp_path, made.step(1))
    path = tmp_path / runs.METRICS
    before, soft = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, soft[1]))  # as on a disk with room for ten bytes
    try:
        with pytest.raises(UserError, match="cannot write"):
            runs.append_metrics(tmp_path, made.step(2), made.step(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before


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


# --- one writer ----------------------------------------------------------------------------------


HERE = socket.gethostname()
NOBODYS = {
    "empty": "",
    "no text": "\xff\xfe",
    "no lock": "[]",
    "no process": f'{{"pid": 0, "host": "{HERE}"}}',
    "a process that is gone": f'{{"pid": 4194309, "host": "{HERE}"}}',
    "a number that another process got": f'{{"pid": 1, "host": "{HERE}", "held": true}}',
    "ours, of an earlier start": f'{{"pid": {os.getpid()}, "host": "{HERE}"}}',
    "another container's": '{"pid": 1, "host": "a machine that is gone"}',
    "deep": "[" * 4000,
}


@pytest.mark.parametrize("left", NOBODYS)
def test_a_lock_that_nobody_holds_is_taken_over(left: str, tmp_path: Path) -> None:
    (tmp_path / runs.LOCK).write_text(NOBODYS[left], encoding="latin-1")
    with runs.only_writer(tmp_path):
        assert json.loads((tmp_path / runs.LOCK).read_text()) == {"pid": os.getpid(), "host": HERE, "held": True}
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    with runs.only_writer(tmp_path):
        assert runs.is_held(tmp_path)
        with pytest.raises(UserError, match="another process") as error, runs.only_writer(tmp_path):
            pass
        assert str(os.getpid()) in error.value.why
    assert not runs.is_held(tmp_path)
    assert not runs.is_held(tmp_path / "none")
    (tmp_path / runs.LOCK).write_text(f'{{"pid": {os.getppid()}, "host": "{HERE}"}}')  # an older version at work
    with pytest.raises(UserError, match="another process"), runs.only_writer(tmp_path):
        pass


def test_a_run_without_a_model_is_waited_for_or_gone_on_with(tmp_path: Path) -> None:
    write_json(tmp_path / runs.SETTINGS, {})
    with pytest.raises(UserError, match="has not finished") as error:
        runs.model_path(tmp_path)
    assert error.value.mend == f"residuum train --resume {tmp_path}"
    with runs.only_writer(tmp_path), pytest.raises(UserError, match="has not finished") as error:
        runs.model_path(tmp_path)
    assert error.value.mend == "wait: it is being trained"  # --resume would be refused


def test_a_second_start_waits_for_the_workers_of_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / runs.LOCK).write_text(f'{{"pid": 4194309, "host": "{HERE}", "held": true}}')
    workers = os.open(tmp_path / runs.LOCK, os.O_RDWR)
    assert hold(workers)
    threading.Timer(0.05, os.close, (workers,)).start()
    with runs.only_writer(tmp_path):
        pass


def test_what_is_no_file_is_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / runs.LOCK
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    for make, unmake in (
        (lock.mkdir, lock.rmdir),
        (lambda: lock.symlink_to(theirs), lock.unlink),
        (lambda: os.mkfifo(lock), lock.unlink),
    ):
        make()
        with pytest.raises(UserError, match=r"lock\.json"), runs.only_writer(tmp_path):
            pass
        unmake()
    assert theirs.read_text() == "precious"


def test_what_a_killed_process_had_begun_to_write_is_cleared_away(tmp_path: Path) -> None:
    with replacing(tmp_path / "one") as file:
        file.write(b"1")
        (left,) = tmp_path.glob(f"{UNFINISHED}*")
        (tmp_path / f"{left.name}x").touch()  # such a file that nobody holds
        (download := tmp_path / f"{UNFINISHED}download").touch()  # to be gone on with
        write_whole(tmp_path / "two", b"2")
        assert {path.name for path in tmp_path.iterdir()} == {left.name, download.name, "two"}
    assert (tmp_path / "one").read_bytes() == b"1"
    with runs.only_writer(tmp_path):
        assert not download.exists()


def test_writers_in_one_folder_do_not_take_each_others_files_for_left_ones(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with replacing(tmp_path / str(number % 7)) as file:
            file.write(b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert {path.name for path in tmp_path.iterdir()} == set("0123456")


def test_a_folder_in_which_a_run_had_only_begun_is_taken(tmp_path: Path) -> None:
    for name in (runs.LOCK, runs.DATA, runs.START, f"{UNFINISHED}held-x"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="before it had begun") as error:
        runs.read_run(tmp_path)
    assert "start it again" in error.value.mend
    assert runs.new_run_folder(tmp_path, "x") == tmp_path
    (tmp_path / "notes.txt").touch()  # somebody's own
    with pytest.raises(UserError, match="not an empty folder"):
        runs.new_run_folder(tmp_path, "x")


def test_what_a_killed_export_has_left_counts_as_nothing(tmp_path: Path) -> None:
    (left := tmp_path / f"{UNFINISHED}export").mkdir()
    (left / "model.onnx").touch()
    assert runs.new_folder(tmp_path, "x") == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [runs.DATA, runs.ENVIRONMENT, runs.METRICS, runs.EVALUATION, runs.MISTAKES])
def test_what_is_no_file_is_one_clear_error(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / runs.SETTINGS, made.settings_json())
    os.mkfifo(tmp_path / name)  # to read it would wait for ever
    with pytest.raises(UserError, match="not a file"):
        runs.read_run(tmp_path)
    (tmp_path / name).unlink()
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(UserError, match="too large"):
        runs.read_run(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")
def test_workers_end_with_a_process_that_is_killed() -> None:
    ended, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        multiprocessing.get_context("fork").Process(target=_work).start()
        os.write(held, b"!")
        time.sleep(60)
        os._exit(0)
    os.close(held)
    assert os.read(ended, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert select.select([ended], [], [], 20)[0]
    assert os.read(ended, 1) == b""  # nobody holds the other end any more
    os.close(ended)


def _work() -> None:
    workers.quiet_worker(0)
    for number in (signal.SIGTERM, signal.SIGHUP):  # to the whole group: the main process answers it
        os.kill(os.getpid(), number)
    time.sleep(60)


def test_a_worker_ended_from_outside_is_one_clear_error() -> None:
    def ended() -> Iterator[int]:
        yield 1
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that…\nmore")

    served = workers.from_workers(ended())
    assert next(served) == 1
    with pytest.raises(UserError, match="from outside") as error:
        next(served)
    assert "Bus error" in error.value.why


# --- what is said --------------------------------------------------------------------------------


def test_nothing_that_is_said_ends_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = io.StringIO()
    closed.close()
    with Path("/dev/full").open("wb", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as full:
        for stream in (closed, full, None):
            monkeypatch.setattr(sys, "stderr", stream)
            say("words")
            assert console.forgiving_stderr().write("words") == 5
            console.forgiving_stderr().flush()
    assert capsys.readouterr().out == ""  # print() would have taken stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")
def test_no_file_becomes_stderr_where_that_was_closed(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            for number in range(3):
                os.close(number)
            sys.stdout = sys.stderr = None  # as Python begins then
            console.secure_streams()
            code = 0 if os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR) > 2 and sys.stderr.write("a") else 1
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
