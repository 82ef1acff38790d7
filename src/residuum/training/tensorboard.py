"""TensorBoard events beside the metrics lines, for those who want them (package tensorboard)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from residuum.errors import UserError
from residuum.records.codec import to_json
from residuum.records.run import Line
from residuum.runs import EVENTS
from residuum.training.loop import Report


@contextmanager
def events(run: Path, *, wanted: bool) -> Iterator[Report]:
    """Yield the function that writes a metrics line as TensorBoard events; it does nothing unless wanted.

    Raises:
        UserError: the package is not installed.
    """
    if not wanted:
        yield lambda _line: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs a package that is not installed", "", "pip install tensorboard") from error
    with SummaryWriter(str(run / EVENTS)) as writer:

        def write(line: Line) -> None:
            content = to_json(line)
            for name, value in content.items():
                if isinstance(value, int | float) and name not in {"step", "epoch"}:
                    writer.add_scalar(f"{content['kind']}/{name}", value, line.step)

        yield write
