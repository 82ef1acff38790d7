"""What the benchmarks share: how they are asked, how figures are summed up, and how these come into results/."""

import inspect
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cyclopts import App, Parameter

from residuum import machine, runs
from residuum.files import read_json, write_json
from residuum.plain_data import flag
from residuum.records.codec import to_json

RESULTS = Path(__file__).parent.parent / "results"
Figures = dict[str, Any]


def asked(main: Callable[..., None]) -> None:
    """Call `main` with what the command line says: its parameters are the flags, its file's docstring the help."""
    how = Parameter(consume_multiple=True, negative=())
    about = inspect.getdoc(inspect.getmodule(main))
    app = App(help=about, help_format="plaintext", version_flags=[], default_parameter=how)
    app.default(main)
    app()


def flags(**given: Any) -> list[str]:
    """Return the words that ask for these settings; None and False ask for nothing."""
    there = {flag(name): value for name, value in given.items() if value is not None and value is not False}
    return [word for name, value in there.items() for word in ([name] if value is True else [name, str(value)])]


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long the call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def trained(data: str | Path, words: list[str], **environment: str) -> tuple[runs.RunRecord, float]:
    """Train once, in a process of its own; return what the run left, and the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        return _trained_in(Path(folder) / "run", ["train", str(data), *words, "--out"], environment)


def trained_or_gone_on(data: str | Path, words: list[str], run: Path) -> runs.RunRecord:
    """Train once, or go on with what was interrupted in the folder `run`, which stays."""
    return _trained_in(run, ["train", "--resume"] if run.exists() else ["train", str(data), *words, "--out"], {})[0]


def _trained_in(run: Path, words: list[str], environment: dict[str, str]) -> tuple[runs.RunRecord, float]:
    command = [sys.executable, "-m", "residuum", *words, str(run)]
    seconds = seconds_of(lambda: subprocess.run(command, env={**os.environ, **environment}, check=True))
    return runs.read_run(run), seconds


def ratios(ones: Iterable[float], others: Iterable[float]) -> list[float]:
    """Divide turn by turn."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def spread(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def mean_and_sd(values: list[float]) -> Figures:
    """Return the mean and the sample standard deviation, which one value alone has not."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}


def write(name: str, command: str, found: Figures) -> None:
    """Write figures measured just now, by this command and on this machine, as results/NAME.json."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"command": command, "environment": to_json(machine.environment()), **found})
    print(f"written to {path}")


def add_runs(
    name: str,
    about: Figures,
    cases: Iterable[Figures],
    one_run: Callable[..., Figures],
    summary: Callable[[list[Figures]], Figures],
) -> list[Figures]:
    """Do a run of each case, such as a seed, that results/NAME.json does not hold yet, and write it after each.

    What a run gives begins with its case. All runs are returned.
    """
    path = RESULTS / f"{name}.json"
    done: list[Figures] = read_json(path)["runs"] if path.exists() else []
    for case in cases:
        if any(case.items() <= run.items() for run in done):
            continue
        done.append({**case, **one_run(**case)})
        write_json(path, {**about, "summary": summary(done), "runs": done})
        print({key: value for key, value in done[-1].items() if not isinstance(value, dict)}, flush=True)
    return done
