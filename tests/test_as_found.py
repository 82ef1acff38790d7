"""What a program finds after it has called a verb: its own luck, warnings and threads."""

import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command

import residuum
from residuum.as_found import all_as_found
from residuum.compute import THREADS_AT_FIRST
from residuum.settings import MachineSettings
from residuum.verb import verb

DEFAULT_SEED = 67280421310721
"""torch's, in c10/core/GeneratorImpl.h."""
Found = tuple[object, ...]


def begin() -> None:
    """Seed and set what a program may, as no verb of ours does."""
    random.seed(17)
    np.random.seed(18)
    torch.manual_seed(19)
    torch.set_num_threads(3)


def found() -> Found:
    """Draw from each generator; look which filters and threads there are."""
    return random.random(), np.random.rand(), torch.rand(1).item(), tuple(warnings.filters), torch.get_num_threads()


@pytest.fixture
def expected() -> Iterator[Found]:
    """What is found by a program that has called nothing."""
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    begin()
    expected = found()
    begin()
    yield expected
    random.setstate(generators[0])
    np.random.set_state(generators[1])
    torch.set_rng_state(generators[2])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, from Python, of a program that has drawn and seeded nothing."""
    return trained(tmp_path_factory.mktemp("run") / "run")


def trained(out: Path) -> Path:
    return residuum.train("digits", model="resnet20", blocks=(1, 1, 1), epochs=1, seed=3, out=out).path


def test_training_draws_its_own_luck_and_leaves_the_programs(tmp_path: Path, run: Path, expected: Found) -> None:
    again = trained(tmp_path / "again")
    assert found() == expected
    one, other = (residuum.load(path).net.state_dict() for path in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)  # whatever the program had drawn before


@pytest.mark.parametrize("fails", [False, True])
def test_a_verb_called_from_python_leaves_all_as_found_even_where_it_fails(fails: bool, expected: Found) -> None:
    def spoils(settings: MachineSettings) -> int:
        """Do what imports and trainings do."""
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        warnings.simplefilter("once", FutureWarning)
        torch.set_num_threads(2)
        if fails:
            raise residuum.UserError("it failed")
        return 1

    call = verb(MachineSettings, lambda *_: None)(spoils).python
    if fails:
        with pytest.raises(residuum.UserError, match="it failed"):
            call()
    else:
        assert call() == 1
    assert found() == expected


@pytest.mark.usefixtures("expected")
def test_a_generator_that_a_verb_brings_is_left_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(DEFAULT_SEED)
    first = torch.rand(2)
    context = all_as_found()
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        context.__enter__()
    torch.manual_seed(1)
    torch.set_num_threads(2)
    context.__exit__(None, None, None)
    assert torch.equal(torch.rand(2), first)
    assert torch.get_num_threads() == THREADS_AT_FIRST


def test_what_is_loaded_answers_on_the_programs_threads(run: Path, expected: Found) -> None:
    model = residuum.load(run)
    residuum.evaluate(run)
    model.predict(np.zeros((8, 8, 3), np.uint8))
    assert found() == expected
    residuum.load(run, threads=1)  # told, it is set
    assert torch.get_num_threads() == 1


def test_the_command_takes_the_threads_that_are_fastest(command: Command) -> None:
    torch.set_num_threads(3)
    assert residuum.this_machine().threads == 1  # as the tests were told
    assert torch.get_num_threads() == 3
    command("machine")
    assert torch.get_num_threads() == 1
