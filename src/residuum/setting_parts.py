"""What settings are composed of: parts that verbs share, and those of training. Each heads its group of the help."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from residuum.choices import (
    Activation,
    Device,
    EngineWanted,
    Layout,
    Order,
    Precision,
    PrecisionWanted,
    RecipeName,
    Shortcut,
    Shuffle,
    Stem,
    StrideIn,
    TrackerName,
    TrainedOn,
    Tune,
)
from residuum.plain_data import DataPlace, Place, Range, Settings

Seed = Annotated[int, Range(0, 2**31 - 1)]
ImageCount = Annotated[int | None, Range(1, 10_000_000)]

# --- where a verb computes ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OnDevice(Settings, group="Compute"):
    """Where a verb computes."""

    device: Device = "auto"
    """Where to compute."""
    threads: Annotated[int | None, Range(1, 65_536)] = None
    """Processor threads. By default all cores, or fewer where that was measured to be faster."""


@dataclass(frozen=True, kw_only=True)
class ByEngine(OnDevice, group="Compute"):
    """Where a verb computes answers, by what, and in what numbers."""

    engine: EngineWanted = "auto"
    """What computes the answers. auto: of a run or model file, what bench found to be fastest here, else torch; of an
    export, what it was made for."""
    precision: PrecisionWanted = "auto"
    """In what numbers."""


@dataclass(frozen=True, kw_only=True)
class InPrecision(OnDevice, group="Compute"):
    """Where a verb computes, and in what numbers."""

    precision: Precision = "auto"
    """Number format of the convolutions. auto: what was measured to be fastest; to judge, float32,
    as published weights were."""


@dataclass(frozen=True, kw_only=True)
class WithWorkers(InPrecision, group="Compute"):
    """Where a verb computes, in what numbers, and how large pictures are read."""

    workers: Annotated[int | None, Range(0, 65_536)] = None
    """Processes that decode large pictures: by default as many as threads, at most 32, and never more than there are
    cores where these are more."""


@dataclass(frozen=True, kw_only=True)
class OfTable(Settings, group="Data"):
    """Which columns of a table to read, and how."""

    image_column: str | None = None
    """Column of a table (CSV, TSV or Parquet) that holds the pictures or their paths. By default image, img, path,
    file_name or another usual name, or the only one."""
    label_column: str | None = None
    """Column of a table that holds the classes; or, for several labels a picture, columns of 0 and 1 named as the
    classes are: dog,outdoor. By default label or another usual name, or the only one; or all, where all are of 0 and
    1."""
    label_separator: str | None = None
    """What parts the labels in that column, as ; in dog;outdoor: then a picture may show any number of classes, or
    none. By default a text is one label."""


@dataclass(frozen=True, kw_only=True)
class WhereTrained(Settings, group="Where nets are trained"):
    """Where many nets are trained. All write into --out, which machines share by the same path, as they do pictures."""

    on: TrainedOn = "here"
    """here: in processes of this machine. ray: on a Ray cluster, or one begun here. slurm: jobs of their own."""
    address: str | None = None
    """The Ray cluster to join. By default what RAY_ADDRESS says, else one is begun here, for the time."""
    at_once: Annotated[int | None, Range(1, 100_000)] = None
    """Most nets at a time. By default here as many as there are cores, elsewhere what the cluster has room for."""
    gpus: Annotated[float | None, Range(0, 64)] = None
    """GPUs that each net takes on Ray or Slurm; on Ray it may be a share, such as 0.25. By default none."""
    slurm: tuple[str, ...] = ()
    """What sbatch is told of each job, as partition=gpu time=240 (minutes) mem=8GB."""
    dry_run: bool = False
    """Train nothing: say which nets are missing and, for Slurm, show the first one's batch file."""


# --- what training is composed of ---------------------------------------------------------------


@dataclass(frozen=True)
class DataChoices(OfTable, group="Data"):
    """The pictures, and how much of them is seen."""

    data: DataPlace | None = None
    """A folder of pictures, a CSV or TSV table of what they show, a folder of Parquet files, "digits", "cifar10" or
    another data set's name. By default digits."""
    _: KW_ONLY
    image_size: Annotated[int | None, Range(8, 2048)] = None
    """Side of the square the net sees, in pixels. By default that of the weights it starts from; else the
    pictures' own up to 64, or 128."""
    validation: Annotated[float, Range(0.0, 0.9, "it is a share: 0.1 for 10 % of them")] = 0.1
    """Share of the training pictures kept aside for validation where the data has no such split; 0 keeps none."""
    skip_broken: bool = False
    """Go on without pictures that cannot be read; the run records which. By default nothing begins before they are
    mended."""
    shuffle: Shuffle | None = None
    """Order of training pictures. whole: any may follow any; windows: of shards, stretches by chance, and pictures
    mixed within 256 MB of them, so that nothing is read twice; as-0.1: to repeat runs of version 0.1, whose batches
    held pictures shifted or cropped alike. By default windows for what is streamed from tar shards, from those of
    `data pack`, and from more than 4 GB of other Parquet files; else whole."""
    balance: bool | None = None
    """Whether each class counts alike in training, however few pictures it has. By default yes where --tune fits a head
    and the largest class has 3 times the pictures of the smallest or more."""


@dataclass(frozen=True, kw_only=True)
class WhichNet(Settings, group="Net"):
    """The net to begin with."""

    model: str | None = None
    """The net, by name: see `residuum models`. By default resnet20 for pictures up to 64 px, else resnet18;
    some recipes have their own."""
    start: Place | None = None
    """Begin with the net, weights and preprocessing of this run, model file, or name of `residuum weights list`.
    By default, for fewer than 3,000 photographs, with what is on this machine; else with a new net."""
    from_nothing: bool = False
    """Begin with a new net, whatever weights are on this machine."""


@dataclass(frozen=True, kw_only=True)
class NetChoices(Settings, group="Net"):
    """What is changed of the named net: fields of models/spec.NetSpec, by its names; None is the net's own."""

    shortcut: Shortcut | None = None
    """Shortcut: A, B, C, none (the plain twin), or one of the 2016 paper's. By default the net's own."""
    order: Order | None = None
    """Where BN and ReLU stand in a block. By default the net's own."""
    activation: Activation | None = None
    """relu, or gelu in every ReLU's place. By default the net's own."""
    stride_in: StrideIn | None = None
    """Which convolution of a bottleneck strides: 1x1 (the paper) or 3x3 (v1.5)."""
    stem: Stem | None = None
    """First layers: cifar (3×3), imagenet (7×7 and pooling), deep (three 3×3 and pooling), whitening (3×3 without BN,
    its filters computed from the training pictures, as in recipe fast)."""
    blocks: tuple[int, ...] | None = None
    """Blocks in each stage. By default the net's own."""
    widths: tuple[int, ...] | None = None
    """Channels of the 3×3 convolutions in each stage. By default the net's own."""
    groups: Annotated[int | None, Range(1, 65_536)] = None
    """Groups of a bottleneck's 3×3 convolution (ResNeXt)."""
    squeeze: Annotated[int | None, Range(0, 65_536)] = None
    """Squeeze-and-excitation with this reduction, 16 in its paper; 0 is without."""
    projection_pool: bool | None = None
    """Whether projections average before they stride (ResNet-D)."""
    dropout: float | None = None
    """Share of activations dropped before each block's last convolution."""
    stochastic_depth: float | None = None
    """Probability that the last block is skipped in a training step; less for earlier ones."""
    zero_init: bool | None = None
    """Whether the last BN of each branch starts at scale zero."""


@dataclass(frozen=True, kw_only=True)
class WhichRecipe(Settings, group="Recipe"):
    """The recipe, and what it is told before it decides: see recipe.Task."""

    recipe: RecipeName | None = None
    """How to train. By default quick; with --start, what --tune says."""
    tune: Tune | None = None
    """What of the net that --start names is trained: the head, its last layer, on features of the frozen rest; the last
    stage, or all that matter, the last half of them, from a fitted head on and only kept where that does better on
    pictures not seen. By default head
    for fewer than 3,000 pictures of other classes, where no recipe is asked for; all of more is recipe fine_tune."""
    target: Annotated[int | None, Range(94, 95)] = None
    """Recipe fast alone: the accuracy on CIFAR-10, in per cent, that it is to reach: 94 or 95. By default 94."""
    epochs: Annotated[int | None, Range(1, 100_000)] = None
    """Passes over the training pictures. By default the recipe's length."""
    batch_size: Annotated[int | None, Range(2, 65_536)] = None
    """Pictures in one step. By default the recipe's."""
    flip: bool | None = None
    """Whether training pictures may be mirrored. By default yes, but not for digits."""


@dataclass(frozen=True, kw_only=True)
class RecipeChoices(Settings, group="Recipe"):
    """What is changed of the recipe: fields and properties of recipe.Recipe, by its names; None is the recipe's own."""

    lr: Annotated[float | None, Range(1e-8, 100.0)] = None
    """Highest learning rate. By default the recipe's."""
    weight_decay: Annotated[float | None, Range(0.0, 1.0)] = None
    """Weight decay. By default the recipe's."""
    rate_decay: Annotated[float | None, Range(0.01, 1.0)] = None
    """How many times as fast each stage learns as the stage behind it, down to the stem. Not for recipes with Muon. By
    default the recipe's."""
    label_smoothing: Annotated[float | None, Range(0.0, 0.99)] = None
    """Share of the target spread over all classes. By default the recipe's."""
    mixup: Annotated[float | None, Range(0.0, 1.0)] = None
    """Mix pictures of a step in pairs, by shares from Beta(α, α) with this α; 0 is without. By default the recipe's."""
    cutmix: Annotated[float | None, Range(0.0, 1.0)] = None
    """Exchange rectangles between pictures of a step, of shares from Beta(α, α); 0 is without. With --mixup, one of the
    two by chance. By default the recipe's."""
    ema: Annotated[float | None, Range(0.0, 0.99999)] = None
    """Judge and keep the moving average of the weights, with this decay a step, such as 0.999; 0 is without. By default
    the recipe's."""


@dataclass(frozen=True, kw_only=True)
class RunChoices(Settings, group="Run"):
    """The run: its chance, its folder, what it keeps."""

    seed: Seed = 0
    """Decides initial weights, order, augmentation and the validation cut."""
    out: Place | None = None
    """Run folder. By default runs/DATA-MODEL-DATE."""
    resume: Place | None = None
    """Go on with this run folder; nothing else need be given."""
    save_seconds: Annotated[float, Range(0.0, 86_400.0)] = 60.0
    """Longest time between two checkpoints."""
    tensorboard: bool = False
    """The same as --track tensorboard."""
    track: tuple[TrackerName, ...] = ()
    """Also hand the metrics to these trackers: tensorboard, mlflow, wandb (extras of these names). They write into the
    run folder; to a server only where the environment names one (MLFLOW_TRACKING_URI, WANDB_MODE=online)."""


@dataclass(frozen=True, kw_only=True)
class TrainingCompute(WithWorkers, group="Compute"):
    """Where training computes, and how its memory is laid out."""

    layout: Layout = "auto"
    """Order of the axes in memory."""
    checkpointing: bool = False
    """Keep fewer activations and compute them again: for very deep nets; the numbers stay the same."""
    accumulate: Annotated[int, Range(1, 65_536)] = 1
    """Parts in which a step's pictures go through the net, one after another: less memory, the same update, but that
    BN sees each part by itself."""
    sync_bn: bool = True
    """Under torchrun, whether BN's statistics are those of all processes' pictures, as on one process; else each has
    its own, which is faster, and the model gets those of the first."""
