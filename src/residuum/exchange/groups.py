"""Which of a file's tensors are the net's: a group with one beginning, and the names its layout knows behind it.

Beginnings are the wrappers' and containers' (state_dict, module, model, backbone, …), tables and dotted names alike:
whatever stands before a known layout. What lies beside the group is listed, never looked at.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from residuum.errors import UserError, listed
from residuum.exchange.opening import Opened, Place
from residuum.models.assumption import Assumption

_WITHIN = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
"""Names that torch.compile, FSDP, checkpointing and DeepSpeed put anywhere in a key."""
_ANCHOR = re.compile(
    r"(?P<before>(?:.+\.)?)(?:layer1\.0\.conv1|stages\.0\.blocks\.0\.conv1|[34]\.0\.conv1|"
    r"stages\.stage1\.block1\.branch\.conv1|"
    r"(?<!resnet\.)(?:resnet\.)?embedder\.embedder\.convolution)\.weight"
)
"""A tensor that every net of a known layout has, and what stands before it."""
_OWN = (
    "layer1.0.conv1",
    "stages.0.blocks.0.conv1",
    "embedder.embedder.convolution",
    "stages.stage1.block1.branch.conv1",
)
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|averaged|swa|teacher)(?:[._\d]|$)")
_LATE = re.compile(r"momentum|encoder_k|(?:^|[._])(?:target|key)(?:[._]|$)")
"""Copies that a self-supervised net lags behind itself with."""
_PROJECTING = re.compile(r"encoder_[qk]\.|base_encoder\.|momentum_encoder\.")
"""Where a last layer is a projection that pictures are compared in, as in MoCo."""
_USUAL = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
_BESIDE = re.compile(
    r"(?:criterion|loss\w*|\w+_loss|loss_fn|(?:\w+_)?metrics?|(?:train|val|valid|test)_\w+|"
    r"(?:\w+_)?(?:acc|accuracy|auroc|f1|confmat)(?:_\w+)?\d*)(?:\..+)?"
)
"""What Lightning and others keep beside a net's own tensors: losses, metrics."""


@dataclass(frozen=True)
class Group:
    """A net's tensors under the names of its layout, and how the file spells each."""

    tensors: Mapping[str, Tensor]
    before: str = ""
    """What stands before each name in the file."""
    keys: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    """What nn.Sequential calls a module, by the name it has otherwise."""
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    """The file's other tensors, by the file's keys."""
    left_out: tuple[str, ...] = ()
    said: tuple[Assumption, ...] = ()

    def spelled(self, name: str) -> str:
        """Return the file's own key for a name of the layout, or what it would be."""
        first, _, rest = name.partition(".")
        return self.keys.get(name) or f"{self.before}{self.numbers.get(first, first)}{rest and '.'}{rest}"


def the_group(opened: Opened, origin: str, wanted: str | None = None) -> Group:
    """Find the net's tensors; `wanted` is how its keys begin, where there are several nets.

    Raises:
        UserError: there are several and none is wanted, or none of what is wanted.
    """
    opened, pruned = _unpruned(opened)
    places = {_cleaned(place): place for place in opened.tensors}
    befores = _candidates(places.keys())
    before, said = _chosen(befores, places, opened, origin, wanted)
    others = tuple(one for one in befores if one != before and one.startswith(before))
    home = _home(places, before)
    inside = {
        name.removeprefix(before): place
        for name, place in places.items()
        if name.startswith(before) and not name.startswith(others) and place[:-1] == home
    }
    inside, numbers = _without_numbers(inside)
    within = {name: place for name, place in inside.items() if not _BESIDE.fullmatch(name) and "." in name}
    taken = set(within.values())
    beside = {".".join(place): opened.tensors[place] for place in opened.tensors if place not in taken}
    rest = [place for place in opened.places if place not in taken]
    return Group(
        tensors={name: opened.tensors[place] for name, place in within.items()},
        before=before,
        keys={name: ".".join(place) for name, place in within.items()},
        numbers=numbers,
        beside=beside,
        left_out=tuple(_listed_beside(rest, home, before)),
        said=(*said, *pruned),
    )


Colour = tuple[float, float, float]


def inner_colours(group: Group) -> tuple[Colour, Colour] | None:
    """Return mean and spread of red, green and blue, 0 to 1, where a module beside the net subtracts and divides."""
    found: list[Colour] = []
    for name in ("mean", "std"):
        keys = [key for key in group.beside if re.fullmatch(rf"(?:.*\.)?(?:new_)?{name}", key)]
        numbers = group.beside[keys[0]].flatten().tolist() if len(keys) == 1 else []
        if len(numbers) == 3 and all(0 < number < 1 for number in numbers):
            red, green, blue = map(float, numbers)
            found.append((red, green, blue))
    return (found[0], found[1]) if len(found) == 2 else None


def is_projection(group: Group) -> bool:
    """Say whether a group's last layer makes no classes, as where a self-supervised net compares pictures."""
    return bool(_PROJECTING.search(group.before)) or any(re.search(r"(?:^|\.)queue$", name) for name in group.beside)


def _unpruned(opened: Opened) -> tuple[Opened, tuple[Assumption, ...]]:
    """Put in place of torch.nn.utils.prune's pairs what they stand for: weight_orig times weight_mask."""
    tensors = dict(opened.tensors)
    for place in opened.tensors:
        key = place[-1] if place else ""
        mask = (*place[:-1], f"{key.removesuffix('_orig')}_mask")
        if key.endswith("_orig") and mask in tensors and tensors[mask].shape == tensors[place].shape:
            tensors[*place[:-1], key.removesuffix("_orig")] = tensors.pop(place) * tensors.pop(mask)
    if len(tensors) == len(opened.tensors):
        return opened, ()
    gone = opened.tensors.keys() - tensors.keys()
    places = (*(place for place in opened.places if place not in gone), *(tensors.keys() - opened.tensors.keys()))
    return Opened(tensors, places), (Assumption("pruned weights are taken with their masks, zeros where these are"),)


def _cleaned(place: Place) -> str:
    return _WITHIN.sub("", ".".join(place))


def _home(places: Mapping[str, Place], before: str) -> Place:
    """Return the table that the net's tensors lie in."""
    behind = (place for name, place in places.items() if name.startswith(before))
    anchored = (place for name, place in places.items() if (hit := _ANCHOR.fullmatch(name)) and hit["before"] == before)
    return next(anchored, next(behind, ("",)))[:-1]


# --- which beginning ------------------------------------------------------------------------------


def _candidates(names: Iterable[str]) -> list[str]:
    """Return what stands before each net of a known layout; those with batch normalisation, if any has it."""
    names = list(names)
    there = set(names)
    found = list(dict.fromkeys(hit["before"] for name in names if (hit := _ANCHOR.fullmatch(name))))
    found = [one for one in found if not _is_numbered(one, there) or f"{one}1.running_mean" in there]
    normalised = [one for one in found if any(n.startswith(one) and n.endswith(".running_mean") for n in names)]
    return normalised or found


def _is_numbered(before: str, names: Container[str]) -> bool:
    """Say whether a beginning was found by the number of a stage alone, as other nets have too."""
    return not any(f"{before}{own}.weight" in names for own in _OWN)


def _chosen(
    befores: list[str], places: Mapping[str, Place], opened: Opened, origin: str, wanted: str | None
) -> tuple[str, tuple[Assumption, ...]]:
    """Return what stands before the net to take, and what is to be said of the choice."""
    if wanted is not None:
        begins = {one.rstrip("."): one for one in befores}
        if wanted.rstrip(".") not in begins:
            there = listed(begins) if befores else "none whose layout is known"
            raise UserError(f"{origin} holds no net at --prefix {wanted}", f"nets in it: {there}")
        return begins[wanted.rstrip(".")], ()
    if not befores:
        return _common(places), ()
    different = _different(befores, places, opened)
    best = min(map(_rank, different))
    left = [one for one in different if _rank(one) == best]
    if len(left) > 1:
        names = [one.rstrip(".") or "(no beginning)" for one in left]
        mend = f"say which by how its keys begin: --prefix {next(one for one in left if one).rstrip('.')}"
        raise UserError(f"{origin} holds {len(left)} nets", f"their keys begin with {', '.join(names)}", mend)
    if len(different) == 1:
        return left[0], ()
    shown = ", ".join(one.rstrip(".") or "no beginning" for one in different)
    taken = f"of the sets of weights in it ({shown}), {left[0].rstrip('.') or 'the first'} is taken"
    return left[0], (Assumption(taken, ("prefix",)),)


def _rank(before: str) -> tuple[int, int]:
    """Averaged weights are what is published; copies that lag behind are not; then by the usual names."""
    name = before.rstrip(".")
    place = next((i for i, usual in enumerate(_USUAL) if name.split(".")[0] == usual), len(_USUAL))
    if _AVERAGED.search(name):
        return 0, place
    return (2, place) if _LATE.search(name) else (1, place)


def _different(befores: list[str], places: Mapping[str, Place], opened: Opened) -> list[str]:
    """Leave out what is there twice under two names, as where a wrapper keeps the net and hands it on."""
    found: dict[str, dict[str, Tensor]] = {}
    for one in sorted(befores, key=len):
        longer = tuple(other for other in befores if other != one and other.startswith(one))
        own = {
            name.removeprefix(one): opened.tensors[place]
            for name, place in places.items()
            if name.startswith(one) and not name.startswith(longer)
        }
        if not any(_same(own, other) for other in found.values()):
            found[one] = own
    return [one for one in befores if one in found]


def _same(these: Mapping[str, Tensor], those: Mapping[str, Tensor]) -> bool:
    names = [name for name in these if _ANCHOR.fullmatch(name) or name.endswith(".running_mean")]
    return all(name in those and _equal(these[name], those[name]) for name in names)


def _equal(one: Tensor, other: Tensor) -> bool:
    plain = not (one.is_meta or other.is_meta) and one.layout == other.layout and one.dtype == other.dtype
    return one is other or (plain and one.shape == other.shape and bool((one == other).all()))


def _common(places: Iterable[str]) -> str:
    """What stands before all keys, for a message about them, or before a layout that is refused by name."""
    names = list(places)
    segments = [name.split(".")[:-2] for name in names]
    common: list[str] = []
    for step in zip(*segments, strict=False):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    return "".join(f"{one}." for one in common)


# --- names ----------------------------------------------------------------------------------------


def _without_numbers(inside: dict[str, Place]) -> tuple[dict[str, Place], dict[str, str]]:
    """Give the children of nn.Sequential(*net.children()) their names back: 0 is the first convolution."""
    first = next((at for at in (3, 4) if f"{at}.0.conv1.weight" in inside), None)
    if first is None or "0.weight" not in inside:
        return inside, {}
    names = {"0": "conv1", "1": "bn1", **{str(first + i): f"layer{i + 1}" for i in range(4)}}
    later = sorted({name.split(".")[0] for name in inside} - names.keys())
    names |= {one: f"fc.{one}" for one in later}

    def renamed(name: str) -> str:
        number, _, rest = name.partition(".")
        return f"{names[number]}.{rest}"

    return {renamed(name): place for name, place in inside.items()}, {own: number for number, own in names.items()}


def _listed_beside(places: Iterable[Place], home: Place, before: str) -> Iterable[str]:
    """Name what is left out: a whole table or module by its own name, each once."""
    found: dict[str, list[str]] = {}
    for place in places:
        depth = next((i for i, key in enumerate(home) if place[i : i + 1] != (key,)), len(home))
        key = ".".join(place)
        if depth < len(home) or len(place) <= depth:
            found.setdefault(".".join(place[: depth + 1]), [])
            continue
        if len(place) > depth + 1:
            found.setdefault(".".join(place[: depth + 1]), [])
            continue
        shared = 0
        steps = key.split(".")
        for one, other in zip(steps[:-1], before.split(".")[:-1], strict=False):
            if one != other:
                break
            shared += 1
        found.setdefault(".".join(steps[: shared + 1]), []).append(key)
    for name, keys in found.items():
        yield keys[0] if len(keys) == 1 else name if not keys else f"{name}.* ({len(keys)} tensors)"
