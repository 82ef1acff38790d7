"""The sources of pictures on this machine: digits, folders and Parquet files."""

import json
import os
import pickle
import random
import shutil
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import NUMBERS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import ImageFolder

from residuum import runs
from residuum.data.class_names import natural_key
from residuum.data.decode import decode
from residuum.data.digits import digits
from residuum.data.folder import open_folder
from residuum.data.hub import SHORT_NAMES
from residuum.data.open import open_data
from residuum.data.tables import open_parquet
from residuum.errors import UserError

DATA = Path(os.environ.get("RESIDUUM_DATA", Path(__file__).parents[2] / "shared" / "data"))
CIFAR10 = DATA / "cifar10"
needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"CIFAR-10 is not in {DATA}")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path_factory.getbasetemp() / f"sources-cache-{next(NUMBERS)}"))


@cache
def png(colour: int = 0) -> bytes:
    from io import BytesIO

    file = BytesIO()
    Image.new("RGB", (4, 3), (colour % 256, colour // 256, 7)).save(file, "PNG")
    return file.getvalue()


def make(root: Path, *paths: str) -> Path:
    """Write a picture at each path, each of another colour."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"a, b" if path.endswith(".txt") else png(number))
    return root


def names(split) -> list[str]:
    return [split.pictures.name(i) for i in range(len(split))]


# --- digits ------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_scans_each_in_one_split():
    data, theirs = digits(), load_digits()
    assert (len(data.train), len(data.test), data.validation) == (1437, 360, None)
    assert data.classes == [str(d) for d in range(10)]
    assert not data.mirrors
    rows = set()
    for split in (data.train, data.test):
        for i in range(len(split)):
            row = int(split.pictures.name(i).removeprefix("scan "))
            rows.add(row)
            np.testing.assert_allclose(split.pictures.encoded(i), theirs.images[row] * 255 / 16, atol=0.5)
            assert split.labels[i] == theirs.target[row]
    assert rows == set(range(1797))


def test_digits_test_split_is_stratified_and_fixed():
    test = digits().test
    np.testing.assert_allclose(np.bincount(test.labels) / 360, np.bincount(load_digits().target) / 1797, atol=1 / 360)
    assert test.pictures.indices[:10].tolist() == [5, 9, 12, 14, 15, 18, 29, 32, 36, 41]


# --- natural order -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**30)))
def test_numbers_sort_as_numbers(numbers):
    texts = [f"class {number}" for number in numbers]
    assert sorted(texts, key=natural_key) == [f"class {number}" for number in sorted(numbers)]


@given(st.lists(st.text()), st.randoms())
def test_natural_order_is_one_order(texts, uniforms):
    shuffled = uniforms.sample(texts, len(texts))
    assert sorted(shuffled, key=natural_key) == sorted(texts, key=natural_key)


@given(st.lists(st.text(st.characters(categories=["L"], max_codepoint=0xFF))))
def test_without_numbers_natural_order_is_pythons(texts):
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    assert sorted(composed, key=natural_key) == sorted(composed)


# --- folders -----------------------------------------------------------------------------------


def test_a_folder_a_class_agrees_with_torchvision(tmp_path):
    make(tmp_path, "dog/b.png", "dog/a.JPEG", "cat/deep/er/x.png", "cat/y.webp", "été/z.png", "子猫/1.png")
    (tmp_path / "cat/notes.txt").write_text("no picture")
    ours, theirs = open_folder(tmp_path), ImageFolder(str(tmp_path))
    assert ours.classes == theirs.classes
    found = {(str(tmp_path / n), int(k)) for n, k in zip(names(ours.train), ours.train.labels, strict=True)}
    assert found == set(theirs.samples)
    assert ours.validation is None
    assert ours.test is None
    assert (ours.name, ours.source) == (tmp_path.name, str(tmp_path))
    assert ours.train.pictures.encoded(0) == (tmp_path / ours.train.pictures.name(0)).read_bytes()


def test_classes_are_in_natural_order_and_pictures_by_class(tmp_path):
    data = open_folder(make(tmp_path, "10/a.png", "2/a.png", "1/b.png", "1/a.png"))
    assert data.classes == ["1", "2", "10"]
    assert names(data.train) == ["1/a.png", "1/b.png", "2/a.png", "10/a.png"]
    assert data.train.labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("Validation", "TESTING"), ("dev", "eval")])
def test_splits_are_known_by_their_common_names(tmp_path, val, test):
    paths = [f"{split}/{kind}/{split}.png" for split in ("Training", val, test) for kind in ("猫 🐈", "狗")]
    data = open_folder(make(tmp_path, *paths, "banner.png"))
    assert data.classes == ["狗", "猫 🐈"]
    assert names(data.validation) == [f"{val}/狗/{val}.png", f"{val}/猫 🐈/{val}.png"]
    assert names(data.test) == [f"{test}/狗/{test}.png", f"{test}/猫 🐈/{test}.png"]


@given(st.permutations(["cat", "dog", "10", "9", "Zoë"]))
def test_a_class_number_means_the_same_in_each_split(tmp_path_factory, order):
    root = tmp_path_factory.getbasetemp() / f"sources-data-{next(NUMBERS)}"
    for split in ("train", "test"):
        make(root, *(f"{split}/{kind}/{kind}.png" for kind in random.Random(split).sample(order, 5)))
    data = open_folder(root)
    for split in (data.train, data.test):
        assert [data.classes[k] for k in split.labels] == [name.split("/")[1] for name in names(split)]


def test_one_spelling_of_a_name_matches_the_other(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    data = open_folder(
        make(tmp_path, f"train/{composed}/a.png", "train/b/a.png", f"test/{decomposed}/a.png", "test/b/a.png")
    )
    assert data.classes == [composed, "b"]
    assert data.test.labels.tolist() == data.train.labels.tolist()


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    data = open_folder(make(tmp_path, "a/1.png", "a/._1.png", "a/.thumbs/1.png", "b/1.png", ".git/x.png"))
    assert names(data.train) == ["a/1.png", "b/1.png"]


def test_links_in_a_circle_are_followed_once(tmp_path):
    make(tmp_path, "data/a/1.png", "data/b/2.png", "elsewhere/3.png", "elsewhere/more/4.png")
    root = tmp_path / "data"
    (root / "a/self").symlink_to(root / "a")
    (root / "a/up").symlink_to(tmp_path)
    (root / "a/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "elsewhere")
    assert names(open_folder(root).train) == ["a/1.png", "a/linked/3.png", "a/linked/more/4.png", "b/2.png"]


def test_a_name_that_is_no_text_can_still_be_printed(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only text as names")
    (folder / "1.png").write_bytes(png())
    data = open_folder(make(tmp_path, "a/1.png"))
    assert data.classes == ["a", "caf\\udce9"]
    assert names(data.train)[1].encode() == b"caf\\udce9/1.png"
    assert data.train.pictures.encoded(1) == png()


def test_a_picture_that_has_gone_is_named(tmp_path):
    data = open_folder(make(tmp_path, "a/1.png", "b/1.png"))
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(UserError, match=r"cannot read .*a/1\.png"):
        data.train.pictures.encoded(0)


@pytest.mark.parametrize(
    ("paths", "what"),
    [
        (["1.png", "2.png"], "the pictures lie directly in"),
        (["only/1.png", "only/2.png"], "only one class, 'only'"),
        (["a/1.png", "b/1.txt", "c/.1.png"], "no picture in the class folders 'b', 'c'"),
        (["test/a/1.png", "val/a/1.png"], "no training split"),
        (["train/1.png", "test/1.png"], "the pictures lie directly in .*train"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/b/1.png"],
            "more than one validation split",
        ),
        (["train/a/1.png", "train/b/1.png", "cat/1.png"], "mixes splits and other folders"),
        (["seg_train/a/1.png", "seg_test/a/1.png"], "'seg_train' in .* could be splits or classes"),
        (["Zo\u00eb/1.png", "Zoe\u0308/1.png"], "two folders called 'Zo\u00eb'"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(tmp_path, paths, what):
    with pytest.raises(UserError, match=what):
        open_folder(make(tmp_path, *paths))


@pytest.mark.parametrize("split", ["val", "test"])
def test_class_folders_that_differ_between_splits_are_listed(tmp_path, split):
    train = [f"train/{kind}/1.png" for kind in ("cat", "dog", "eel")]
    with pytest.raises(UserError) as caught:
        open_folder(make(tmp_path, *train, f"{split}/cat/1.png", f"{split}/Dog/1.png", f"{split}/fox/1.png"))
    assert caught.value.why == "it lacks 'dog', 'eel'; training lacks 'Dog', 'fox'"


def test_an_empty_folder_a_file_and_a_wrong_path_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no data set"):
        open_folder(tmp_path)
    make(tmp_path, "flowers/a/1.png")
    with pytest.raises(UserError, match="is a file, not a folder"):
        open_folder(tmp_path / "flowers/a/1.png")
    with pytest.raises(UserError, match="flowers"):
        open_folder(tmp_path / "flower")
    with pytest.raises(UserError, match="cannot read"):
        open_folder("x" * 5000)


# --- Parquet -----------------------------------------------------------------------------------


def write(path: Path, labels: list, names_in=None, *, image="image", label="label", struct=True, **more) -> None:
    """Write a Parquet file with the labels given; the picture of row i has colour i."""
    encoded = [png(i) for i in range(len(labels))]
    pictures = [{"bytes": one, "path": None} for one in encoded] if struct else encoded
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if struct else pa.binary()
    columns = {image: pa.array(pictures, kind), label: pa.array(labels), **more}
    table = pa.table(columns)
    if names_in:
        features = {label: {"_type": "ClassLabel", "names": names_in}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


@needs_cifar10
def test_cifar10_is_read_as_published():
    data = open_data(os.path.relpath(CIFAR10))
    expected = "airplane automobile bird cat deer dog frog horse ship truck"
    assert data.classes == expected.split()
    assert (data.name, data.source, data.validation) == ("cifar10", str(CIFAR10.resolve()), None)
    assert (len(data.train), len(data.test)) == (50000, 10000)
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    theirs = pq.read_table(next(CIFAR10.rglob("test-*.parquet"))).slice(9998).to_pylist()
    assert [data.test.pictures.encoded(i) for i in (9998, 9999)] == [row["img"]["bytes"] for row in theirs]
    assert data.test.labels[9998:].tolist() == [row["label"] for row in theirs]
    assert decode(data.train.pictures.encoded(49999), "last").shape == (32, 32, 3)


@pytest.mark.parametrize("struct", [True, False])
def test_rows_keep_their_order_across_files_and_row_groups(tmp_path, struct):
    write(tmp_path / "data/train-00000-of-00002.parquet", [1, 0, 1, 0, 1], ["dog", "cat"], struct=struct)
    write(tmp_path / "data/train-00001-of-00002.parquet", [0, 0, 1], ["dog", "cat"], struct=struct)
    write(tmp_path / "data/validation-00000-of-00001.parquet", [1, 0], ["dog", "cat"], struct=struct)
    data = open_parquet(tmp_path)
    assert data.classes == ["dog", "cat"]
    assert data.train.labels.tolist() == [1, 0, 1, 0, 1, 0, 0, 1]
    assert data.validation.labels.tolist() == [1, 0]
    assert data.test is None
    expected = [png(i) for i in (0, 1, 2, 3, 4, 0, 1, 2)]
    assert [data.train.pictures.encoded(i) for i in range(8)] == expected
    assert [data.train.pictures.encoded(i) for i in reversed(range(8))] == expected[::-1]
    assert names(data.validation) == ["validation row 0", "validation row 1"]


@pytest.mark.parametrize(
    "files",
    [
        ("train.parquet", "test.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("Training/0000.parquet", "eval/0000.parquet"),
    ],
)
def test_splits_are_known_by_file_or_folder_name(tmp_path, files):
    write(tmp_path / files[0], [0, 1, 2])
    write(tmp_path / files[1], [2, 1])
    data = open_parquet(tmp_path)
    assert data.classes == ["0", "1", "2"]
    assert (len(data.train), len(data.test)) == (3, 2)


def test_string_labels_are_numbered_in_natural_order(tmp_path):
    write(tmp_path / "train.parquet", ["c10", "猫", "c9", "c10"], image="img")
    write(tmp_path / "test.parquet", ["猫", "c9"], image="img")
    data = open_parquet(tmp_path)
    assert data.classes == ["c9", "c10", "猫"]
    assert data.train.labels.tolist() == [1, 2, 0, 1]
    assert data.test.labels.tolist() == [2, 0]


def test_dictionary_encoded_labels_are_names(tmp_path):
    write(tmp_path / "train.parquet", pa.array(["b", "a", "b"]).dictionary_encode())
    assert open_parquet(tmp_path).train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": [0, 1], "fine_label": [1, 0], "other": [1, 1]}, [0, 1]),
        ({"coarse_label": [0, 1], "fine_label": [1, 0]}, [1, 0]),
        ({"species": [1, 0]}, [1, 0]),
    ],
)
def test_the_usual_label_column_is_preferred(tmp_path, columns, expected):
    pictures = {"image": pa.array([b"x", b"y"], pa.binary())}
    pq.write_table(pa.table(pictures | columns), tmp_path / "train.parquet")
    assert open_parquet(tmp_path).train.labels.tolist() == expected


def test_a_label_column_with_class_names_goes_before_other_numbers(tmp_path):
    write(tmp_path / "train.parquet", [1, 0], ["fox", "owl"], label="species", weight=pa.array([5, 6]))
    assert open_parquet(tmp_path).classes == ["fox", "owl"]
    table = pq.read_table(tmp_path / "train.parquet").append_column("label", pa.array([0, 1]))
    pq.write_table(table, tmp_path / "train.parquet")
    assert open_parquet(tmp_path).classes == ["0", "1"]


def test_linked_folders_and_files_are_followed(tmp_path):
    write(tmp_path / "store/train.parquet", [0, 1])
    write(tmp_path / "blob", [1, 0])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows").symlink_to(tmp_path / "store")
    (tmp_path / "store/test.parquet").symlink_to(tmp_path / "blob")
    (tmp_path / "store/again").symlink_to(tmp_path / "store")
    data = open_parquet(tmp_path / "data")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("hidden", [[-1, -1], [None, None]])
def test_a_test_split_without_labels_counts_as_absent(tmp_path, hidden):
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "test.parquet", pa.array(hidden, pa.int64()))
    assert open_parquet(tmp_path).test is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_pictures_travel_to_other_processes(tmp_path, method):
    write(tmp_path / "train.parquet", [0, 1, 0])
    train = open_parquet(tmp_path).train.take(np.array([2, 0]))
    assert train.pictures.encoded(0) == png(2)
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        assert pool.submit(train.pictures.encoded, 0).result() == png(2)


def test_pickled_pictures_take_no_pictures_along(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 200)
    pictures = open_parquet(tmp_path).train.pictures
    before = len(pickle.dumps(pictures))
    read = [pictures.encoded(i) for i in range(400)]
    assert len(pickle.dumps(pictures)) == before
    copy = pickle.loads(pickle.dumps(pictures))  # noqa: S301 - our own
    assert [copy.encoded(i) for i in range(400)] == read
    assert copy.name(7) == pictures.name(7)


def test_no_more_is_kept_in_memory_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("residuum.data.parquet.KEPT_BYTES", 300)
    write(tmp_path / "train.parquet", [0, 1] * 8)
    pictures = open_parquet(tmp_path).train.pictures
    assert [pictures.encoded(i) for i in range(16)] == [png(i) for i in range(16)]
    assert len(pictures._kept.groups) < 4


def test_a_row_without_a_picture_gives_no_bytes(tmp_path):
    table = pa.table({"image": pa.array([None, b"x"], pa.binary()), "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert open_parquet(tmp_path).train.pictures.encoded(0) == b""


PARQUET_FAULTS = [  # what is written, and the message that must follow
    ({"train": ([0, 0, 0],)}, "only one class, '0'"),
    ({"test": ([0, 1],)}, "no training split"),
    ({"train": ([0, None, 1],)}, "1 of 3 rows of the train split .* have no label"),
    ({"train": ([0, -1, 1],)}, "1 of 3 rows of the train split .* have no label"),
    ({"train": ([0, 1],), "test": ([0, -1],)}, "1 of 2 rows of the test split"),
    ({"train": ([],)}, "the train split of .* has no rows"),
    ({"train": ([0, 700],)}, "does not hold class numbers"),
    ({"train": ([0, 1],), "test": ([2],)}, "has the label 2"),
    ({"train": ([0, 1, 5], ["a", "b"])}, "has the label 5"),
    ({"train": (["a", "b"],), "test": (["b", "z"],)}, "classes that the training split has not"),
    ({"train": (["a", "b"],), "test": ([0, 1],)}, "the columns of .*test.parquet are not"),
    ({"train": ([0, 1], ["a", "b"]), "test": ([0], ["a", "c"])}, "it lacks 'b'; training lacks 'c'"),
    ({"train": ([0, 1], ["a", "b"]), "test": ([0], ["b", "a"])}, "numbered differently"),
    ({"train": ([0, 1],), "more": ([0, 1],)}, "cannot tell the split of 'more.parquet'"),
    ({"one/train": ([0, 1],), "two/train": ([0, 1],)}, "more than one data set"),
    ({"train-00000-of-00002": ([0, 1],)}, r"some of the 2 files train-\*-of-00002.parquet .* are missing"),
    ({"train": ([0.5, 1.5],)}, "has fractions, such as 0.5"),
]


@pytest.mark.parametrize(("files", "message"), PARQUET_FAULTS)
def test_parquet_files_that_are_no_data_set_are_refused(tmp_path, files, message):
    for name, (labels, *names_in) in files.items():
        write(tmp_path / f"{name}.parquet", pa.array(labels, None if labels else pa.int64()), *names_in)
    with pytest.raises(UserError, match=f"(?s){message}"):
        open_parquet(tmp_path)


def test_columns_that_cannot_be_told_apart_are_named(tmp_path):
    write(tmp_path / "train.parquet", [0, 1], label="colour", shape=pa.array([0, 2]))
    with pytest.raises(UserError, match="'colour', 'shape' could"):
        open_parquet(tmp_path)
    pq.write_table(pa.table({"url": ["a", "b"], "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="holds the pictures"):
        open_parquet(tmp_path)


def test_a_damaged_parquet_file_is_named(tmp_path):
    write(tmp_path / "train.parquet", [0, 1])
    (tmp_path / "test.parquet").write_bytes(b"PAR1 nothing of the sort")
    with pytest.raises(UserError, match=r"cannot read .*test\.parquet"):
        open_parquet(tmp_path)


# --- whichever it is ---------------------------------------------------------------------------


def test_open_data_sees_what_a_folder_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "pets/cat/1.png", "pets/dog/1.png")
    write(tmp_path / "rows/train.parquet", [0, 1])
    pets = open_data("./pets")
    assert (pets.name, pets.source, pets.classes) == ("pets", str(tmp_path / "pets"), ["cat", "dog"])
    assert open_data("rows").classes == ["0", "1"]
    for held in ("", runs.SETTINGS, "picture/0.png"):  # nothing, a run, and that with pictures in it
        (tmp_path / "digits" / held).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "digits" / held).touch() if held else (tmp_path / "digits").mkdir()
        assert open_data("digits").source == "digits"
        with pytest.raises(UserError, match=r"digits holds (no data set|only one class)"):
            open_data("./digits")
    shutil.rmtree(tmp_path / "digits")
    make(tmp_path, "digits/cat/1.png", "digits/dog/1.png")
    assert open_data("digits").source == str(tmp_path / "digits")
    assert open_data("digits", recorded=True).source == "digits"
    monkeypatch.chdir(tmp_path / "pets")
    assert open_data(".").name == open_data("../pets").name == "pets"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "did you mean .*digits"),
        ("cifar-10", "did you mean .*cifar10"),
        ("pets/nothing", "there is no folder"),
        ("./pest", "did you mean .*pets"),
        ("/nowhere/at/all", "there is no folder"),
        ("x" * 5000, "there is no folder or data set"),
        ("", "there is no folder or data set"),
    ],
)
def test_what_is_not_there_is_said_to_be_not_there(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "pets/cat/1.png")
    with pytest.raises(UserError, match=message):
        open_data(source)


def test_a_folder_that_is_not_there_is_first_looked_for_by_its_path() -> None:
    with pytest.raises(UserError) as refusal:
        open_data("photographs")
    assert refusal.value.mend == "check the folder's path; of data sets, choose from: " + ", ".join(
        ["digits", *SHORT_NAMES]
    )
