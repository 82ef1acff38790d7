"""What do trained nets lose when blocks are taken out? A residual net and its plain twin, under the same command.

    python benchmarks/trim_curve.py ../shared/data/cifar10 --models resnet56 plain56 --epochs 10 --repair 2

Each net is trained with `quick` (or taken from RUNS/MODEL, if that run is there already) and trimmed to three quarters
of its blocks with `residuum trim`. Writes results/trim-MODEL.json. One net of each kind: the spread shown is that of
random deletion, not of training. Run it on an otherwise idle machine: it measures latency.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from figures import RESULTS, asked, flags

from residuum import runs
from residuum.depth.trim import trim
from residuum.files import write_json
from residuum.records.codec import read_record, to_json
from residuum.records.depth import Trim
from residuum.reporting.depth_page import write_depth_report
from residuum.settings import TrainSettings, TrimSettings
from residuum.training.run import train


def trained(data: str, model: str, epochs: int, folder: Path) -> Path:
    """Return the run of this net, trained now unless it is there."""
    run = folder / model
    if not (run / runs.MODEL).exists():
        train(TrainSettings(data, model=model, epochs=epochs, seed=1, out=str(run)))
    return run


def main(
    data: str,
    *,
    models: tuple[str, ...] = ("resnet56", "plain56"),
    epochs: int = 10,
    repair: int = 2,
    images: Annotated[int | None, Parameter(help="validation pictures to measure on; by default all")] = None,
    runs_in: Annotated[Path, Parameter(name="--runs")] = Path("runs"),
) -> None:
    command = ["python benchmarks/trim_curve.py DATA", *flags(epochs=epochs, repair=repair, images=images)]
    for model in models:
        run, out = trained(data, model, epochs, runs_in), runs_in / f"{model}-trim"
        trim(TrimSettings(str(run), data, keep=0.75, repair=repair, images=images, out=str(out)))
        print(write_depth_report(out))
        figures = to_json(read_record(out / runs.TRIM, Trim))
        settings = runs.read_run(run).settings
        training = settings.command.replace(settings.asked["data"], "DATA")
        about = {"command": " ".join(command), "training": training, "seed": 1, "n": 1}
        write_json(RESULTS / f"trim-{model}.json", {**about, **figures})


if __name__ == "__main__":
    asked(main)
