"""What is said while something lasts: how far it is, and for how long yet, each number with its unit."""

import pytest
from rich.progress import Progress

from residuum.console import duration, show_progress
from residuum.records.run import Epoch, Step
from residuum.training.progress import Left, shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (100, "1 min 40 s"),
        (3599.6, "1 h 0 min"),
        (9e4, "25 h 0 min"),
    ],
)
def test_a_time_has_its_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_is_left_is_said_with_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    said, now = list[str](), 0.0
    monkeypatch.setattr("residuum.console.say", said.append)
    monkeypatch.setattr("residuum.console.time.monotonic", lambda: now)
    tell = show_progress("fetching")
    tell(0, 10)
    now = 50.0
    tell(2, 10)  # 25 s each
    now = 250.0
    tell(10, 10)
    assert said == ["fetching: 0%", "fetching: 20%, ETA 3 min 20 s", "fetching: 100%, took 4 min 10 s"]


def test_training_says_what_is_left_with_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    said, now = list[str](), 0.0
    monkeypatch.setattr("residuum.training.progress.say", said.append)
    monkeypatch.setattr("residuum.training.progress.time.monotonic", lambda: now)
    monkeypatch.setattr("residuum.training.progress.is_told_on_stderr", lambda: False)
    with shown(done=10, iterations=40) as show:
        now = 100.0  # for ten steps of the thirty
        show(Step(step=20, epoch=1.0, loss=1.5, lr=0.1, images_per_s=300.0))
        now = 300.0
        show(Epoch(step=40, epoch=2.0, train_loss=1.0, train_accuracy=0.5, seconds=300.0, images_per_s=300.0))
    assert said[0] == "step 20/40  loss 1.500  300 images/s  ETA 3 min 20 s"
    assert said[1] == "epoch 2: training loss 1.000, 50.0%; 300 images/s"  # nothing is left


def test_the_bar_says_what_is_left_with_its_units() -> None:
    now = 0.0
    bar = Progress(Left(), get_time=lambda: now)
    task = bar.add_task("train", total=300)
    assert Left().render(bar.tasks[0]) == "ETA –"
    for tens in range(11):
        now = 10.0 * tens
        bar.update(task, completed=2 * now)
    assert Left().render(bar.tasks[0]) == "ETA 50 s"
    now = 150.0
    bar.update(task, completed=300)
    assert Left().render(bar.tasks[0]) == "took 2 min 30 s"
