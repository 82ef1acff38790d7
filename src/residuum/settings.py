"""What can be set, for every verb, as plain data checked when it is built. Standard library only,
so that `residuum --help` and every error about a flag are instant."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from residuum.choices import AnswerFormat, EvaluationViews, Scale, Shuffle, SplitName, SweepCost
from residuum.errors import UserError
from residuum.plain_data import DataPlace, Place, PlaceOrAddress, Range, Settings
from residuum.setting_parts import (
    ByEngine,
    DataChoices,
    ImageCount,
    InPrecision,
    NetChoices,
    OfTable,
    OnDevice,
    RecipeChoices,
    RunChoices,
    Seed,
    TrainingCompute,
    WhereTrained,
    WhichNet,
    WhichRecipe,
    WithWorkers,
)


@dataclass(frozen=True)
class TrainSettings(RunChoices, TrainingCompute, RecipeChoices, WhichRecipe, NetChoices, WhichNet, DataChoices):
    """What `residuum train` can be told. What is left alone (None, "auto") is chosen and printed.

    Python reads bases from the last to the first: the fields begin with the data.
    """


@dataclass(frozen=True)
class PlanSettings(TrainSettings):
    """What `residuum plan` can be told: what the run would be told, and where it is to run."""

    _: KW_ONLY
    on: Place | None = None
    """The profile of another machine: a JSON file as --write-profile writes it, edited as you like; say in it what its
    numbers rest on. By default it is measured here, in seconds."""
    write_profile: Place | None = None
    """Write what was measured here as a profile, into this new file."""


@dataclass(frozen=True)
class EvaluateSettings(OfTable, WithWorkers):
    """What `residuum evaluate` can be told."""

    run: Place | None = None
    """A run folder, a model file or an export."""
    data: DataPlace | None = None
    """The pictures to judge on. By default the ones the run was trained on; an export needs to be told."""
    _: KW_ONLY
    views: tuple[EvaluationViews, ...] = ()
    """How each picture is shown: single, mirrored (with its mirror image), shifted (these moved by a pixel too),
    halved (also at half its side), middle (at two thirds of its side and its middle as large, both also halved),
    ten-crop, multi-scale (whole photographs, shorter sides 224, 256, 384, 480 and 640 for a net of 224 px); several
    stand side by side. By default as the model is asked: single, or what it was found to answer better by."""
    with_: tuple[Place, ...] = ()
    """Other run folders or model files of the same classes, whose answers are averaged with the first's."""
    split: SplitName | None = None
    """Which split. By default the test split, or validation where there is no test split, or else what was trained on,
    which flatters the net and is said."""
    call_from: Annotated[float, Range(0, 1)] = 0.5
    """For several labels a picture: the probability from which on a label is called. The report shows what others would
    call."""
    skip_broken: bool = False
    """Judge without pictures that cannot be read, which are named."""
    batch_size: Annotated[int, Range(1, 65_536)] = 250
    """Pictures in one step."""


@dataclass(frozen=True)
class PredictSettings(ByEngine):
    """What `residuum predict` can be told."""

    run: Place | None = None
    """A run folder, a model file or an export."""
    images: tuple[PlaceOrAddress, ...] = ()
    """Pictures, folders of pictures, or tables that name some."""
    _: KW_ONLY
    top: Annotated[int, Range(1, 100_000)] = 5
    """How many classes to show for each picture; for several labels a picture, text shows those called instead."""
    call_from: Annotated[float, Range(0, 1, "it is a probability: 0.2 for one of 20 %")] = 0.5
    """For several labels a picture: the probability from which on a label is called. A lower one finds more rare
    labels, and calls more that are not there."""
    at_least: Annotated[float | None, Range(0, 1, "it is a probability: 0.6 for one of 60 %")] = None
    """For one label a picture: an answer whose likeliest class has less than this is unsure, too. By default only a
    picture unlike those trained on is. The report says how such answers turn out."""
    out: Place | None = None
    """A new file for the answers, written as they come. By default they are printed."""
    format: AnswerFormat | None = None
    """Text, a table (csv), or a line of JSON a picture. By default as the file's suffix says, else text."""
    sort_into: Place | None = None
    """A folder for copies of the pictures, one below it for each class. Nothing in it is written over."""
    allow_urls: bool = False
    """Fetch pictures that are named by an address, https:// or http://."""


@dataclass(frozen=True)
class ExplainSettings(OfTable, OnDevice):
    """What `residuum explain` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    images: tuple[Place, ...] = ()
    """Pictures, or folders of pictures."""
    _: KW_ONLY
    of: str | None = None
    """The class whose evidence is shown. By default what the net answers."""
    top: Annotated[int, Range(1, 6)] = 3
    """How many classes to show for each picture."""
    nearest: Annotated[int, Range(0, 100)] = 6
    """How many of the nearest training pictures to show."""
    among: Annotated[int, Range(1, 10_000_000)] = 5_000
    """Training pictures looked through for the nearest, drawn by chance where there are more."""
    data: DataPlace | None = None
    """The training pictures. By default those that the run was trained on."""
    out: Place | None = None
    """Folder for page and figures. By default RUN/explain/PICTURE-DATE; here for a model file."""


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
class LesionSettings(OfTable, InPrecision):
    """What `residuum lesion` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    data: DataPlace | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    out: Place | None = None
    """Folder for figures and report. By default RUN/MODEL-lesion-DATE; here for a model file."""
    images: ImageCount = None
    """Measure on this many validation pictures. By default all."""


@dataclass(frozen=True)
class TrimSettings(OfTable, InPrecision):
    """What `residuum trim` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    data: DataPlace | None = None
    """Pictures to measure on; the validation pictures are used. By default those the model was trained with."""
    _: KW_ONLY
    keep: Annotated[float | None, Range(0.01, 1.0, "it is a share: 0.75 for 75 % of the blocks")] = None
    """Share of the blocks to keep. By default 0.75, if neither --max-drop nor --speedup is given. The whole curve is
    measured all the same, down to as few blocks as can be left, so that it takes as long at 0.9 as at 0.1."""
    max_drop: Annotated[float | None, Range(0.0, 100.0)] = None
    """Take as many blocks as cost at most this many points of validation accuracy."""
    speedup: Annotated[float | None, Range(1.0, 1000.0)] = None
    """Take as few blocks as make the net this many times faster, as measured in batches of 32."""
    repair: Annotated[int, Range(0, 10_000)] = 0
    """Epochs of training after the cut, on the training pictures."""
    random: Annotated[int, Range(0, 1000)] = 5
    """Draws of random deletion to compare with."""
    out: Place | None = None
    """Folder for the smaller model, figures and report; the same call goes on in one where it was stopped. By default
    RUN/MODEL-trim-DATE; here for a model file."""
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
class StudySettings(WhereTrained, OnDevice):
    """What `residuum study` can be told."""

    names: tuple[str, ...] = ()
    """The studies, by name, or "all"."""
    _: KW_ONLY
    list: bool = False
    """List the studies and the question each one asks."""
    scale: Scale = "quick"
    """tiny: some seconds to some minutes, to see that it runs. quick: minutes on an ordinary processor.
    full: the papers' own recipes, for a GPU."""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """How many seeds everything that is trained is trained with: 1, 2, 3 … Not of a model that is given."""
    model: Place | None = None
    """Examine this run or model file instead of nets trained for the study."""
    data: DataPlace | None = None
    """The pictures. By default the study's own: cifar10 or digits."""
    shuffle: Shuffle | None = None
    """Order of training pictures, as `residuum train` has it: as-0.1 repeats the training of version 0.1."""
    out: Place = "studies"
    """Where the studies' reports go, and the runs they share."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings(WhereTrained, TrainSettings, group="Sweep"):
    """What `residuum sweep` can be told: what varies, and whatever `residuum train` can, which stays the same."""

    over: tuple[str, ...] = ()
    """What varies, each as lr=0.05,0.1 or blocks="1 1 1,2 2 2": every combination is trained. default is the recipe's
    or net's own. By default the seed alone."""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """How many seeds each combination is trained with, from --seed on."""
    cost: SweepCost = "training"
    """What accuracy is held against: multiply-adds of the training, its seconds, multiply-adds a picture (inference),
    or parameters."""
    out: Place | None = None
    """Where reports go, and the runs that sweeps share. By default sweeps."""


@dataclass(frozen=True)
class CheckSettings(OfTable):
    """What `residuum data check` can be told."""

    data: DataPlace | None = None
    """The data to look at."""


@dataclass(frozen=True)
class PackSettings(OfTable):
    """What `residuum data pack` can be told."""

    data: DataPlace | None = None
    """The pictures: a folder, or any other data set."""
    out: Place | None = None
    """The folder for the shards: new, empty, or one that was begun."""
    _: KW_ONLY
    shard_megabytes: Annotated[int, Range(1, 100_000)] = 256
    """Size of a shard, about, in MB."""


@dataclass(frozen=True)
class ReviewSettings(OnDevice):
    """What `residuum data review` can be told."""

    run: Place | None = None
    """The run folder whose pictures to look at."""
    data: DataPlace | None = None
    """Where they lie, if they have moved since the run was trained."""


@dataclass(frozen=True)
class FetchSettings(Settings):
    """What `residuum data fetch` can be told."""

    name: str | None = None
    """A data set's short name (cifar10, cifar100, fashion-mnist) or its hub name (owner/name)."""


@dataclass(frozen=True)
class MachineSettings(Settings):
    """What `residuum machine` can be told."""

    _: KW_ONLY
    anew: bool = False
    """Time again what is fastest, for the runs to come."""


@dataclass(frozen=True)
class NetSettings(NetChoices):
    """What `residuum.net` can be told: a net by name, and what is changed of it."""

    model: str
    _: KW_ONLY
    classes: Annotated[int | None, Range(0, 1_000_000)] = None
    """Number of classes; 0 is a backbone. By default 10 for the CIFAR nets and 1000 for the ImageNet nets."""


@dataclass(frozen=True)
class ModelsSettings(NetChoices):
    """What `residuum models` can be told: which nets, and what is changed of them."""

    names: tuple[str, ...] = ()
    """The nets to list. By default all; VGG-16, VGG-19 and GoogLeNet are there for comparison: no verb builds them."""
    _: KW_ONLY
    classes: Annotated[int | None, Range(2, 1_000_000)] = None
    """Number of classes. By default 10 for the CIFAR nets and 1000 for the ImageNet nets."""
    image_size: Annotated[int | None, Range(8, 4096)] = None
    """Side of the picture in pixels. By default 32 for the CIFAR nets and 224 for the ImageNet nets."""
    plan: bool = False
    """Show what computes each step of training here, instead of what the nets cost."""
