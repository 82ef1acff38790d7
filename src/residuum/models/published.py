"""What was published of the named nets: error, on what, how it was measured, and where it stands.

Only figures that were checked against their source. They were got in different ways: compare like with like.
A net's row may differ from the published net in its details; `protocol` says so where it does.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published figure: errors in percent."""

    top1_error: float
    top5_error: float | None
    data: str
    protocol: str
    source: str


HE_2015 = "He et al. 2015 (arXiv 1512.03385)"
HE_2016 = "He et al. 2016 (arXiv 1603.05027)"
WIDE = "Zagoruyko and Komodakis, Wide Residual Networks, the authors' README"
SQUEEZE = "Hu et al., SENet, the authors' README"
CAFFE = "KaimingHe/deep-residual-networks, README"
TORCH7 = "facebookarchive/fb.resnet.torch, README"
TORCHVISION = "torchvision, weights' metadata"
TIMM = "timm, results tables"
KUANGLIU = "kuangliu/pytorch-cifar, README"
MMPRETRAIN = "mmpretrain, README"

MEDIAN_OF_5 = "single view, median of 5 runs"
V1 = "stride in the 1×1, "


def _cifar(error: float, protocol: str, source: str, classes: int = 10) -> Published:
    return Published(error, None, f"CIFAR-{classes}, test", protocol, source)


def _imagenet(top1: float, top5: float | None, protocol: str, source: str) -> Published:
    return Published(top1, top5, "ImageNet, validation", protocol, source)


def _torchvision(top1: float, top5: float | None, version: int) -> Published:
    resized = 256 if version == 1 else 232
    protocol = f"one crop of 224 px from {resized} px, weights IMAGENET1K_V{version}"
    return _imagenet(top1, top5, protocol, TORCHVISION)


def _torch7(crop: tuple[float, float], crops: tuple[float, float]) -> tuple[Published, Published]:
    return _imagenet(*crop, "one crop of 224 px", TORCH7), _imagenet(*crops, "10 crops of 224 px", TORCH7)


def _table_6(error: float) -> Published:
    return _cifar(error, "single view", f"{HE_2015}, Table 6")


def _table_3(top1: float, top5: float, protocol: str = "10 crops of 224 px") -> Published:
    return _imagenet(top1, top5, protocol, f"{HE_2015}, Table 3")


def _identity(error: float, classes: int = 10) -> Published:
    return _cifar(error, MEDIAN_OF_5, f"{HE_2016}, Table 3", classes)


def _table_5(top1: float, top5: float, protocol: str = "one crop of 320 px") -> Published:
    return _imagenet(top1, top5, protocol, f"{HE_2016}, Table 5")


def _reproduced(error: float, spread: float) -> Published:
    return _cifar(
        error, f"single view, mean of 5 runs, ± {spread}; the paper prints no figure", "nabla0001/resnet, README"
    )


def _wide(error: float, classes: int = 10) -> Published:
    return _cifar(error, MEDIAN_OF_5, WIDE, classes)


def _quoted(error: float) -> Published:
    return _cifar(error, MEDIAN_OF_5, "Wide Residual Networks, as gahaalt's ResNets in TensorFlow 2 quotes it")


CIFAR: dict[str, tuple[Published, ...]] = {
    "resnet20": (_table_6(8.75),),
    "resnet32": (_table_6(7.51),),
    "resnet44": (_table_6(7.17),),
    "resnet56": (_table_6(6.97),),
    "resnet110": (
        _cifar(6.61, "single view, mean of 5 runs, ± 0.16; the best 6.43", f"{HE_2015}, Table 6"),
        _identity(6.61),
    ),
    "resnet1202": (_table_6(7.93),),
    "resnet164": (_identity(5.93), _identity(25.16, 100)),
    "resnet1001": (_identity(7.61), _identity(27.82, 100)),
    "preresnet110": (_identity(6.37),),
    "preresnet164": (_identity(5.46), _identity(24.33, 100)),
    "preresnet1001": (_identity(4.92), _identity(22.71, 100)),
    "plain20": (_reproduced(9.78, 0.13),),
    "plain56": (_reproduced(12.95, 0.22),),
    "wide-resnet16-4": (_quoted(5.02),),
    "wide-resnet16-8": (_quoted(4.27),),
    "wide-resnet40-4": (_quoted(4.53),),
    "wide-resnet28-10": (_wide(4.00), _wide(19.25, 100)),
    "cifar-resnet18": (_cifar(6.98, "single view", KUANGLIU), _cifar(5.18, "single view", MMPRETRAIN)),
    "cifar-resnet34": (_cifar(4.66, "single view", MMPRETRAIN),),
    "cifar-resnet50": (_cifar(6.38, "single view", KUANGLIU), _cifar(4.45, "single view", MMPRETRAIN)),
    "cifar-resnet101": (_cifar(6.25, "single view", KUANGLIU), _cifar(4.42, "single view", MMPRETRAIN)),
    "cifar-resnet152": (_cifar(4.24, "single view", MMPRETRAIN),),
}

IMAGENET: dict[str, tuple[Published, ...]] = {
    "resnet18": (
        _imagenet(27.88, None, "10 crops of 224 px, option A", f"{HE_2015}, Table 2"),
        *_torch7((30.43, 10.76), (28.22, 9.42)),
        _torchvision(30.242, 10.922, 1),
    ),
    "resnet34": (_table_3(24.52, 7.46), *_torch7((26.73, 8.74), (24.76, 7.35)), _torchvision(26.686, 8.580, 1)),
    "resnet50": (
        _table_3(22.85, 6.71, V1 + "10 crops of 224 px"),
        _imagenet(24.7, 7.8, V1 + "one crop", CAFFE),
        *_torch7((24.01, 7.02), (22.24, 6.08)),
        _torchvision(23.870, 7.138, 1),
        _torchvision(19.142, 4.566, 2),
    ),
    "resnet101": (
        _table_3(21.75, 6.05, V1 + "10 crops of 224 px"),
        _imagenet(23.6, 7.1, V1 + "one crop", CAFFE),
        *_torch7((22.44, 6.21), (21.08, 5.35)),
        _torchvision(22.626, 6.454, 1),
        _torchvision(18.114, 4.220, 2),
    ),
    "resnet152": (
        _table_3(21.43, 5.71, V1 + "10 crops of 224 px"),
        _imagenet(23.0, 6.7, V1 + "one crop", CAFFE),
        _table_5(21.3, 5.5, V1 + "one crop of 320 px"),
        *_torch7((22.16, 6.16), (20.69, 5.21)),
        _torchvision(21.688, 5.954, 1),
        _torchvision(17.716, 3.998, 2),
    ),
    "resnet200": (_table_5(21.8, 6.0),),
    "preresnet152": (_table_5(21.1, 5.5),),
    "preresnet200": (
        _table_5(20.7, 5.3),
        _table_5(20.1, 4.8, "one crop of 320 px, trained with scale and aspect augmentation"),
        *_torch7((21.66, 5.79), (20.15, 4.93)),
    ),
    "plain18": (_imagenet(27.94, None, "10 crops of 224 px", f"{HE_2015}, Table 2"),),
    "plain34": (_table_3(28.54, 10.02),),
    "resnet50d": (_imagenet(19.04, None, "one crop of 224 px, weights ra4", TIMM),),
    "seresnet50": (_imagenet(22.37, 6.36, "one crop, trained again after the paper", SQUEEZE),),
    "seresnet101": (_imagenet(21.75, 5.72, "one crop, trained again after the paper", SQUEEZE),),
    "seresnet152": (_imagenet(21.34, 5.54, "one crop, trained again after the paper", SQUEEZE),),
    "resnext50-32x4d": (
        _imagenet(22.2, None, "one crop", "Xie et al., ResNeXt, the authors' README"),
        _torchvision(18.802, None, 2),
    ),
    "wide-resnet50-2": (_imagenet(21.9, 5.79, "as the authors give it", WIDE), _torchvision(18.398, None, 2)),
    "vgg16": (_table_3(28.07, 9.33), _imagenet(28.5, 9.9, "one crop", CAFFE), _torchvision(28.408, 9.618, 1)),
    "vgg19": (_torchvision(27.624, 9.124, 1),),
    "googlenet": (_torchvision(30.222, 10.470, 1),),
}

PUBLISHED: dict[str, tuple[Published, ...]] = CIFAR | IMAGENET
