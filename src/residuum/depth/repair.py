"""Training after the cut: the smaller net learns again, the same pictures kept aside."""

from pathlib import Path

from residuum import runs
from residuum.evaluation.opening import NetWithData
from residuum.files import write_whole
from residuum.records.depth import Repaired
from residuum.settings import TrainSettings, TrimSettings
from residuum.training.run import train

RUN = "repair"
"""The folder of the training run, in the folder of the cut."""
UNREPAIRED = "model-unrepaired.safetensors"


def repair(settings: TrimSettings, opened: NetWithData, out: Path, original_test_accuracy: float | None) -> Repaired:
    """Train out/model-unrepaired.safetensors on and write out/model.safetensors; return figures for trim.json.

    Raises:
        UserError: training could not go on; the unrepaired model is there all the same.
        Stopped: a signal came; the run in out/repair can be gone on with.
    """
    run = train(_settings(settings, opened, out))
    write_whole(out / runs.MODEL, runs.model_path(run.path).read_bytes())
    test = run.evaluation if run.evaluation and run.evaluation.split == "test" else None
    return Repaired(
        epochs=settings.repair,
        validation_accuracy=run.epochs[-1].validation_accuracy,
        test_accuracy=test.top1.value if test else None,
        test_images=test.images if test else None,
        original_test_accuracy=original_test_accuracy,
        protocol=test.protocol if test else None,
    )


def _settings(settings: TrimSettings, opened: NetWithData, out: Path) -> TrainSettings:
    """Return what training is told.

    Where validation pictures are cut from the training pictures, share and seed are the cut's: with another seed the
    net would be trained on pictures that it is judged on.
    """
    cut = opened.cut
    return TrainSettings(
        opened.data.source,
        start=str(out / UNREPAIRED),
        recipe="fine_tune",
        epochs=settings.repair,
        out=str(out / RUN),
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        image_column=opened.columns.image,
        label_column=opened.columns.label,
        label_separator=opened.columns.separator,
        skip_broken=bool(opened.data.skipped),
        validation=cut.share if cut else TrainSettings.validation,
        seed=cut.seed if cut else settings.seed,
    )
