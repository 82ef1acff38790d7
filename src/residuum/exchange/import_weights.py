"""The verb `import`: other people's weights become a model file with the right preprocessing and class names."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from msgspec import UNSET
from torch import Tensor

from residuum import machine
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.exchange.fit import Renamed, check_same, fitted, infer, renamed
from residuum.exchange.groups import inner_colours, is_projection, the_group
from residuum.exchange.heads import as_two_classes, with_bias, with_head_beside, without_head
from residuum.exchange.known import Guess, Known, guess, numbered, preprocessing, settle
from residuum.exchange.layouts import RESIDUUM, TIMM, TIMM_V2, TORCHVISION, with_head
from residuum.exchange.opening import unwrapped
from residuum.exchange.own import NetTold, completed
from residuum.exchange.recognise import recognise
from residuum.exchange.sources import Source, open_source
from residuum.files import write_whole
from residuum.loading import named_anew, save_classifier, shown_by
from residuum.models.assumption import Assumption
from residuum.models.count import parameters
from residuum.models.file import read_model, write_model
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.outward_settings import ImportSettings
from residuum.plain_data import flag, read_off
from residuum.records import model as records
from residuum.runs import new_file


@dataclass(frozen=True)
class Imported:
    """What was written and what it rests on: all that the weights did not say."""

    path: Path
    spec: NetSpec
    layout: str
    assumed: tuple[Assumption, ...]
    """Each with the settings that tell otherwise."""
    left_out: tuple[str, ...]
    preprocessing: Preprocessing
    """How pictures must be shown to the net."""
    unnamed: bool = False
    """Whether nobody named the classes, the user, the weights or their number: they are called class 0, class 1, …"""
    parameters: int = 0
    """How many the net has; 0 of a residuum model, which is taken as it is."""
    several: bool = False
    """Whether a picture may show any number of the classes, each answered for itself."""

    @property
    def image_size(self) -> int:
        """Side of the square that the net sees, in pixels."""
        return self.preprocessing.image_size

    @property
    def assumptions(self) -> tuple[str, ...]:
        """A sentence for each thing that is assumed, as the command says it."""
        return tuple(one.by_flags() for one in self.assumed)


def import_weights(settings: ImportSettings) -> Imported:
    """Write a model file from a weights file, a folder, or a name that torchvision, timm or the hub knows.

    Raises:
        UserError: the source is not there, its layout is not known, or its tensors are not exactly a net's.
    """
    if settings.source is None:
        raise UserError("which weights?", "", "residuum import FILE")
    told: dict[str, object] = read_off(Known, settings) | {
        "classes": _read_names(Path(settings.classes)) if settings.classes else None
    }
    source = open_source(str(settings.source))
    if source.own is not None:
        return _taken(source.own, source, settings, told)
    where = _destination(settings, source)
    told_net = NetTold(**read_off(NetTold, settings))
    net, found, facts, assumed = _net_of(source, settings.prefix, Known(**told), told_net)  # type: ignore[arg-type]
    spec, group = net.spec, found.group
    if source.net is not None:
        check_same(net, source.net, source.name)
    classes, shown = _classes(facts, spec, source.name), preprocessing(facts)
    unnamed = bool(classes) and (told["classes"] or source.said.classes) is None and classes == numbered(len(classes))
    said = assumed, group.left_out, shown, unnamed, parameters(net), facts.several is True and bool(classes)
    imported = Imported(where, spec, found.layout.name, *said)
    save_classifier(imported.path, net, spec, classes, shown, _provenance(imported, source))
    return imported


def net_of_tensors(tensors: Mapping[str, Tensor], told: ImportSettings) -> ResNet:
    """Return the net that has these tensors, with what was assumed of it (UserError as `import_weights`)."""
    name = "the state dict"
    source = Source(name, "", unwrapped(tensors, Path(name)), "")
    net, _, _, assumed = _net_of(
        source, None, Known(**read_off(Known, replace(told, classes=None))), NetTold(**read_off(NetTold, told))
    )
    plain = (Assumption(one.what) if one.settings == ("prefix",) else one for one in assumed)  # no parameter there
    net.assumptions = tuple(one.in_python() for one in plain if _OF_THE_NET.issuperset(one.settings))
    return net


_OF_THE_NET = {field.name for field in fields(NetTold)} | {"stride_in", "zero_channels"}
"""What tells otherwise of a net itself, not of the pictures that it is shown."""


def _net_of(
    source: Source, prefix: str | None, told: Known, told_net: NetTold
) -> tuple[ResNet, Renamed, Known, tuple[Assumption, ...]]:
    """The net that holds the source's weights, whose they are, what is known of its use, and all that was assumed."""
    found, heads = _found(source, prefix, several=bool(told.several or source.said.several))
    spec, facts, guessed = _settled(found, source, told, told_net)
    net, notes = fitted(spec, found)
    group, structure = found.group, _structure(spec, source, found.layout.name, told_net)
    notes = [*_ignored(group.left_out), *heads, *notes]
    return net, found, facts, (*group.said, *map(Assumption, notes), *structure, *guessed)


def _found(source: Source, prefix: str | None, *, several: bool) -> tuple[Renamed, list[str]]:
    """The net's tensors under residuum's names, with a last layer that tells classes apart, or without one; `several`
    labels a picture: one output is one label.
    """
    group = the_group(source.opened, source.name, prefix)
    layout, head = recognise(group, source.name)
    if head.names and not head.module:
        group = without_head(group, head, "what follows the net is no single linear layer")
    elif head.module and not group.tensors[f"{head.module}.weight"].shape[0]:  # a backbone of our own
        group = replace(group, tensors={name: one for name, one in group.tensors.items() if name not in head.names})
    elif head.module and is_projection(group):
        group = without_head(group, head, "its last layer gives no classes, but what pictures are compared in")
    found = renamed(group, layout, source.name)
    if not head.names and infer(found).num_classes == 0:
        found = renamed(with_head_beside(group, infer(found).features), with_head(layout, "fc"), source.name)
    found, two = (found, []) if several else as_two_classes(found)
    found, unbiased = with_bias(found)
    return found, [*two, *unbiased]


def _taken(own: Path, source: Source, settings: ImportSettings, told: dict[str, object]) -> Imported:
    """Take a model file of residuum's as it is, to the byte: it says all of itself, its lineage too. Its classes alone
    may be called otherwise.
    """
    if given := [flag(name) for name, value in told.items() if value is not None and name != "classes"]:
        raise UserError(f"{source.name} is a residuum model", f"it says itself what {', '.join(given)} would tell")
    names = told["classes"]
    if names is None and Path(str(settings.source)).is_file():
        mend = "use it as it is, wherever a run may be given; --classes NAMES.txt gives its classes other names"
        raise UserError(f"{own} is a residuum model already", "", mend)
    model, where = read_model(own), _destination(settings, source)
    if names is not None:
        write_model(where, named_anew(model, _classes(Known(classes=names), model.spec, source.name)))  # type: ignore[arg-type]
    else:
        write_whole(where, own.read_bytes())
    return Imported(where, model.spec, "residuum", (), (), shown_by(model))


# --- what the user says -------------------------------------------------------------------------


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        mend = "give a text file with one name a line, in the order of the classes"
        raise UserError(f"--classes {path} cannot be read", str(error), mend) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"--classes {path} names a class twice", ", ".join(twice[:5]))
    return names


def _destination(settings: ImportSettings, source: Source) -> Path:
    """Where to write: a new file, by default of another name than the source and what stands beside it."""
    return new_file(settings.out, f"{source.stem}-residuum.safetensors")


# --- what is settled ----------------------------------------------------------------------------


def _settled(found: Renamed, source: Source, told: Known, told_net: NetTold) -> tuple[NetSpec, Known, list[Assumption]]:
    """The net, all facts about its use, and all that was guessed of it."""
    spec, open_ = completed(infer(found), found.layout.name, told_net)
    if spec.in_channels != 3:
        what = f"the net of {source.name} takes {spec.in_channels} channels"
        raise UserError(what, "pictures are shown in red, green and blue")
    said = source.said if spec.num_classes else replace(source.said, classes=None)
    if said.mean is None and (colours := inner_colours(found.group)):
        said = replace(said, mean=colours[0], std=colours[1])
    layouts = guess(found.layout.name, spec)
    facts, guessed = settle(*_in_proportion(told, said, layouts), spec)
    return _with_facts(spec, facts, told), facts, [*open_, *guessed]


def _in_proportion(told: Known, said: Known, guessed: Guess) -> tuple[Known, Known, Guess]:
    """A picture size that the user changes alone takes the size before the cut with it."""
    if told.image_size is None or told.resize_to is not None:
        return told, said, guessed
    known = said if said.image_size and said.resize_to else guessed.facts
    resize_to = round((known.resize_to or 0) * told.image_size / (known.image_size or 1))
    why = {**guessed.why, "resize_to": "in proportion to --image-size"}
    return told, replace(said, resize_to=None), Guess(replace(guessed.facts, resize_to=resize_to), why)


def _with_facts(spec: NetSpec, facts: Known, told: Known) -> NetSpec:
    """Give the net what its shapes do not show; UserError for a flag that says nothing about it."""
    if spec.block == "bottleneck" or told.stride_in:
        spec = replace(spec, stride_in=facts.stride_in or "3x3")
    if spec.shortcut == "A":
        return replace(spec, zero_channels=facts.zero_channels or "end")
    if told.zero_channels:
        raise UserError(
            f"--zero-channels {told.zero_channels} says nothing about this net",
            f"its shortcuts are option {spec.shortcut}: it projects instead of adding zero channels",
        )
    return spec


def _classes(facts: Known, spec: NetSpec, origin: str) -> tuple[str, ...]:
    classes = facts.classes or ()
    if classes and not spec.num_classes:
        what = f"{origin} is a backbone: it tells no classes apart"
        raise UserError(what, "its weights came without a last layer", "leave --classes out")
    if len(classes) != spec.num_classes:
        raise UserError(f"{len(classes)} class names for {origin}", f"its net tells {spec.num_classes} classes apart")
    return classes


# --- what is said of it -------------------------------------------------------------------------


def _ignored(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"left out of what the file holds: {', '.join(names[:5])}{more}"]


def _structure(spec: NetSpec, source: Source, layout: str, told: NetTold) -> list[Assumption]:
    """What the keys leave open about the net itself; a net that was compared with the library's own leaves nothing."""
    backbone = Assumption("it has no last layer: a backbone, which gives features and knows no classes")
    said = [] if spec.num_classes else [backbone]
    if source.net is not None or layout == RESIDUUM:
        return said
    if spec.stem == "cifar":
        said.append(Assumption("the first convolution, 3×3, has stride 1, and no pooling follows it"))
    if spec.shortcut == "A" and not told.shortcut:
        option = "no block projects: shortcuts are option A; a plain net, shortcut none, has the same keys"
        said.append(Assumption(option, ("shortcut",)))
    if layout == TIMM_V2 and spec.projection_pool:
        averaged = "projections average 2×2 pixels, as in timm's resnetv2 nets with three convolutions first"
        said.append(Assumption(averaged))
    if layout in {TORCHVISION, TIMM}:
        said.append(Assumption("nothing is blurred or dilated: such nets have the same keys"))
    return said


def _provenance(imported: Imported, source: Source) -> records.Provenance:
    now, layout = machine.environment(), imported.layout
    step = records.Imported(date=now.date, from_=source.digest, source=source.name, layout=layout)
    story = records.Import(
        source=source.name, layout=layout, assumptions=imported.assumptions, left_out=imported.left_out
    )
    several = True if imported.several else UNSET
    return records.Provenance(versions=now, import_=story, lineage=(step,), several=several)
