"""What `residuum plan` tells of a run before it begins, and the profile of a machine that it may be planned for."""

import math
from typing import Literal

from residuum.records.codec import Record
from residuum.records.numbers import Amount, Count, Share

Part = Literal["device", "decoding", "reading", "network"]
"""What a picture's time goes to: the net; decoding and augmenting; fetching its bytes; exchanging gradients."""


class Seconds(Record, frozen=True, kw_only=True):
    """What a run's time goes to, in s."""

    starting: Amount
    """Until the data are open and the net is made."""
    preparing: Amount
    """Once for these pictures: looking at each, decoding small ones. Later runs remember it."""
    training: Amount
    validating: Amount
    saving: Amount
    judging: Amount
    """The final figures."""

    @property
    def total(self) -> float:
        """Return them all."""
        return math.fsum(getattr(self, name) for name in self.__struct_fields__)


class Disk(Record, frozen=True, kw_only=True):
    """What is written, in bytes."""

    cache: Count
    """What is kept of the pictures, where it is not there yet."""
    checkpoints: Count
    """While the run goes on: the last, the one before, and one being written."""
    run: Count
    """What is left in the end."""
    free: Count | None = None
    """Where the run will be written; None on another machine."""


class Forecast(Record, frozen=True, kw_only=True):
    """What a run will cost."""

    data: str
    model: str
    recipe: str
    pictures: Count
    """Those trained on."""
    image_size: Count
    batch_size: Count
    """Over all devices."""
    steps: Count
    on: str
    """This machine, or the profile's name."""
    devices: Count
    images_per_s: Amount
    """Training, over all devices."""
    seconds: Seconds
    joules: Amount | None
    """None where it cannot be measured."""
    joules_of: str
    """What that energy is, or why there is none."""
    memory: Count
    """Bytes at the most: of the process, or of one GPU."""
    memory_there: Count | None
    disk: Disk
    checkpoints: Count
    """How many are written."""
    checkpoint_bytes: Count
    a_picture: dict[Part, Amount]
    """Seconds that each part takes a picture, over all devices, by itself."""
    bottleneck: Part
    assumptions: tuple[str, ...] = ()
    """What the figures rest on besides what was measured just now."""
    measuring_s: Amount
    """How long it took to find out, in s."""


class Profile(Record, frozen=True, kw_only=True):
    """A machine to plan for: devices that are alike. `residuum plan DATA --write-profile FILE` writes this one's."""

    name: str
    devices: Count = 1
    """Each takes an equal share of every batch."""
    multiply_adds_per_s: Amount
    """What one device trains with, forward, backward and update: three times a picture's multiply-adds, divided by the
    seconds it takes."""
    memory_bytes: Count | None = None
    """Of one device."""
    bytes_a_number: Literal[2, 4] = 4
    """Of an activation: 2 in bfloat16."""
    cores: Count
    """Processor cores that decode, all together."""
    decode_slowdown: Amount = 1.0
    """How many times as long as here a core takes to decode and augment."""
    read_bytes_per_s: Amount | None = None
    """From where the pictures lie, all together; None: it holds nothing up."""
    network_bytes_per_s: Amount | None = None
    """Between devices, for the gradients; must be given for several."""
    hidden: Share = 2 / 3
    """Part of a step, from its end, during which gradients are exchanged while others are still computed: the backward
    pass (Li et al. 2020, arXiv 2006.15704, sec. 3.2.3)."""
    watts: Amount | None = None
    """All together, under load."""
    assumptions: tuple[str, ...]
    """Where the numbers are from: they are repeated with every figure."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with (ValueError)."""
        if not (self.devices and self.cores and self.multiply_adds_per_s):
            raise ValueError("devices, cores and multiply_adds_per_s are above zero")
        if self.devices > 1 and not self.network_bytes_per_s:
            raise ValueError("several devices exchange gradients: network_bytes_per_s is needed")
