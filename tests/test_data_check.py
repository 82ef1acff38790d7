"""The check finds what is wrong with a data set, and nothing where nothing is."""

import io
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from residuum.data.check import LISTED, check
from residuum.data.contract import ImageData, Split
from residuum.data.digits import digits
from residuum.data.open import open_data
from residuum.errors import PartlyDone, UserError
from residuum.pictures_printing import print_findings
from residuum.settings import TrainSettings
from residuum.training.beginning import begin

CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Listed:
    """Pictures given one by one: bytes, pixels, or the error that reading them raises."""

    content: Sequence[Any]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.content)

    def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
        content = self.content[index]
        if isinstance(content, Exception):
            raise content
        return content

    def name(self, index: int) -> str:
        return self.names[index]

    def files(self) -> None:
        return None


def split(*rows: tuple[Any, int], prefix: str = "p") -> Split:
    names = [f"{prefix}{i}.png" for i in range(len(rows))]
    return Split(Listed([content for content, _ in rows], names), np.array([k for _, k in rows], np.int64))


def picture(seed: int, side: int = 6) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 2, 3), np.uint8)


def encode(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def data(train: Split, **others: Split) -> ImageData:
    return ImageData("pets", "/pets", CLASSES, train, **others)


def clean(first_seed: int, prefix: str = "p") -> Split:
    return split(*((encode(picture(first_seed + i)), i % 2) for i in range(6)), prefix=prefix)


def test_a_clean_set_has_no_problems() -> None:
    report = check(data(clean(0), validation=clean(10), test=clean(20)))
    assert report["problems"] == []
    assert list(report["splits"]) == ["train", "validation", "test"]
    assert report["leaks"] == {"count": 0, "between": [], "pairs": []}
    assert report["conflicts"] == {"count": 0, "groups": []}
    assert report["splits"]["train"] == {
        "pictures": 6,
        "per_class": {"cat": 3, "dog": 3},
        "shows_none": 0,
        "empty_classes": [],
        "imbalance": 1.0,
        "width": {"min": 8, "median": 8.0, "max": 8},
        "height": {"min": 6, "median": 6.0, "max": 6},
        "modes": {"RGB": 6},
        "formats": {"PNG": 6},
        "broken": [],
        "turned": 0,
        "several_frames": 0,
        "deep": 0,
        "repeats": 0,
        "repeated": [],
        "greys": None,
    }


def test_the_digits_are_clean() -> None:
    report = check(digits())
    assert report["problems"] == []
    assert report["splits"]["train"]["modes"] == {"array": 1437}


def test_a_leak_is_found_whatever_the_encoding() -> None:
    leaked = picture(1)
    report = check(
        data(
            split((encode(picture(0)), 0), (encode(leaked), 1), (encode(picture(2)), 0)),
            validation=split((encode(picture(3)), 0), (encode(picture(4)), 1), prefix="v"),
            test=split((leaked, 1), (encode(picture(4), "BMP"), 1), (encode(leaked, "TIFF"), 1), prefix="t")
        )
    )  # fmt: skip
    first, second, third = report["leaks"]["pairs"]
    assert report["leaks"]["count"] == 3
    assert first == [{"split": "train", "name": "p1.png"}, {"split": "test", "name": "t0.png"}]
    assert second == [{"split": "train", "name": "p1.png"}, {"split": "test", "name": "t2.png"}]
    assert third == [{"split": "validation", "name": "v1.png"}, {"split": "test", "name": "t1.png"}]
    assert {"splits": ["train", "test"], "count": 2} in report["leaks"]["between"]
    said = "\n".join(report["problems"])
    assert re.search("test shares 2 pictures with train.*\n  t0.png repeats p1.png\n  t2.png repeats p1.png\n", said)
    assert re.search("test shares 1 picture with validation.*\n  t1.png repeats v1.png$", said)
    assert report["splits"]["test"]["repeats"] == 1


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    flat, tall = np.zeros((2, 6, 3), np.uint8), np.zeros((6, 2, 3), np.uint8)
    assert check(data(split((flat, 0), (picture(0), 1)), test=split((tall, 0), (picture(1), 1))))["problems"] == []


def test_a_label_conflict_is_found() -> None:
    same = encode(picture(1))
    report = check(data(split((same, 0), (same, 1), (same, 0)), test=split((encode(picture(2)), 0), (same, 1))))
    assert report["conflicts"] == {
        "count": 1,
        "groups": [
            [
                {"split": "train", "name": "p0.png", "class": "cat"},
                {"split": "train", "name": "p1.png", "class": "dog"},
            ]
        ],
    }
    assert any(p.endswith("class:\n  p0.png (train, cat) and p1.png (train, dog)") for p in report["problems"])


def test_broken_files_are_listed_and_never_raised() -> None:
    sound = encode(picture(0))
    train = split(
        (sound, 0),
        (sound[:40], 1),
        (b"", 0),
        (b"<html>", 1),
        (UserError("cannot read p4.png", "Permission denied"), 0),
        (OSError(5, "Input/output error"), 0),
        (encode(picture(1)), 1),
    )
    report = check(data(train, test=clean(10)))
    broken = report["splits"]["train"]["broken"]
    assert [entry["name"] for entry in broken] == [f"p{i}.png" for i in range(1, 6)]
    assert broken[1]["reason"] == "the file is empty"
    assert "HTML" in broken[2]["reason"]
    assert "Permission denied" in broken[3]["reason"]
    assert "Input/output error" in broken[4]["reason"]
    assert report["splits"]["train"]["formats"] == {"PNG": 2}
    assert report["splits"]["train"]["pictures"] == 7
    assert report["splits"]["train"]["repeats"] == 0
    assert any(problem.startswith("5 pictures of train cannot be read") for problem in report["problems"])
    with pytest.raises(PartlyDone, match=r"5 of .* pictures cannot be read") as told:
        print_findings(None, report, json=False)
    assert "--skip-broken" in told.value.mend


def test_a_split_of_broken_files_alone() -> None:
    report = check(data(clean(0), test=split((b"", 0), (b"", 1))))
    assert report["splits"]["test"]["width"] is None
    assert len(report["problems"]) == 1


def test_sizes_modes_formats_and_oddities() -> None:
    frames = [Image.fromarray(picture(i)) for i in (1, 2)]
    animation = io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[274] = 6
    sixteen_bits = np.arange(12, dtype=np.uint16).reshape(3, 4)
    train = split(
        (encode(picture(0, 10)), 0),
        (encode(picture(3, 20), "JPEG", exif=exif), 1),
        (encode(sixteen_bits), 0),
        (animation.getvalue(), 1),
    )
    seen = check(data(train))["splits"]["train"]
    assert seen["formats"] == {"PNG": 2, "JPEG": 1, "GIF": 1}
    assert seen["modes"]["I;16"] == 1
    assert (seen["turned"], seen["several_frames"], seen["deep"]) == (1, 1, 1)
    assert seen["width"] == {"min": 4, "median": 10.0, "max": 20}  # the turned one is 20 wide, 22 high
    assert seen["height"] == {"min": 3, "median": 8.0, "max": 22}


def test_training_says_which_classes_a_split_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, name in (("train", "cat"), ("train", "dog"), ("val", "dog")):
        (tmp_path / place / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / place / name / f"{i}.png").write_bytes(encode(picture(10 * len(place) + i)))
    begin(TrainSettings(str(tmp_path), from_nothing=True, epochs=1), looking=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "holds no picture" in line]
    assert said == [f"note: {one}" for one in check(open_data(str(tmp_path)))["problems"] if "holds no picture" in one]
    assert len(said) == 1
    assert said[0].startswith("note: validation holds no picture of 'cat': how a net names that stays unknown")


def test_missing_classes_unknown_labels_and_imbalance() -> None:
    train = split(*((encode(picture(i)), int(i == 0)) for i in range(13)))
    report = check(data(train, test=split((encode(picture(90)), 1), (encode(picture(91)), 7))))
    assert report["splits"]["train"]["imbalance"] == 12
    assert report["splits"]["test"]["empty_classes"] == ["cat"]
    assert report["splits"]["test"]["per_class"] == {"cat": 0, "dog": 1, "unknown class 7": 1}
    said = "\n".join(report["problems"])
    assert "train is unbalanced" in said
    assert "test holds no picture of 'cat': how a net names that stays unknown; move some there, one in five" in said
    (lacking,) = check(data(train, validation=split((encode(picture(90)), 1))))["problems"][1:]
    assert "validation holds no picture of 'cat'" in lacking
    assert "back into train: none is needed" in lacking
    assert "unknown class 7" in said


def test_names_that_look_like_one_and_one_that_is_blank() -> None:
    rows = split(*((encode(picture(i)), i % 5) for i in range(15)))
    report = check(ImageData("pets", "/pets", ("cat", "Cat ", "dog", "d og", ""), rows))
    assert report["problems"] == [
        "it holds a class without a name, '': are those pictures without a label?",
        "classes whose names differ in blanks or capitals alone: 'Cat ' and 'cat'",
    ]


@pytest.mark.parametrize(
    ("names", "counts", "said"),
    [
        (("animal", "anmial", "bird"), (15, 3, 4), "'anmial' (3) and 'animal' (15)"),
        (("vehicle", "vehicel", "bird"), (5, 1, 4), "'vehicel' (1) and 'vehicle' (5)"),
        (("animal", "anmial", "bird"), (6, 3, 4), ""),  # both are frequent
        (("plate 17", "plate 18", "bird"), (15, 1, 4), ""),
        (("cat", "cart", "bird"), (15, 1, 4), ""),
    ],
)
def test_a_rare_name_that_is_nearly_another_is_told(names: tuple[str, ...], counts: tuple[int, ...], said: str) -> None:
    labels = np.repeat(np.arange(len(names)), counts)
    rows = split(*((encode(picture(i)), int(k)) for i, k in enumerate(labels)))
    problems = check(ImageData("tags", "/tags", names, rows))["problems"]
    near = [one for one in problems if "misspelt" in one]
    assert near == [f"classes of few pictures whose names are nearly another's: {said}; misspelt?"] * bool(said)


def test_an_empty_split() -> None:
    report = check(data(clean(0), test=split()))
    assert report["problems"] == ["test holds no picture"]


def test_long_lists_are_cut_and_still_counted() -> None:
    same = encode(picture(0))
    rows = [(same, i % 2) for i in range(LISTED + 50)]
    many = [(encode(picture(i)), 0) for i in range(1, LISTED + 20)]
    report = check(data(split(*rows, *many), test=split((same, 0), *((c, 1) for c, _ in many))))
    assert report["leaks"]["count"] == LISTED + 20
    assert len(report["leaks"]["pairs"]) == LISTED
    assert report["conflicts"]["count"] == LISTED + 20
    assert len(report["conflicts"]["groups"]) == LISTED
    assert report["splits"]["train"]["repeats"] == LISTED + 49
    more = {"train holds": 49, "test shares": 20, f"{LISTED + 20} pictures under": 20}
    for start, count in more.items():
        (said,) = (one for one in report["problems"] if one.startswith(start))
        assert said.endswith(f"\n  and {count} more")
    assert len(json.dumps(report)) < 100_000


def test_progress_and_json() -> None:
    told: list[tuple[int, int]] = []
    report = check(data(clean(0), test=clean(10)), lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]
    assert json.loads(json.dumps(report)) == report


def test_ctrl_c_does_not_wait_for_the_rest() -> None:
    read: list[int] = []

    class Slow(Listed):
        def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
            time.sleep(0.0005)
            read.append(index)
            return super().encoded(index)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    count = 6400 * (os.cpu_count() or 1)
    train = Split(Slow([picture(0)] * count, ["x"] * count), np.zeros(count, np.int64))
    with pytest.raises(KeyboardInterrupt):
        check(data(train), interrupt)
    assert len(read) < count / 2


@pytest.mark.parametrize("name", ["<script>", "a\nb", "名前.png"])
def test_names_are_passed_on_as_they_are(name: str) -> None:
    train = Split(Listed([b"", encode(picture(0))], [name, "fine"]), np.array([0, 1]))
    assert check(data(train))["splits"]["train"]["broken"][0]["name"] == name


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.tuples(ROWS, ROWS, ROWS))
def test_counts_agree_with_comparing_every_two(rows: tuple[list[tuple[int, int]], ...]) -> None:
    """Tiny pictures of few kinds, so that they collide; every pair is compared by hand."""
    splits = [split(*((np.full((1, 2), kind, np.uint8), k) for kind, k in some)) for some in rows]
    report = check(ImageData("x", "x", CLASSES, *splits))
    earlier: set[int] = set()
    leaks = 0
    for some, seen in zip(rows, report["splits"].values(), strict=True):
        kinds = [kind for kind, _ in some]
        assert seen["repeats"] == sum(kind in kinds[:i] for i, kind in enumerate(kinds))
        named = {(f"p{kinds.index(kind)}.png", f"p{i}.png") for i, kind in enumerate(kinds) if kind in kinds[:i]}
        assert {tuple(pair) for pair in seen["repeated"]} == named
        leaks += sum(kind in earlier for kind in kinds)
        earlier |= set(kinds)
    assert report["leaks"]["count"] == leaks
    pairs = combinations([row for some in rows for row in some], 2)
    assert report["conflicts"]["count"] == len({a for (a, j), (b, k) in pairs if a == b and j != k})
