"""Folders as people have them: names of splits, levels, classes that a split lacks, what is no data set."""

import os
from pathlib import Path

import pytest
from PIL import Image

from residuum.data.folder import open_folder
from residuum.data.open import open_data
from residuum.data.split import split_meant
from residuum.errors import UserError


def make(root: Path, *paths: str) -> Path:
    """Write a picture at each path, and one called 1.png where that is a folder's."""
    for path in paths:
        file = root / path if path.endswith(".png") else root / path / "1.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(file)
    return root


def counts(root: Path, **how: bool) -> dict[str, int]:
    return {name: len(split) for name, split in open_folder(root, **how).splits().items()}


TRAINING = (
    "train",
    "TRAINING",
    "training_set",
    "Train-Data",
    "train_images",
    "trainset",
    "train2017",
    "训练集",
    "訓練資料",
)
VALIDATION = ("val", "Valid", "validation_set", "valset", "dev", "验证集", "驗證資料", "校验集", "开发集", "验证图片")
TEST = ("test", "testing", "test_images", "testset", "TEST2012", "eval", "held-out", "测试集", "测试数据", "測試集")
NONE = ("cat", "data", "pictures", "bus images", "集", "latest", "contest", "2017", "")


@pytest.mark.parametrize(("split", "names"), [("train", TRAINING), ("validation", VALIDATION), ("test", TEST)])
def test_usual_variants_in_english_and_chinese_mean_a_split(split: str, names: tuple[str, ...]) -> None:
    assert {split_meant(name) for name in names} == {split}
    assert {split_meant(name) for name in NONE} == {None}


def test_splits_called_in_chinese_are_no_classes(tmp_path: Path) -> None:
    data = open_folder(make(tmp_path, "训练集/猫", "训练集/狗", "验证集/猫", "测试集/狗", "测试集/猫"))
    assert list(data.classes) == ["狗", "猫"]
    assert counts(tmp_path) == {"train": 2, "validation": 1, "test": 2}


def test_a_variant_that_holds_pictures_itself_is_a_class(tmp_path: Path) -> None:
    assert list(open_folder(make(tmp_path, "测试", "训练")).classes) == ["测试", "训练"]


def test_a_split_may_lack_classes_which_are_known_by_name(tmp_path: Path) -> None:
    root = make(tmp_path, "train/a", "train/b", "train/c", "val/c", "val/a", "test/b")
    (root / "val/b").mkdir()  # empty: nothing can be said of it
    data = open_folder(root)
    assert list(data.classes) == ["a", "b", "c"]
    assert data.validation is not None
    assert data.validation.labels.tolist() == [0, 2]
    assert data.test is not None
    assert data.test.labels.tolist() == [1]


NO_CLASSES = [  # beside train/a and train/b, and what is said
    (["test/1.png", "test/2.png"], "test holds 2 pictures in no class folders"),
    (["test/images/1.png"], "test holds 1 picture in 'images', which is no class of training"),
    (["val/1.png"], "validation pictures are taken from the training ones"),
    (["train/banner.png"], "1 picture directly in"),
]


@pytest.mark.parametrize(("paths", "said"), NO_CLASSES)
def test_pictures_without_classes_are_passed_over_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], paths: list[str], said: str
) -> None:
    assert counts(make(tmp_path, "train/a", "train/b", *paths)) == {"train": 2}
    assert said in capsys.readouterr().err


WRONG_LEVEL = [  # paths, the folder given, what is said, and the folder to give instead
    (["x/cat", "x/dog"], "", "a level too high", "give {}/x"),
    (["x/y/cat", "x/y/dog"], "", "a level too high", "give {}/x/y"),
    (["x/train/cat", "x/train/dog", "x/test/cat"], "", "a level too high", "give {}/x"),
    (["train/x/cat", "train/x/dog"], "", "a level too high", "move them from {}/train/x to {}/train"),
    (["train/cat", "train/dog", "val/val/cat", "val/val/dog"], "", "a level too high", "move them from {}/val/val to"),
    (["Treino/cat", "Treino/dog", "Teste/cat"], "", "could be a level too high", "give {}/Teste"),
    (["A/images", "A/masks", "B/images", "B/masks"], "", "could be a level too high", "give {}/A"),
    (["cat/train", "cat/test", "dog/train", "dog/test"], "", "could be a level too high", "train/CLASS"),
    (["cat", "dog"], "cat", "lie directly in", "give {}"),
    (["train/cat", "train/dog"], "train/cat", "lie directly in", "give {}"),
    (["train/1.png", "test/1.png"], "", "lie directly in", "a folder of its own"),
]


@pytest.mark.parametrize(("paths", "given", "said", "mend"), WRONG_LEVEL)
def test_a_folder_on_the_wrong_level_is_named_with_the_right_one(
    tmp_path: Path, paths: list[str], given: str, said: str, mend: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        open_folder(make(tmp_path, *paths) / given)
    assert mend.replace("{}", str(tmp_path)) in caught.value.mend + "\n"


def test_tables_are_named_with_their_place_and_folders_of_others_make_no_class(tmp_path: Path) -> None:
    loose = make(tmp_path, "loose/1.png", "other/1.png", "project/src/1.png") / "loose"
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.json").touch()
    with pytest.raises(UserError) as caught:
        open_folder(loose)
    assert f"; 'a.csv', 'b.json' in {tmp_path} are not read" in caught.value.why
    assert caught.value.mend.startswith(f"give {str(tmp_path / 'a.csv')!r} if that tells what they show; put the pict")
    (loose / "c.csv").touch()
    with pytest.raises(UserError, match=r"'c\.csv' beside them is not read"):
        open_folder(loose)


def test_a_class_spelled_otherwise_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has class folders that the training split has not"):
        open_folder(make(tmp_path, "train/cat", "train/dog", "val/Cat"))
    with pytest.raises(UserError, match="two folders called"):
        open_folder(make(tmp_path / "two", "train/Zo\u00eb", "train/b", "val/Zo\u00eb", "val/Zoe\u0308"))


def test_folders_within_all_classes_count_as_theirs_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert counts(make(tmp_path, "animals/cat", "animals/dog", "plants/rose", "plants/fern")) == {"train": 4}
    assert "the classes are 'animals', 'plants'" in capsys.readouterr().err
    assert counts(make(tmp_path / "tiny", "a/images", "b/images")) == {"train": 2}


def test_splits_beside_the_one_given_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert counts(make(tmp_path, "train/a", "train/b", "val/a") / "train") == {"train": 2}
    assert f"'val' beside {tmp_path}/train is not looked at; give {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("paths", [["test/a", "test/b"], ["val/a"], ["a"], ["a", "b"]])
def test_to_be_judged_pictures_need_no_training_split_nor_all_classes(tmp_path: Path, paths: list[str]) -> None:
    data = open_data(str(make(tmp_path, *paths)), judging=True)
    assert sum(map(len, data.splits().values())) == len(paths)
    with pytest.raises(UserError) if len(paths) == 1 or "test/a" in paths else pytest.MonkeyPatch.context():
        open_data(str(tmp_path))


def test_to_be_judged_pictures_need_classes(tmp_path: Path) -> None:
    for paths in (["loose/1.png"], ["split/test/1.png"]):
        with pytest.raises(UserError) as caught:
            open_folder(make(tmp_path, *paths) / Path(paths[0]).parts[0], judging=True)
        assert "residuum predict" in caught.value.mend


ARCHIVES = [("fruit.zip", b""), ("f.TAR", b""), ("f.tar.gz", b""), ("f.7z", b""), ("f.rar", b""), ("f", b"PK\x03\x04")]


@pytest.mark.parametrize(("name", "start"), [*ARCHIVES, ("f", b"\0" * 257 + b"ustar"), ("f", b"\x1f\x8b")])
def test_an_archive_is_named_as_one(tmp_path: Path, name: str, start: bytes) -> None:
    (tmp_path / name).write_bytes(start)
    for given in (tmp_path / name, tmp_path):
        with pytest.raises(UserError) as caught:
            open_data(str(given))
        assert "unpack it" in caught.value.mend


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(UserError, match="no text in UTF-8"):
        open_data(str(make(root, "a", "b")))


def test_a_name_with_control_characters_stays_on_one_line(tmp_path: Path) -> None:
    data = open_folder(make(tmp_path, "a", "b\x1b[31m\n/\x07.png"))
    assert list(data.classes) == ["a", "b\\x1b[31m\\x0a"]
    assert data.train.pictures.name(1) == "b\\x1b[31m\\x0a/\\x07.png"
    assert data.train.pictures.encoded(1) == data.train.pictures.encoded(0)


@pytest.mark.parametrize(
    ("held", "said"),
    {
        "": "it is empty",
        "a/": "'a' in it holds nothing",
        "a/x.txt": "holds files, but no pictures",
        "x.txt": "has neither",
    }.items(),
)
def test_the_true_reason_is_given_where_there_are_no_pictures(held: str, said: str, tmp_path: Path) -> None:
    place = tmp_path / "given" / held
    (place if held.endswith("/") or not held else place.parent).mkdir(parents=True)
    if held.endswith("txt"):
        place.touch()
    with pytest.raises(UserError, match=said):
        open_data(str(tmp_path / "given"))


def test_a_fifo_and_a_table_of_another_kind_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    (tmp_path / "t.json").write_text("{}")
    for name, said in (("x", "pipe, socket or device"), ("t.json", "tables are read as CSV or Parquet")):
        with pytest.raises(UserError, match=said):
            open_data(str(tmp_path / name))
