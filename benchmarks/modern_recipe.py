"""How fast is the modern recipe (rsb_a3) on photographs, against timm's train script, and what do both learn?

    python benchmarks/modern_recipe.py ../shared/data/ants-bees/train
    python benchmarks/modern_recipe.py ../shared/data/ants-bees/train --processes 2

Each side in processes of its own, in turn, for a seed each: our command as it is, and what timm's train.py does (its
dataset, loader and workers, RandAugment, mixing in the loader, net, LAMB, loss, schedule and loop; its script is not in
its package) with the same augmentations, batch and course, in the precision (bfloat16 by autocast) and layout in which
torch alone is fastest on this machine, as residuum/fastest.py times it. BN is each process's own, as timm's is by
default. The first pass of each run is not timed.

Writes results/modern-recipe.json, or results/modern-recipe-2-processes.json. Run it on an otherwise idle machine.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from figures import Figures, asked, flags, ratios, spread, write

from residuum import fastest, runs

SIDE, SEEN = 224, 160
"""In pixels: of what is judged, and of what A3 trains on."""
ORDERS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}


def started(processes: int, *words: str) -> list[str]:
    """Return the command that starts a module or script of Python, in several processes if asked."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(several if processes > 1 else []), *words]


# --- ours ---------------------------------------------------------------------------------------


def ours(data: Path, model: str, batch_size: int, epochs: int, processes: int, seed: int) -> Figures:
    """Run `residuum train` and return each pass's images/s and loss, and the loss of the steps that were reported."""
    with tempfile.TemporaryDirectory() as folder:
        told = {"model": model, "recipe": "rsb_a3", "image_size": SIDE, "batch_size": batch_size, "epochs": epochs}
        words = flags(**told, zero_init=True, no_sync_bn=True, validation=0, seed=seed, out=Path(folder) / "run")
        subprocess.run(started(processes, "-m", "residuum", "train", str(data), *words), check=True)
        record = runs.read_run(Path(folder) / "run")
    return {
        "images_per_s": [line.images_per_s for line in record.epochs],
        "loss": [round(line.train_loss, 4) for line in record.epochs],
        "step_loss": [[line.step, round(line.loss, 4)] for line in record.steps],
    }


# --- timm's train script ------------------------------------------------------------------------


def theirs(data: Path, model: str, batch_size: int, epochs: int, processes: int, seed: int) -> Figures:
    """Run this file as timm's train script, and return the same of it."""
    how = fastest.measure(own=False).best()
    told = {"model": model, "batch_size": batch_size, "epochs": epochs, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        words = flags(**told, as_timm=out, precision=how.precision, layout=how.layout, processes=processes)
        subprocess.run(started(processes, __file__, str(data), *words), check=True)
        return {**json.loads(out.read_text()), "precision": how.precision, "layout": how.layout}


def train_as_timm(
    data: Path, model: str, batch_size: int, epochs: int, seed: int, precision: str, layout: str, processes: int
) -> Figures:
    """Train as train.py does with --aa rand-m6-mstd0.5-inc1 --mixup .1 --cutmix 1 --bce-loss --bce-target-thresh .2
    --opt lamb --sched cosine --sched-on-updates --smoothing 0, and perhaps --amp and --channels-last."""
    import timm
    from timm.data import FastCollateMixup, create_dataset, create_loader
    from timm.loss import BinaryCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import random_seed

    rank = int(os.environ.get("RANK", "0"))
    if processes > 1:
        torch.distributed.init_process_group("gloo")
    random_seed(seed, rank)
    dataset = create_dataset("", root=str(data), is_training=True)
    classes, device, order = len(dataset.reader.class_to_idx), torch.device("cpu"), ORDERS[layout]
    mix = FastCollateMixup(mixup_alpha=0.1, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=classes)
    loader = create_loader(
        dataset, (3, SEEN, SEEN), batch_size // processes, is_training=True, color_jitter=None,
        auto_augment="rand-m6-mstd0.5-inc1", interpolation="bilinear", num_workers=max(1, len_cores() // processes),
        distributed=processes > 1, collate_fn=mix, device=device, use_prefetcher=True,
    )  # fmt: skip
    net: Any = timm.create_model(model, num_classes=classes).to(memory_format=order)
    peak, steps = 8e-3 * math.sqrt(batch_size / 2048), epochs * len(loader)
    optimizer = create_optimizer_v2(net, opt="lamb", lr=peak, weight_decay=0.02)
    course = CosineLRScheduler(
        optimizer, steps, lr_min=1e-6 * peak / 8e-3, warmup_t=steps // 20, warmup_lr_init=1e-4 * peak / 8e-3,
        t_in_epochs=False,
    )  # fmt: skip
    if processes > 1:
        net = torch.nn.parallel.DistributedDataParallel(net)
    loss_of, found = BinaryCrossEntropy(0.0, target_threshold=0.2), Figures(images_per_s=[], loss=[], step_loss=[])
    step = 0
    for epoch in range(epochs):
        if processes > 1:
            loader.sampler.set_epoch(epoch)
        net.train()
        losses, begun = list[float](), time.perf_counter()
        for images, targets in loader:
            course.step_update(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = loss_of(net(images.contiguous(memory_format=order)), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            step += 1
            found["step_loss"].append([step, round(losses[-1], 4)])
        seconds = time.perf_counter() - begun
        found["images_per_s"].append(round(len(losses) * batch_size / seconds, 2))
        found["loss"].append(round(statistics.fmean(losses), 4))
    if processes > 1:
        torch.distributed.destroy_process_group()
    return found if rank == 0 else {}


def len_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


# --- measuring ----------------------------------------------------------------------------------


def main(
    data: Path,
    *,
    model: str = "resnet50",
    batch_size: int = 16,
    epochs: int = 3,
    seeds: tuple[int, ...] = (0, 1, 2),
    processes: int = 1,
    as_timm: Path | None = None,
    seed: int = 0,
    precision: str = "float32",
    layout: str = "contiguous",
) -> None:
    if as_timm is not None:
        found = train_as_timm(data, model, batch_size, epochs, seed, precision, layout, processes)
        if found:
            as_timm.write_text(json.dumps(found))
        return
    done = list[Figures]()
    for each in seeds:
        told = (data, model, batch_size, epochs, processes, each)
        done.append({"seed": each, "ours": ours(*told), "timm": theirs(*told)})
        print({side: (done[-1][side]["images_per_s"], done[-1][side]["loss"]) for side in ("ours", "timm")}, flush=True)
    speeds = {side: [statistics.median(run[side]["images_per_s"][1:]) for run in done] for side in ("ours", "timm")}
    told = {"model": model, "batch_size": batch_size, "epochs": epochs, "processes": processes}
    found = {
        **told,
        "recipe": "rsb_a3",
        "pictures": sum(path.is_file() for path in data.rglob("*")),
        "image_size": SEEN,
        "n": len(seeds),
        "timm": version("timm"),
        "images_per_s": {side: spread(values) for side, values in speeds.items()},
        "ratio": spread(ratios(speeds["ours"], speeds["timm"])),
        "loss": {side: [mean([run[side]["loss"][e] for run in done]) for e in range(epochs)] for side in speeds},
        "rounds": done,
    }
    name = "modern-recipe" + (f"-{processes}-processes" if processes > 1 else "")
    write(name, " ".join(["python benchmarks/modern_recipe.py DATA", *flags(**told)]), found)


def mean(values: list[float]) -> dict[str, float]:
    """Return mean and standard deviation."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "sd": round(sd, 4)}


if __name__ == "__main__":
    asked(main)
