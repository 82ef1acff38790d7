"""Recipes say what their papers say, and the optimiser does what the recipe says."""

import copy
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from residuum.choices import RecipeName
from residuum.errors import UserError
from residuum.models.named import NAMED_NETS, named
from residuum.models.resnet import ResNet
from residuum.recipe import OneCycle, ParameterGroup, Steps, Task
from residuum.recipes.fast import fast
from residuum.recipes.he2015_cifar import he2015_cifar
from residuum.recipes.he2015_imagenet import he2015_imagenet
from residuum.recipes.named import BY_TARGET, OWN_NETS, RECIPES, recipe_name
from residuum.recipes.quick import quick
from residuum.recipes.sgd_one_cycle import sgd_one_cycle
from residuum.training.loop import warm_up
from residuum.training.muon import orthogonal
from residuum.training.optimizer import make_optimizer, set_rate
from residuum.training.sgd import Sgd
from residuum.training.state import State

CIFAR = Task(num_pictures=50_000, image_size=32, depth=20)


def test_the_papers_cifar_recipe() -> None:
    recipe = he2015_cifar(CIFAR)
    assert (recipe.iterations, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (
        64_000,
        128,
        0.9,
        1e-4,
    )
    assert (recipe.nesterov, recipe.decay_norms_and_biases, recipe.label_smoothing) == (False, True, 0.0)
    assert recipe.augmentation.pad == 4
    assert recipe.augmentation.flip
    rates = [recipe.rate(step, True) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert recipe.rate(0, False) == 0.1  # 20 layers need no warm-up


def test_nets_of_110_layers_warm_up_until_the_training_error_is_below_80_percent() -> None:
    recipe = he2015_cifar(Task(num_pictures=50_000, image_size=32, depth=110))
    state = State()
    for _ in range(300):  # guessing: 90 % error
        state.count(2.3, 13, 128)
        warm_up(recipe, state)
    assert not state.warmed_up
    assert recipe.rate(state.step, state.warmed_up) == 0.01
    for _ in range(200):  # learning: 60 % error
        state.count(1.5, 51, 128)
        warm_up(recipe, state)
    assert state.warmed_up
    assert recipe.rate(state.step, state.warmed_up) == 0.1
    for _ in range(200):  # and it never begins again
        state.count(2.3, 0, 128)
        warm_up(recipe, state)
    assert state.warmed_up


def test_the_papers_imagenet_recipe() -> None:
    recipe = he2015_imagenet(Task(num_pictures=1_281_167, image_size=224, depth=50))
    assert (recipe.iterations, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (
        600_000,
        256,
        0.9,
        1e-4,
    )
    assert recipe.augmentation.shorter_side == (256, 480)
    assert recipe.augmentation.colour
    rates = [recipe.rate(step, True) for step in (0, 150_000, 300_000, 450_000)]
    assert rates == pytest.approx([0.1, 0.01, 0.001, 0.0001])


@given(
    st.integers(2, 100_000),
    st.one_of(st.none(), st.integers(1, 300)),
    st.one_of(st.none(), st.integers(2, 512)),
)
def test_quick_fits_any_number_of_pictures(n: int, epochs: int | None, batch: int | None) -> None:
    task = Task(num_pictures=n, image_size=32, depth=20, epochs=epochs, batch_size=batch)
    recipe = quick(task)
    per_epoch = n // recipe.batch_size
    assert 2 <= recipe.batch_size <= n
    assert recipe.iterations % per_epoch == 0
    passes = recipe.iterations // per_epoch
    assert passes == epochs if epochs else 10 <= passes <= 40


@given(st.integers(1, 5000), st.floats(0.01, 0.9), st.floats(1e-3, 10))
def test_one_cycle_climbs_to_its_peak_once_and_ends_near_zero(iterations: int, climb: float, peak: float) -> None:
    recipe = quick(CIFAR)
    recipe = type(recipe)(**{**recipe.__dict__, "iterations": iterations, "schedule": OneCycle(peak=peak, climb=climb)})
    rates = [recipe.rate(step, False) for step in range(iterations)]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if (1 - climb) * iterations > 10:  # steps of descent, of which the last is one step above zero
        assert rates[-1] < 0.2 * max(rates)


def test_steps_without_warm_up_ignore_the_error() -> None:
    schedule = Steps(base=0.1, milestones=(5,))
    recipe = type(quick(CIFAR))(**{**quick(CIFAR).__dict__, "schedule": schedule})
    assert [recipe.rate(s, False) for s in (4, 5)] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize("decay_all", [True, False])
def test_weight_decay_is_grouped_by_module_type(decay_all: bool) -> None:
    recipe = he2015_cifar(CIFAR)
    recipe = type(recipe)(**{**recipe.__dict__, "decay_norms_and_biases": decay_all})
    net = ResNet(named("resnet20", shortcut="B"))  # a projection's BN must not be missed
    groups = make_optimizer(net, recipe).param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] > 0 for p in g["params"]}
    norms = {id(p) for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))
    if decay_all:
        assert len(decayed) == len(list(net.parameters()))
    else:
        assert not decayed & norms
        assert id(net.fc.bias) not in decayed
        assert id(net.fc.weight) in decayed


def test_a_step_is_the_papers_update() -> None:
    """v = 0.9 v + g + 1e-4 w; w = w - lr v: plain momentum, checked by hand over three steps."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False))
    recipe = he2015_cifar(CIFAR)
    optimizer = make_optimizer(net, recipe)
    w, v = net[0].weight.item(), 0.0
    for step in range(3):
        set_rate(optimizer, 0.1 / (step + 1))
        net[0].weight.grad = torch.tensor([[2.0]])
        optimizer.step()
        v = 0.9 * v + 2.0 + 1e-4 * w
        w -= 0.1 / (step + 1) * v
        assert math.isclose(net[0].weight.item(), w, rel_tol=1e-5)


@given(st.integers(1, 24), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_orthogonal_keeps_the_singular_vectors_and_evens_out_the_values(r: int, c: int, seed: int) -> None:
    """numpy's SVD is the oracle: U S V becomes U S' V with every S' of the well-conditioned part near one."""
    left, values, right = np.linalg.svd(np.random.default_rng(seed).normal(size=(r, c)), full_matrices=False)
    values = np.linspace(1.0, 0.5, len(values))
    matrix = torch.from_numpy(left * values @ right)
    moved = orthogonal([matrix[None]])[0][0].numpy()
    core = left.T @ moved @ right.T
    assert np.abs(core - np.diag(np.diag(core))).max() < 1e-9  # the same singular vectors
    assert np.abs(moved - left @ left.T @ moved @ right.T @ right).max() < 1e-9
    if len(values) <= 8:  # three rounds lift what is above about 0.2 of the whole norm
        assert (np.diag(core) > 0.3).all()
    assert (np.diag(core) < 1.3).all()


def test_orthogonal_in_bfloat16_agrees_to_its_rounding() -> None:
    torch.manual_seed(0)
    stacks = [torch.randn(shape).bfloat16() for shape in [(1, 16, 27), (3, 16, 144), (2, 100, 48), (1, 130, 64)]]
    exact = orthogonal([stack.double() for stack in stacks])
    for found, expected in zip(orthogonal(stacks), exact, strict=True):
        assert found.dtype == torch.bfloat16
        assert float((found.double() - expected).norm() / expected.norm()) < 0.04  # rounded ten times in turn


def test_muon_holds_the_norm_of_convolutions_and_moves_the_rest_by_sgd() -> None:
    torch.manual_seed(0)
    net = ResNet(named("resnet20"))
    twin = ResNet(named("resnet20"))
    twin.load_state_dict(net.state_dict())
    task = Task(num_pictures=50_000, image_size=32, depth=20)
    recipe = quick(task)
    recipe = type(recipe)(**{**recipe.__dict__, "others_rate": 1.0})
    muon = make_optimizer(net, recipe)
    sgd = make_optimizer(twin, type(recipe)(**{**recipe.__dict__, "optimizer": "sgd", "nesterov": True}))
    others = [name for name, p in net.named_parameters() if p.dim() != 4]
    for _ in range(3):
        for p, q in zip(net.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in (muon, sgd):
            set_rate(optimizer, 0.05)
            optimizer.step()
    ours, theirs = dict(net.named_parameters()), dict(twin.named_parameters())
    for name in others:
        torch.testing.assert_close(ours[name], theirs[name])
    for name, p in ours.items():
        if p.dim() == 4:
            # held at √C_out before the last move of norm at most 1.3 · 0.05 · √C_out
            assert abs(p.norm().item() / len(p) ** 0.5 - 1) < 0.07
            assert not torch.equal(p, theirs[name])


def test_a_move_of_muon_is_orthogonal_and_downhill() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    optimizer = make_optimizer(net, quick(Task(num_pictures=50_000, image_size=32, depth=20)))
    weight = net[0].weight
    weight.data.mul_(8**0.5 / weight.norm().detach())
    before, gradient = weight.detach().clone(), torch.randn_like(weight)
    weight.grad = gradient.clone()
    set_rate(optimizer, 1.0)
    optimizer.step()
    move = (before - weight.detach()).flatten(1)
    assert float((move * gradient.flatten(1)).sum()) > 0
    np.testing.assert_allclose((move @ move.T).numpy(), np.eye(8), atol=0.75)  # three rounds are rough


def test_norms_and_the_last_layer_may_move_apart_from_the_others() -> None:
    torch.manual_seed(0)
    net = ResNet(named("fast-resnet10"))
    recipe = replace(
        fast(Task(num_pictures=50_000, image_size=32, depth=10)),
        norms=ParameterGroup(rate=3.0),
        head=ParameterGroup(rate=5.0, weight_decay=0.1),
        momentum=0.0,
    )
    optimizer = make_optimizer(net, recipe)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    set_rate(optimizer, 0.01)
    optimizer.step()
    moved = {name: before[name] - p.detach() for name, p in net.named_parameters()}
    shift = "stages.stage2.block1.branch.bn1.bias"
    torch.testing.assert_close(moved[shift], torch.full_like(moved[shift], 0.03))
    torch.testing.assert_close(moved["fc.weight"], 0.05 * (1 + 0.1 * before["fc.weight"]))
    assert not moved["stem.conv.weight"].any()
    matrices = next(group for group in optimizer.param_groups if group["is_matrix"])
    assert len(matrices["params"]) == 8  # max-pooling stands between a first convolution and its BN


def test_momenta_go_on_whatever_their_layout_in_memory() -> None:
    """A checkpoint is read back in torch's default layout, the weights lie channels-last: each must meet its own."""
    recipe = quick(Task(num_pictures=50_000, image_size=32, depth=20))
    after = []
    for is_interrupted in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        net.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(net, recipe)
        for _ in range(3):
            for p in net.parameters():
                p.grad = torch.randn_like(p)
            optimizer.step()
            if is_interrupted:
                state = optimizer.state_dict()
                slots = {i: {n: v.contiguous() for n, v in s.items()} for i, s in state["state"].items()}
                optimizer = make_optimizer(net, recipe)
                optimizer.load_state_dict({**state, "state": slots})
        after.append([p.detach().clone() for p in net.parameters()])
    torch.testing.assert_close(after[0], after[1], rtol=0, atol=0)


def test_fast_fits_any_number_of_pictures() -> None:
    for n in (2, 63, 64, 1000, 8191, 8192, 50_000):
        recipe = fast(Task(num_pictures=n, image_size=32, depth=10))
        assert 1 <= recipe.batch_size <= n
        assert recipe.iterations >= 1
        assert all(0 < share < 1 and side < 32 for share, side in recipe.small_first)


@pytest.mark.parametrize(("target", "passes"), [(94, (2, 3, 5)), (95, (4, 5, 8))])
def test_each_target_of_fast_has_its_net_and_passes(target: int, passes: tuple[int, int, int]) -> None:
    name = recipe_name("fast", target)
    recipe = RECIPES[name](Task(num_pictures=50_000, image_size=32, depth=10))
    assert recipe.name == name
    assert recipe.iterations * recipe.batch_size == sum(passes) * 50_000
    (until_half, half), (until_most, most) = recipe.small_first
    assert (half, most) == (16, 24)
    assert until_half * sum(passes) == pytest.approx(passes[0])
    assert (1 - until_most) * sum(passes) == pytest.approx(passes[2])
    assert recipe.augmentation.cut == (8 if target == 95 else 0)
    assert OWN_NETS[name] in NAMED_NETS


def test_a_target_is_refused_where_no_recipe_reaches_it() -> None:
    with pytest.raises(UserError, match="recipe fast's"):
        recipe_name("quick", 95)
    with pytest.raises(UserError, match="does not reach 94"):
        recipe_name("fast_95", 94)


def test_the_table_of_recipes_is_the_list_of_names() -> None:
    """A recipe left out of either, or made under another's name, is found here."""
    assert set(RECIPES) == set(get_args(RecipeName))
    for name, make in RECIPES.items():
        assert make(CIFAR).name == name
    assert set(OWN_NETS) <= set(RECIPES)
    assert set(OWN_NETS.values()) <= set(NAMED_NETS)
    assert {one for targets in BY_TARGET.values() for one in targets.values()} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_another_peak_is_the_same_course_higher(name: RecipeName) -> None:
    recipe = RECIPES[name](CIFAR)
    other = recipe.changed(lr=2 * recipe.lr)
    assert other.lr == 2 * recipe.lr
    for step in (0, 1, recipe.iterations // 3, recipe.iterations - 1):
        assert other.rate(step, True) == pytest.approx(2 * recipe.rate(step, True))
    assert recipe.changed() == recipe
    assert recipe.changed(weight_decay=0.25).weight_decay == 0.25


def test_nets_are_compared_with_the_papers_optimiser() -> None:
    task = Task(num_pictures=45_000, image_size=32, depth=20)
    ours, usual = sgd_one_cycle(task), quick(task)
    assert (ours.optimizer, ours.momentum, ours.weight_decay) == ("sgd", 0.9, 1e-4)
    assert ours.decay_norms_and_biases
    assert ours.schedule == OneCycle(peak=0.1, climb=0.25)
    assert (ours.iterations, ours.batch_size, ours.augmentation) == (
        usual.iterations, usual.batch_size, usual.augmentation
    )  # fmt: skip
    assert isinstance(make_optimizer(ResNet(named("preresnet20")), ours, torch.float32), Sgd)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_to_the_bit_and_goes_on_from_its_state(nesterov: bool) -> None:
    torch.manual_seed(0)
    first = [torch.randn(3, 5), torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last), torch.randn(7)]
    both = [[nn.Parameter(tensor.clone()) for tensor in first] for _ in range(2)]

    def groups(parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        return [{"params": parameters[:2], "weight_decay": 5e-4}, {"params": parameters[2:], "weight_decay": 0.0}]

    theirs = torch.optim.SGD(groups(both[0]), 0.1, 0.9, nesterov=nesterov, foreach=True)
    ours = Sgd(groups(both[1]), 0.1, 0.9, nesterov=nesterov)
    for step in range(6):
        if step == 3:
            ours = Sgd(groups(both[1]), 0.1, 0.9, nesterov=nesterov)
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        for one, other in zip(*both, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in (theirs, ours):
            set_rate(optimizer, 0.1 / (1 + step))
            optimizer.step()
            optimizer.zero_grad()
        assert all(torch.equal(one, other) for one, other in zip(*both, strict=True))


@pytest.mark.usefixtures("warm_python")
def test_no_optimiser_loads_torchs_compiler() -> None:
    script = """
import sys, torch
from torch import nn
from residuum.recipe import Task
from residuum.recipes.named import RECIPES
from residuum.training.optimizer import make_optimizer
for make in RECIPES.values():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = make_optimizer(net, make(Task(num_pictures=1000, image_size=32, depth=20)))
    net(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
