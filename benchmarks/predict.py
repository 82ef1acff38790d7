"""What does `predict` cost for one picture, from a cold start, and how near to its limits does it come for 200?

    python benchmarks/predict.py ../shared/data/imagenet-sample resnet50.safetensors resnet50.onnx

Models are run folders, model files or exported ones; without any, a ResNet-50 that was never trained, which is as
fast. `cold`: processor seconds of the whole command for one photograph, beside those of `import torch` alone.
`many`: photographs a second of `Predictor.answers`; of reading, decoding and cutting alone, in as many threads (the
decode limit); and of the engine alone, given the same views (the engine limit), turn by turn. Writes
results/predict.json. Run it on an otherwise idle machine.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from figures import Figures, asked, ratios, seconds_of, spread, write

import residuum
from residuum.data.picture_files import picture_files
from residuum.data.threads import in_order
from residuum.prediction.pictures import sources, view_of
from residuum.prediction.predictor import BATCH, Predictor


def processor_seconds(*words: str) -> float:
    """Return user's and system's time of a process and of what it waited for (RuntimeError if it fails)."""
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    child = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=silent)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"python {' '.join(words)} ended with {status}")
    return used.ru_utime + used.ru_stime


def cold(models: tuple[Path, ...], picture: Path, rounds: int) -> Figures:
    """Return processor seconds from the command to the answer, turn by turn, the first turn left out."""
    sides = {str(model): ("-m", "residuum", "predict", str(model), str(picture)) for model in models}
    sides["import torch"] = ("-c", "import torch")
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, words in sides.items():
            seconds = processor_seconds(*words)
            found[name] += [seconds] if turn else []
    return {Path(name).name: spread(values) for name, values in found.items()}


def many(predictor: Predictor, files: list[Path], rounds: int) -> Figures:
    """Return photographs a second of the three, and the ratio to the lower limit of each turn."""
    named = list(sources(files))
    views = np.stack([view_of(one, predictor.model.view) for one in named])
    steps = range(0, len(views), BATCH)
    sides = {
        "predict": lambda: list(predictor.answers_to(named)),
        "decode_limit": lambda: list(in_order(named, lambda one: view_of(one, predictor.model.view), 2 * BATCH)),
        "engine_limit": lambda: [predictor.engine(views[start : start + BATCH]) for start in steps],
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for start in {0, steps[-1]}:  # both sizes of batches, once
        predictor.engine(views[start : start + BATCH])
    for _ in range(rounds):
        for name, side in sides.items():
            speeds[name].append(len(files) / seconds_of(side))
    lower = [min(pair) for pair in zip(speeds["decode_limit"], speeds["engine_limit"], strict=True)]
    return {
        "engine": predictor.engine.name,
        "precision": predictor.engine.precision,
        **{name: spread(values) for name, values in speeds.items()},
        "of_the_lower_limit": spread(ratios(speeds["predict"], lower)),
    }


def untrained(folder: Path) -> Path:
    """Write a ResNet-50 for 224 px, its weights drawn with seed 0."""
    import torch

    from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
    from residuum.loading import save_classifier
    from residuum.models.named import named
    from residuum.models.resnet import ResNet
    from residuum.records.model import Provenance

    torch.manual_seed(0)
    spec = named("resnet50", 1000)
    how = Preprocessing(224, 256, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))
    path, classes = folder / "resnet50-untrained.safetensors", tuple(map(str, range(1000)))
    save_classifier(path, ResNet(spec).eval(), spec, classes, how, Provenance())
    return path


def main(photographs: Path, models: tuple[Path, ...] = (), *, rounds: int = 3, starts: int = 5) -> None:
    files = picture_files(photographs)
    with tempfile.TemporaryDirectory() as folder:
        models = models or (untrained(Path(folder)),)
        started = cold(models, files[0], starts)
        print(started, flush=True)
        found = {model.name: many(residuum.load(model), files, rounds) for model in models}
    print(found)
    about = {"pictures": len(files), "batch_size": BATCH, "rounds": rounds, "starts": starts}
    write("predict", "python benchmarks/predict.py FOLDER MODEL...", {**about, "cold": started, "many": found})


if __name__ == "__main__":
    asked(main)
