"""Training after the cut: the smaller net learns again, the same pictures kept aside."""

from pathlib import Path

from residuum import runs
from residuum.depth.unfinished import REPAIR, UNREPAIRED
from residuum.evaluation.opening import NetWithData
from residuum.records.depth import Repaired
from residuum.settings import TrainSettings, TrimSettings
from residuum.training.run import train


def repair(settings: TrimSettings, opened: NetWithData, out: Path, original_test_accuracy: float | None) -> Repaired:
    """Train out/model-unrepaired.safetensors on, or go on with the run in out/repair; return figures for trim.json.

    Raises:
        UserError: training could not go on; the unrepaired model is there all the same.
        Stopped: a signal came; the run in out/repair can be gone on with.
    """
    run = _trained(settings, opened, out)
    test = run.evaluation if run.evaluation and run.evaluation.split == "test" else None
    return Repaired(
        epochs=settings.repair,
        validation_accuracy=run.epochs[-1].validation_accuracy,
        mean_ap=run.epochs[-1].validation_map,
        test_accuracy=test.top1.value if test else None,
        test_images=test.images if test else None,
        original_test_accuracy=original_test_accuracy,
        protocol=test.protocol if test else None,
    )


def _trained(settings: TrimSettings, opened: NetWithData, out: Path) -> runs.RunRecord:
    """Return the run in out/repair, begun, gone on with or finished already."""
    run = out / REPAIR
    if (run / runs.MODEL).exists():
        return runs.read_run(run)
    return train(TrainSettings(resume=str(run)) if runs.is_run(run) else _settings(settings, opened, out))


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
        out=str(out / REPAIR),
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
