"""`residuum data review`: what to look at in the pictures of a run. They are read, never touched.

Letters: N pictures in all splits, D features, K classes.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import runs
from residuum.compute import choose_compute
from residuum.console import say
from residuum.data.batches import Loader
from residuum.data.cache import picture_digests
from residuum.data.contract import ColumnNames, Pictures
from residuum.data.labels import Labels, counts, is_several, separator_of, shown_by, told
from residuum.data.misspelt import NearName, nearly_named
from residuum.data.text_table import no_formula
from residuum.data.threads import in_threads
from residuum.errors import UserError, listed
from residuum.evaluation.known import BEFORE, NONE, read_known
from residuum.evaluation.likeness import directions
from residuum.evaluation.mistakes import thumbnail
from residuum.evaluation.opening import NetWithData, open_with_data
from residuum.evaluation.review import (
    Nearest,
    alike_classes,
    copies,
    doubted_by_luck,
    doubted_labels,
    doubted_of_several,
    nearest_others,
    small_grey,
    unlike_all_others,
)
from residuum.evaluation.unseen import read_unseen
from residuum.files import CannotWrite, write_whole
from residuum.loading import load
from residuum.models.answers import answered
from residuum.records.codec import write_record
from residuum.records.review import Finding, FindingKind, Review, Shown
from residuum.settings import ReviewSettings, TrainSettings
from residuum.training.features import features

PICTURED = 24
"""Findings of each kind that are shown with pictures."""
OF_A_GROUP = 6
"""Pictures shown of one group of copies."""

Answered = tuple[NDArray[np.int64], NDArray[np.floating[Any]], str]
"""Rows among all pictures, (N',); their probabilities, (N', K), of a net that has not seen them; whose, in words."""


@dataclass(frozen=True)
class _All:
    """All pictures of a run, split after split."""

    loaders: Mapping[str, Loader]
    classes: tuple[str, ...]
    places: list[tuple[str, int]]
    """Split and row in it of each."""
    labels: Labels

    def shown(self, row: int, *, pictured: bool) -> Shown:
        split, at = self.places[row]
        loader = self.loaders[split]
        small = thumbnail(loader.seen(at)) if pictured else ""
        name, label = loader.split.pictures.name(at), told(self.labels, row, self.classes)
        each = _each(self.labels, row, self.classes) if is_several(self.labels) else ()
        return Shown(split=split, name=name, label=label, labels=each, thumbnail=small)


def review(settings: ReviewSettings) -> Review:
    """Look through the pictures of a finished run and leave what was found in its folder, as JSON and as a table.

    Raises:
        UserError: no run is named, it has not finished, its pictures are not there any more, or have changed.
    """
    if settings.run is None:
        raise UserError("the pictures of which run?", "", "residuum data review RUN")
    run = Path(settings.run)
    asked = runs.read_run(run).settings.settings
    wanted = TrainSettings(
        **{name: asked.get(name, "auto") for name in ("precision", "layout")}
    )  # as the cache has them
    compute = choose_compute(settings.device, wanted.precision, wanted.layout, settings.threads)
    classifier = load(run)
    columns, call = ColumnNames.of(classifier.about.settings), "data review {} DATA"
    opened = open_with_data(classifier, compute, settings.data, columns, call=call)
    if not opened.same:
        raise UserError(
            f"the pictures in {opened.data.source} are no longer those the run in {run} was trained on",
            "they, their classes or their names have changed",
            "train again, or bring the old ones back",
        )
    loaders = {name: opened.loader(split, 32) for name, split in opened.data.splits().items()}
    places = [(name, row) for name, loader in loaders.items() for row in range(len(loader.split))]
    labels = np.concatenate([loader.split.labels for loader in loaders.values()])
    pictures = _All(loaders, opened.classifier.classes, places, labels)
    net, views = opened.classifier.net, opened.classifier.preprocessing.views
    x = {name: features(net, loader, compute, lambda: None, views, name) for name, loader in loaders.items()}
    unseen = _answers(run, opened, x)
    near = nearest_others(directions(np.concatenate(list(x.values()))))
    found = Review(
        data=opened.data.source,
        fingerprint=opened.fingerprint,
        pictures=len(labels),
        answers=unseen[2],
        answered=len(unseen[0]),
        by_luck=_by_luck(labels, near, unseen),
        several=opened.data.several,
        misspelt=_misspelt(pictures),
        findings=tuple(_findings(pictures, near, unseen)),
    )
    separator = separator_of(pictures.classes, columns.separator)
    try:
        write_record(run / runs.REVIEW, found)
        # for people: without the mark spreadsheets take UTF-8 for the system's own letters; programs have the JSON
        write_whole(run / runs.REVIEW_TABLE, _table(found, separator).encode("utf-8-sig", "surrogateescape"))
    except CannotWrite as error:  # what was asked for is what is found
        say(f"what was found is not kept in the run: {error.what}")
    return found


# --- answers to pictures that were not seen ------------------------------------------------------


def _answers(run: Path, opened: NetWithData, x: Mapping[str, NDArray[np.float32]]) -> Answered:
    """Return the answers that nothing was learnt from: of a head, to all pictures; else to those kept from training."""
    first = dict(zip(x, np.cumsum([0, *map(len, x.values())]).tolist(), strict=False))
    parts = [(first[name] + np.arange(len(x[name])), _head(opened, x[name])) for name in x if name != "train"]
    held_out = [name for name in x if name != "train"]
    if (run / runs.OUT_OF_FOLD).exists():
        kept = read_unseen(run / runs.OUT_OF_FOLD)
        if kept.about.fingerprint != opened.fingerprint:
            raise UserError(f"{run / runs.OUT_OF_FOLD} is of other pictures", "", "train again")
        parts.insert(0, (first["train"] + _rows(opened.data.train.pictures, kept.about.names), kept.probabilities))
        words = "of a last layer fitted without the picture, to every picture"
    elif opened.cut is not None:
        aside = opened.cut.validation
        parts.insert(0, (first["train"] + aside, _head(opened, x["train"][aside])))
        words = "to the pictures kept aside from training alone: the net has learnt the others by heart"
    elif held_out:
        words = f"to the {listed(held_out)} pictures alone: the net has learnt the others by heart"
    else:
        words = "none: no picture was kept from training, so no label can be held against an answer"
    if len(read_known(run).get(BEFORE, NONE)):
        words += ", though the weights that training began with had learnt some of them, labels and all"
    if not parts:
        return np.empty(0, np.int64), np.empty((0, len(opened.data.classes))), words
    rows, answers = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(answers), words


def _rows(pictures: Pictures, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of the pictures of these names: all, or those that had their turn out of fold."""
    if len(names) == len(pictures):
        return np.arange(len(names))
    places = {pictures.name(row): row for row in range(len(pictures))}
    return np.array([places[name] for name in names])


@torch.inference_mode()
def _head(opened: NetWithData, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, K) probabilities of the net's last layer for (N, D) features."""
    layer = opened.classifier.net.fc
    logits = layer(torch.from_numpy(x).to(layer.weight.device))
    return answered(logits, several=opened.classifier.several).cpu().numpy()


# --- findings ------------------------------------------------------------------------------------


def _findings(pictures: _All, near: Nearest, unseen: Answered) -> Iterator[Finding]:
    several = is_several(pictures.labels)
    yield from (_several_labels if several else _labels)(pictures, near, unseen)
    yield from _copies(pictures, near)
    yield from _unlike(pictures, near)
    if several:  # two classes are then shown together as well as apart
        return
    classes = pictures.classes
    for one in alike_classes(unseen[1], pictures.labels[unseen[0]]):
        names = classes[one.first], classes[one.second]
        right = f" {one.right:.0%} are told right, the mean of both classes, where only these two may be chosen"
        said = _told(f"of {one.pictures} pictures of ", names[0], " and ", names[1], f"{right}; chance gives half")
        yield Finding(kind="classes", score=one.right, **said, pictures=(), classes=names)


def _misspelt(pictures: _All) -> tuple[NearName, ...]:
    count = counts(pictures.labels, len(pictures.classes)).tolist()
    return tuple(nearly_named(dict(zip(pictures.classes, count, strict=True))))


def _by_luck(labels: Labels, near: Nearest, unseen: Answered) -> float | None:
    rows, answers, _ = unseen
    return doubted_by_luck(answers, labels[rows], near, rows, labels) if len(rows) else None


def _labels(pictures: _All, near: Nearest, unseen: Answered) -> Iterator[Finding]:
    rows, answers, _ = unseen
    doubted = doubted_labels(answers, pictures.labels[rows], near, rows, pictures.labels)
    given = dict(zip(rows.tolist(), answers, strict=True))
    for place, one in enumerate(doubted):
        label, suggested = pictures.classes[pictures.labels[one.row]], pictures.classes[one.suggested]
        agreeing = int((pictures.labels[near.rows[one.row]] == pictures.labels[one.row]).sum())
        own = f", which was given {one.own:.1%}, and "
        rest = f" {given[one.row][one.suggested]:.1%}; {agreeing} of its {near.rows.shape[1]} nearest stand under "
        yield Finding(
            kind="label",
            score=one.score,
            **_told("stands under ", label, own, suggested, rest, label),
            pictures=(pictures.shown(one.row, pictured=place < PICTURED),),
            suggested=suggested,
        )


def _several_labels(pictures: _All, near: Nearest, unseen: Answered) -> Iterator[Finding]:
    rows, answers, _ = unseen
    labels, classes = pictures.labels, pictures.classes
    doubted = doubted_of_several(answers, labels[rows], rows, labels)
    for place, one in enumerate(doubted):
        showing = int(labels[near.rows[one.row], one.class_number].sum())
        said = "is said to show " if one.is_said else "is not said to show "
        rest = f", which was given {one.given:.1%}; {showing} of its {near.rows.shape[1]} nearest show it"
        mended = labels[one.row : one.row + 1].copy()
        mended[0, one.class_number] = not one.is_said
        yield Finding(
            kind="label",
            score=one.score,
            **_told(said, classes[one.class_number], rest),
            pictures=(pictures.shown(one.row, pictured=place < PICTURED),),
            suggested=told(mended, 0, classes),
            suggested_labels=_each(mended, 0, classes),
        )


def _each(labels: Labels, row: int, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(classes[k] for k in shown_by(labels, row))


def _copies(pictures: _All, near: Nearest) -> Iterator[Finding]:
    loaders = pictures.loaders.values()
    digests = np.concatenate([picture_digests(loader.split.pictures) for loader in loaders])
    same = np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
    greys = np.concatenate(
        [part for loader in loaders for part in in_threads(len(loader.split), partial(_greys, loader))]
    )
    several = is_several(pictures.labels)
    for place, group in enumerate(copies(near, same, greys)):
        shown = tuple(
            pictures.shown(row, pictured=place < PICTURED and i < OF_A_GROUP) for i, row in enumerate(group.rows)
        )
        names, splits = dict.fromkeys(one.label for one in shown), dict.fromkeys(one.split for one in shown)
        parts = ["the same file" if group.score == 0 else "the same picture, or nearly"]
        if len(names) > 1:
            parts[0] += "; with different labels: " if several else "; under different classes: "
            parts += [part for name in names for part in (name, " / " if several else ", ")]
            parts[-1] = ""
        if len(splits) > 1:
            parts[-1] += f"; in {' and '.join(splits)}: figures look too good"
        yield Finding(kind="copies", score=group.score, **_told(*parts), pictures=shown)


def _told(*parts: str) -> dict[str, Any]:
    """Return a finding's reason, of whose parts every second is the name of a class, and where those names stand."""
    places = [0, *accumulate(map(len, parts))]
    return {"reason": "".join(parts), "named": tuple(zip(places[1::2], places[2::2], strict=False))}


def _greys(loader: Loader, rows: range) -> NDArray[np.float32]:
    return np.stack([small_grey(loader.seen(row)) for row in rows])


def _unlike(pictures: _All, near: Nearest) -> Iterator[Finding]:
    for place, (row, apart, fence) in enumerate(unlike_all_others(near)):
        yield Finding(
            kind="unlike",
            score=-apart,
            reason=f"{apart:.4f} from its nearest pictures, where over {fence:.4f} is outside what is usual here",
            pictures=(pictures.shown(row, pictured=place < PICTURED),),
        )


def _table(found: Review, separator: str) -> str:
    """Write a row for each picture of each finding, and one for each pair of classes; several labels as the table that
    was read has them, with the separator between them."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(("kind", "place", "score", "split", "picture", "class", "suggested", "reason"))
    places: dict[FindingKind, int] = {}
    for one in found.findings:
        places[one.kind] = place = places.get(one.kind, 0) + 1
        suggested = separator.join(one.suggested_labels) if found.several else one.suggested or ""
        for which in _cells(found, one, separator):
            row = map(no_formula, [*which, suggested, one.reason])
            table.writerow((one.kind, place, f"{one.score:.6g}", *row))
    return text.getvalue()


def _cells(found: Review, one: Finding, separator: str) -> list[tuple[str, str, str]]:
    """Return split, picture and class of each row of a finding; no label is an empty cell, as in the table read."""
    if not one.pictures:
        return [("", "", ", ".join(one.classes))]
    labels = [separator.join(shown.labels) if found.several else shown.label for shown in one.pictures]
    return [(shown.split, shown.name, label) for shown, label in zip(one.pictures, labels, strict=True)]
