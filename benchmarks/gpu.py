"""What a GPU gives, by one command of at most eight minutes: its tests, speed, recipe fast, the paper's own runs.

    python benchmarks/gpu.py CIFAR10                       its folder, or a folder of its parts
    python benchmarks/gpu.py CIFAR10 --wheels WHEELS       install first, from that folder alone, what is missing
    python benchmarks/gpu.py CIFAR10 --split PARTS         cut it into parts of under 50 MiB, sent one by one
    python benchmarks/gpu.py CIFAR10 --only paper --minutes 11 --nets resnet56 plain56        a second session
    python benchmarks/gpu.py digits --small                that everything runs, on a processor, in a minute or two

It needs the repository, torch, and of residuum's needs those in NEEDED. Each part (gpu_parts.py; the tests are
tests/test_gpu.py) is a process with a share of the time and writes every result as soon as it is there, under
results/gpu-*.json: an interruption, or a fault on the device, loses one.
"""

import argparse
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEEDED = ("cyclopts", "platformdirs", "simplejpeg", "msgspec")
"""What machines that have torch may lack; the rest (numpy, pillow, pyarrow, safetensors and so on) comes with it."""
SECONDS = {"tests": 110.0, "speed": 150.0, "fast": 70.0, "paper": math.inf}
"""What each part may take at most; time that one leaves is the next one's."""
PART_BYTES = 48 * 1024**2


def split(data: Path, parts: Path) -> None:
    """Write a folder into `parts` as a tar archive, cut into pieces that say how many there are."""
    parts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            archive.add(data, arcname=data.name)
        count = -(-whole.tell() // PART_BYTES)
        whole.seek(0)
        for number in range(1, count + 1):
            (parts / f"{data.name}.tar.part-{number}-of-{count}").write_bytes(whole.read(PART_BYTES))


def joined(data: str, place: Path) -> str:
    """Return the data, put together under `place` if they come in parts."""
    parts = sorted(Path(data).glob("*.tar.part-*-of-*"), key=lambda part: int(part.name.split("-")[-3]))
    if not parts:
        return data
    name, count = parts[0].name.split(".tar.part-")[0], int(parts[0].name.split("-")[-1])
    if [part.name for part in parts] != [f"{name}.tar.part-{n}-of-{count}" for n in range(1, count + 1)]:
        sys.exit(f"{data} holds {len(parts)} parts, not the {count} of one archive: {', '.join(p.name for p in parts)}")
    with tempfile.TemporaryFile(dir=place) as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            archive.extractall(place, filter="data")
    return str(place / name)


def install(wheels: Path) -> None:
    """Install what is missing from a folder of wheels, and from nowhere else."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
        subprocess.run([*pip, *missing], check=True)


def one_part(name: str, data: str, seconds: float, options: argparse.Namespace) -> str:
    """Run a part in a process of its own, and end it when its time is over; return how it ended."""
    words = [str(ROOT / "benchmarks" / "gpu_parts.py"), name, data, "--seconds", f"{seconds - 5:.0f}"]
    words += ["--results", str(options.results), *(["--small"] if options.small else [])]
    words += ["--nets", *options.nets] if options.nets else []
    if name == "tests":
        words = ["-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", str(ROOT / "tests" / "test_gpu.py")]
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen([sys.executable, *words], env={**os.environ, "PYTHONPATH": paths})
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"ended after {seconds:.0f} s, its time"
    return "done" if code == 0 else f"failed, exit code {code}"


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder with CIFAR-10's Parquet files, or with its parts")
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--split", type=Path, metavar="PARTS")
    parser.add_argument("--only", choices=SECONDS, nargs="+", default=list(SECONDS))
    parser.add_argument("--minutes", type=float, default=7.8, help="stop after so many in all")
    parser.add_argument("--nets", nargs="+", default=[], help="time and train these alone")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.split:
        split(Path(options.data), options.split)
        return
    if options.wheels:
        install(options.wheels)
    ends = {}
    with tempfile.TemporaryDirectory() as place:
        data = joined(options.data, Path(place))
        for name in options.only:
            seconds = min(SECONDS[name], 60 * options.minutes - (time.monotonic() - started))
            ends[name] = one_part(name, data, seconds, options) if seconds > 15 else "no time was left"
            print(f"{name}: {ends[name]}, {time.monotonic() - started:.0f} s since the start", flush=True)
    sys.exit(any(end != "done" for end in ends.values()))


if __name__ == "__main__":
    main()
