"""Every odd and damaged input of the corpus by every verb that takes it: no traceback, no hang, nothing misread.

`make test` tries the few that say most; `make test-slow` all. FAULTS names those that are known to go wrong.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from random import Random
from typing import Any

import pytest

from corpus import folders, models, pictures, runs, tables, weights
from corpus.case import Case, Said, command, snapshot, wrong_with
from corpus.faults import FAULTS
from corpus.things import COLOURS, OLD, colours_model

CASES = [case for room in (pictures, folders, tables, weights, models, runs) for case in room.cases()]
SMALL = ["--threads", "1"]


def _fault(name: str, verb: str) -> str:
    return next((why for (case, by), why in FAULTS.items() if by == verb and fnmatchcase(name, _literal(case))), "")


def _literal(pattern: str) -> str:
    """As it is, but for a "*" at its end."""
    return escape(pattern.removesuffix("*")) + "*" * pattern.endswith("*")


def _all() -> Iterator[Any]:
    for case in CASES:
        for verb in case.must:
            marks = [] if verb in case.quick else [pytest.mark.slow]
            if fault := _fault(case.name, verb):
                marks.append(pytest.mark.xfail(strict=True, reason=fault))
            yield pytest.param(case, verb, id=f"{verb}: {case.name}", marks=marks)


class Place:
    """Where a case is made, tried and left: the model in `given`, and the folder the command runs in."""

    def __init__(self, folder: Path, capture: Any) -> None:
        self.model, self.given, self.here, self.capture = folder, folder / "given", folder / "here", capture
        for one in (self.given, self.here):
            one.mkdir()
        self.model = colours_model(folder)

    def run(self, *words: object) -> Said:
        return command(words, self.capture)


def photos_above(path: Path) -> Path:
    """The data set that a picture lies in, or the data set itself."""
    return next((parent for parent in path.parents if parent.name == "photos"), path)


def _predict(at: Place, given: Path) -> Said:
    return at.run("predict", at.model, "--json", "--", given)


def _predict_folder(at: Place, given: Path) -> Said:
    return at.run("predict", at.model, photos_above(given), "--json")


def _check(at: Place, given: Path) -> Said:
    return at.run("data", "check", photos_above(given))


def _evaluate(at: Place, given: Path) -> Said:
    return at.run("evaluate", at.model, photos_above(given), "--json", "--workers", "0", *SMALL)


def _train(at: Place, given: Path, *more: str) -> Said:
    words = ["train", photos_above(given), "--start", at.model, "--out", at.here / "run", "--workers", "0"]
    return at.run(*words, *SMALL, *more)


def _train_skipping(at: Place, given: Path) -> Said:
    return _train(at, given, "--skip-broken")


def _train_within(at: Place, given: Path) -> Said:
    os.chdir(given)
    return at.run("train", ".", "--start", at.model, "--workers", "0", *SMALL)


def _report(at: Place, given: Path) -> Said:
    assert _train(at, given).code == 0
    return at.run("report", at.here / "run")


def _predict_by_run(at: Place, given: Path) -> Said:
    assert _train(at, given).code == 0
    return at.run("predict", at.here / "run", given)


def _serve(at: Place, given: Path) -> Said:
    """Ask the server's own application, without a network."""
    testclient = pytest.importorskip("starlette.testclient", reason="needs the extra serve")
    from residuum.outward_settings import ServeSettings
    from residuum.serving.app import app
    from residuum.serving.service import open_service

    with testclient.TestClient(app(open_service(ServeSettings((at.model,), threads=1))), "http://127.0.0.1") as client:
        content = given.read_bytes()
        reply = client.post("/v1/predict", content=content, headers={"content-type": "image/png"})
    assert reply.status_code < 500, reply.text
    return Said(0 if reply.status_code == 200 else 2, reply.text, "")


def _import(at: Place, given: Path) -> Said:
    """Import, and let what came of it answer a red picture."""
    (at.here / "classes.txt").write_text(weights.CLASSES)
    told = ["--classes", at.here / "classes.txt", "--mean", "0", "0", "0", "--std", "1", "1", "1", "--image-size", "16"]
    said = at.run("import", given, *told, "--resize-to", "16", "--out", at.here / "net.safetensors")
    assert not (at.here / "trap-was-sprung").exists()
    if said.code:
        return said
    (at.here / "picture.png").write_bytes(pictures.png("red"))
    return at.run("predict", at.here / "net.safetensors", at.here / "picture.png", "--json")


def _import_bare(at: Place, given: Path) -> Said:
    """Without a word on it; what is written answers, or says why it cannot."""
    said = at.run("import", given, "--out", at.here / "net.safetensors")
    (at.here / "picture.png").write_bytes(pictures.png("red"))
    if said.code == 0:
        answer = at.run("predict", at.here / "net.safetensors", at.here / "picture.png")
        assert answer.code in (0, 2)
        return Said(0, said.out + answer.out, said.err + answer.err)
    return said


def _import_to_start(at: Place, given: Path) -> Said:
    said = at.run("import", given, "--out", at.here / "net.safetensors")
    if said.code:
        return said
    photos = pictures.photos(at.here / "pictures", tuple(COLOURS), 3)
    return at.run("train", photos, "--start", at.here / "net.safetensors", "--out", at.here / "run", *SMALL)


def _red(at: Place) -> Path:
    (at.here / "picture.png").write_bytes(pictures.png("red", 8, 8))
    return at.here / "picture.png"


def _six_colours(at: Place) -> Path:
    return pictures.photos(at.here / "pictures", tuple(COLOURS), 2)


def _by(*words: object, json: bool = False) -> Callable[[Place, Path], Said]:
    """A verb of a model or run, with these words behind."""
    verb, *more = words
    return lambda at, given: at.run(*str(verb).split(), given, *more, *(["--json"] if json else []))


def _predict_with(at: Place, given: Path) -> Said:
    return at.run("predict", given, _red(at), "--json")


def _evaluate_with(at: Place, given: Path) -> Said:
    return at.run("evaluate", given, _six_colours(at), "--json", "--workers", "0", *SMALL)


def _lesion(at: Place, given: Path) -> Said:
    return at.run("lesion", given, _six_colours(at), *SMALL)


def _train_from(at: Place, given: Path) -> Said:
    words = ["train", _six_colours(at), "--start", given, "--out", at.here / "run", "--epochs", "1", "--workers", "0"]
    return at.run(*words, *SMALL)


def _serve_from(_: Place, given: Path) -> Said:
    """Open what the server would serve."""
    pytest.importorskip("starlette", reason="needs the extra serve")
    from residuum.errors import UserError
    from residuum.outward_settings import ServeSettings
    from residuum.serving.service import open_service

    try:
        open_service(ServeSettings((given,), threads=1))
    except UserError as error:
        return Said(2, "", f"error: {error}")
    return Said(0, "", "")


def _compare(at: Place, given: Path) -> Said:
    return at.run("report", given, OLD / "finished", "--out", at.here / "report.html")


def _resume(at: Place, given: Path) -> Said:
    return at.run("train", "--resume", given)


def _config(at: Place, given: Path) -> Said:
    return at.run("train", _six_colours(at), "--config", given, "--out", at.here / "run", *SMALL)


WRITES = {"resume", "report", "review", "card", "evaluate run"}
"""Verbs that write into the run they are given."""
VERBS: dict[str, Callable[[Place, Path], Said]] = {
    "predict": _predict,
    "predict folder": _predict_folder,
    "data check": _check,
    "evaluate": _evaluate,
    "train": _train,
    "train skipping": _train_skipping,
    "train within": _train_within,
    "train and report": _report,
    "train and predict": _predict_by_run,
    "serve": _serve,
    "import": _import,
    "import bare": _import_bare,
    "import to start": _import_to_start,
    "predict with": _predict_with,
    "predict by": _predict_with,
    "predict red": _predict_with,
    "evaluate with": _evaluate_with,
    "evaluate red": _evaluate_with,
    "evaluate run": _by("evaluate", *SMALL, json=True),
    "judge": _by("evaluate", *SMALL),
    "lesion": _lesion,
    "lesion its own": _by("lesion", *SMALL),
    "grow": _by("grow", "--blocks", "2", "--blocks", "3", "--out", "grown.safetensors"),
    "export-weights": _by("export-weights"),
    "card": _by("card"),
    "review": _by("data review"),
    "report": _by("report"),
    "compare": _compare,
    "train from": _train_from,
    "serve from": _serve_from,
    "resume": _resume,
    "config": _config,
}


@contextmanager
def ticking(seconds: int) -> Iterator[None]:
    """Fail what takes longer; the time in which this process itself is stopped does not count."""
    left = iter(range(seconds))

    def tick(*_: object) -> None:
        if next(left, None) is None:
            pytest.fail(f"it hangs: {seconds} s")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.timeout(0)  # `ticking` watches
@pytest.mark.parametrize(("case", "verb"), list(_all()))
def test_what_must_happen_happens(
    case: Case, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at = Place(tmp_path, capfd)
    monkeypatch.chdir(at.here)
    given = case.make(at.given, Random(case.name))
    data = given if given.is_dir() else at.given
    before = snapshot(data)
    with ticking(30):
        said = VERBS[verb](at, given)
    assert not wrong_with(said, case.must[verb], given.name), f"{said.code}\n{said.out}\n{said.err}"
    if verb not in WRITES:
        assert snapshot(data) == before


def test_each_case_has_a_name_of_its_own_and_the_corpus_is_large() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 400
    known = {(case.name, verb) for case in CASES for verb in case.must}
    assert all(any(verb == by and fnmatchcase(name, _literal(case)) for name, verb in known) for case, by in FAULTS)
