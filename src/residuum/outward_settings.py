"""What can be set for the verbs that take a model in or out of residuum, or serve it; see settings.py."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from residuum.choices import (
    Activation,
    Coarser,
    ExportTarget,
    Interpolation,
    Order,
    Shortcut,
    StrideIn,
    WeightLayout,
    ZeroChannels,
)
from residuum.plain_data import DataPlace, Place, PlaceOrAddress, Range, Settings
from residuum.setting_parts import ByEngine

_COLOURS = "three numbers for red, green and blue, such as 0.485 0.456 0.406; divide by 255 those of colours up to 255"


@dataclass(frozen=True)
class ServeSettings(ByEngine):
    """What `residuum serve` can be told."""

    runs: tuple[Place, ...] = ()
    """Run folders, model files or exports, or NAME=PATH; where a request names none, the first answers."""
    _: KW_ONLY
    host: str = "127.0.0.1"
    """Address to listen on. One that others can reach needs a token."""
    port: Annotated[int, Range(0, 65_535)] = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: Place | None = None
    """File with what every request has to bring as "Authorization: Bearer …". By default $RESIDUUM_TOKEN."""
    batch: Annotated[int, Range(1, 1024)] = 16
    """Pictures answered together at most."""
    gather: Annotated[float, Range(0.0, 1000.0)] = 5.0
    """Milliseconds a picture waits at most for others that are being decoded, to be answered together."""
    queue: Annotated[int, Range(1, 100_000)] = 64
    """Requests that are answered or wait at one time; more are refused (429)."""
    longest_wait: Annotated[float, Range(0.01, 600.0)] = 2.0
    """Seconds to an answer, from when a request was read, a crowd beside it or not: where those ahead and its own are
    expected to take more than half of that, it is refused (429)."""
    megabytes: Annotated[float, Range(0.001, 1000.0)] = 10.0
    """Largest request, in millions of bytes (413)."""
    megapixels: Annotated[float, Range(0.001, 100.0)] = 25.0
    """Largest picture, in millions of pixels (422)."""
    receive: Annotated[float, Range(0.01, 3600.0)] = 10.0
    """Seconds in which a request has to arrive (408)."""
    drain: Annotated[float, Range(0.0, 3600.0)] = 30.0
    """Seconds for what has come to be answered after SIGTERM."""
    examples: Annotated[int, Range(0, 100)] = 8
    """Pictures of a run's own data that the page offers to try."""


@dataclass(frozen=True)
class ShowSettings(ByEngine):
    """What `residuum show` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    port: Annotated[int, Range(0, 65_535)] = 8000
    """Port to listen on, on this machine alone; 0 takes a free one."""
    browser: bool = True
    """Open the page in the browser; else its address is said."""
    examples: Annotated[int, Range(0, 100)] = 12
    """Pictures of the run's own data that the page offers to try."""


@dataclass(frozen=True)
class ImportSettings(Settings):
    """What `residuum import` can be told. What keys cannot tell is taken from what is known of their layout."""

    source: Place | None = None
    """A weights file, a folder that transformers saved, or torchvision:NAME, timm:NAME, hf:OWNER/NAME."""
    _: KW_ONLY
    out: Place | None = None
    """The model file to write, a new one. By default NAME-residuum.safetensors here."""
    prefix: str | None = None
    """Which net, where a file holds several: what its keys begin with."""
    classes: Place | None = None
    """A text file with one class name a line."""
    mean: Annotated[tuple[float, float, float] | None, Range(0.0, 1.0, _COLOURS)] = None
    """Mean of red, green and blue that the weights were trained with, where colours go from 0 to 1."""
    std: Annotated[tuple[float, float, float] | None, Range(1e-3, 1.0, _COLOURS)] = None
    """Spread of red, green and blue that the weights were trained with, where colours go from 0 to 1."""
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
    model: str | None = None
    """The net of `residuum models` that the weights are of, under residuum's own names: what these leave open is as it
    has it."""
    shortcut: Shortcut | None = None
    """The shortcut, where names cannot tell: none is the plain net, whose names are option A's."""
    order: Order | None = None
    """Where ReLU stands, which has no name; where BN does, names tell."""
    activation: Activation | None = None
    """relu, or gelu in every ReLU's place."""
    projection_pool: bool | None = None
    """Whether projections average before they stride (ResNet-D)."""
    several: bool | None = None
    """Whether a picture may have several labels, each answered for itself by the sigmoid of its output. By default as
    config.json says, else not."""


@dataclass(frozen=True)
class SaveSettings(Settings):
    """What `residuum.save` can be told."""

    path: Place
    """The model file to write, a new one, under exactly this name: MODEL.safetensors, as `out` of other verbs."""
    _: KW_ONLY
    classes: tuple[str, ...]
    """The classes' names, in the order of the outputs."""
    mean: Annotated[tuple[float, float, float], Range(0.0, 1.0, _COLOURS)]
    """Mean of red, green and blue that was subtracted, where colours go from 0 to 1."""
    std: Annotated[tuple[float, float, float], Range(1e-3, 1.0, _COLOURS)]
    """Spread of red, green and blue that was divided by, where colours go from 0 to 1."""
    image_size: Annotated[int, Range(8, 2048)]
    """Side of the square the net sees, in pixels."""
    resize_to: Annotated[int | None, Range(8, 4096)] = None
    """What the shorter side is resized to before the central square is cut out, in pixels."""
    interpolation: Interpolation = "bilinear"
    """How pictures are resized."""
    several: bool = False
    """Whether a picture may have several labels, each answered for itself by the sigmoid of its output."""


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
class ExportSettings(Settings):
    """What `residuum export` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    to: ExportTarget | None = None
    """For what: any program with onnxruntime, with OpenVINO, or with torch."""
    int8: bool = False
    """In whole numbers of 8 bits, their ranges measured on training pictures: smaller and faster."""
    data: DataPlace | None = None
    """The pictures that answers are compared on, and int8's ranges measured. By default those that the model was
    trained with; one that was imported has none."""
    pictures: Annotated[int, Range(1, 10_000_000)] = 200
    """On how many of them, at the most."""
    least_same: Annotated[float | None, Range(0.0, 1.0, "it is a share: 0.99 for 99 %")] = None
    """The share of answers that must stay. By default 0.995, or 0.97 in int8."""
    licence: str | None = None
    """The licence that the file states. By default that of fetched weights, else none."""
    threads: Annotated[int | None, Range(1, 65_536)] = None
    """Processor threads. By default all cores."""
    out: Place | None = None
    """The folder to write. By default MODEL-TARGET-DATE here."""


@dataclass(frozen=True)
class BenchSettings(Settings):
    """What `residuum bench` can be told."""

    model: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    data: DataPlace | None = None
    """The pictures that answers are compared on, and int8's ranges measured. By default those that the model was
    trained with; one that was imported has none."""
    pictures: Annotated[int, Range(1, 10_000_000)] = 200
    """On how many of them, at the most."""
    allow: tuple[Coarser, ...] = ()
    """Choose from these numbers, too, where enough answers stay. By default float32 alone, whose answers agree to
    rounding; the others are timed, and change some."""
    threads: Annotated[int | None, Range(1, 65_536)] = None
    """Processor threads. By default all cores."""
    forget: bool = False
    """Time nothing, and forget what was chosen for the model here: torch answers in float32, as before any choice."""


@dataclass(frozen=True)
class CardSettings(Settings):
    """What `residuum card` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    _: KW_ONLY
    licence: str | None = None
    """Under what licence you give the model on, as the hub spells it: apache-2.0, mit, cc-by-4.0, other."""
    anew: bool = False
    """Write over a card that was changed by hand."""


@dataclass(frozen=True)
class PublishSettings(Settings):
    """What `residuum publish` can be told."""

    run: Place | None = None
    """A run folder or a model file."""
    repository: str | None = None
    """OWNER/NAME on the Hugging Face hub."""
    _: KW_ONLY
    licence: str | None = None
    """Under what licence you give the model on, as the hub spells it: apache-2.0, mit, cc-by-4.0, other."""
    public: bool = False
    """Let everybody see it. A new repository is private otherwise."""
    pictures: bool = False
    """Send what stems from single training pictures, too: small pictures of mistakes, the features "unsure" goes by."""
    replace: bool = False
    """Write over files of the same names that residuum has not put there, or that were changed there."""
    dry_run: bool = False
    """Show what would be sent, and send nothing."""


@dataclass(frozen=True)
class FetchWeightsSettings(Settings):
    """What `residuum weights fetch` can be told."""

    name: str | None = None
    """A name of `residuum weights list`, another of timm's (resnet18.a1_in1k), or OWNER/NAME on Hugging Face."""
    _: KW_ONLY
    from_: PlaceOrAddress | None = None
    """A folder that holds the files, or a mirror's address. By default $RESIDUUM_WEIGHTS, else who published them."""


@dataclass(frozen=True)
class ListWeightsSettings(Settings):
    """What `residuum weights list` can be told."""

    _: KW_ONLY
    here: bool = False
    """List only those that are on this machine."""
