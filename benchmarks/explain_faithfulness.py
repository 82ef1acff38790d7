"""Which heat map names the pixels that an answer hangs on? Deletion and insertion, as Petsiuk et al. 2018 (1806.07421).

    python benchmarks/explain_faithfulness.py ../shared/data/ants-bees/train half-resnet50 --pictures 10 \
        --precision bfloat16
    python benchmarks/explain_faithfulness.py ../shared/data/cifar10 resnet20 --pictures 200

Pictures are training ones. The net is a model file or a run, such as that of `residuum train ants-bees/train --start
half-resnet50.safetensors --tune head`, or the public ResNet-20 imported. Pixels are taken in a map's order, the highest
first, in twelve steps. Deletion: they become the mean colour; insertion: they come sharp into a blurred picture. Each
is the area below the probability of the class that the net answers, 0 to 1: low deletion and high insertion are good.
Beside the maps that residuum draws: integrated gradients (Sundararajan et al. 2017, 1703.01365; ten steps from the mean
colour, positive part, blurred), occlusion (Zeiler and Fergus 2014, 1311.2901; 49 squares), LayerCAM (Jiang et al. 2021)
of the last stage but one, and maps by chance. One method after another, each kept as soon as it is done, in
results/explain-faithfulness-NET.json.
"""

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from figures import RESULTS, Figures, asked, mean_and_sd, write
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, relu

from residuum.choices import Precision
from residuum.compute import choose_compute
from residuum.data.batches import Batch, open_loader
from residuum.data.decode import decode
from residuum.data.open import open_data
from residuum.data.resize import evaluation_view
from residuum.data.split import drawn
from residuum.evaluation.heat_maps import grad_cam, rise
from residuum.files import read_json
from residuum.loading import load
from residuum.models.resnet import ResNet
from residuum.recipe import SMALL

STEPS = 12
Method = Callable[[ResNet, Tensor, Tensor], Tensor]


@torch.no_grad()
def of_class(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return (B,) probabilities of as many classes."""
    return net(images).float().softmax(1).gather(1, classes[:, None])[:, 0]


def blurred(images: Tensor, part: int = 10) -> Tensor:
    """Return pictures without detail smaller than that part of a side: three means over squares, nearly a Gaussian."""
    side = images.shape[2] // part // 2 * 2 + 1
    for _ in range(3):
        images = avg_pool2d(images, side, 1, side // 2, count_include_pad=False)
    return images


def areas(net: ResNet, images: Tensor, classes: Tensor, maps: Tensor) -> tuple[list[float], list[float]]:
    """Return each picture's area below the curve of deletion, and of insertion; maps are (B, h, w)."""
    size = images.shape[2:]
    fine = interpolate(maps[:, None], size, mode="bilinear", align_corners=False).flatten(1)
    rank = fine.argsort(1, descending=True).argsort(1).view(-1, 1, *size) / fine.shape[1]
    soft, deleted, inserted = blurred(images), list[Tensor](), list[Tensor]()
    for step in range(STEPS + 1):
        first = rank < step / STEPS
        deleted.append(of_class(net, images.masked_fill(first, 0.0), classes))
        inserted.append(of_class(net, torch.where(first, images, soft), classes))
    deletion, insertion = (
        torch.trapezoid(torch.stack(one), dx=1 / STEPS, dim=0).tolist() for one in (deleted, inserted)
    )
    return deletion, insertion


# --- what else was tried ------------------------------------------------------------------------


def integrated_gradients(net: ResNet, images: Tensor, classes: Tensor, steps: int = 10) -> Tensor:
    """Return the positive part of each pixel's share in the log-probability, from the mean colour on."""
    total = torch.zeros_like(images)
    for step in range(steps):
        x = (images * (step + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(net(x).log_softmax(1).gather(1, classes[:, None]).sum(), x)[0]
    return blurred(relu((total * images / steps).sum(1, keepdim=True)), 24)[:, 0]


@torch.no_grad()
def occlusion(net: ResNet, images: Tensor, classes: Tensor, places: int = 8) -> Tensor:
    """Return how far the log-odds fall where a square of 2×2 places covers a place, in the mean of such squares."""
    edges = [round(place * images.shape[2] / places) for place in range(places + 1)]
    fallen, covered = torch.zeros(len(images), places, places), torch.zeros(places, places)
    whole = of_class(net, images, classes).logit(1e-6)
    for row, column in product(range(places - 1), repeat=2):
        seen = images.clone()
        seen[:, :, edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = 0.0
        fallen[:, row : row + 2, column : column + 2] += (whole - of_class(net, seen, classes).logit(1e-6))[
            :, None, None
        ]
        covered[row : row + 2, column : column + 2] += 1
    return relu(fallen / covered)


def layer_cam(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return each place's sum over the channels of activation times gradient, where that is positive."""
    with torch.enable_grad():
        A = net.stages[:-1](net.stem(images)).requires_grad_()
        gradient = torch.autograd.grad(net.head(net.stages[-1](A)).gather(1, classes[:, None]).sum(), A)[0]
    return relu((relu(gradient) * A).sum(1)).detach()


def by_chance(net: ResNet, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps that know nothing."""
    return torch.rand(len(images), 7, 7, generator=torch.Generator().manual_seed(int(images.abs().sum())))


METHODS: dict[str, Method] = {
    "Grad-CAM": grad_cam,
    "RISE": rise,
    "occlusion": occlusion,
    "LayerCAM": layer_cam,
    "integrated gradients": integrated_gradients,
    "by chance": by_chance,
}


def one_method(method: Method, net: ResNet, batches: list[Batch]) -> Figures:
    """Return each picture's two areas, and how long a picture's map took."""
    seconds, processor, deletion, insertion = 0.0, 0.0, list[float](), list[float]()
    for batch in batches:
        with torch.no_grad():
            classes = net(batch.images).argmax(1)
        started, worked = time.perf_counter(), time.process_time()
        maps = method(net, batch.images, classes).float()
        seconds, processor = seconds + time.perf_counter() - started, processor + time.process_time() - worked
        less, more = areas(net, batch.images, classes, maps)
        deletion, insertion = deletion + less, insertion + more
    return {
        "seconds_a_picture": round(seconds / len(deletion), 3),
        "processor_seconds_a_picture": round(processor / len(deletion), 3),
        "deletion": [round(one, 5) for one in deletion],
        "insertion": [round(one, 5) for one in insertion],
    }


def summary(done: dict[str, Figures]) -> Figures:
    """Return the means, and by how much insertion less deletion differs from Grad-CAM's on the same pictures."""
    gained = {method: np.subtract(one["insertion"], one["deletion"]) for method, one in done.items()}
    return {
        method: {
            "n": len(one["deletion"]),
            **{name: mean_and_sd(one[name]) for name in ("deletion", "insertion")},
            "insertion_less_deletion": mean_and_sd(gained[method].tolist()),
            "less_grad_cam": mean_and_sd((gained[method] - gained["Grad-CAM"]).tolist()),
        }
        for method, one in done.items()
    }


def main(
    data: str, model: str, *, pictures: int = 40, seed: int = 0, threads: int = 2, precision: Precision = "float32"
) -> None:
    compute = choose_compute("cpu", precision, threads=threads)
    classifier = load(model)
    net = classifier.net.requires_grad_(False)
    compute.place(net)
    split = drawn(open_data(data).train, pictures, seed)
    how, whole = classifier.preprocessing, [decode(split.pictures.encoded(row), "") for row in range(len(split))]
    views = np.stack([evaluation_view(one, how.image_size, how.resize_to, how.interpolation) for one in whole])
    batches = list(open_loader(split, how, compute.device, 0, 50 if how.image_size <= SMALL else 10, views))
    given = f"{Path(data).name} {classifier.name} --pictures {pictures} --seed {seed} --threads {threads}"
    given += "" if precision == "float32" else f" --precision {precision}"
    name = f"explain-faithfulness-{classifier.name}"
    path = RESULTS / f"{name}.json"
    done: dict[str, Figures] = read_json(path)["pictures"] if path.exists() else {}
    for method in (one for one in METHODS if one not in done):
        with compute.autocast():
            done[method] = one_method(METHODS[method], net, batches)
        command = f"python benchmarks/explain_faithfulness.py {given}"
        write(name, command, {"seed": seed, "summary": summary(done), "pictures": done})


if __name__ == "__main__":
    asked(main)
