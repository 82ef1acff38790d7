"""What a data set holds and what is wrong with it: for `residuum data check`."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from statistics import median
from typing import Any

import numpy as np

from residuum.data.contract import ImageData, Pictures, Split
from residuum.data.decode import BrokenPicture, Header, decode, grey_extremes, header
from residuum.data.deep import span_of
from residuum.data.labels import Labels, is_several, shown_by, told
from residuum.data.misspelt import nearly_named, said_of_names
from residuum.data.sums import check_sums
from residuum.data.threads import in_threads
from residuum.errors import UserError, listed

LISTED = 100
"""Of identical pictures, so many are named; all of them are counted."""

UNBALANCED = 3
"""From here on the ratio of the largest class to the smallest counts as a problem."""

Place = tuple[str, int]
"""A split's name and a row in it."""


def check(data: ImageData, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Decode every picture once and describe the data set, ready for JSON.

    Returns `name`, `source`, `classes`, `several` (whether a picture shows any number of them) and

    - `splits`: by name: `pictures`, `per_class` {class: count}, `shows_none` (of several labels a picture: the count of
      those without any), `empty_classes`, `imbalance` (largest class over smallest, empty ones aside), `width` and
      `height` {min, median, max} or None, `modes` and `formats` {name: count}, `broken` [{name, reason}], and counts
      of those `turned` (by EXIF), of `several_frames`, `deep` (more than 8 bits a channel) and `repeats` (with the
      pixels of an earlier one in the split), up to LISTED `repeated` [name of the earlier, of this]; `greys`: [least,
      greatest] of deep greys, or None;
    - `leaks`: pictures with the pixels of one in an earlier split: their `count`, the same `between` each two
      splits, and for up to LISTED of them the pair [the earlier picture, this one];
    - `conflicts`: the `count` of pictures that stand under more than one class, or of several labels under different
      ones, and for up to LISTED of them a group with one {split, name, class} for each;
    - `shards`: how they agree with the checksums beside them, {checked, broken [{name, reason}]}; or None;
    - `passed_over`: files that are taken for no pictures, [{name, why}];
    - `problems`: all of that which should be looked into, in words; empty if all is well.

    `progress` is called with (done, total). A broken file is part of the answer, never an error.
    """
    splits = data.splits()
    tallies = _examine_all(splits, progress)
    groups = _identical(tallies)
    report = {
        "name": data.name,
        "source": data.source,
        "classes": list(data.classes),
        "several": data.several,
        "splits": {s: _describe(splits[s], tallies[s], data.classes, _repeated(groups, s)) for s in splits},
        "leaks": _leaks(groups, splits),
        "conflicts": _conflicts(groups, splits, data.classes),
        "shards": check_sums(data.source),
        "passed_over": [one._asdict() for one in data.passed_over],
    }
    return report | {"problems": list(_problems(report))}


# --- looking at every picture ------------------------------------------------------------------


_Seen = tuple[Header, bytes, tuple[float, float] | None]
"""What is kept of a readable picture: its header, the digest of shape and pixels, and the ends of its deep greys."""


@dataclass
class _Tally:
    """What is kept of a split while its pictures stream by; `digests` has a None for each broken one."""

    headers: Counter[Header] = field(default_factory=Counter)
    broken: list[dict[str, str]] = field(default_factory=list)
    digests: list[bytes | None] = field(default_factory=list)
    greys: list[tuple[float, float]] = field(default_factory=list)

    def add(self, name: str, seen: _Seen | str) -> None:
        """Count one picture, or note why it is broken."""
        if isinstance(seen, str):
            self.broken.append({"name": name, "reason": seen})
            self.digests.append(None)
        else:
            self.headers[seen[0]] += 1
            self.digests.append(seen[1])
            self.greys += [seen[2]] if seen[2] else []

    def all(self, fact: str) -> list[Any]:
        """Return one fact of the header of each readable picture."""
        return [getattr(seen, fact) for seen in self.headers.elements()]


def _examine_all(splits: dict[str, Split], progress: Callable[[int, int], None] | None) -> dict[str, _Tally]:
    tallies = {name: _Tally() for name in splits}
    total, done = sum(map(len, splits.values())), 0
    for name, split in splits.items():
        parts = in_threads(len(split), partial(_examine, split.pictures))
        for row, seen in enumerate(chain.from_iterable(parts)):
            tallies[name].add(split.pictures.name(row), seen)
            done += 1
            if progress:
                progress(done, total)
    return tallies


def _examine(pictures: Pictures, rows: range) -> list[_Seen | str]:
    """Return what is to be kept of some pictures; each thread holds one decoded picture at a time."""
    return [_look(pictures, row) for row in rows]


def _look(pictures: Pictures, row: int) -> _Seen | str:
    """Return what is to be kept of one picture, or why it cannot be read."""
    name = pictures.name(row)
    try:
        encoded = pictures.encoded(row)
        head, pixels = header(encoded, name), decode(encoded, name)
        greys = grey_extremes(encoded, name) if head.deep else None
    except BrokenPicture as error:
        return error.why
    except UserError as error:
        return f"{error.what}: {error.why}" if error.why else error.what
    except OSError as error:
        return str(error)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return head, digest.digest(), greys


# --- identical pictures ------------------------------------------------------------------------


def _identical(tallies: dict[str, _Tally]) -> list[list[Place]]:
    """Return the groups of places with the same pixels, each in the order train, validation, test."""
    times = Counter(digest for tally in tallies.values() for digest in tally.digests)
    groups: dict[bytes, list[Place]] = {}
    for split, tally in tallies.items():
        for row, digest in enumerate(tally.digests):
            if digest is not None and times[digest] > 1:
                groups.setdefault(digest, []).append((split, row))
    return list(groups.values())


def _repeated(groups: list[list[Place]], split: str) -> list[tuple[int, int]]:
    """Return the rows of pictures in a split that repeat an earlier one: the earlier's, then its own."""
    in_split = ([row for name, row in group if name == split] for group in groups)
    return [(rows[0], row) for rows in in_split for row in rows[1:]]


def _leaks(groups: list[list[Place]], splits: dict[str, Split]) -> dict[str, Any]:
    pairs = [(group[0], place) for group in groups for place in group if place[0] != group[0][0]]
    between = Counter((first[0], second[0]) for first, second in pairs)
    return {
        "count": len(pairs),
        "between": [{"splits": list(names), "count": count} for names, count in between.items()],
        "pairs": [[_named(place, splits) for place in pair] for pair in pairs[:LISTED]],
    }


def _conflicts(groups: list[list[Place]], splits: dict[str, Split], classes: Any) -> dict[str, Any]:
    found = []
    for group in groups:
        one_each: dict[str, Place] = {}
        for place in group:
            one_each.setdefault(_told_of(splits[place[0]].labels, place[1], classes), place)
        if len(one_each) > 1:
            found.append([_named(place, splits) | {"class": name} for name, place in one_each.items()])
    return {"count": len(found), "groups": found[:LISTED]}


def _named(place: Place, splits: dict[str, Split]) -> dict[str, str]:
    split, row = place
    return {"split": split, "name": splits[split].pictures.name(row)}


def _told_of(labels: Labels, row: int, classes: Any) -> str:
    """Name the class that a picture shows, or all of them."""
    return told(labels, row, classes) if is_several(labels) else _class_of(int(labels[row]), classes)


def _class_of(label: int, classes: Any) -> str:
    """Name a class; a number that no class has stands for itself."""
    return str(classes[label]) if 0 <= label < len(classes) else f"unknown class {label}"


# --- the report --------------------------------------------------------------------------------


def _describe(split: Split, tally: _Tally, classes: Any, repeated: list[tuple[int, int]]) -> dict[str, Any]:
    of_rows = (shown_by(split.labels, row) for row in range(len(split)))
    found = Counter(_class_of(number, classes) for shown in of_rows for number in shown)
    per_class = dict.fromkeys(map(str, classes), 0) | found
    filled = [count for count in per_class.values() if count]
    shows_none = int((~split.labels.any(1)).sum()) if is_several(split.labels) else 0
    return {
        "pictures": len(split),
        "per_class": per_class,
        "shows_none": shows_none,
        "empty_classes": [name for name, count in per_class.items() if count == 0],
        "imbalance": max(filled) / min(filled) if filled else 1.0,
        "width": _spread(tally.all("width")),
        "height": _spread(tally.all("height")),
        "modes": dict(Counter(tally.all("mode")).most_common()),
        "formats": dict(Counter(tally.all("format")).most_common()),
        "broken": tally.broken,
        "turned": sum(tally.all("turned")),
        "several_frames": sum(tally.all("several")),
        "deep": sum(tally.all("deep")),
        "repeats": len(repeated),
        "repeated": [[split.pictures.name(row) for row in rows] for rows in repeated[:LISTED]],
        "greys": [min(low for low, _ in tally.greys), max(high for _, high in tally.greys)] if tally.greys else None,
    }


def _spread(sides: list[int]) -> dict[str, float] | None:
    return {"min": min(sides), "median": float(median(sides)), "max": max(sides)} if sides else None


def _problems(report: dict[str, Any]) -> Iterator[str]:
    for one in (report["shards"] or {}).get("broken", ()):
        yield f"the shard {one['name']} is broken: {one['reason']}"
    filled = {name for split in report["splits"].values() for name, count in split["per_class"].items() if count}
    if len(filled) == 1 and not (report["several"] and _is_shown_by_some(report)):
        yield f"it holds only one class, {filled.pop()!r}: nothing can be learnt from that"
    if blank := [name for name in filled if not name.strip()]:
        yield f"it holds a class without a name, {blank[0]!r}: are those pictures without a label?"
    if alike := [names for names in _spelled_alike(filled) if len(names) > 1]:
        yield f"classes whose names differ in blanks or capitals alone: {', '.join(map(' and '.join, alike[:LISTED]))}"
    if near := nearly_named(_of_all_splits(report)):
        yield said_of_names(near)
    for name, split in report["splits"].items():
        yield from _problems_of_split(name, split, set(report["classes"]), several=report["several"])
    for leak in report["leaks"]["between"]:
        first, second = leak["splits"]
        pairs = [pair for pair in report["leaks"]["pairs"] if [one["split"] for one in pair] == leak["splits"]]
        those = _lines([f"{later['name']} repeats {earlier['name']}" for earlier, later in pairs], leak["count"])
        shared = f"{second} shares {_pictures(leak['count'])} with {first}"
        yield f"{shared}: its accuracy will look too good; take them out of one of the two:{those}"
    if count := report["conflicts"]["count"]:
        groups = (
            " and ".join(f"{seen['name']} ({seen['split']}, {seen['class']})" for seen in group)
            for group in report["conflicts"]["groups"]
        )
        under = "different labels" if report["several"] else "more than one class"
        yield f"{_pictures(count)} under {under}:{_lines(list(groups), count)}"


def _is_shown_by_some(report: dict[str, Any]) -> bool:
    """Say whether some pictures show a class and others none."""
    shows_none = [int(split["shows_none"]) for split in report["splits"].values()]
    return 0 < sum(shows_none) < sum(int(split["pictures"]) for split in report["splits"].values())


def _lines(named: list[str], count: int) -> str:
    """Write a line for each that is named, and say how many of the `count` are not."""
    more = [f"and {count - len(named):,} more"] if count > len(named) else []
    return "".join(f"\n  {one}" for one in [*named, *more])


def _spelled_alike(names: set[str]) -> list[list[str]]:
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(" ".join(name.casefold().split()), []).append(repr(name))
    return list(alike.values())


def _of_all_splits(report: dict[str, Any]) -> Counter[str]:
    count = Counter[str]()
    for split in report["splits"].values():
        count.update(split["per_class"])
    return count


def _problems_of_split(name: str, split: dict[str, Any], classes: set[str], *, several: bool) -> Iterator[str]:
    if not split["pictures"]:
        yield f"{name} holds no picture"
        return
    if broken := split["broken"]:
        those = "".join(f"\n  {one['name']}: {one['reason']}" for one in broken)
        yield f"{_pictures(len(broken))} of {name} cannot be read:{those}"
    if split["empty_classes"]:
        yield said_of_no_picture(name, split["empty_classes"])
    if unknown := [label for label in split["per_class"] if label not in classes]:
        yield f"{name} has labels that no class has: {listed(unknown)}"
    if several and (alone := [label for label, count in split["per_class"].items() if count == 1]):
        yield f"{name} has one picture only of {listed(alone)}: how well such are found cannot be told"
    if split["imbalance"] >= UNBALANCED and not several:
        yield f"{name} is unbalanced: its largest class is {split['imbalance']:.3g} times its smallest"
    if split["greys"] and (span := span_of(tuple(split["greys"]))):
        least, most = (f"{end:g}" for end in split["greys"])
        yield f"{name} has greys of 16 bits that lie within {least} to {most}: training scales them by {span}"
    if repeats := split["repeats"]:
        those = _lines([f"{one} repeats {first}" for first, one in split["repeated"]], repeats)
        yield f"{name} holds {_pictures(repeats)} that repeat an earlier one pixel for pixel:{those}"


def said_of_no_picture(split: str, classes: Sequence[str]) -> str:
    """Say which classes a split lacks, what follows, and what helps."""
    lacks = f"{split} holds no picture of {listed(classes)}"
    if split == "train":
        return f"{lacks}: nothing can be learnt of that; put pictures there"
    mend = "move some there, one in five say"
    if split == "validation":
        mend += ", or take the whole split back into train: none is needed"
    return f"{lacks}: how a net names that stays unknown; {mend}"


def _pictures(count: int) -> str:
    return f"{count} picture" + "s" * (count != 1)
