"""The parts of gpu.py, each in a process of its own: python benchmarks/gpu_parts.py speed DATA --seconds 150

speed: see gpu_speed.py. fast: recipe fast, from the whitening of its stem to the last step, and judged with six views;
a run before the first is not counted. paper: the paper's 64,000 iterations, as many nets side by side as should be done
in time; runs that the file already has stay and are not repeated.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from gpu_speed import speed
from gpu_steps import LARGE, SMALL, UNCOUNTED, Part, placed, seconds_a_turn, summary, synchronised, together

from residuum.evaluation.evaluate import probabilities
from residuum.models.resnet import ResNet
from residuum.training.captured import captured
from residuum.training.loop import Callbacks, Job, fit
from residuum.training.resolve import resolve
from residuum.training.start import Loaders, make_net, open_loaders, whiten_stem
from residuum.training.state import State

FAST_PUBLISHED = {"seconds": 2.59, "accuracy": 0.9401, "device": "A100", "source": "Jordan 2024, airbench94_muon"}
PAPER = {"resnet20": 0.0875, "resnet56": 0.0697}
"""Test errors of He et al. 2015, Table 6; plain nets have none there."""

# --- recipe fast ---------------------------------------------------------------------------------


def fast(part: Part) -> None:
    runs: list[dict[str, Any]] = []
    loaders = open_loaders(resolve(part.settings(recipe="fast", **part.form.fast)))
    for seed in part.form.fast_seeds:
        found = fast_run(part, loaders, seed)
        print(found, flush=True)
        if seed != part.form.fast_seeds[0]:
            runs.append(found)
            columns = {name: summary([run[name] for run in runs]) for name in ("accuracy", "seconds", "judged_s")}
            part.write("fast", published=FAST_PUBLISHED, summary=columns, runs=runs)
        if time.monotonic() > part.until:
            break


def fast_run(part: Part, loaders: Loaders, seed: int) -> dict[str, Any]:
    """Train recipe fast once and judge it."""
    resolved = resolve(part.settings(recipe="fast", seed=seed, **part.form.fast))
    job = placed(make_net(resolved), resolved.recipe, loaders["train"], resolved.compute, seed)
    assert isinstance(job.net, ResNet)
    started = synchronised()
    whiten_stem(job.net, loaders["train"], seed)
    fit(job, State(), Callbacks(lambda _: None, lambda _: None, dict, lambda: None), 1e9, captured)
    trained = synchronised()
    right = accuracy(job, loaders)
    return {
        "seed": seed,
        "seconds": trained - started,
        "judged_s": synchronised() - trained,
        "accuracy": right,
    }


def accuracy(job: Job, loaders: Loaders) -> float:
    """Return the share of test pictures, seen as the recipe says, that the net names."""
    answers = probabilities(job.net, loaders["test"], job.compute, job.recipe.views, job.forward)
    return float((answers.argmax(1) == loaders["test"].split.labels).mean())


# --- the paper's runs ----------------------------------------------------------------------------


def paper(part: Part) -> None:
    done, left_out = paper_done(part), list[str]()
    loaders = open_loaders(resolve(part.settings(model="resnet20", recipe="he2015_cifar")))
    there = {(run["model"], run["seed"]) for run in done}
    for group in part.form.paper_runs:
        kept, started = [one for one in group if one not in there], time.monotonic()
        while kept:
            jobs = [paper_job(part, loaders, model, seed) for model, seed in kept]
            stop = jobs[0].recipe.iterations
            walk = together(jobs, stop)
            tried = min(200, stop // 4)
            foreseen = seconds_a_turn(walk, tried) * (stop - tried - UNCOUNTED)
            if time.monotonic() + foreseen + 10 < part.until:
                break
            left_out.append(f"{kept.pop()} would have ended {foreseen:.0f} s later, {len(kept) + 1} side by side")
        if kept:
            for turn, taken in enumerate(walk):
                if turn % 500 == 0:
                    synchronised()
                    for _, read in taken:
                        read()  # a loss that is not finite ends the part
            synchronised()
            seconds = round(time.monotonic() - started, 1)
            for (model, seed), job in zip(kept, jobs, strict=True):
                found = paper_result(model, seed, job, loaders)
                done.append({**found, "side_by_side": len(kept), "seconds_together": seconds, **part.where_and_when()})
        part.write("paper", left_out=left_out, runs=done)


def paper_done(part: Part) -> list[dict[str, Any]]:
    """Return the runs of the same form that the file has."""
    file = part.results / "gpu-paper.json"
    before = json.loads(file.read_text()) if file.exists() else None
    return before["runs"] if before is not None and before["small"] == (part.form is SMALL) else []


def paper_job(part: Part, loaders: Loaders, model: str, seed: int) -> Job:
    resolved = resolve(part.settings(model=model, recipe="he2015_cifar", seed=seed, **part.form.paper))
    return placed(make_net(resolved), resolved.recipe, loaders["train"], resolved.compute, seed)


def paper_result(model: str, seed: int, job: Job, loaders: Loaders) -> dict[str, Any]:
    """Judge a net once, in float32, as `residuum train` does."""
    judged = dataclasses.replace(job, forward=job.net, compute=dataclasses.replace(job.compute, precision="float32"))
    right = accuracy(judged, loaders)
    return {
        "model": model,
        "seed": seed,
        "iterations": job.recipe.iterations,
        "test_error": round(1 - right, 4),
        "papers_test_error": PAPER.get(model),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "fast", "paper"])
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--nets", nargs="+", default=[])
    options = parser.parse_args()
    form = SMALL if options.small else LARGE
    form = form.of(options.nets) if options.nets else form
    part = Part(options.data, form, time.monotonic() + options.seconds, options.results)
    {"speed": speed, "fast": fast, "paper": paper}[options.part](part)


if __name__ == "__main__":
    main()
