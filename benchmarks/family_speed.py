"""Is a net of ours as fast as the reference model of the same name? Forward, loss and backward, turn by turn.

The references: torchvision's resnet50, and for the CIFAR nets the form in which they are usually written (functional
ReLU, `out += shortcut` in place, option A as a padded slice). All sides get the same weights, pictures and settings.
`ours` is our net as `residuum train` has it: in float32 it overwrites activations. `watched` is our net as built, safe
for forward hooks; in bfloat16 the two are the same.

    python benchmarks/family_speed.py

Writes results/family-speed.json, row by row. Run it on an otherwise idle machine.
"""

import itertools
import statistics
from collections.abc import Callable

import torch
import torchvision
from figures import Figures, asked, ratios, seconds_of, write
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

from residuum.choices import Layout, Precision
from residuum.compute import choose_compute
from residuum.models.named import named
from residuum.models.plan import Forward, make_forward
from residuum.models.resnet import ResNet

ROWS = (("resnet20", 128, 32), ("resnet110", 128, 32), ("resnet50", 16, 224))


def settings() -> list[tuple[Precision, Layout]]:
    """Return torch's defaults, and what is fastest on this machine."""
    here = choose_compute("cpu")
    return [("float32", "contiguous"), (here.precision, here.layout)]


class UsualBlock(nn.Module):
    """A basic block with option A, written the usual way."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.zeros = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.zeros:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.zeros))
        out += x
        return functional.relu(out)


class UsualCifarNet(nn.Module):
    """The 6n+2 net, written the usual way."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16, *[16] * n, *[32] * n, *[64] * n]
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(*[UsualBlock(a, b, 1 if a == b else 2) for a, b in pairs])
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        out = functional.avg_pool2d(out, out.shape[3]).flatten(1)
        return self.fc(out)


def sides(name: str) -> dict[str, nn.Module]:
    """Return our net, as trained and as built, and the reference, all with the same weights."""
    nets: dict[str, nn.Module] = {"ours": ResNet(named(name)), "watched": ResNet(named(name))}
    nets["reference"] = torchvision.models.resnet50() if name == "resnet50" else UsualCifarNet(named(name).blocks[0])
    weights = list(nets["ours"].state_dict().values())
    for net in nets.values():
        net.load_state_dict(dict(zip(net.state_dict(), weights, strict=True)))
    return nets


def step_of(net: nn.Module, forward: Forward, images: Tensor, labels: Tensor, precision: str) -> Callable[[], float]:
    """Return forward, loss and backward as one call, which returns its loss."""

    def step() -> float:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(images)
        loss = cross_entropy(logits.float(), labels)
        loss.backward()
        return loss.item()

    return step


def measure(name: str, batch: int, size: int, setting: tuple[str, str], rounds: int) -> Figures:
    """Alternate single steps of all sides; their order within a round changes from round to round."""
    precision, layout = setting
    torch.manual_seed(0)
    nets = sides(name)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 10, (batch,))
    if layout == "channels-last":
        images = images.to(memory_format=torch.channels_last)
        nets = {side: net.to(memory_format=torch.channels_last) for side, net in nets.items()}
    forwards: dict[str, Forward] = dict(nets)
    assert isinstance(nets["ours"], ResNet)
    forwards["ours"] = make_forward(nets["ours"], choose_compute("cpu", precision, layout))
    steps = {side: step_of(net.train(), forwards[side], images, labels, precision) for side, net in nets.items()}
    losses = [step() for step in steps.values()]
    assert max(losses) - min(losses) < 0.02, losses
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for turn in range(-2, rounds):
        order = list(steps)
        for side in order[turn % 3 :] + order[: turn % 3]:
            taken = seconds_of(steps[side])
            if turn >= 0:
                seconds[side].append(taken)
    return {
        "model": name,
        "batch_size": batch,
        "image_size": size,
        "precision": precision,
        "layout": layout,
        "rounds": rounds,
        "images_per_s": {side: round(batch / statistics.median(times), 2) for side, times in seconds.items()},
        "ratio": quartiles(ratios(seconds["reference"], seconds["ours"])),
        "ratio_watched": quartiles(ratios(seconds["reference"], seconds["watched"])),
    }


def quartiles(values: list[float]) -> dict[str, float]:
    """Return median and quartiles of how many times as fast we are, round by round."""
    ordered, quarter = sorted(values), len(values) // 4
    found = {"median": statistics.median(ordered), "low_quartile": ordered[quarter]}
    return {name: round(value, 3) for name, value in {**found, "high_quartile": ordered[-1 - quarter]}.items()}


def main(*, seconds: float = 60) -> None:
    """Measure each row for so many seconds."""
    done: list[Figures] = []
    for (name, batch, size), setting in itertools.product(ROWS, settings()):
        quick = measure(name, batch, size, setting, rounds=2)
        each = sum(batch / speed for speed in quick["images_per_s"].values())
        done.append(measure(name, batch, size, setting, rounds=max(9, int(seconds / each))))
        print(done[-1], flush=True)
        write("family-speed", "python benchmarks/family_speed.py", {"rows": done})


if __name__ == "__main__":
    asked(main)
