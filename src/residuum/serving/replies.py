"""What is answered, as JSON: /openapi.json is made from these types."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field, json
from starlette.responses import Response


class Reply(Struct, frozen=True, kw_only=True):
    """One answer; every one names its request."""

    request_id: str


class Said(Struct, frozen=True):
    """A class and its probability."""

    name: str = field(name="class")
    probability: float


class Milliseconds(Struct, frozen=True, kw_only=True):
    """Where the time went, from when the request had been read."""

    decoding: float
    """From the file to the square that the net sees."""
    net: float
    """The batch's, however many pictures were in it."""
    rest: float
    """Waiting, for the most part."""


class Predicted(Reply, frozen=True, kw_only=True):
    """What a picture shows, likeliest first."""

    model: str
    answers: list[Said]
    """The `top` likeliest; of several labels a picture all that are called, too."""
    labels: list[str] | UnsetType = UNSET
    """Of several labels a picture those called, likeliest first: of a probability of `call_from` or more, which may be
    none; absent of one label a picture."""
    unsure: bool | None
    """Whether the picture is unlike those trained on, or the likeliest class has less than `at_least`, so that the
    answers mean little; null where neither is known."""
    reason: str
    """Why it is unsure; "" where it is not."""
    engine: str
    precision: str
    batch: int
    """How many pictures were answered together."""
    milliseconds: Milliseconds


class Heated(Reply, frozen=True, kw_only=True):
    """Where in a picture lies what speaks for a class."""

    model: str
    answers: list[Said]
    of: str
    """The class."""
    method: str
    heat: str | None
    """The picture in grey under the map, as a PNG data URI; null where nothing speaks for the class."""
    x: float | None
    """Where the map is highest: the share of the width to the left of it."""
    y: float | None
    milliseconds: Milliseconds


class After(Struct, frozen=True, kw_only=True):
    """What the net would answer if it ended behind a block."""

    block: str
    probability: float
    """Of the class that is followed."""
    answers: list[Said]


class Switched(Reply, frozen=True, kw_only=True):
    """What a net answers with some of its blocks off, and would behind each block: by torch, in float32, whichever
    engine predicts."""

    model: str
    answers: list[Said]
    after: list[After]
    of: str
    """The class that is followed."""
    off: list[str]
    layers: int
    """How many are left on the longest path."""
    seen: str
    """What the net was shown, as a PNG data URI."""
    milliseconds: Milliseconds


class BlockInfo(Struct, frozen=True, kw_only=True):
    """A residual block."""

    name: str
    can_be_off: bool
    goes: int | None
    """Its place among those that go as the net is made shallower, 1 the first; null for one that stays."""
    channels: int


class Net(Struct, frozen=True, kw_only=True):
    """What the page draws of a net; nothing where the net is not here, but only what an engine makes of it."""

    blocks: tuple[BlockInfo, ...] = ()
    depth: int | None = None
    """Its layers with weights on the longest path."""
    layers_in_block: int | None = None
    shortcut: str | None = None


class Example(Struct, frozen=True, kw_only=True):
    """A picture to try."""

    name: str
    url: str


class Model(Net, frozen=True, kw_only=True):
    """A model that is served."""

    name: str
    classes: list[str]
    several: bool
    """Whether a picture may show any number of the classes, each answered for itself."""
    digest: str
    engine: str
    precision: str
    image_size: int
    """Side of the square that the net sees, in pixels."""
    examples: list[Example]


class Health(Struct, frozen=True, kw_only=True):
    """Whether the server lives, or takes requests."""

    ok: bool
    why: str


class Refused(Reply, frozen=True, kw_only=True):
    """Why there is no answer, and what to do."""

    what: str
    why: str
    mend: str


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a reply, or a list of them, as a response. Numbers that are not finite become null."""
    return Response(json.encode(content), status, headers, "application/json")
