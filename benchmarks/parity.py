"""Does the fast way to train reach the same accuracy? The same seeds both ways, judged on held-out training pictures.

- fast: as `residuum train` chooses by itself: in the precision that is fastest here; compiled BN, addition, ReLU;
- plain: float32, torch's own operations.

    python benchmarks/parity.py ../shared/data/cifar10 --model resnet20 --epochs 3 --seeds 1 2 3
    python benchmarks/parity.py ../shared/data/cifar10 --avx2                 both in float32, as on AVX2

With ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 a processor with matrix units computes as one without.

Writes results/parity-MODEL.json (parity-MODEL-avx2.json, parity-MODEL-avx512_core_bf16.json) after every run; a run
that stands there already is not run again. Speed is not measured here, so other work may go on beside it.
"""

import json
import math
import os

from ants_bees_head import AVX2
from figures import Figures, add_runs, asked, flags, mean_and_sd, trained

from residuum.records.codec import to_json

ISA = "ONEDNN_MAX_CPU_ISA"
WAYS = {"fast": {}, "plain": {"RESIDUUM_KERNELS": "off"}}


def one_run(data: str, words: list[str], avx2: bool, way: str, seed: int) -> Figures:
    """Train once, in a process of its own, and return the last epoch's scores on the held-out pictures."""
    own = flags(seed=seed, precision="float32" if avx2 or way == "plain" else None)
    record, _ = trained(data, [*words, *own], **WAYS[way])
    last, settings = to_json(record.epochs[-1]), record.settings.resolved
    return {
        **{name: last[name] for name in ("validation_accuracy", "validation_loss", "train_accuracy")},
        "precision": settings["precision"],
        "fused": settings["fused"],
        "environment": to_json(record.environment),
    }


def summary(done: list[Figures]) -> Figures:
    """Mean and spread of both ways; their difference with its standard error, and whether two of those hold it."""
    found: Figures = {}
    for way in WAYS:
        values = [run["validation_accuracy"] for run in done if run["way"] == way]
        if len(values) < 2:
            return found
        found[way] = {**mean_and_sd(values), "n": len(values)}
    difference = found["fast"]["mean"] - found["plain"]["mean"]
    error = math.sqrt(sum(found[way]["sd"] ** 2 / found[way]["n"] for way in WAYS))
    return {**found, "difference": difference, "standard_error": error, "within_two": abs(difference) <= 2 * error}


def main(
    data: str,
    *,
    model: str = "resnet20",
    epochs: int = 3,
    threads: int | None = None,
    seeds: tuple[int, ...] = (1, 2, 3),
    avx2: bool = False,
) -> None:
    words = flags(model=model, epochs=epochs, threads=threads)
    command = " ".join(["python benchmarks/parity.py DATA", *words, *flags(avx2=avx2)])
    if avx2:
        os.environ.update(AVX2)
    about = {"command": command, "model": model, "epochs": epochs}
    isa = os.environ.get(ISA)
    if isa is not None:
        about |= {"instructions": isa, "command": command if avx2 else f"{ISA}={isa} {command}"}
    cases = [{"way": way, "seed": seed} for seed in seeds for way in WAYS]
    name = f"parity-{model}{'-' + isa.lower() if isa else ''}"
    done = add_runs(name, about, cases, lambda way, seed: one_run(data, words, avx2, way, seed), summary)
    print(json.dumps(summary(done), indent=1))


if __name__ == "__main__":
    asked(main)
