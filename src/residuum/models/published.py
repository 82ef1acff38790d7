"""What was published of the named nets: error, on what, how it was measured, and where it stands.

Only figures that were checked against their source. They were got in different ways: compare like with like.
Where the published net is the named one with a choice changed, `choices` says which: the figure stands at that net.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Published:
    """One published figure: errors in percent."""

    top1_error: float
    top5_error: float | None
    data: str
    protocol: str
    source: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    """What of the named net the published one has otherwise."""


HE_2015 = "He et al. 2015 (arXiv 1512.03385)"
HE_2016 = "He et al. 2016 (arXiv 1603.05027)"
WIDE = "Zagoruyko and Komodakis, Wide Residual Networks, the authors' README"
TORCH7 = "facebookarchive/fb.resnet.torch, README"
TORCHVISION = "torchvision, weights' metadata"

MEDIAN_OF_5 = "single view, median of 5 runs"
V1 = MappingProxyType({"stride_in": "1x1"})
"""The paper's bottlenecks, and Caffe's."""


def _cifar(error: float, *, protocol: str, source: str, classes: int = 10) -> Published:
    return Published(error, None, f"CIFAR-{classes}, test", protocol, source)


def _imagenet(
    top1: float, top5: float | None, *, protocol: str, source: str, choices: Mapping[str, Any] = MappingProxyType({})
) -> Published:
    return Published(top1, top5, "ImageNet, validation", protocol, source, choices)


def _torchvision(top1: float, top5: float | None, version: int) -> Published:
    resized = 256 if version == 1 else 232
    protocol = f"one crop of 224 px from {resized} px, weights IMAGENET1K_V{version}"
    return _imagenet(top1, top5, protocol=protocol, source=TORCHVISION)


def _torch7(crop: tuple[float, float], crops: tuple[float, float]) -> tuple[Published, Published]:
    alone = _imagenet(*crop, protocol="one crop of 224 px", source=TORCH7)
    return _imagenet(*crops, protocol="10 crops of 224 px", source=TORCH7), alone


# Where most figures stand, and how most of those there were measured.
_table_2 = partial(_imagenet, protocol="10 crops of 224 px", source=f"{HE_2015}, Table 2")
_table_3 = partial(_imagenet, protocol="10 crops of 224 px", source=f"{HE_2015}, Table 3")
_table_6 = partial(_cifar, protocol="single view", source=f"{HE_2015}, Table 6")
_caffe = partial(_imagenet, protocol="one crop", source="KaimingHe/deep-residual-networks, README")
_identity = partial(_cifar, protocol=MEDIAN_OF_5, source=f"{HE_2016}, Table 3")
_table_5 = partial(_imagenet, protocol="one crop of 320 px", source=f"{HE_2016}, Table 5")
_wide = partial(_cifar, protocol=MEDIAN_OF_5, source=WIDE)
_quoted = partial(_wide, source="Wide Residual Networks, as gahaalt's ResNets in TensorFlow 2 quotes it")
_squeezed = partial(  # Caffe's: so Cadene's pretrained-models.pytorch, senet.py, which converts them, says
    _imagenet,
    protocol="one crop, trained again after the paper",
    source="Hu et al., SENet, the authors' README",
    choices=V1,
)
_kuangliu = partial(_cifar, protocol="single view", source="kuangliu/pytorch-cifar, README")
_mmpretrain = partial(_cifar, protocol="single view", source="mmpretrain, README")


def _reproduced(error: float, spread: float) -> Published:
    protocol = f"single view, mean of 5 runs, ± {spread}; the paper prints no figure"
    return _cifar(error, protocol=protocol, source="nabla0001/resnet, README")


PUBLISHED: dict[str, tuple[Published, ...]] = {  # first what compares with the plain nets: 10 crops, as in the paper
    "resnet20": (_table_6(8.75),),
    "resnet32": (_table_6(7.51),),
    "resnet44": (_table_6(7.17),),
    "resnet56": (_table_6(6.97),),
    "resnet110": (_table_6(6.61, protocol="single view, mean of 5 runs, ± 0.16; the best 6.43"), _identity(6.61)),
    "resnet1202": (_table_6(7.93),),
    "resnet164": (_identity(5.93), _identity(25.16, classes=100)),
    "resnet1001": (_identity(7.61), _identity(27.82, classes=100)),
    "preresnet110": (_identity(6.37),),
    "preresnet164": (_identity(5.46), _identity(24.33, classes=100)),
    "preresnet1001": (_identity(4.92), _identity(22.71, classes=100)),
    "plain20": (_reproduced(9.78, 0.13),),
    "plain56": (_reproduced(12.95, 0.22),),
    "wide-resnet16-4": (_quoted(5.02),),
    "wide-resnet16-8": (_quoted(4.27),),
    "wide-resnet40-4": (_quoted(4.53),),
    "wide-resnet28-10": (_wide(4.00), _wide(19.25, classes=100)),
    "cifar-resnet18": (_kuangliu(6.98), _mmpretrain(5.18)),
    "cifar-resnet34": (_mmpretrain(4.66),),
    "cifar-resnet50": (_kuangliu(6.38), _mmpretrain(4.45)),
    "cifar-resnet101": (_kuangliu(6.25), _mmpretrain(4.42)),
    "cifar-resnet152": (_mmpretrain(4.24),),
    "resnet18": (
        _table_2(27.88, None, choices={"shortcut": "A"}),
        *_torch7((30.43, 10.76), (28.22, 9.42)),
        _torchvision(30.242, 10.922, 1),
    ),
    "resnet34": (
        _table_3(25.03, 7.76, choices={"shortcut": "A"}),
        _table_3(24.52, 7.46),
        _table_3(24.19, 7.40, choices={"shortcut": "C"}),
        *_torch7((26.73, 8.74), (24.76, 7.35)),
        _torchvision(26.686, 8.580, 1),
    ),
    "resnet50": (
        _table_3(22.85, 6.71, choices=V1),
        _caffe(24.7, 7.8, choices=V1),
        *_torch7((24.01, 7.02), (22.24, 6.08)),
        _torchvision(23.870, 7.138, 1),
        _torchvision(19.142, 4.566, 2),
    ),
    "resnet101": (
        _table_3(21.75, 6.05, choices=V1),
        _caffe(23.6, 7.1, choices=V1),
        *_torch7((22.44, 6.21), (21.08, 5.35)),
        _torchvision(22.626, 6.454, 1),
        _torchvision(18.114, 4.220, 2),
    ),
    "resnet152": (
        _table_3(21.43, 5.71, choices=V1),
        _caffe(23.0, 6.7, choices=V1),
        _table_5(21.3, 5.5, choices=V1),
        *_torch7((22.16, 6.16), (20.69, 5.21)),
        _torchvision(21.688, 5.954, 1),
        _torchvision(17.716, 3.998, 2),
    ),
    "resnet200": (_table_5(21.8, 6.0),),
    "preresnet152": (_table_5(21.1, 5.5),),
    "preresnet200": (
        _table_5(20.7, 5.3),
        _table_5(20.1, 4.8, protocol="one crop of 320 px, trained with scale and aspect augmentation"),
        *_torch7((21.66, 5.79), (20.15, 4.93)),
    ),
    "plain18": (_table_2(27.94, None),),
    "plain34": (_table_3(28.54, 10.02),),
    "resnet50d": (_imagenet(19.04, None, protocol="one crop of 224 px, weights ra4", source="timm, results tables"),),
    "seresnet50": (_squeezed(22.37, 6.36),),
    "seresnet101": (_squeezed(21.75, 5.72),),
    "seresnet152": (_squeezed(21.34, 5.54),),
    "resnext50-32x4d": (
        _imagenet(22.2, None, protocol="one crop", source="Xie et al., ResNeXt, the authors' README"),
        _torchvision(18.802, None, 2),
    ),
    "wide-resnet50-2": (
        _imagenet(21.9, 5.79, protocol="as the authors give it", source=WIDE),
        _torchvision(18.398, None, 2),
    ),
    "vgg16": (_table_3(28.07, 9.33), _caffe(28.5, 9.9), _torchvision(28.408, 9.618, 1)),
    "vgg19": (_torchvision(27.624, 9.124, 1),),
    "googlenet": (_torchvision(30.222, 10.470, 1),),
}
