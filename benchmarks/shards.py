"""Training input from shards beside that from a folder: throughput, memory, and what an order costs a cold disk.

SCRATCH is filled with 100,000 small pictures and photographs of 5 GB, as a folder of hard links to few files, which the
system keeps in memory, so that the folder is read as fast as any; as `data pack` writes them; and as tar shards. One
kind of shards lies there at a time, so 6 GB must be free. What is there at the end is removed.

- photographs and small: images per second of whole training batches, crops of one size, by two processes that decode,
  of three rounds.
- memory: anonymous memory of all processes together (Pss_Anon), above what they have before the data are opened, over
  an epoch.
- cold: MB per second of reading without decoding, after the system has been told to forget the files, in either order.
"""

import io
import json
import os
import shutil
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from figures import asked, ratios, spread, write
from PIL import Image

from residuum.data.batches import Loader, TrainingPlan, epoch_order
from residuum.data.contract import Split
from residuum.data.open import open_data
from residuum.data.pack import pack
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from residuum.recipe import Augmentation
from residuum.settings import PackSettings

WORKERS, ROUNDS, SHARD = 2, 3, 10_000
SEEN = {"photographs": 3_000, "small": 20_000}
"""Pictures of a round."""
SHAPES = {"photographs": (500, 375, 64), "small": (72, 72, 512)}
"""Width, height, and how many different ones."""
SIZE = {"photographs": 224, "small": 72}
CLASSES = 10
AREA = 0.625
"""Share of each picture that is shown: one for all, so that none costs more to decode than another."""
STATISTICS = (np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))


def made(kind: str) -> list[bytes]:
    """Draw pictures whose files are as large as photographs' are: soft shapes, and noise."""
    width, height, count = SHAPES[kind]
    chance, files = np.random.default_rng(0), []
    for _ in range(count):
        soft = Image.fromarray(chance.integers(0, 256, (height // 24, width // 24, 3), np.uint8))
        soft = soft.resize((width, height), Image.Resampling.BICUBIC)
        noise = chance.normal(0, 12, (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    return files


def make_folder(kind: str, root: Path, count: int) -> Path:
    files = made(kind)
    (root / "files").mkdir(parents=True)
    for number, content in enumerate(files):
        (root / "files" / str(number)).write_bytes(content)
    folder = root / "folder"
    for number in range(count):
        one = folder / f"class{number % CLASSES}" / f"{number:07}.jpg"
        one.parent.mkdir(parents=True, exist_ok=True)
        os.link(root / "files" / str(number % len(files)), one)
    return folder


def make_tars(folder: Path, out: Path) -> None:
    out.mkdir()
    files = sorted(folder.glob("*/*"), key=lambda path: path.name)
    for start in range(0, len(files), SHARD):
        with tarfile.open(out / f"train-{start // SHARD:06}.tar", "w") as shard:
            for path in files[start : start + SHARD]:
                for suffix, content in ((".jpg", path.read_bytes()), (".cls", path.parent.name[-1:].encode())):
                    member = tarfile.TarInfo(path.stem + suffix)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))


def loader_of(place: Path, kind: str) -> Loader:
    split: Split = open_data(str(place)).train
    size = SIZE[kind]
    how = Preprocessing(size, round(size * 256 / 224), *STATISTICS)
    return Loader(
        split, how, None, torch.device("cpu"), WORKERS, shuffle="whole" if place.name == "folder" else "windows"
    )


def plan_of(loader: Loader, batch: int, start: int, stop: int) -> TrainingPlan:
    shuffle = epoch_order(loader.shuffle, loader.split.pictures, batch)
    return TrainingPlan(0, len(loader.split), batch, start, stop, shuffle=shuffle)


def served(loader: Loader, pictures: int, epoch: int) -> float:
    """Serve so many pictures as training sees them; return how many a second, the start of processes left out."""
    batch = 64
    first = epoch * (len(loader.split) // batch)
    steps = min(pictures // batch, len(loader.split) // batch)
    batches = loader.batches(plan_of(loader, batch, first, first + steps), Augmentation(area=(AREA, AREA)))
    for _ in islice(batches, min(4, steps // 2)):
        pass
    started = time.perf_counter()
    seen = sum(len(one.rows) for one in batches)
    return seen / (time.perf_counter() - started)


# --- memory --------------------------------------------------------------------------------------


def anonymous() -> int:
    """Return the anonymous memory of this process and its children, in bytes; shared pages are counted once."""
    processes = [os.getpid(), *map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())]
    total = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss_Anon")) * 1024
    return total


@contextmanager
def peak() -> Iterator[list[int]]:
    """Watch the memory from time to time; the list has the largest so far."""
    found, ended = [anonymous()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            found[0] = max(found[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def memory_of(place: Path, kind: str, before: int) -> float:
    """Return the MiB that an epoch takes, with opening the data."""
    with peak() as found:
        loader = loader_of(place, kind)
        served(loader, len(loader.split), 0)
    return round((found[0] - before) / 2**20, 1)


# --- a cold disk ---------------------------------------------------------------------------------


def cold(loader: Loader, megabytes: int = 500) -> float:
    """Return the MB a second that are read in the order of an epoch when the system has forgotten the files."""
    pictures = loader.split.pictures
    for path in pictures.files() or ():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    plan = plan_of(loader, 64, 0, len(loader.split) // 64)
    started, size = time.perf_counter(), 0
    for _, rows in plan:
        size += sum(len(pictures.encoded(int(row))) for row in rows)
        if size > megabytes * 10**6:
            break
    return size / 1e6 / (time.perf_counter() - started)


def measure(kind: str, scratch: Path, count: int, before: int) -> dict[str, object]:
    folder = make_folder(kind, scratch / kind, count)
    found: dict[str, object] = {"pictures": count}
    for name in ("pack", "tar"):
        place = scratch / kind / name
        if name == "pack":
            packed = pack(PackSettings(str(folder), str(place)))
            found |= {"shards": packed.shards, "bytes": packed.bytes}
        else:
            make_tars(folder, place)
        loaders = {"folder": loader_of(folder, kind), name: loader_of(place, kind)}
        speeds: dict[str, list[float]] = {one: [] for one in loaders}
        for turn in range(ROUNDS):
            for one, loader in loaders.items():
                speeds[one].append(served(loader, SEEN[kind], turn))
            print(kind, {one: round(values[-1]) for one, values in speeds.items()}, flush=True)
        found[name] = {
            "images_per_s": spread(speeds[name]),
            "folder_images_per_s": spread(speeds["folder"]),
            "ratio_to_folder": spread(ratios(speeds[name], speeds["folder"])),
        }
        if kind == "photographs":
            for shuffle in ("windows", "whole"):
                loader = Loader(**{**vars(loaders[name]), "shuffle": shuffle})
                found[name][f"cold_{shuffle}_mb_per_s"] = round(cold(loader), 1)  # type: ignore[index]
        del loaders
        if name == "pack":
            found["mib_over_an_epoch"] = memory_of(place, kind, before)
        print(json.dumps(found[name], indent=1), flush=True)
        shutil.rmtree(place)
    return found


def main(scratch: Path, *, gigabytes: float = 5.0, small: int = 100_000) -> None:
    before = anonymous()
    os.environ["RESIDUUM_CACHE"] = str(scratch / "cache")
    torch.set_num_threads(1)
    mean = sum(map(len, made("photographs"))) / SHAPES["photographs"][2]
    scratch.mkdir(parents=True)
    try:
        counts = {"small": small, "photographs": int(gigabytes * 1e9 / mean)}
        found = {kind: measure(kind, scratch, count, before) for kind, count in counts.items()}
    finally:
        shutil.rmtree(scratch)
    print(json.dumps(found, indent=1))
    words = " ".join(sys.argv[2:])
    how = {"workers": WORKERS, "rounds": ROUNDS, "seed": 0}
    write("shards", f"python benchmarks/shards.py SCRATCH {words}".strip(), how | found)


if __name__ == "__main__":
    asked(main)
