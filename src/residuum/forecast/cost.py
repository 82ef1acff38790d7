"""From what was measured, or what a profile says, to what a run will cost. Letters: B pictures in a step."""

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from residuum import machine
from residuum.data.cache import are_digests_kept, decoded_file
from residuum.data.contract import ImageData, Split
from residuum.data.look import is_looked_at
from residuum.data.split import training_and_validation
from residuum.errors import UserError
from residuum.forecast.measure import Net, judged_in
from residuum.forecast.memory import memory_there
from residuum.forecast.source import Source
from residuum.models.count import cost, saved_bytes
from residuum.models.resnet import ResNet
from residuum.recipe import SMALL
from residuum.records.forecast import Disk, Forecast, Part, Profile, Seconds
from residuum.training.features import BATCH
from residuum.training.resolve import Resolved
from residuum.training.start import open_loaders

SMALL_FILES = 100_000
"""Bytes of a run's other files: settings, data, the model file's head."""
LINE, LINES = 120, 1000
"""Bytes of a step in the metrics, and how many are written."""
ROW = 9
"""Bytes of a picture kept aside, in the list of them."""
RECORDED = 1_500_000
"""Bytes of figures and of mistakes with thumbnails, where no judgement was tried."""
LAST_BUCKET = 25 * 2**20
"""Bytes of gradients that are exchanged when nothing is computed any more: DDP's bucket."""


@dataclass(frozen=True)
class Work:
    """What there is to do, however fast."""

    resolved: Resolved
    source: Source
    starting: float
    """Seconds that opening the data and choosing the net took."""

    @property
    def trained(self) -> int:
        """Return the pictures that steps take, each time they are shown counted."""
        return self.resolved.recipe.iterations * self.resolved.recipe.batch_size

    @property
    def validated(self) -> int:
        """Return the pictures of all validations on the way."""
        _, validation = training_and_validation(self.resolved.data, self.resolved.cut)
        recipe = self.resolved.recipe
        if validation is None or not recipe.iterations:
            return 0
        passes = -(-recipe.iterations // max(1, self.resolved.num_training // recipe.batch_size))
        return passes * len(validation)

    @property
    def judged(self) -> int:
        """Return the pictures of the final judgement."""
        _, validation = training_and_validation(self.resolved.data, self.resolved.cut)
        final = self.resolved.data.test or validation
        return len(final) if final else 0

    @property
    def multiply_adds(self) -> int:
        """Return those of a training picture's way through the net."""
        return cost(self.resolved.spec, self.resolved.training_size)["multiply_adds"]


# --- here ---------------------------------------------------------------------------------------


def forecast_here(work: Work, net: Net, assumptions: tuple[str, ...]) -> Forecast:
    """Say what a run costs on this machine."""
    resolved, source = work.resolved, work.source
    steps = sum(phase.steps * phase.seconds for phase in net.phases) * resolved.recipe.batch_size + net.first
    if not net.phases:  # a head: each picture once, with its mirror image twice
        shown = {"mirrored": 2.0, "halved": 1.25, "middle": 10 / 9}.get(resolved.recipe.views, 1.0)
        steps = net.validating * shown * (resolved.num_training + work.judged)
    saves = _saves(resolved, steps + work.validated * net.validating)
    judging = 0.0
    if work.judged:
        judging = judged_in(work.judged, len(resolved.data.classes), several=resolved.data.several)
        judging += work.judged * bool(net.phases) * net.judging + net.once_judged + net.recording
    seconds = Seconds(
        starting=work.starting + _opening(resolved),
        preparing=_preparing(resolved.data, source, resolved),
        training=steps,
        validating=work.validated * net.validating + bool(work.validated) * net.once_validated,
        saving=saves * net.checkpoint,
        judging=judging,
    )
    parts: dict[Part, float] = {
        "device": net.device,
        "decoding": max(0.0, source.serving - (source.reading if source.streamed else 0.0)),
        "reading": source.reading if source.streamed else 0.0,
    }
    shown = max(1, work.trained or resolved.num_training)
    return _forecast(
        work,
        on="this machine",
        devices=1,
        images_per_s=shown / max(steps - net.first, 1e-9),
        seconds=seconds,
        joules=None if net.energy.watts is None else net.energy.watts * seconds.total,
        joules_of=net.energy.of,
        memory=net.memory + _held_pictures(resolved),
        memory_there=memory_there(resolved.compute.device),
        disk=_disk(work, net.checkpoint_bytes, net.model_bytes, net.recorded_bytes, here=True),
        checkpoints=saves,
        checkpoint_bytes=net.checkpoint_bytes,
        a_picture=parts,
        assumptions=assumptions,
    )


def profile_here(work: Work, net: Net) -> Profile:
    """Return this machine as a profile: what was measured, by this net."""
    resolved, here = work.resolved, machine.environment()
    compute = resolved.compute
    return Profile(
        name=f"{here.processor}, {compute.device.type}",
        multiply_adds_per_s=3 * work.multiply_adds / net.device,
        memory_bytes=memory_there(compute.device) or None,
        bytes_a_number=2 if compute.precision == "bfloat16" else 4,
        cores=here.cores,
        watts=net.energy.watts,
        assumptions=(
            f"measured with {resolved.model} at {resolved.training_size} px in batches of {net.batch}, "
            f"{compute.precision}, torch {here.torch}, {here.date[:10]}",
        ),
    )


# --- elsewhere ----------------------------------------------------------------------------------


def forecast_on(work: Work, profile: Profile) -> Forecast:
    """Say what a run costs on the machine of a profile.

    Raises:
        UserError: a batch cannot be shared among the devices.
    """
    resolved, recipe = work.resolved, work.resolved.recipe
    if recipe.iterations and recipe.batch_size < 2 * profile.devices:
        raise UserError(
            f"a batch of {recipe.batch_size} is too small for {profile.devices} devices",
            "each takes an equal share of it, and batch normalisation needs two pictures at a time",
            "give a larger --batch-size",
        )
    weights = 4 * cost(resolved.spec, resolved.image_size)["parameters"]
    parts = _parts(work, profile, weights)
    each = max(parts["device"] + parts.get("network", 0.0), parts["decoding"], parts["reading"])
    larger = cost(resolved.spec, resolved.image_size)["multiply_adds"] / work.multiply_adds
    seen = max(larger * parts["device"] / 3, parts["decoding"], parts["reading"])  # forward alone
    seconds = Seconds(
        starting=work.starting,
        preparing=_preparing(resolved.data, work.source, resolved, profile),
        training=work.trained * each if work.trained else (resolved.num_training + work.judged) * seen,
        validating=work.validated * seen,
        saving=0.0,
        judging=work.judged * seen,
    )
    share = max(1, recipe.batch_size // profile.devices)
    return _forecast(
        work,
        on=profile.name,
        devices=profile.devices,
        images_per_s=1 / each,
        seconds=seconds,
        joules=None if profile.watts is None else profile.watts * seconds.total,
        joules_of="the profile says no watts" if profile.watts is None else "the profile's watts",
        memory=3 * weights + _activations(resolved) * share * profile.bytes_a_number // 4,
        memory_there=profile.memory_bytes,
        disk=_disk(work, 2 * weights, weights, RECORDED, here=False),
        checkpoints=_saves(resolved, seconds.training + seconds.validating),
        checkpoint_bytes=2 * weights,
        a_picture=parts,
        assumptions=(*profile.assumptions, *_assumed(profile)),
    )


def _parts(work: Work, profile: Profile, weights: int) -> dict[Part, float]:
    """Return the seconds a picture of each part, over all devices."""
    source, batch = work.source, work.resolved.recipe.batch_size
    one = 3 * work.multiply_adds / profile.multiply_adds_per_s / profile.devices
    read = source.reading if source.streamed else 0.0
    parts: dict[Part, float] = {
        "device": one,
        "decoding": max(0.0, source.serving_core - read) * profile.decode_slowdown / profile.cores,
        "reading": source.bytes / profile.read_bytes_per_s if source.streamed and profile.read_bytes_per_s else 0.0,
    }
    if profile.devices > 1:
        parts["network"] = _exchange(weights, profile, batch * one) / batch
    return parts


def _activations(resolved: Resolved) -> int:
    """Return the bytes that a picture's activations take in a step, in float32: counted on a step of two."""
    net = ResNet(replace(resolved.spec, stochastic_depth=0.0))
    return saved_bytes(net, torch.zeros(2, resolved.spec.in_channels, *2 * (resolved.training_size,))) // 2


def _exchange(weights: int, profile: Profile, step: float) -> float:
    """Return the seconds a step waits for gradients: a ring moves 2(n−1)/n of them (Patarasuk and Yuan 2009).

    Part of that is hidden behind the backward pass; the last bucket, of the first layers, is not.
    """
    assert profile.network_bytes_per_s
    moved = 2 * (profile.devices - 1) / profile.devices / profile.network_bytes_per_s
    return max(weights * moved - profile.hidden * step, min(weights, LAST_BUCKET) * moved)


def _assumed(profile: Profile) -> tuple[str, ...]:
    said = [
        "memory is counted, not measured: weights, gradients, momentum and activations",
        f"decoding is timed here on one core, and takes {profile.decode_slowdown:g} times as long there",
        "a picture judged takes a third of one trained on; writing checkpoints takes no time",
    ]
    if profile.devices > 1:
        said.append("gradients of 4 bytes a number are exchanged in a ring, beside the backward pass")
    return tuple(said)


# --- both ---------------------------------------------------------------------------------------


def _forecast(work: Work, *, a_picture: dict[Part, float], **found: object) -> Forecast:
    resolved, recipe = work.resolved, work.resolved.recipe
    return Forecast(
        data=resolved.data.name,
        model=resolved.model,
        recipe=recipe.name,
        pictures=resolved.num_training,
        image_size=resolved.image_size,
        batch_size=recipe.batch_size if recipe.iterations else BATCH,
        steps=recipe.iterations,
        a_picture=a_picture,
        bottleneck=max(a_picture, key=lambda part: a_picture[part]),
        measuring_s=0.0,
        **found,  # type: ignore[arg-type]
    )


def _saves(resolved: Resolved, seconds: float) -> int:
    """Return how many checkpoints are written: one now and then, and one in the end."""
    if not resolved.recipe.iterations:
        return 0
    between = max(resolved.settings.save_seconds, seconds / resolved.recipe.iterations, 1e-9)
    return math.floor(seconds / between) + 1


def _opening(resolved: Resolved) -> float:
    """Return the seconds that opening the pictures takes, where none is left to be decoded first."""
    if resolved.image_size > SMALL or not all(_is_decoded(one, resolved) for one in resolved.data.splits().values()):
        return 0.0
    began = time.perf_counter()
    open_loaders(resolved)
    return time.perf_counter() - began


def _preparing(data: ImageData, source: Source, resolved: Resolved, profile: Profile | None = None) -> float:
    """Return the seconds that reading, looking at every picture and decoding small ones take, of those not yet
    remembered."""
    looking, viewing, here = source.looking, source.viewing, profile is None
    if profile is not None:
        looking = viewing = source.decoding * profile.decode_slowdown / profile.cores
    seconds = 0.0
    for split in data.splits().values():
        passes = list[float]()
        if not (here and are_digests_kept(split.pictures)):
            passes.append(source.hashing)
        if not (here and is_looked_at(split.pictures)):
            passes.append(looking)
        if resolved.image_size <= SMALL and not (here and _is_decoded(split, resolved)):
            passes.append(viewing)
        if passes:
            seconds += len(split) * (source.reading + (len(passes) - 1) * source.rereading + sum(passes))
    return seconds


def _is_decoded(split: Split, resolved: Resolved) -> bool:
    """Say whether small pictures lie decoded in the cache."""
    how = resolved.image_size, resolved.resize_to, resolved.interpolation, resolved.data.greys
    return are_digests_kept(split.pictures) and decoded_file(split.pictures, *how).exists()


def _held_pictures(resolved: Resolved) -> int:
    """Return the bytes of small pictures, which lie decoded in memory."""
    count = sum(map(len, resolved.data.splits().values()))
    return 3 * count * resolved.image_size**2 if resolved.image_size <= SMALL else 0


def _disk(work: Work, checkpoint: int, model: int, recorded: int, *, here: bool) -> Disk:
    resolved = work.resolved
    cache = 0
    for split in resolved.data.splits().values():
        cache += 0 if here and are_digests_kept(split.pictures) else 32 * len(split)
        if resolved.image_size <= SMALL and not (here and _is_decoded(split, resolved)):
            cache += 3 * len(split) * resolved.image_size**2
    begun = model if resolved.start else 0
    lines = LINE * min(LINES, resolved.recipe.iterations) + ROW * (len(resolved.cut.validation) if resolved.cut else 0)
    return Disk(
        cache=cache,
        checkpoints=3 * checkpoint if resolved.recipe.iterations else 0,
        run=model + begun + recorded * bool(work.judged) + lines + SMALL_FILES,
        free=_free(Path(resolved.settings.out or "runs").absolute()) if here else None,
    )


def _free(place: Path) -> int:
    """Return the bytes that are free where this will lie."""
    there = next(one for one in (place, *place.parents) if one.exists())
    return shutil.disk_usage(there).free
