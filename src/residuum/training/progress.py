"""What a person sees while a net trains: a bar with ETA in the command's terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn

from residuum.console import duration, forgiving_stderr, is_told_on_stderr, say
from residuum.records.run import Epoch, Line, Step
from residuum.training.loop import Report

PLAIN_SECONDS = 30.0
"""Without a terminal, a line at least this often."""


@contextmanager
def shown(done: int, iterations: int, *, several: bool = False) -> Iterator[Report]:
    """Yield the function that shows each metrics line, from step `done` on; `several`: of several labels a picture."""
    console = Console(file=forgiving_stderr())  # type: ignore[arg-type]
    if console.is_terminal and is_told_on_stderr():
        columns = (
            TextColumn("epoch {task.fields[epoch]:.1f}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} images/s"),
            Left(),
        )
        with Progress(*columns, console=console) as bar:
            yield _on_bar(bar, done, iterations, several)
    else:
        yield _in_lines(done, iterations, several)


class Left(ProgressColumn):
    """How long the rest will take; in the end, how long all took."""

    max_refresh = 0.5

    def render(self, task: Task) -> str:
        """Say it, with units."""
        if task.finished:
            return f"took {duration(task.finished_time or 0.0)}"
        return "ETA –" if task.time_remaining is None else f"ETA {duration(task.time_remaining)}"


def _on_bar(bar: Progress, done: int, iterations: int, several: bool) -> Report:
    task = bar.add_task("train", total=iterations, completed=done, epoch=0.0, loss=float("nan"), speed=0.0)

    def show(line: Line) -> None:
        if isinstance(line, Step):
            bar.update(task, completed=line.step, epoch=line.epoch, loss=line.loss, speed=line.images_per_s)
        elif isinstance(line, Epoch):
            bar.console.print(_epoch_text(line, several), highlight=False)

    return show


def _in_lines(done: int, iterations: int, several: bool) -> Report:
    started = last = time.monotonic()

    def show(line: Line) -> None:
        nonlocal last
        now = time.monotonic()
        if isinstance(line, Epoch):
            text = _epoch_text(line, several)
        elif isinstance(line, Step) and now - last >= PLAIN_SECONDS:
            text = f"step {line.step}/{iterations}  loss {line.loss:.3f}  {line.images_per_s:,.0f} images/s"
        else:
            return
        left = (now - started) / max(line.step - done, 1) * (iterations - line.step)
        say(f"{text}  ETA {duration(left)}" if line.step < iterations else text)
        last = now

    return show


def _epoch_text(line: Epoch, several: bool) -> str:
    right = "likeliest label right " if several else ""
    text = f"epoch {line.epoch:g}: training loss {line.train_loss:.3f}, {right}{line.train_accuracy:.1%}"
    if line.validation_accuracy is not None:
        precise = "" if line.validation_map is None else f"mean average precision {line.validation_map:.1%}, "
        text += f"; validation loss {line.validation_loss:.3f}, {precise}{right}{line.validation_accuracy:.1%}"
    return f"{text}; {line.images_per_s:,.0f} images/s"
