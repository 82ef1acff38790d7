"""The choices that settings and nets share, by their names. Standard library only, so that help is instant."""

from typing import Literal

Shortcut = Literal["none", "A", "B", "C", "constant", "exclusive-gating", "shortcut-gating", "1x1", "dropout"]
Order = Literal["original", "bn-after-addition", "relu-before-addition", "relu-only-preactivation", "preactivation"]
Activation = Literal["relu", "gelu"]
StrideIn = Literal["1x1", "3x3"]
Stem = Literal["cifar", "imagenet", "deep", "whitening"]
ZeroChannels = Literal["end", "both"]
Interpolation = Literal["bilinear", "bicubic"]
WeightLayout = Literal["torchvision", "timm"]
RecipeName = Literal[
    "quick",
    "fast",
    "fast_95",
    "fine_tune",
    "head",
    "tune_last",
    "tune_all",
    "sgd_one_cycle",
    "he2015_cifar",
    "he2015_imagenet",
    "rsb_a1",
    "rsb_a2",
    "rsb_a3",
]
SweepCost = Literal["training", "seconds", "inference", "parameters"]
TrainedOn = Literal["here", "ray", "slurm"]
Tune = Literal["head", "last", "all"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
EngineName = Literal["torch", "onnxruntime", "openvino"]
EnginePrecision = Literal["float32", "bfloat16", "int8"]
Coarser = Literal["bfloat16", "int8"]
EngineWanted = Literal["auto", EngineName]
PrecisionWanted = Literal["auto", EnginePrecision]
AnswerFormat = Literal["text", "csv", "jsonl"]
ExportTarget = Literal["onnx", "openvino", "torch"]
Layout = Literal["auto", "channels-last", "contiguous"]
Shuffle = Literal["whole", "windows", "as-0.1"]
SplitName = Literal["train", "validation", "test"]
TrackerName = Literal["tensorboard", "mlflow", "wandb"]
Scale = Literal["tiny", "quick", "full"]
Views = Literal["single", "mirrored", "shifted", "halved", "middle"]
SIZES: frozenset[Views] = frozenset({"halved", "middle"})
"""Views of several sizes. At which a net sees well lies in its weights: a head fitted to it is asked by them, too."""
EvaluationViews = Literal["single", "mirrored", "shifted", "halved", "middle", "ten-crop", "multi-scale"]
