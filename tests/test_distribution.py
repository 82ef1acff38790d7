"""What is released: wheel and source archive hold what they should and nothing else, and the wheel works alone."""

import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from residuum.version import NAME, VERSION

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
STEM = f"{NAME.replace('-', '_')}-{VERSION}"
RELEASED = ("src/", "tests/", "docs/", "benchmarks/", "results/")
BESIDE = {"README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "LICENSE"}


def tracked() -> set[str]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(found.split("\0")) - {""}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both archives, built from what is committed and nothing else."""
    pytest.importorskip("hatchling")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = f"import hatchling.build as b; b.build_sdist({str(out)!r}); b.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, stdout=subprocess.DEVNULL)
    return out


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / f"{STEM}-py3-none-any.whl") as wheel:
        inside = set(wheel.namelist())
    about = {f"{STEM}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    package = {name.removeprefix("src/") for name in tracked() if name.startswith("src/residuum/")}
    assert inside == package | about | {f"{STEM}.dist-info/licenses/LICENSE"}


def test_the_source_archive_holds_what_builds_and_tests_it_and_nothing_else(built: Path) -> None:
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        inside = {member.name.removeprefix(f"{STEM}/") for member in archive if member.isfile()}
    released = {name for name in tracked() if name.startswith(RELEASED) or name in BESIDE}
    assert inside - {".gitignore"} == released | {"Makefile", "pyproject.toml", "PKG-INFO"}


# --- alone ----------------------------------------------------------------------------------------


def needed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield a distribution and all that it declares to need here, with these extras, again and again."""
    from packaging.requirements import Requirement

    yield name
    for line in distribution(name).requires or ():
        one = Requirement(line)
        wanted = any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)) if one.marker else True
        if wanted:
            yield from needed(one.name, frozenset(one.extras))


def link_what_is_declared(site: Path, wheel: Path, extras: frozenset[str]) -> None:
    """Put into an empty environment the installed packages that the wheel's own metadata asks for, by links."""
    from packaging.metadata import Metadata

    with zipfile.ZipFile(wheel) as file:
        declared = Metadata.from_email(file.read(f"{STEM}.dist-info/METADATA"), validate=False).requires_dist or []
    names = set[str]()
    for one in declared:
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            names |= set(needed(one.name, frozenset(one.extras)))
    for name in names:
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))


@pytest.fixture(scope="module")
def alone(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel, and what it declares with the extras serve and onnx."""
    home, wheel = tmp_path_factory.mktemp("alone"), built / f"{STEM}-py3-none-any.whl"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    link_what_is_declared(site, wheel, frozenset({"serve", "onnx"}))
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    return home / "bin"


def test_the_wheel_works_in_an_environment_of_its_own(alone: Path, tmp_path: Path) -> None:
    from PIL import Image

    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "RESIDUUM_CACHE": str(tmp_path / "cache")}

    def called(*words: str) -> None:
        subprocess.run([str(alone / "residuum"), *words], cwd=tmp_path, env=environment, check=True)

    called("train", "digits", "--epochs", "1", "--out", "run")
    called("report", "run")
    called("export", "run", "--to", "onnx", "--out", "exported")
    Image.new("L", (8, 8), 128).save(tmp_path / "scan.png")
    command = [str(alone / "residuum"), "serve", "run", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        said = (re.search(r"listening on (\S+)", line) for line in iter(server.stderr.readline, ""))
        address = next(found[1] for found in said if found)
        asked = urllib.request.Request(
            f"{address}/v1/predict", (tmp_path / "scan.png").read_bytes(), {"Content-Type": "image/png"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as reply:
                assert b'"answers"' in reply.read()
        finally:
            server.terminate()
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "exported" / "parity.json").exists()
