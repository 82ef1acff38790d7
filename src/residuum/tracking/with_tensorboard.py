"""TensorBoard: events in the run folder (`tensorboard --logdir RUN`)."""

from collections.abc import Mapping

from residuum.runs import EVENTS
from residuum.tracking.contract import About, Tracker


def open_tracker(about: About) -> Tracker:
    """Write events into the run folder."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(about.run / EVENTS))

    def log(figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    return Tracker(log, lambda _finished: writer.close())
