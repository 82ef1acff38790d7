"""What do trained nets lose when blocks are taken out? A residual net and its plain twin, under the same command.

    python benchmarks/trim_curve.py ../shared/data/cifar10 --models resnet56 plain56 --epochs 10 --repair 2

Each net is trained with `quick` (or taken from RUNS/MODEL, if that run is there already) and trimmed to three quarters
of its blocks with `residuum trim`. Writes results/trim-MODEL.json. One net of each kind: the spread shown is that of
random deletion, not of training. Run it on an otherwise idle machine: it measures latency.
"""

import argparse
from pathlib import Path

from residuum import runs
from residuum.depth.trim import trim
from residuum.files import write_json
from residuum.records.codec import read_record, to_json
from residuum.records.depth import Trim
from residuum.reporting.depth_page import write_depth_report
from residuum.settings import TrainSettings, TrimSettings
from residuum.training.run import train

RESULTS = Path(__file__).parent.parent / "results"


def trained(data: str, model: str, epochs: int, folder: Path) -> Path:
    """Return the run of this net, trained now unless it is there."""
    run = folder / model
    if not (run / runs.MODEL).exists():
        train(TrainSettings(data, model=model, epochs=epochs, seed=1, out=str(run)))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--models", nargs="+", default=["resnet56", "plain56"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repair", type=int, default=2)
    parser.add_argument("--images", type=int, help="validation pictures to measure on; by default all")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    command = f"python benchmarks/trim_curve.py DATA --epochs {options.epochs} --repair {options.repair}"
    command += f" --images {options.images}" if options.images else ""
    for model in options.models:
        run = trained(options.data, model, options.epochs, options.runs)
        out = options.runs / f"{model}-trim"
        target = {"keep": 0.75, "repair": options.repair, "images": options.images}
        trim(TrimSettings(str(run), options.data, **target, out=str(out)))
        print(write_depth_report(out))
        figures = to_json(read_record(out / runs.TRIM, Trim))
        asked = runs.read_run(run).settings
        training = asked.command.replace(asked.settings["data"], "DATA")
        about = {"command": command, "training": training, "seed": 1, "n": 1}
        write_json(RESULTS / f"trim-{model}.json", {**about, **figures})


if __name__ == "__main__":
    main()
