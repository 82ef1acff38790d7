"""The verb `card`: a model's own account of itself in Markdown, from what its run and its file hold.

A card ends in a seal, the SHA-256 of what stands above it. So it is known whether a person has changed a card, and
what a person wrote is never written over unasked.
"""

import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from msgspec import UNSET

from residuum.console import visible
from residuum.data.labels import CALLED
from residuum.errors import UserError, listed
from residuum.files import write_whole
from residuum.models.count import cost
from residuum.outward_settings import CardSettings
from residuum.publishing.metadata import head, judgements
from residuum.publishing.subject import Subject, on_hub, origins, subject
from residuum.records.evaluation import (
    OUT_OF_FOLD,
    ClassFigures,
    Evaluation,
    Figures,
    Measure,
    MeasureName,
    headline,
    too_good,
    which_to_quote,
)
from residuum.records.model import Grown, Imported, Made, Trained, Trimmed
from residuum.version import NAME

CARD = "README.md"
MOST_CLASSES = 50
"""Classes up to which each has a row of its own."""

SEVERAL = (
    "several labels a picture: each class has a probability of its own and is called "
    f"from {CALLED:g} on; a picture may have none"
)

_SEAL = re.compile(r"\n<!-- residuum card sha256:([0-9a-f]{64}) -->\n\Z")
_LICENCE = r"[a-z0-9][a-z0-9.+-]*"


def write_card(settings: CardSettings) -> Path:
    """Write the card beside a run or a model file and return where it is.

    Raises:
        UserError: there is no such model; or a card lies there that a person has changed, and `anew` is not set.
    """
    of = subject(settings.run, "card RUN")
    place = card_place(of)
    if place.exists() and not settings.anew and not is_unchanged(place.read_bytes().decode(errors="replace")):
        raise UserError(f"{place} is there, with words that are not residuum's", "they are not written over", "--anew")
    write_whole(place, card(of, settings.licence or stated_licence(place)).encode())
    return place


def stated_licence(place: Path) -> str | None:
    """Return the licence that a card of ours, where there is one, states in its head."""
    text = place.read_bytes().decode(errors="replace") if place.exists() else ""
    found = re.search(r"^license: (\S+)$", text, re.MULTILINE)
    return found[1] if found and is_unchanged(text) else None


def card_place(of: Subject) -> Path:
    """Return where a model's card lies: README.md in a run folder, NAME.md beside any other model file."""
    return of.run.path / CARD if of.run else of.file.with_suffix(".md")


def sealed(text: str) -> str:
    """Return the card with a seal that fits what stands above it."""
    text = _SEAL.sub("", text).rstrip("\n") + "\n"
    return f"{text}\n<!-- residuum card sha256:{hashlib.sha256(text.encode()).hexdigest()} -->\n"


def is_unchanged(text: str) -> bool:
    """Say whether a card is as residuum wrote it."""
    return _SEAL.search(text) is not None and sealed(text) == text


def checked_licence(licence: str | None) -> str | None:
    """Return a licence as the hub spells them (UserError if it cannot be one)."""
    if licence is not None and not re.fullmatch(_LICENCE, licence):
        raise UserError(f"{licence!r} is not how the hub spells a licence", "", "apache-2.0, mit, cc-by-4.0, other …")
    return licence


def card(of: Subject, licence: str | None = None, repository: str = "") -> str:
    """Return the card; `repository` is OWNER/NAME, where it is known already."""
    text = _environment().from_string(files("residuum.publishing").joinpath("card.md").read_text("utf-8")).render(
        name=of.name,
        summary=_summary(of),
        facts=_facts(of),
        package=NAME,
        use=_use(of, repository),
        judged=judgements(of),
        measures=_measures,
        which=_which,
        protocols=_protocols(of),
        per_class=_per_class(of),
        several=of.is_several,
        data=_data(of),
        classes=of.about.classes,
        lineage=[_step(step) for step in of.about.lineage],
        assumed=of.about.import_.assumptions if of.about.import_ is not UNSET else (),
        limits=_limits(of),
        licence_words=_licence_words(checked_licence(licence)),
        origins=origins(of),
    )  # fmt: skip
    return sealed(head(of, licence) + "\n" + re.sub(r"\n{3,}", "\n\n", text))


# --- how it is written ------------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    made = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"md": as_text, "percent": lambda value: f"{value:.2%}"}
    return made


def as_text(value: object) -> str:
    """Return what Markdown, in a table too, shows as exactly this text: no markup, no tag, no line break."""
    one_line = visible(" ".join(str(value).split()))
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(one_line, quote=False))


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# --- what it says -----------------------------------------------------------------------------------


def _summary(of: Subject) -> str:
    spec, classes = of.model.spec, of.about.classes
    kind = "plain" if spec.shortcut == "none" else "residual"
    names = f": {as_text(_and(classes))}" if len(classes) <= 10 else ""
    trained = f", trained on {as_text(of.data_name)}" if of.data_name else ""
    task = f"tells {len(classes)} classes of pictures apart"
    if of.is_several:
        task = f"says which of {len(classes)} classes a picture shows, any number of them (multi-label)"
    return f"A {kind} net of {spec.depth} layers that {task}{names}{trained}."


def _facts(of: Subject) -> list[tuple[str, object]]:
    view, costs = of.about.preprocessing, cost(of.model.spec, of.about.preprocessing.image_size)
    size = f"{view.image_size}×{view.image_size} px: the shorter side is resized to {view.resize_to} px"
    facts: list[tuple[str, object]] = [("net", of.run.settings.net)] if of.run else []
    facts += [
        *([("task", SEVERAL)] if of.is_several else []),
        ("parameters", f"{costs['parameters']:,}"),
        ("multiply-adds", f"{costs['multiply_adds']:,} a picture"),
        ("a picture is seen at", f"{size} ({view.interpolation}), the central square cut out"),
        ("weights", f"SHA-256 {of.weights_digest}…"),
    ]
    if (wrote := of.about.versions) is not None:
        facts.append(("written by", f"residuum {wrote.residuum}, torch {wrote.torch}, {wrote.date[:10]}"))
    return facts


def _use(of: Subject, repository: str) -> list[str]:
    """What follows `import residuum`."""
    if repository:
        named = f'residuum.import_weights("hf:{repository}").path'
        return [f"model = {named}", 'print(residuum.predict(model, "picture.jpg"))']
    return [f'print(residuum.predict({json.dumps(of.file.name)}, "picture.jpg"))']


def _measures(figures: Figures) -> list[tuple[str, Measure]]:
    over = f", over {figures.asked}" if isinstance(figures, Evaluation) and figures.asked else ""
    first: dict[MeasureName, str] = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}
    if figures.is_several:
        first = {"mean_ap": f"mean average precision{over}", "top1": "likeliest label right"}
    return list(figures.named({**first, "macro_f1": f"macro F1{over}", "ece": "expected calibration error"}).items())


def _which(figures: Figures) -> str:
    """Say which pictures were judged, and whether the net has learnt them."""
    if figures.split == "train":
        return "train: it was trained on them, which flatters it"
    return figures.split + (f": {figures.seen:,} of them it was trained on, which flatters it" if figures.seen else "")


def _protocols(of: Subject) -> list[tuple[str, str]]:
    """Each way of showing pictures, with the judgements that it was used for."""
    found: dict[str, list[str]] = {}
    for data, figures in judgements(of):
        found.setdefault(figures.protocol, []).append(f"{data}, {figures.split}")
    return [(protocol, "; ".join(places)) for protocol, places in found.items()]


def _per_class(of: Subject) -> Sequence[ClassFigures]:
    judged = of.figures
    return judged.per_class if isinstance(judged, Evaluation) and len(judged.per_class) <= MOST_CLASSES else ()


def _data(of: Subject) -> str:
    data = of.about.data
    if data is None and not of.about.lineage:
        return "It was trained in a loop of its maker's own: the file does not say on what."
    if data is None:
        return "It was not trained here: what it was trained on, its lineage names as far as it is known."
    name = of.data_name
    link = f"[{as_text(name)}](https://huggingface.co/datasets/{name.partition(':')[0]})" if on_hub(name) else ""
    counts = {
        "trained on": data.counts.train,
        "for validation": data.counts.validation,
        "for the test": data.counts.test,
    }
    numbers = _and([f"{count:,} {what}" for what, count in counts.items() if count is not None])
    return (
        f"{link or as_text(name)}: {numbers}. Validation pictures: {as_text(data.validation_from)}. "
        f"Fingerprint of pictures, labels and names: `{data.fingerprint[:16]}`. No picture is part of this model."
    )


def _step(step: Made) -> str:
    on = f"{step.date[:10]}: "
    if isinstance(step, Trained):
        begun = f", from the model {step.from_}" if step.from_ else ", from nothing"
        return f"{on}trained on {step.data} with recipe {step.recipe}, {step.steps:,} steps{begun}"
    if isinstance(step, Imported):
        return f"{on}imported from {step.source} ({step.from_}), in the layout of {step.layout}"
    if isinstance(step, Grown):
        return f"{on}grown from {step.blocks_before} to {step.blocks} blocks"
    assert isinstance(step, Trimmed)
    return f"{on}trimmed from {step.blocks_before} to {step.blocks} blocks: without {', '.join(step.deleted)}"


def _licence_words(licence: str | None) -> str:
    if licence is None:
        return "None has been stated: ask whoever published it."
    return f"This model: {licence}."


# --- its limits -------------------------------------------------------------------------------------


def _limits(of: Subject) -> list[str]:
    view, about = of.about.preprocessing, of.about
    unsure = ", unless it says unsure" if about.likeness is not UNSET else ""
    return [
        f"{_answered(of)}{unsure}.",
        f"It sees the middle of a picture, at {view.image_size} px: what lies at the edge or is smaller than that "
        "resolves, it cannot see.",
        *_limits_of_figures(of),
        "On pictures of another origin (camera, place, time, kind of person) it may do worse; what is uneven in its "
        "training pictures is uneven in its answers. Nothing of this was measured.",
    ]  # fmt: skip


def _answered(of: Subject) -> str:
    classes = len(of.about.classes)
    if of.is_several:
        return f"It knows its {classes} classes alone, and answers for each of them whatever a picture shows"
    return f"It answers one of its {classes} classes whatever a picture shows"


def _limits_of_figures(of: Subject) -> list[str]:
    if (judged := of.figures) is None:
        return ["How often it is right is not known: it has not been judged."]
    what, first = "mean average precision" if judged.is_several else "accuracy", headline(judged)
    said = [
        f"Its {what} was measured on {judged.images:,} pictures: {first.low:.1%} to {first.high:.1%} at "
        "95 % confidence, for pictures of the same origin."
    ]
    if judged.split == "out-of-fold":
        said.append("These were its training pictures, each answered by a last layer fitted without it.")
    elif judged.split != "test":
        said.append(f"These were {judged.split} pictures: none was kept for a test until the end.")
    quoted = [which_to_quote(judged, one) for one in of.later if one.split == OUT_OF_FOLD and one.same_data_as_training]
    said += filter(None, [too_good(judged), *quoted])
    each = judged.per_class if isinstance(judged, Evaluation) else ()
    asked = [(its.value, one) for one in each if (its := one.known("recall"))]
    if isinstance(judged, Evaluation) and judged.unasked:
        said.append(f"None of them shows {listed(judged.unasked, 5)}: nothing is known of how it names those.")
    if asked:
        recall, weakest = min(asked, key=lambda one: one[0])
        found = f"{recall:.1%} of {weakest.images:,}"
        said.append(f"The class it finds least often is {weakest.name}: {found} pictures.")
    return said
