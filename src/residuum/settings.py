"""What can be set, for every verb, as plain data checked when it is built. Standard library only,
so that `residuum --help` and every error about a flag are instant.

A class without the name of a verb is a part: verbs share it, or `train` is composed of it. `group` is its heading in the
help.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from residuum.choices import (
    Activation,
    Device,
    Interpolation,
    Layout,
    Order,
    Precision,
    RecipeName,
    Scale,
    Shortcut,
    SplitName,
    Stem,
    StrideIn,
    WeightLayout,
    ZeroChannels,
)
from residuum.errors import UserError
from residuum.plain_data import Place, Range, Settings

Seed = Annotated[int, Range(0, 2**31 - 1)]
ImageCount = Annotated[int | None, Range(1, 10_000_000)]

# --- where a verb computes ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OnDevice(Settings):
    """Where a verb computes."""

    group: ClassVar[str] = "Compute"

    device: Device = "auto"
    """Where to compute."""
    threads: Annotated[int | None, Range(1, 1024)] = None
    """Processor threads. By default all cores."""


@dataclass(frozen=True, kw_only=True)
class InPrecision(OnDevice):
    """Where a verb computes, and in what numbers."""

    precision: Precision = "auto"
    """Number format of the convolutions. auto is the fastest; to evaluate it is float32, in which published weights
    score what they should."""


@dataclass(frozen=True, kw_only=True)
class WithWorkers(InPrecision):
    """Where a verb computes, in what numbers, and how it reads large pictures."""

    workers: Annotated[int | None, Range(0, 256)] = None
    """Processes that decode large pictures. By default the number of cores."""


# --- what training is composed of ---------------------------------------------------------------


@dataclass(frozen=True)
class DataChoices(Settings):
    """The pictures, and how much of them is seen."""

    group: ClassVar[str] = "Data"

    data: Place | None = None
    """A folder of pictures, a folder of Parquet files, "digits", "cifar10" or another data set's name.
    By default digits."""
    _: KW_ONLY
    image_size: Annotated[int | None, Range(8, 2048)] = None
    """Side of the square the net sees, in pixels. By default the pictures' own up to 64, else 128."""
    validation: Annotated[float, Range(0.0, 0.9)] = 0.1
    """Share of the training pictures kept aside for validation where the data has no such split; 0 keeps none."""


@dataclass(frozen=True, kw_only=True)
class WhichNet(Settings):
    """The net to begin with."""

    group: ClassVar[str] = "Net"

    model: str | None = None
    """The net, by name: see `residuum models`. By default the recipe's own, or resnet20 for pictures up to 64 px, else
    resnet18."""
    start: Place | None = None
    """Begin with this run's or model file's net, weights and preprocessing, instead of a new net."""


@dataclass(frozen=True, kw_only=True)
class NetChoices(Settings):
    """What is changed of the named net: fields of models/spec.NetSpec, by its names; None is the net's own."""

    group: ClassVar[str] = "Net"

    shortcut: Shortcut | None = None
    """Shortcut: A, B, C, none (the plain twin), or one of the 2016 paper's. By default the net's own."""
    order: Order | None = None
    """Where BN and ReLU stand in a block. By default the net's own."""
    activation: Activation | None = None
    """relu, or gelu in every ReLU's place. By default the net's own."""
    stride_in: StrideIn | None = None
    """Which convolution of a bottleneck strides: 1x1 (the paper) or 3x3 (v1.5)."""
    stem: Stem | None = None
    """First layers: cifar (3×3), imagenet (7×7 and pooling), deep (three 3×3 and pooling)."""
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
class WhichRecipe(Settings):
    """The recipe, and what it is told before it decides: see recipe.Task."""

    group: ClassVar[str] = "Recipe"

    recipe: RecipeName | None = None
    """How to train. By default quick; with --start, fine_tune."""
    target: Annotated[int | None, Range(94, 95)] = None
    """Recipe fast alone: the accuracy on CIFAR-10, in per cent, that it is to reach: 94 or 95. By default 94."""
    epochs: Annotated[int | None, Range(1, 100_000)] = None
    """Passes over the training pictures. By default the recipe's length."""
    batch_size: Annotated[int | None, Range(2, 65_536)] = None
    """Pictures in one step. By default the recipe's."""
    flip: bool | None = None
    """Whether training pictures may be mirrored. By default yes, but not for digits."""


@dataclass(frozen=True, kw_only=True)
class RecipeChoices(Settings):
    """What is changed of the recipe: fields and properties of recipe.Recipe, by its names; None is the recipe's own."""

    group: ClassVar[str] = "Recipe"

    lr: Annotated[float | None, Range(1e-8, 100.0)] = None
    """Highest learning rate. By default the recipe's."""
    weight_decay: Annotated[float | None, Range(0.0, 1.0)] = None
    """Weight decay. By default the recipe's."""
    label_smoothing: Annotated[float | None, Range(0.0, 0.99)] = None
    """Share of the target spread over all classes. By default the recipe's."""


@dataclass(frozen=True, kw_only=True)
class RunChoices(Settings):
    """The run: its chance, its folder, what it keeps."""

    group: ClassVar[str] = "Run"

    seed: Seed = 0
    """Decides initial weights, order, augmentation and the validation cut."""
    out: Place | None = None
    """Run folder. By default runs/DATA-MODEL-DATE."""
    resume: Place | None = None
    """Go on with this run folder; nothing else need be given."""
    save_seconds: Annotated[float, Range(0.0, 86_400.0)] = 60.0
    """Longest time between two checkpoints."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder (package tensorboard)."""


@dataclass(frozen=True, kw_only=True)
class TrainingCompute(WithWorkers):
    """Where training computes, and how its memory is laid out."""

    group: ClassVar[str] = "Compute"

    layout: Layout = "auto"
    """Order of the axes in memory."""
    checkpointing: bool = False
    """Keep fewer activations and compute them again: for very deep nets; the numbers stay the same."""


# --- one set of settings for each verb ----------------------------------------------------------


@dataclass(frozen=True)
class TrainSettings(
    RunChoices, TrainingCompute, RecipeChoices, WhichRecipe, NetChoices, WhichNet, DataChoices
):
    """What `residuum train` can be told. What is left alone (None, "auto") is chosen and printed.

    Python reads bases from the last to the first: the fields begin with the data.
    """


@dataclass(frozen=True)
class EvaluateSettings(WithWorkers):
    """What `residuum evaluate` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    data: Place | None = None
    """The pictures to judge on. By default the ones the run was trained on."""
    _: KW_ONLY
    split: SplitName | None = None
    """Which split. By default the test split, or validation where there is no test split."""
    batch_size: Annotated[int, Range(1, 65_536)] = 250
    """Pictures in one step."""


@dataclass(frozen=True)
class PredictSettings(OnDevice):
    """What `residuum predict` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    images: tuple[Place, ...] = ()
    """Pictures, or folders of pictures."""
    _: KW_ONLY
    top: Annotated[int, Range(1, 100_000)] = 5
    """How many classes to show for each picture."""


@dataclass(frozen=True)
class ImportSettings(Settings):
    """What `residuum import` can be told. What keys cannot tell is taken from what is known of their layout."""

    source: Place | None = None
    """A weights file, a folder that transformers saved, or torchvision:NAME, timm:NAME, hf:OWNER/NAME."""
    _: KW_ONLY
    out: Place | None = None
    """The model file to write. By default NAME.safetensors here."""
    classes: Place | None = None
    """A text file with one class name a line."""
    mean: Annotated[tuple[float, float, float] | None, Range(-1.0, 1.0)] = None
    """Mean of red, green and blue that the weights were trained with, 0 to 1."""
    std: Annotated[tuple[float, float, float] | None, Range(1e-3, 10.0)] = None
    """Spread of red, green and blue that the weights were trained with, 0 to 1."""
    image_size: Annotated[int | None, Range(8, 2048)] = None
    """Side of the square the net sees, in pixels."""
    resize_to: Annotated[int | None, Range(8, 4096)] = None
    """What the shorter side is resized to before the central square is cut out, in pixels."""
    interpolation: Interpolation | None = None
    """How pictures are resized."""
    stride_in: StrideIn | None = None
    """Which convolution of a bottleneck strides."""
    zero_channels: ZeroChannels | None = None
    """Where option A puts its zero channels: at the end, or half on both sides."""


@dataclass(frozen=True)
class ExportWeightsSettings(Settings):
    """What `residuum export-weights` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    layout: WeightLayout = "torchvision"
    """Whose names the tensors get."""
    out: Place | None = None
    """The safetensors file to write. By default MODEL-LAYOUT.safetensors here."""


@dataclass(frozen=True)
class GrowSettings(Settings):
    """What `residuum grow` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    to: Annotated[int | None, Range(3, 100_000)] = None
    """Depth to reach, in layers: 56 makes a ResNet-56 out of a ResNet-20."""
    blocks: tuple[int, ...] | None = None
    """Blocks in each stage to reach, instead of a depth."""
    out: Place | None = None
    """The model file to write. By default MODEL-grown-DEPTH.safetensors here."""
    seed: Seed = 0
    """Decides the new blocks' initial weights."""


@dataclass(frozen=True)
class LesionSettings(InPrecision):
    """What `residuum lesion` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    data: Place | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    out: Place | None = None
    """Folder for figures and report. By default MODEL-lesion-DATE here."""
    images: ImageCount = None
    """Measure on this many validation pictures. By default all."""


@dataclass(frozen=True)
class TrimSettings(InPrecision):
    """What `residuum trim` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    data: Place | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    keep: Annotated[float | None, Range(0.01, 1.0)] = None
    """Share of the blocks to keep. By default 0.75, if neither --max-drop nor --speedup is given."""
    max_drop: Annotated[float | None, Range(0.0, 100.0)] = None
    """Take as many blocks as cost at most this many points of validation accuracy."""
    speedup: Annotated[float | None, Range(1.0, 1000.0)] = None
    """Take as few blocks as make the net this many times faster, as measured."""
    repair: Annotated[int, Range(0, 10_000)] = 0
    """Epochs of training after the cut, on the training pictures."""
    random: Annotated[int, Range(0, 1000)] = 5
    """Draws of random deletion to compare with."""
    out: Place | None = None
    """Folder for the smaller model, figures and report. By default MODEL-trim-DATE here."""
    images: ImageCount = None
    """Measure on this many validation pictures. By default all."""
    seed: Seed = 0
    """Decides the random deletions, and the repair where the data bring their own validation pictures."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        super().__post_init__()
        if sum(target is not None for target in (self.keep, self.max_drop, self.speedup)) > 1:
            raise UserError("--keep, --max-drop and --speedup say different things", "give one of them")


@dataclass(frozen=True)
class ReportSettings(Settings):
    """What `residuum report` can be told."""

    runs: tuple[Place, ...] = ()
    """One run folder, or several to compare."""
    _: KW_ONLY
    out: Place | None = None
    """The HTML file. By default report.html inside the run folder, or here for several runs."""


@dataclass(frozen=True)
class StudySettings(OnDevice):
    """What `residuum study` can be told."""

    names: tuple[str, ...] = ()
    """The studies, by name, or "all"."""
    _: KW_ONLY
    list: bool = False
    """List the studies and the question each one asks."""
    scale: Scale = "quick"
    """quick: minutes on an ordinary processor. full: the papers' own recipes, for a GPU."""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """How many seeds everything that is trained is trained with: 1, 2, 3 …"""
    model: Place | None = None
    """Examine this run or model file instead of nets trained for the study."""
    data: Place | None = None
    """The pictures. By default the study's own: cifar10 or digits."""
    out: Place = "studies"
    """Where the studies' reports go, and the runs they share."""


@dataclass(frozen=True)
class CheckSettings(Settings):
    """What `residuum data check` can be told."""

    data: Place | None = None
    """The data to look at."""


@dataclass(frozen=True)
class FetchSettings(Settings):
    """What `residuum data fetch` can be told."""

    name: str | None = None
    """A data set's short name (cifar10, cifar100, fashion-mnist) or its hub name (owner/name)."""


@dataclass(frozen=True)
class ModelsSettings(Settings):
    """What `residuum models` can be told."""

    names: tuple[str, ...] = ()
    """The nets to list. By default all."""
    _: KW_ONLY
    classes: Annotated[int | None, Range(2, 1_000_000)] = None
    """Number of classes. By default 10 for the CIFAR nets and 1000 for the ImageNet nets."""
    image_size: Annotated[int | None, Range(8, 4096)] = None
    """Side of the picture in pixels. By default 32 for the CIFAR nets and 224 for the ImageNet nets."""
