"""Folders as people keep them: splits by other names, a level too deep, classes missing, names of every script.

The pictures are of one colour, each in the class of its colour, so that a right reading is answered all right.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from corpus.case import ONE_CLASS, Case, Make, Must, done, refused
from corpus.things import BASIC, COLOURS, photos, png, text

ALL = tuple(COLOURS)
ALL_RIGHT = done('"value": 1.0')
TAKEN = {"data check": done(), "evaluate": ALL_RIGHT, "train": done()}
NONE = {"data check": refused(), "train": refused()}

Layout = Callable[[Path], object]


def laid(place: Layout, name: str = "photos") -> Make:
    """Make a folder and lay something into it."""

    def make(folder: Path, _: Random) -> Path:
        root = folder / name
        root.mkdir()
        place(root)
        return root

    return make


def splits(*names: str, classes: tuple[str, ...] = ALL) -> Layout:
    """A folder for each split, with other pictures in each."""

    def place(root: Path) -> None:
        for i, name in enumerate(names):
            photos(root / name, classes, 3, start=3 * i)

    return place


SPLITS = {
    "train and val": ("train", "val"),
    "all three": ("train", "val", "test"),
    "in capitals": ("Train", "Val", "Test"),
    "loud": ("TRAIN", "VALID", "TEST"),
    "long names": ("training", "validation", "testing"),
    "dev and eval": ("train", "dev", "eval"),
    "chinese": ("训练集", "测试集"),
    "chinese, all three": ("训练集", "验证集", "测试集"),
    "chinese, short": ("训练", "验证", "测试"),
    "train alone": ("train",),
}
"""Names of splits that are understood; the figures are of the last, or of the only one."""


def _lacking(split: str, *missing: str) -> Layout:
    def place(root: Path) -> None:
        photos(root / "train", ALL, 3)
        photos(root / split, tuple(name for name in ALL if name not in missing), 2, start=3)

    return place


def _empty_class(split: str) -> Layout:
    def place(root: Path) -> None:
        _lacking(split, "blue")(root)
        (root / split / "blue").mkdir()

    return place


def _test_without_classes(root: Path) -> None:
    photos(root / "train", ALL, 3)
    for i in range(3):
        text(root / "test" / f"{i}.png", png("red", 30 + i, 20))


def _unknown_class(split: str) -> Layout:
    def place(root: Path) -> None:
        photos(root / "train", BASIC, 3)
        photos(root / split, ALL, 2, start=3)

    return place


def _deep(root: Path) -> None:
    for name in ALL:
        photos(root / name / "2024" / "May", (name,), 3)


def _linked(root: Path) -> None:
    elsewhere = photos(root.parent / "elsewhere", ALL, 3)
    for name in ALL:
        (root / name).symlink_to(elsewhere / name)


def _link_to_itself(root: Path) -> None:
    photos(root, ALL, 3)
    (root / "red" / "again").symlink_to(root)


def _with_litter(root: Path) -> None:
    photos(root, ALL, 3)
    for place in (".git/HEAD", ".DS_Store", "__MACOSX/red/._1.png", "README.txt", "LICENSE", ".cache/red/1.png"):
        text(root / place, "x")


def _named(*names: str) -> Layout:
    """The classes are not colours: only what trains can say."""

    def place(root: Path) -> None:
        for i, name in enumerate(names):
            for j in range(3):
                text(root / os.fsdecode(os.fsencode(name)) / f"{j}.png", png(ALL[i % 6], 16 + j, 16 + i))

    return place


CLASS_NAMES = {
    "chinese": ("猫", "狗"),
    "two spellings of e": ("caf\u00e9", "cafe"),
    "spaces": (" a", "b "),
    "html": ("<script>alert(1)</script>", "b&c"),
    "numbers": ("1", "2", "10", "0010"),
    "long": ("x" * 120, "y" * 120),
    "escape codes": ("a\x1b[31mred\x1b[0m", "b\x07"),
    "not utf-8": (os.fsdecode(b"caf\xe9"), "tea"),
    "formula": ("=cmd()", "+1"),
    "rich's markup": ("[bold]a[/bold]", "[/]"),
    "percent": ("100%", "%s"),
    "quotes": ("it's", '"so"'),
    "newline": ("a\nb", "c"),
    "right to left": ("\u202eabc", "def"),
    "windows' own": ("CON", "aux"),
    "one picture's suffix": ("x.png", "y.jpg"),
    "emoji": ("🐟", "🐠"),
    "a flag": ("--help", "-v"),
    "dots": ("a.b", "c.."),
}


def _one_level_too_deep(root: Path) -> None:
    photos(root / "photos-inside", ALL, 3)


def _mixed(root: Path) -> None:
    photos(root / "train", ALL, 3)
    photos(root, ("red",), 2, start=9)


def _flat(root: Path) -> None:
    for i in range(4):
        text(root / f"{i}.png", png("red", 16 + i, 16))


def _twice(root: Path) -> None:
    _named("caf\u00e9", "cafe\u0301")(root)


def _archive(name: str, content: bytes) -> Make:
    return lambda folder, _: text(folder / name, content)


REFUSED: dict[str, tuple[Layout, str | tuple[str, ...]]] = {
    "nothing in it": (lambda root: None, "{}"),
    "one class": (lambda root: photos(root, ("red",), 3), "only one class"),
    "pictures without classes": (_flat, "{}"),
    "two spellings of one class": (_twice, "caf"),
    "split and class mixed": (_mixed, "red"),
    "two training splits": (splits("train", "training"), "training"),
    "only texts": (lambda root: text(root / "a" / "b.txt", "x"), "{}"),
    "empty classes": (lambda root: [(root / name).mkdir() for name in BASIC], ("red", "holds no data set")),
    "empty training split": (lambda root: [(root / name).mkdir() for name in ("train", "val")], "train"),
}


def cases() -> Iterator[Case]:
    """All of them, by name."""
    for name, folders in SPLITS.items():
        yield Case(f"splits: {name}", laid(splits(*folders)), TAKEN, ("evaluate",) if "chinese" in name else ())
    yield Case("splits: test alone", laid(splits("test")), {"evaluate": ALL_RIGHT, "train": refused()})
    for split in ("val", "test"):
        seen = {**TAKEN, "evaluate": done('"value": 1.0', ("blue", "5"))}
        yield Case(f"{split} lacks a class", laid(_lacking(split, "blue")), seen, ("train",) if split == "val" else ())
        yield Case(f"{split} lacks four", laid(_lacking(split, *ALL[2:])), TAKEN)
        yield Case(f"{split} has an empty class", laid(_empty_class(split)), TAKEN)
    yield Case("test without classes", laid(_test_without_classes), {"data check": done("test"), "train": done("test")})
    for name, place in {"deep": _deep, "linked": _linked, "a loop": _link_to_itself, "litter": _with_litter}.items():
        yield Case(f"laid: {name}", laid(place), TAKEN)
    for name, classes in CLASS_NAMES.items():
        must = {"data check": done(), "train": done(), "train and report": done(), "train and predict": done()}
        yield Case(f"classes: {name}", laid(_named(*classes)), must)
    for name in ("a b", "猫", "=1+1", "-x", "[bold]", "x" * 200, os.fsdecode(b"caf\xe9"), "'", "%d"):
        root = {"data check": done(), "train": done(), "evaluate": ALL_RIGHT}
        if "caf" in name:  # where the pictures lie is written down
            root = dict.fromkeys(root, refused("UTF-8"))
        yield Case(f"root: {name!a:.20}", laid(lambda root: photos(root, ALL, 3), name), root)
    lacking = {"data check": Must((0, 2), ("white",)), "train": refused("white")}
    yield Case("a class that training lacks", laid(_unknown_class("val")), lacking)
    deep = "one level too deep"
    yield Case(deep, laid(_one_level_too_deep), dict.fromkeys(("data check", "train"), refused("photos-inside")))
    for name, (place, word) in REFUSED.items():
        must = dict.fromkeys(NONE, refused(word))
        must |= {"data check": ONE_CLASS} if name == "one class" else {}
        yield Case(f"folder: {name}", laid(place), must, ("data check",) if "class" in name else ())
    for name, content in {"fruit.zip": b"PK\3\4", "fruit.tar.gz": b"\x1f\x8b\x08", "fruit.rar": b"Rar!\x1a\7"}.items():
        yield Case(f"given: {name}", _archive(name, content), dict.fromkeys(NONE, refused("unpack")))
    yield Case("given: a picture", _archive("red.png", png("red")), NONE)
    yield Case("given: nothing there", lambda folder, _: folder / "nowhere", NONE)
    yield Case("written beside", laid(lambda root: photos(root, ALL, 3)), {"train within": Must((0, 2))})
