"""What can be set, for every verb, as plain data checked when it is built. Standard library only,
so that `residuum --help` and every error about a flag are instant."""

from dataclasses import KW_ONLY, dataclass

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
    Target,
    WeightLayout,
    ZeroChannels,
)
from residuum.errors import UserError
from residuum.plain_data import check_range

# --- one set of settings for each verb ----------------------------------------------------------


@dataclass(frozen=True)
class TrainSettings:
    """What `residuum train` can be told. What is left alone (None, "auto") is chosen and printed."""

    data: str | None = None
    """A folder of pictures, a folder of Parquet files, "digits", "cifar10" or another data set's name.
    By default digits."""
    _: KW_ONLY
    model: str | None = None
    """The net, by name: see `residuum models`. By default resnet20 for pictures up to 64 px, else resnet18."""
    start: str | None = None
    """Begin with this run's or model file's net, weights and preprocessing, instead of a new net."""
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
    groups: int | None = None
    """Groups of a bottleneck's 3×3 convolution (ResNeXt)."""
    squeeze: int | None = None
    """Squeeze-and-excitation with this reduction, 16 in its paper; 0 is without."""
    projection_pool: bool | None = None
    """Whether projections average before they stride (ResNet-D)."""
    dropout: float | None = None
    """Share of activations dropped before each block's last convolution."""
    stochastic_depth: float | None = None
    """Probability that the last block is skipped in a training step; less for earlier ones."""
    zero_init: bool | None = None
    """Whether the last BN of each branch starts at scale zero."""
    recipe: RecipeName | None = None
    """How to train. By default quick; with --start, fine_tune."""
    target: Target | None = None
    """Recipe fast alone: the accuracy on CIFAR-10, in per cent, that it is to reach. By default 94."""
    epochs: int | None = None
    """Passes over the training pictures. By default the recipe's length."""
    batch_size: int | None = None
    """Pictures in one step. By default the recipe's."""
    lr: float | None = None
    """Highest learning rate. By default the recipe's."""
    weight_decay: float | None = None
    """Weight decay. By default the recipe's."""
    label_smoothing: float | None = None
    """Share of the target spread over all classes. By default the recipe's."""
    flip: bool | None = None
    """Whether training pictures may be mirrored. By default yes, but not for digits."""
    image_size: int | None = None
    """Side of the square the net sees, in pixels. By default the pictures' own up to 64, else 128."""
    validation: float = 0.1
    """Share of the training pictures kept aside for validation where the data has no such split; 0 keeps none."""
    seed: int = 0
    """Decides initial weights, order, augmentation and the validation cut."""
    out: str | None = None
    """Run folder. By default runs/DATA-MODEL-DATE."""
    resume: str | None = None
    """Go on with this run folder; nothing else need be given."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of the convolutions."""
    layout: Layout = "auto"
    """Order of the axes in memory."""
    threads: int | None = None
    """Processor threads. By default all cores."""
    workers: int | None = None
    """Processes that decode large pictures. By default the number of cores."""
    save_seconds: float = 60.0
    """Longest time between two checkpoints."""
    checkpointing: bool = False
    """Keep fewer activations and compute them again: for very deep nets; the numbers stay the same."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder (extra: tensorboard)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--groups", self.groups, 1, 65_536)
        check_range("--squeeze", self.squeeze, 0, 65_536)
        check_range("--target", self.target, 94, 95)
        if self.target is not None and self.recipe != "fast":
            raise UserError("--target is recipe fast's", "", "add --recipe fast, or leave --target out")
        check_range("--epochs", self.epochs, 1, 100_000)
        check_range("--batch-size", self.batch_size, 2, 65_536)
        check_range("--lr", self.lr, 1e-8, 100.0)
        check_range("--weight-decay", self.weight_decay, 0.0, 1.0)
        check_range("--label-smoothing", self.label_smoothing, 0.0, 0.99)
        check_range("--image-size", self.image_size, 8, 2048)
        check_range("--validation", self.validation, 0.0, 0.9)
        check_range("--seed", self.seed, 0, 2**31 - 1)
        check_range("--threads", self.threads, 1, 1024)
        check_range("--workers", self.workers, 0, 256)
        check_range("--save-seconds", self.save_seconds, 0.0, 86_400.0)


@dataclass(frozen=True)
class EvaluateSettings:
    """What `residuum evaluate` can be told."""

    run: str | None = None
    """A run folder or a model file."""
    data: str | None = None
    """The pictures to judge on. By default the ones the run was trained on."""
    _: KW_ONLY
    split: SplitName | None = None
    """Which split. By default the test split, or validation where there is no test split."""
    batch_size: int = 250
    """Pictures in one step."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of the convolutions; auto is float32, in which published weights score what they should."""
    threads: int | None = None
    """Processor threads. By default all cores."""
    workers: int | None = None
    """Processes that decode large pictures. By default the number of cores."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--batch-size", self.batch_size, 1, 65_536)
        check_range("--threads", self.threads, 1, 1024)
        check_range("--workers", self.workers, 0, 256)


@dataclass(frozen=True)
class PredictSettings:
    """What `residuum predict` can be told."""

    run: str | None = None
    """A run folder or a model file."""
    images: tuple[str, ...] = ()
    """Pictures, or folders of pictures."""
    _: KW_ONLY
    top: int = 5
    """How many classes to show for each picture."""
    device: Device = "auto"
    """Where to compute."""
    threads: int | None = None
    """Processor threads. By default all cores."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--top", self.top, 1, 100_000)
        check_range("--threads", self.threads, 1, 1024)


@dataclass(frozen=True)
class ImportSettings:
    """What `residuum import` can be told. What keys cannot tell is taken from what is known of their layout."""

    source: str | None = None
    """A weights file, a folder that transformers saved, or torchvision:NAME, timm:NAME, hf:OWNER/NAME."""
    _: KW_ONLY
    out: str | None = None
    """The model file to write. By default NAME.safetensors here."""
    classes: str | None = None
    """A text file with one class name a line."""
    mean: tuple[float, float, float] | None = None
    """Mean of red, green and blue that the weights were trained with, 0 to 1."""
    std: tuple[float, float, float] | None = None
    """Spread of red, green and blue that the weights were trained with, 0 to 1."""
    image_size: int | None = None
    """Side of the square the net sees, in pixels."""
    resize_to: int | None = None
    """What the shorter side is resized to before the central square is cut out, in pixels."""
    interpolation: Interpolation | None = None
    """How pictures are resized."""
    stride_in: StrideIn | None = None
    """Which convolution of a bottleneck strides."""
    zero_channels: ZeroChannels | None = None
    """Where option A puts its zero channels: at the end, or half on both sides."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--image-size", self.image_size, 8, 2048)
        check_range("--resize-to", self.resize_to, 8, 4096)
        for value in self.mean or ():
            check_range("--mean", value, -1.0, 1.0)
        for value in self.std or ():
            check_range("--std", value, 1e-3, 10.0)


@dataclass(frozen=True)
class ExportWeightsSettings:
    """What `residuum export-weights` can be told."""

    model: str | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    layout: WeightLayout = "torchvision"
    """Whose names the tensors get."""
    out: str | None = None
    """The safetensors file to write. By default MODEL-LAYOUT.safetensors here."""


@dataclass(frozen=True)
class GrowSettings:
    """What `residuum grow` can be told."""

    model: str | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    to: int | None = None
    """Depth to reach, in layers: 56 makes a ResNet-56 out of a ResNet-20."""
    blocks: tuple[int, ...] | None = None
    """Blocks in each stage to reach, instead of a depth."""
    out: str | None = None
    """The model file to write. By default MODEL-grown-DEPTH.safetensors here."""
    seed: int = 0
    """Decides the new blocks' initial weights."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--to", self.to, 3, 100_000)
        check_range("--seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class LesionSettings:
    """What `residuum lesion` can be told."""

    model: str | None = None
    """A run folder or a model file."""
    data: str | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    out: str | None = None
    """Folder for figures and report. By default MODEL-lesion-DATE here."""
    images: int | None = None
    """Measure on this many validation pictures. By default all."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of the convolutions."""
    threads: int | None = None
    """Processor threads. By default all cores."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--images", self.images, 1, 10_000_000)
        check_range("--threads", self.threads, 1, 1024)


@dataclass(frozen=True)
class TrimSettings:
    """What `residuum trim` can be told."""

    model: str | None = None
    """A run folder or a model file."""
    data: str | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    keep: float | None = None
    """Share of the blocks to keep. By default 0.75, if neither --max-drop nor --speedup is given."""
    max_drop: float | None = None
    """Take as many blocks as cost at most this many points of validation accuracy."""
    speedup: float | None = None
    """Take as few blocks as make the net this many times faster, as measured."""
    repair: int = 0
    """Epochs of training after the cut, on the training pictures."""
    random: int = 5
    """Draws of random deletion to compare with."""
    out: str | None = None
    """Folder for the smaller model, figures and report. By default MODEL-trim-DATE here."""
    images: int | None = None
    """Measure on this many validation pictures. By default all."""
    seed: int = 0
    """Decides the random deletions, and the repair where the data bring their own validation pictures."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of the convolutions."""
    threads: int | None = None
    """Processor threads. By default all cores."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--keep", self.keep, 0.01, 1.0)
        check_range("--max-drop", self.max_drop, 0.0, 100.0)
        check_range("--speedup", self.speedup, 1.0, 1000.0)
        check_range("--repair", self.repair, 0, 10_000)
        check_range("--random", self.random, 0, 1000)
        check_range("--images", self.images, 1, 10_000_000)
        check_range("--seed", self.seed, 0, 2**31 - 1)
        check_range("--threads", self.threads, 1, 1024)
        if sum(target is not None for target in (self.keep, self.max_drop, self.speedup)) > 1:
            raise UserError("--keep, --max-drop and --speedup say different things", "give one of them")


@dataclass(frozen=True)
class ReportSettings:
    """What `residuum report` can be told."""

    runs: tuple[str, ...] = ()
    """One run folder, or several to compare."""
    _: KW_ONLY
    out: str | None = None
    """The HTML file. By default report.html inside the run folder, or here for several runs."""


@dataclass(frozen=True)
class StudySettings:
    """What `residuum study` can be told."""

    names: tuple[str, ...] = ()
    """The studies, by name, or "all"."""
    _: KW_ONLY
    list: bool = False
    """List the studies and the question each one asks."""
    scale: Scale = "quick"
    """quick: minutes on an ordinary processor. full: the papers' own recipes, for a GPU."""
    seeds: int = 3
    """How many seeds everything that is trained is trained with: 1, 2, 3 …"""
    model: str | None = None
    """Examine this run or model file instead of nets trained for the study."""
    data: str | None = None
    """The pictures. By default the study's own: cifar10 or digits."""
    out: str = "studies"
    """Where the studies' reports go, and the runs they share."""
    device: Device = "auto"
    """Where to compute."""
    threads: int | None = None
    """Processor threads. By default all cores."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--seeds", self.seeds, 1, 1000)
        check_range("--threads", self.threads, 1, 1024)


@dataclass(frozen=True)
class CheckSettings:
    """What `residuum data check` can be told."""

    data: str | None = None
    """The data to look at."""


@dataclass(frozen=True)
class FetchSettings:
    """What `residuum data fetch` can be told."""

    name: str | None = None
    """A data set's short name (cifar10, cifar100, fashion-mnist) or its hub name (owner/name)."""


@dataclass(frozen=True)
class ModelsSettings:
    """What `residuum models` can be told."""

    names: tuple[str, ...] = ()
    """The nets to list. By default all."""
    _: KW_ONLY
    classes: int | None = None
    """Number of classes. By default 10 for the CIFAR nets and 1000 for the ImageNet nets."""
    image_size: int | None = None
    """Side of the picture in pixels. By default 32 for the CIFAR nets and 224 for the ImageNet nets."""
    plan: bool = False
    """Show what computes each step of training here, instead of what the nets cost."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UserError)."""
        check_range("--classes", self.classes, 2, 1_000_000)
        check_range("--image-size", self.image_size, 8, 4096)
