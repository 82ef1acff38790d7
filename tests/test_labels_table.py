"""What pictures show, told by a table: CSV beside the pictures, several labels a picture, and what is made of them."""

import csv
import io
import json
import tarfile
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from small_start import SPEC

from residuum.apart import refuse_below
from residuum.compute import choose_compute
from residuum.data import pack as packing
from residuum.data.cache import fingerprint
from residuum.data.check import check
from residuum.data.class_names import OtherClasses, numbered_as
from residuum.data.contract import ColumnNames, ImageData, Split
from residuum.data.look import readable
from residuum.data.open import open_data
from residuum.data.preprocess import Preprocessing
from residuum.data.split import cut_validation
from residuum.data.table_files import opened
from residuum.data.tables import open_parquet
from residuum.errors import UserError
from residuum.evaluation.opening import open_with_data, with_own_columns
from residuum.loading import load, save_classifier
from residuum.models.resnet import ResNet
from residuum.prediction.pictures import sources
from residuum.records.model import Provenance
from residuum.serving.examples import _of_each_class
from residuum.settings import PackSettings, StudySettings
from residuum.studies.run import run_studies

SEVERAL = ColumnNames(separator=";")


def pictures(root: Path, *paths: str) -> Path:
    """Write a picture of its own colour at each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number * 9 % 256, 7, number // 28)).save(root / path)
    return root


def told_by(root: Path, text: str, name: str = "labels.csv", **columns: Any) -> ImageData:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode())
    return open_data(str(root), columns=ColumnNames(**columns))


def shown(data: ImageData, split: Split | None = None) -> dict[str, Any]:
    """What each picture shows, by its name: a class, or a set of them."""
    split = split or data.train
    names = map(split.pictures.name, range(len(split)))
    if split.labels.ndim == 1:
        return {name: data.classes[label] for name, label in zip(names, split.labels, strict=True)}
    return {name: {data.classes[k] for k in np.flatnonzero(row)} for name, row in zip(names, split.labels, strict=True)}


# --- the text ------------------------------------------------------------------------------------

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = st.text("abcxyz ÄÖ_0", min_size=1, max_size=6).map(str.strip).filter(bool)


@given(
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_a_table_holds_what_pythons_reader_finds(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    rows: list[list[str]],
    separator: str,
    end: str,
    marked: bool,
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *(row[: len(names)] for row in rows)])
    path = tmp_path_factory.mktemp("t") / "labels.csv"
    path.write_bytes(file.getvalue().encode("utf-8-sig" if marked else "utf-8"))
    with opened(path) as table:
        found = table.read(names).to_pylist()
    theirs = list(csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=separator))
    assert table.schema_arrow.names == theirs[0]
    blank = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0"
    cells = [[(value or "").strip() for value in row.values()] for row in found]
    wanted = ([value.strip(blank).strip() for value in row] for row in theirs[1:])
    assert cells == [row for row in wanted if any(row)]


def test_what_pandas_and_spreadsheets_add_is_left_out(tmp_path: Path) -> None:
    root = pictures(tmp_path, "a.png", "b.png")
    data = told_by(root, ";image;width;Class\r\n0;a.png;6;cat\r\n1;b.png;6;dog\r\n;;;\r\n;;;\r\n")
    assert shown(data) == {"a.png": "cat", "b.png": "dog"}
    assert shown(told_by(root, "文件名,备注,标签\na.png,x,猫\nb.png,y,狗\n")) == {"a.png": "猫", "b.png": "狗"}


@pytest.mark.parametrize("start", ["\n\n", "\r\n", "  \t\n", "\ufeff \r\n\n"])
def test_blank_lines_before_the_header_are_no_rows(tmp_path: Path, start: str) -> None:
    data = told_by(pictures(tmp_path, "a.png", "b.png"), f"{start}image,label\na.png,cat\nb.png,dog\n")
    assert shown(data) == {"a.png": "cat", "b.png": "dog"}


BAD_TABLES = [
    (b"", "is empty"),
    (b"\n\n", "is empty"),
    (b"image,label\n", "has no rows"),
    (b"a.png,cat\nb.png,dog\n", "has no header"),
    ("image,label\na.png,caf\xe9\n".encode("latin-1"), "no text in UTF-8"),
    ("image,label\na.png,cat\n".encode("utf-16"), "no text in UTF-8"),
    (b"image,label\na.png,cat,dog\n", "cannot read"),
    (b"label,label\na.png,cat\n", "'label' twice"),
    (b"image,label\na.png,cat\nb.png,\n", "1 of 2 rows of the train split"),
    (b"image,label\n,cat\nb.png,dog\n", "1 of 2 rows of .* name no picture"),
    (b"image,label\nx.png,cat\ny.png,dog\n", "are not found"),
    (b"image,label\nhttps://x.org/1.png,cat\ny.png,dog\n", "not on this machine"),
    (b"image,label\na.png,cat\nb.png,dog\na.png,dog\n", "different labels of one picture, 'a.png'"),
    (b"image,label\na.png,cat\nb.png,cat\n", "only one class, 'cat'"),
    (b"what,else\n1,2\n3,4\n", "cannot tell which column"),
]


@pytest.mark.parametrize(("content", "said"), BAD_TABLES)
def test_a_table_that_tells_nothing_is_an_error_that_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    (pictures(tmp_path, "a.png", "b.png") / "labels.csv").write_bytes(content)
    for place in (tmp_path, tmp_path / "labels.csv"):
        with pytest.raises(UserError, match=said):
            open_data(str(place))


MARKED = [
    ("image,label\na.png,cat\nHERE,\nb.png,dog\n", {}),
    ("\n \r\n\nimage;label\r\n\r\na.png;cat\r\n;;\r\nHERE;\r\n".replace(";;", ";"), {}),
    ('"image\nof",label\n\n"a.png","big\ncat"\n\nHERE,\n', {"image": "image\nof"}),
    ("image,cat,dog\na.png,1,0\n\nHERE,,1\n", {}),
    ("image,label\n\nHERE,cat\nb.png,dog\n\nHERE,dog\n", {}),
    ("image,label\na.png,cat\n\nb.png,dog\n\nHERE,dog,1\n", {}),
    ("image,label,of\na.png,cat,HAS\n\n,dog,HERE\n", {}),
    ("image,label,split\na.png,cat,val\nb.png,dog,train\na.png,cat,train\n\nHERE,,train\n", {}),
]


@pytest.mark.parametrize(("text", "columns"), MARKED)
def test_errors_name_the_row_that_a_spreadsheet_shows(tmp_path: Path, text: str, columns: dict[str, str]) -> None:
    """By Python's reader, whose records are a spreadsheet's rows, blank ones among them."""
    first = next(line for line in text.splitlines() if line.strip())
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ","))
    here = [number for number, row in enumerate(rows, 1) if "HERE" in row]
    header = next(number for number, row in enumerate(rows, 1) if "label" in row or "cat" in row)
    (tmp_path / "HERE").symlink_to(pictures(tmp_path, "a.png", "b.png") / "b.png")
    with pytest.raises(UserError) as error:
        told_by(tmp_path, text, **columns)
    assert f"{' and '.join(f'row {row}' for row in here)} (the header is row {header})" in error.value.why


def test_of_several_tables_the_one_that_a_row_lies_in_is_named(tmp_path: Path) -> None:
    root = pictures(tmp_path, "a.png", "b.png", "c.png")
    (root / "train_2.csv").write_text("image,label\nc.png,\n")
    with pytest.raises(UserError) as error:
        told_by(root, "image,label\na.png,cat\nb.png,dog\n", "train_1.csv")
    assert "row 2 of train_2.csv (the header is row 1)" in error.value.why


@given(st.binary(max_size=60) | st.text('ab1.png,;\t"\n\r -', max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_an_error_that_says_why(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    root = pictures(tmp_path_factory.mktemp("t"), "a.png", "b.png")
    for start in (b"", b"image,label\na.png,1\nb.png,"):
        (root / "labels.csv").write_bytes(start + tail)
        for columns in (ColumnNames(), SEVERAL):
            with suppress(UserError):
                data = open_data(str(root), columns=columns)
                assert data.several == (columns == SEVERAL) or data.several


# --- which pictures, which table -----------------------------------------------------------------

SPELLED = ["x/a.png", "a.png", "a", "x/a", "./x/a.png", r"x\a.png", "file://x/a.png"]


@pytest.mark.parametrize("name", SPELLED)
@pytest.mark.parametrize("table", ["labels.csv", "deep/metadata.csv"])
def test_pictures_are_found_as_people_name_them(tmp_path: Path, name: str, table: str) -> None:
    data = told_by(pictures(tmp_path, "x/a.png", "x/b.png"), f"file_name,label\n{name},cat\nb.png,dog\n", table)
    assert shown(data) == {"x/a.png": "cat", "x/b.png": "dog"}
    assert data.train.pictures.files() == [str(tmp_path / "x/a.png"), str(tmp_path / "x/b.png")]


@pytest.mark.parametrize("name", ["a.jpg", "A", "x/A.PNG", "X/a.png", "x/a.jpeg", "./X/a"])
def test_a_picture_that_is_called_nearly_so_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    root = pictures(tmp_path, "x/a.png", "x/b.png", "y/c.png")
    with pytest.raises(UserError, match="are not found") as error:
        told_by(root, f"image,label\n{name},cat\nnone.png,dog\n", label="label")
    assert error.value.mend.startswith(f"{name!r} differs from 'x/a.png' by suffix or capitals alone")
    data = told_by(root, f"image,label\nx/b.png,cat\n{name},dog\nc.png,dog\n", label="label")
    assert len(data.train) == 3
    said = capsys.readouterr().err
    assert "note: 1 of 3 pictures that" in said
    assert f"{name!r} differs from 'x/a.png' by suffix or capitals alone" in said


@pytest.mark.parametrize("name", ["y/a.png", "aa.png", ".jpg", "..", "/", "x"])
def test_what_differs_by_more_is_not_said_to_be_near(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    told_by(pictures(tmp_path, "x/a.png", "x/b.png", "c.png"), f"image,label\nb.png,cat\nc,cat\n{name},dog\n")
    assert "differs from" not in capsys.readouterr().err


def test_a_name_that_could_be_two_pictures_is_refused_unless_the_split_tells(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/1.png", "test/1.png", "train/2.png")
    with pytest.raises(UserError, match=r"'1', which could be 'p/a/1.png', 'p/b/1.png'"):
        told_by(pictures(tmp_path / "other", "p/a/1.png", "p/b/1.png"), "id,label\n1,cat\n")
    data = told_by(root, "id,label\n1,cat\n2,dog\n", "train.csv")
    assert shown(data) == {"train/1.png": "cat", "train/2.png": "dog"}


def test_tables_of_splits_are_told_by_their_names_and_others_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pictures(tmp_path, *(f"{split}/{n}.png" for split, n in product(("train", "test"), range(4))))
    (root / "sample_submission.csv").write_text("id,label\n0,x\n")
    (root / "test.csv").write_text("id\n0\n1\n")
    (root / "val.csv").write_text("id,label\n3,b\n")
    data = told_by(root, "id,label\n0,a\n1,b\n2,b\n", "train.csv")
    assert shown(data) == {"train/0.png": "a", "train/1.png": "b", "train/2.png": "b"}
    assert data.validation is not None
    assert list(data.splits()) == ["train", "validation"]
    said = capsys.readouterr().err
    assert "the test split of" in said
    assert "4 that are pictures of which no table tells: 'test/0.png'" in said


def test_a_folder_of_splits_with_a_table_each_is_read(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    (root / "test/metadata.csv").write_text("file_name,label\n1.png,b\n")
    data = told_by(root, "file_name,label\n1.png,a\n2.png,b\n", "train/metadata.csv")
    assert shown(data) == {"train/1.png": "a", "train/2.png": "b"}
    assert data.test is not None
    assert shown(data, data.test) == {"test/1.png": "b"}


@pytest.mark.parametrize("name", ["test.csv", "val_labels.csv", "photos.csv"])
def test_one_table_is_the_same_data_whatever_its_name(tmp_path: Path, name: str) -> None:
    root = pictures(tmp_path, "a.png", "b.png", "c.png")
    (root / name).write_text("image,label\na.png,x\nb.png,y\nc.png,x\n")
    trained, judged = (open_data(str(root / name), judging=judging) for judging in (False, True))
    assert list(trained.splits()) == list(judged.splits()) == ["train"]
    assert len(judged.train) == 3
    assert fingerprint(judged) == fingerprint(trained)


def test_a_column_of_splits_and_the_file_itself(tmp_path: Path) -> None:
    root = pictures(tmp_path, "a/1.png", "b/2.png", "b/3.png", "4.png")
    text = "name,kind,split\n1,x,train\n2,y,train\n3,x,test\n4,y,val\n".replace("name", "file")
    assert list(told_by(root, text).classes) == ["a", "b"]  # folders of classes go before
    data = open_data(str(root / "labels.csv"))
    assert data.source == str(root / "labels.csv")
    assert data.name == root.name
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 2, "validation": 1, "test": 1}
    named = open_data(str(root), columns=ColumnNames(label="kind"))  # whoever names a column means the table
    assert shown(named) == shown(data) == {"a/1.png": "x", "b/2.png": "y"}


def test_it_is_said_that_a_table_beside_folders_of_classes_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = told_by(pictures(tmp_path, "cat/1.png", "dog/1.png"), "image,label\ncat/1.png,x\ndog/1.png,y\n")
    assert list(data.classes) == ["cat", "dog"]
    assert "'labels.csv' beside the folders of classes: not read" in capsys.readouterr().err


def test_several_tables_of_which_none_is_meant_are_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path, "1.png", "2.png")
    (root / "one.csv").write_text("image,label\n1.png,a\n")
    with pytest.raises(UserError, match="cannot tell which table"):
        told_by(root, "image,label\n1.png,a\n2.png,b\n", "two.csv")
    assert list(told_by(root, "image,label\n1.png,c\n2.png,d\n").classes) == ["c", "d"]


def test_missing_pictures_are_counted_and_named_and_can_be_gone_on_without(tmp_path: Path) -> None:
    root = pictures(tmp_path, "1.png", "2.png")
    data = told_by(root, "image,label\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n")
    with pytest.raises(UserError, match=r"2 pictures of 4 cannot be read") as caught:
        readable(data, skip_broken=False)
    assert "3.png" in caught.value.why
    left = readable(data, skip_broken=True)
    assert shown(left) == {"1.png": "a", "2.png": "b"}
    assert [one.name for one in left.skipped] == ["3.png", "4.png"]
    with pytest.raises(UserError, match=r"2 of 4 pictures are not there") as caught:
        fingerprint(data)
    assert "'3.png', '4.png'" in caught.value.why


def test_digits_are_numbers_as_in_parquet_unless_zeros_lead(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{n}.png" for n in range(12)))
    rows = [10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9, 11]
    for form, classes in (("{}", "0 1 2 3"), ("{}.0", "0 1 2 3"), ("0{}", "00 01 02 03")):
        text = "image,label\n" + "".join(f"{n}.png,{form.format(row)}\n" for n, row in enumerate(rows))
        data = told_by(root, text)
        assert list(data.classes)[:4] == classes.split()
        assert data.train.labels.tolist() == rows
    pq.write_table(pa.table({"image": [f"{n}.png" for n in range(12)], "label": rows}), root / "train.parquet")
    assert open_parquet(root).train.labels.tolist() == rows


# --- several labels a picture --------------------------------------------------------------------

ROWS: list[list[str]] = [["dog", "outdoor"], ["cat"], [], ["outdoor"], ["cat", "dog"]]
WANT = [[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]
PATHS = [f"{n}.png" for n in range(5)]


@pytest.mark.parametrize("separator", [";", "|", " ", ", "])
def test_a_text_of_several_labels_is_parted(tmp_path: Path, separator: str) -> None:
    cells = (separator.join(row) for row in ROWS)
    text = "image,tags\n" + "".join(f'{n}.png," {cell} "\n' for n, cell in enumerate(cells))
    data = told_by(pictures(tmp_path, *PATHS), text, separator=separator)
    assert data.several
    assert list(data.classes) == ["cat", "dog", "outdoor"]
    assert data.train.labels.tolist() == WANT
    assert data.train.labels.dtype == np.uint8


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("-1", "1"), ("False", "True"), ("0.0", "1.0"), ("no", "yes")])
def test_columns_of_yes_and_no_are_labels(tmp_path: Path, no: str, yes: str) -> None:
    text = "image,cat,dog,outdoor\n" + "".join(
        f"{n}.png,{','.join((no, yes)[k] for k in row)}\n" for n, row in enumerate(WANT)
    )
    data = told_by(pictures(tmp_path, *PATHS), text)
    assert list(data.classes) == ["cat", "dog", "outdoor"]
    assert data.train.labels.tolist() == WANT
    some = told_by(tmp_path, text, label="outdoor, cat")
    assert list(some.classes) == ["outdoor", "cat"]
    assert some.train.labels.tolist() == [[row[2], row[0]] for row in WANT]


def test_rows_of_one_picture_are_joined_where_there_are_several_labels(tmp_path: Path) -> None:
    text = "image,label\n" + "".join(f"{n}.png,{name}\n" for n, row in enumerate(ROWS) for name in row or [""])
    data = told_by(pictures(tmp_path, *PATHS), text, separator=";")
    assert data.train.labels.tolist() == WANT


LISTS: dict[str, tuple[Any, Any]] = {  # the column, and its feature in the metadata
    "texts": (pa.array(ROWS), None),
    "large": (pa.array(ROWS, pa.large_list(pa.large_string())), None),
    "dictionary": (pa.array(ROWS, pa.list_(pa.dictionary(pa.int32(), pa.string()))), None),
    "numbers": ([[k for k in range(3) if row[k]] for row in WANT], {"feature": {"names": ["cat", "dog", "outdoor"]}}),
    "as older ones": ([[k for k in range(3) if row[k]] for row in WANT], [{"names": ["cat", "dog", "outdoor"]}]),
    "columns": (None, None),
}


@pytest.mark.parametrize("kind", LISTS)
def test_parquet_of_lists_and_of_columns_holds_several_labels(tmp_path: Path, kind: str) -> None:
    column, feature = LISTS[kind]
    columns = {"label": column}
    if column is None:
        columns = {name: pa.array([bool(row[k]) for row in WANT]) for k, name in enumerate(("cat", "dog", "outdoor"))}
    table = pa.table({"image": PATHS, **columns})
    if feature:
        said = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, pictures(tmp_path, *PATHS) / "train.parquet")
    data = open_parquet(tmp_path)
    assert list(data.classes) == ["cat", "dog", "outdoor"]
    assert data.train.labels.tolist() == WANT


def test_numbers_that_no_name_has_are_refused(tmp_path: Path) -> None:
    said = b'{"info": {"features": {"label": {"feature": {"names": ["a", "b"]}}}}}'
    for strange in (2, -1):
        table = pa.table({"image": PATHS, "label": [[0], [1], [], [strange], [1]]})
        pq.write_table(table.replace_schema_metadata({"huggingface": said}), pictures(tmp_path, *PATHS) / "t.parquet")
        with pytest.raises(UserError, match=f"has the label {strange}"):
            open_parquet(tmp_path)


NOTHING_TO_LEARN = [("a\n0.png,\n1.png,\n", "has no labels"), ("a\n0.png,cat\n1.png,cat\n", "show 'cat'")]


@pytest.mark.parametrize(("rows", "said"), NOTHING_TO_LEARN)
def test_pictures_that_all_show_the_same_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        told_by(pictures(tmp_path, *PATHS), f"image,{rows}", separator=";")


def test_one_class_that_some_pictures_show_can_be_learnt(tmp_path: Path) -> None:
    data = told_by(pictures(tmp_path, *PATHS), "image,a\n0.png,cat\n1.png,\n", separator=";")
    assert data.train.labels.tolist() == [[1], [0]]


def test_labels_that_look_like_several_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["red;green", "red", "green", "red", "red"]
    told_by(pictures(tmp_path, *PATHS), "image,label\n" + "".join(f"{n}.png,{row}\n" for n, row in enumerate(rows)))
    assert '--label-separator ";"' in capsys.readouterr().err
    with pytest.raises(UserError, match="1 of 6 rows"):
        told_by(tmp_path, "image,label\n" + "".join(f"{n}.png,{row}\n" for n, row in enumerate([*rows, ""])))
    assert '--label-separator ";"' in capsys.readouterr().err
    rows = ["Smith, John", "Jones, Ann", "a", "b", "c"]
    told_by(tmp_path, "image,label\n" + "".join(f'{n}.png,"{row}"\n' for n, row in enumerate(rows)))
    assert "--label-separator" not in capsys.readouterr().err


def test_gaps_among_columns_of_yes_and_no_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say of each picture"):
        told_by(pictures(tmp_path, *PATHS), "image,cat,dog\n0.png,1,0\n1.png,,1\n")
    with pytest.raises(UserError, match="does not say yes or no"):
        told_by(tmp_path, "image,cat,dog\n0.png,1,0\n1.png,2,1\n", label="cat,dog")


@pytest.mark.parametrize("rows", [[0, -1, 1], [0, 1, 1]])
def test_minus_one_beside_zero_is_refused_as_it_may_mean_uncertain(tmp_path: Path, rows: list[int]) -> None:
    text = "image,edema,effusion\n" + "".join(f"{n}.png,{row}.0,{1 - 2 * (n % 2)}.0\n" for n, row in enumerate(rows))
    with pytest.raises(UserError, match=r"both 0 and -1[\s\S]*uncertain"):
        told_by(pictures(tmp_path, *PATHS), text)


UNTOLD: dict[str, tuple[dict[str, Any], str]] = {
    "lists": ({"label": pa.array([["a"], None, ["b"], [], ["a"]])}, "1 of 5 rows .* no label"),
    "columns": ({"a": [1, 0, None, 0, 1], "b": [0, 1, None, 1, 0]}, "1 of 5 rows .* no label"),
    "one of NaN": (
        {"a": [1.0, 0.0, float("nan"), 0.0, 1.0], "b": [0.0, 1.0, 1.0, 1.0, 0.0]},
        "'a' holds nothing in row 2",
    ),
    "all of NaN": ({"a": [1.0, 0.0, float("nan")], "b": [0.0, 1.0, float("nan")]}, "1 of 3 rows .* no label"),
    "below 0": ({"label": [[0, 1], [-1], [1, -1], [0], [1]]}, r"label -1[\s\S]*in 2 of 5 rows, first in row 1"),
    "padded": ({"label": pa.array([[0, 1], [-1, -1], [1, -1]], pa.list_(pa.int64(), 2))}, "label -1"),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_rows_of_which_nothing_is_told_do_not_show_nothing(tmp_path: Path, kind: str) -> None:
    columns, said = UNTOLD[kind]
    rows = len(next(iter(columns.values())))
    pq.write_table(pa.table({"image": PATHS[:rows], **columns}), pictures(tmp_path, *PATHS) / "train.parquet")
    with pytest.raises(UserError, match=said):
        open_parquet(tmp_path)


def test_blank_rows_of_a_table_of_texts_do_not_show_nothing(tmp_path: Path) -> None:
    root = pictures(tmp_path, *PATHS)
    with pytest.raises(UserError, match=r"1 of 3 rows[\s\S]*first in row 3"):
        told_by(root, "image,a,b\n0.png,1,0\n1.png,,\n2.png,0,1\n")
    data = told_by(root, "image,tags\n0.png,a\n1.png,\n2.png,b\n", separator=";")
    assert data.train.labels.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_yes_and_no_are_read_as_numbers(tmp_path: Path) -> None:
    data = told_by(pictures(tmp_path, *PATHS), "image,a,b\n0.png,1.00,0.\n1.png,0.00,1\n2.png,1,1.000\n")
    assert data.train.labels.tolist() == [[1, 0], [0, 1], [1, 1]]


def test_a_split_that_lacks_some_columns_is_refused_and_one_without_any_is_passed_over(tmp_path: Path) -> None:
    root = pictures(tmp_path, *PATHS)
    (root / "test.csv").write_text("image,a\n3.png,1\n")
    text = "image,a,b\n0.png,1,0\n1.png,0,1\n"
    with pytest.raises(UserError, match="it lacks 'b'"):
        told_by(root, text, "train.csv")
    (root / "test.csv").write_text("image,else\n3.png,1\n")
    assert told_by(root, text, "train.csv").test is None


def test_a_split_that_shows_nothing_is_passed_over_and_cannot_be_judged_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pictures(tmp_path, *PATHS)
    text = "image,split,a,b\n0.png,train,1,0\n1.png,train,0,1\n2.png,val,0,0\n3.png,val,0,0\n"
    data = told_by(root, text)
    assert data.validation is None
    assert "the validation split of" in capsys.readouterr().err
    judged = open_data(str(root / "labels.csv"), judging=True)
    assert fingerprint(judged) == fingerprint(data)
    (root / "labels.csv").write_text("image,a,b\n0.png,0,0\n1.png,0,0\n")
    with pytest.raises(UserError, match=r"no labels to judge by[\s\S]*no picture of it shows a class"):
        open_data(str(root / "labels.csv"), columns=ColumnNames(label="a,b"), judging=True)


def test_a_column_told_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names 'a' twice"):
        told_by(pictures(tmp_path, *PATHS), "image,a,b\n0.png,1,0\n1.png,0,1\n", label="a,b,a")


@pytest.mark.parametrize("by_column", [False, True])
def test_rows_of_one_picture_are_joined_in_parquet_too(tmp_path: Path, by_column: bool) -> None:
    root = pictures(tmp_path, *PATHS)
    rows = [(path, name, path == PATHS[4]) for path, names in zip(PATHS, ROWS, strict=True) for name in names or [""]]
    image, label, is_last = (list(column) for column in zip(*rows, strict=True))
    split = {"split": [("train", "test")[last] for last in is_last]} if by_column else {}
    pq.write_table(pa.table({"image": image, "label": label, **split}), root / "train.parquet")
    data = open_parquet(tmp_path, SEVERAL)
    assert [row for one in data.splits().values() for row in one.labels.tolist()] == WANT
    shown = [one.pictures.encoded(row) for one in data.splits().values() for row in range(len(one))]
    assert shown == [(root / path).read_bytes() for path in PATHS]


def test_of_one_label_a_picture_a_parquet_row_may_stand_twice(tmp_path: Path) -> None:
    """As who writes the table may want it, to let a picture count more often."""
    file = pictures(tmp_path, *PATHS) / "train.parquet"
    pq.write_table(pa.table({"image": [*PATHS[:3], PATHS[0]], "label": ["a", "b", "a", "a"]}), file)
    assert open_parquet(tmp_path).train.labels.tolist() == [0, 1, 0, 0]
    inside = pa.array([(tmp_path / PATHS[n % 2]).read_bytes() for n in range(4)], pa.binary())
    pq.write_table(pa.table({"image": inside, "label": ["a", "b", "a", "b"]}), file)
    assert len(open_parquet(tmp_path).train) == 4


def test_classes_that_exclude_each_other_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pictures(tmp_path, *PATHS)
    for last, noted in (("0,1", True), ("1,1", False)):
        told_by(root, f"image,cat,dog\n0.png,1,0\n1.png,{last}\n")
        assert ("exclude each other" in capsys.readouterr().err) == noted


# --- what is made of them ------------------------------------------------------------------------


def of_labels(root: Path, labels: list[list[int]], classes: str = "abc") -> ImageData:
    """A data set of pictures that show these classes."""
    shows = [";".join(name for name, k in zip(classes, row, strict=True) if k) for row in labels]
    root = pictures(root, *(f"{n}.png" for n in range(len(labels))))
    return told_by(root, "image,label\n" + "".join(f"{n}.png,{show}\n" for n, show in enumerate(shows)), separator=";")


def test_classes_are_numbered_as_a_nets_by_name(tmp_path: Path) -> None:
    data = of_labels(tmp_path, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    ours = numbered_as(data, ["c", "x", "a", "b"])
    assert shown(ours) == shown(data)
    with pytest.raises(OtherClasses, match="does not know all classes"):
        numbered_as(data, ["a", "b", "x"])


def test_the_fingerprint_tells_labels_apart(tmp_path: Path) -> None:
    found = {fingerprint(of_labels(tmp_path, [[1, 1, 0], [0, 1, k], [1, 0, 1]])) for k in (0, 1, 0)}
    assert len(found) == 2


def test_check_counts_each_class_and_finds_copies_under_other_labels(tmp_path: Path) -> None:
    root = pictures(tmp_path, "0.png")
    (root / "4.png").write_bytes((root / "0.png").read_bytes())
    data = of_labels(root, [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]])
    (root / "4.png").write_bytes((root / "0.png").read_bytes())
    report = check(data)
    assert report["several"]
    assert report["splits"]["train"]["per_class"] == {"a": 2, "b": 3, "c": 1}
    assert report["splits"]["train"]["shows_none"] == 1
    assert report["conflicts"]["count"] == 1
    assert {one["class"] for one in report["conflicts"]["groups"][0]} == {"a, b", "b"}
    assert any("under different labels" in problem for problem in report["problems"])


def test_packed_shards_hold_the_same_labels(tmp_path: Path) -> None:
    data = of_labels(tmp_path / "in", [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]])
    source = tmp_path / "in/labels.csv"
    packing.pack(PackSettings(str(source), str(tmp_path / "out"), label_separator=";"))
    packed = open_data(str(tmp_path / "out"))
    assert list(packed.classes) == list(data.classes)
    by_content = {data.train.pictures.encoded(row): data.train.labels[row].tolist() for row in range(4)}
    for row in range(4):
        assert packed.train.labels[row].tolist() == by_content[packed.train.pictures.encoded(row)]  # type: ignore[index]
    with pytest.raises(UserError, match="lies within the pictures"):
        packing.pack(PackSettings(str(source), str(tmp_path / "in/out"), label_separator=";"))


def test_a_class_whose_pictures_are_all_broken_is_refused(tmp_path: Path) -> None:
    data = of_labels(tmp_path, [[1, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0]])
    (tmp_path / "1.png").write_bytes(b"none")
    with pytest.raises(UserError, match="no picture of 'c' in train can be read"):
        readable(data, skip_broken=True)


def test_examples_show_each_class_before_a_second_of_one() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]], np.uint8)
    assert list(_of_each_class(labels)) == [0, 1, 4, 3]
    assert list(_of_each_class(np.array([0, 0, 1, 1, 1]))) == [0, 2, 1, 3, 4]


def test_a_table_elsewhere_is_parted_as_in_training(tmp_path: Path) -> None:
    spec = replace(SPEC, num_classes=3)
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    about = Provenance(settings={"label_separator": ";"}, several=True)
    save_classifier(tmp_path / "m.safetensors", ResNet(spec), spec, ("c", "a", "b"), how, about)
    data = of_labels(tmp_path / "in", [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    for place in (tmp_path / "in", data.source):
        opened = open_with_data(load(tmp_path / "m.safetensors"), choose_compute("cpu"), place, judging=True)
        assert opened.data.train.labels.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 0]]
        assert opened.columns == SEVERAL


def test_what_is_wrong_with_a_table_read_as_in_training_is_said(tmp_path: Path) -> None:
    both, other = ColumnNames(image="photo", separator=";"), ColumnNames()

    def opened(columns: ColumnNames) -> ImageData:
        raise UserError("no photo" if columns == both else "no image")

    with pytest.raises(UserError, match="no photo"):
        with_own_columns(opened, other, both)


def test_a_tar_of_several_labels_a_picture_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, "PNG")
    with tarfile.open(tmp_path / "train-0.tar", "w") as shard:
        for name, content in (("0.png", file.getvalue()), ("0.json", b'{"label": ["a", "b"]}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match="several labels a picture"):
        open_data(str(tmp_path))


def test_studies_refuse_several_labels_and_results_stay_apart_from_the_table(tmp_path: Path) -> None:
    data = of_labels(tmp_path / "in", [[1, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0]])
    columns = ";\n".join(["image,a,b", *(f"{n}.png,{n % 2},{n // 2}" for n in range(4))]).replace(";", "")
    (tmp_path / "in/labels.csv").write_text(columns)
    with pytest.raises(UserError, match="has several labels a picture"):
        next(run_studies(StudySettings(("degradation",), data=data.source, out=str(tmp_path / "out"))))
    with pytest.raises(UserError, match="lies in the folder of the pictures"):
        refuse_below(tmp_path / "in/run", str(tmp_path / "in/labels.csv"))
    refuse_below(tmp_path / "run", str(tmp_path / "in/labels.csv"))


def test_predict_answers_what_a_table_names(tmp_path: Path) -> None:
    root = pictures(tmp_path, "x/a.png", "x/b.png", "x/c.png")
    (root / "t.csv").write_text("id,anything\nb,1\na,2\nb,3\n")
    assert [one.name for one in sources(root / "t.csv")] == [str(root / "x/b.png"), str(root / "x/a.png")]


# --- the cut -------------------------------------------------------------------------------------

MATRICES = st.tuples(st.integers(2, 9), st.integers(1, 3)).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 1), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
    )
)
SHARES = st.sampled_from([0.1, 0.2, 0.3, 0.5])


def most_off(kept: NDArray[Any], labels: NDArray[Any], wanted: NDArray[Any]) -> float:
    """How many pictures the class is off that is most off what is wanted of it."""
    return float(np.abs(labels[kept].sum(0) - wanted).max())


@given(MATRICES, SHARES, st.integers(0, 5))
def test_the_cut_is_nearly_as_even_as_any_could_be(rows: list[tuple[int, ...]], share: float, seed: int) -> None:
    labels = np.array(rows, np.uint8)
    cut = cut_validation(labels, share, seed)
    if cut is None:
        return
    counts = labels.sum(0).astype(int)
    assert sorted([*cut.training, *cut.validation]) == list(range(len(labels)))
    assert (labels[cut.training].sum(0) >= np.minimum(1, counts)).all()
    wanted = np.minimum(np.maximum(1, np.floor(share * counts + 0.5)), np.maximum(counts - 1, 0))
    every = (np.array(chosen, bool) for chosen in product((0, 1), repeat=len(labels)))
    fair = [one for one in every if (labels[~one].sum(0) >= np.minimum(1, counts)).all()]
    assert most_off(cut.validation, labels, wanted) <= min(most_off(one, labels, wanted) for one in fair) + 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), SHARES, st.integers(0, 3))
def test_of_one_class_a_picture_as_many_are_kept_as_of_labels_of_one(each: list[int], share: float, seed: int) -> None:
    labels = np.array(each)
    one, several = cut_validation(labels, share, seed), cut_validation(np.eye(4, dtype=np.uint8)[labels], share, seed)
    if one is None or several is None:
        assert one is several is None
        return
    counted = (np.bincount(labels[cut.validation], minlength=4).tolist() for cut in (one, several))
    assert len({str(counts) for counts in counted}) == 1


def test_a_large_cut_keeps_each_share_within_two_pictures() -> None:
    chance = np.random.default_rng(0)
    labels = (chance.random((3000, 40)) < chance.random(40) ** 2 / 2).astype(np.uint8)
    cut = cut_validation(labels, 0.1, 0)
    assert cut is not None
    assert most_off(cut.validation, labels, 0.1 * labels.sum(0)) <= 2
    assert abs(len(cut.validation) - 300) < 20
    again = cut_validation(labels, 0.1, 0)
    other = cut_validation(labels, 0.1, 1)
    assert again is not None
    assert other is not None
    assert again.validation.tolist() == cut.validation.tolist() != other.validation.tolist()


def test_each_class_of_two_pictures_gives_one_where_it_can() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], np.uint8)
    cut = cut_validation(labels, 0.1, 0)
    assert cut is not None
    assert labels[cut.validation].any(0).all()
    for seed in range(7):
        labels = np.array([[0, 1, 1], [1, 1, 0], [1, 1, 1]], np.uint8)
        cut = cut_validation(labels, 0.1, seed)
        assert cut is not None
        assert labels[cut.validation].any(0).all()
        assert labels[cut.training].any(0).all()
        assert cut_validation(np.array([[0, 1, 1], [1, 1, 0]], np.uint8), 0.5, seed) is None
        assert cut_validation(np.array([[1, 0], [0, 1]], np.uint8), 0.5, seed) is None


def test_a_run_goes_on_with_its_table_whatever_lies_beside_it_later(tmp_path: Path) -> None:
    root = pictures(tmp_path, *PATHS)
    (root / "tags.csv").write_text("image,cat,dog\n0.png,1,0\n1.png,1,1\n2.png,0,1\n", encoding="utf-8")
    opened = open_data(str(root))
    assert opened.source == str((root / "tags.csv").absolute())
    (root / "tags (copy).csv").write_bytes((root / "tags.csv").read_bytes())
    with pytest.raises(UserError, match="which table"):
        open_data(str(root))
    again = open_data(opened.source, recorded=True)
    assert fingerprint(again) == fingerprint(opened)
    assert again.source == opened.source
    (root / "tags (copy).csv").unlink()
    (root / "meta").mkdir()
    (root / "tags.csv").rename(root / "meta" / "tags.csv")  # whose pictures lie above it
    assert open_data(str(root)).source == str(root.absolute())


def test_what_one_picture_alone_shows_is_said_and_nothing_of_balance(tmp_path: Path) -> None:
    root = pictures(tmp_path, *PATHS)
    rows = "".join(f"{name},1,{int(name == PATHS[0])}\n" for name in PATHS)
    (root / "tags.csv").write_text(f"image,cat,dog\n{rows}", encoding="utf-8")
    found = check(open_data(str(root / "tags.csv")))
    assert any("train has one picture only of 'dog'" in one for one in found["problems"])
    assert not any("unbalanced" in one for one in found["problems"])


def test_a_table_that_is_not_there_is_told_from_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,label\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"there is no table .*tag\.csv") as error:
        open_data(str(tmp_path / "tag.csv"))
    assert error.value.mend == "did you mean tags.csv?"
    with pytest.raises(UserError, match="there is no table"):
        open_data("nowhere/at_all.csv")  # no name on the hub


@pytest.mark.parametrize("first", ["sep=;", "SEP=;\r", '"sep=;"', "sep=;;"])
def test_the_line_by_which_a_spreadsheet_is_told_the_separator_names_no_column(tmp_path: Path, first: str) -> None:
    pictures(tmp_path, "a.png", "b.png")
    assert shown(told_by(tmp_path, f"{first}\nimage;label\na.png;cat, big\nb.png;dog\n")) == {
        "a.png": "cat, big",
        "b.png": "dog",
    }


def test_another_mark_within_labels_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, *(f"{number}.png" for number in range(6)))
    cells = ["animal, dog", "animal, cat", "plant", "animal, dog", "plant, tree", "tree"]
    text = "image,label\n" + "".join(f'{number}.png,"{cell}"\n' for number, cell in enumerate(cells))
    data = told_by(tmp_path, text, separator=";")
    said = "note: ';' leaves labels in 'label' that look like several, as 'animal, dog'"
    assert f'{said}: with --label-separator "," each part is a label of its own' in capsys.readouterr().err
    assert "animal, dog" in data.classes
    assert list(told_by(tmp_path, text, separator=",").classes) == ["animal", "cat", "dog", "plant", "tree"]
    assert "look like several" not in capsys.readouterr().err


def test_a_table_whose_labels_cannot_be_told_is_what_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders in the one folder beside it are numbered by chance: they are not offered in its place."""
    rows = ["id,relpath,species,place"]
    for i in range(6):
        file = tmp_path / "img" / str(i % 3) / f"n{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(file)
        rows.append(f"{i},img/{i % 3}/n{i}.png,{'cat' if i % 2 else 'dog'},{'here' if i < 3 else 'there'}")
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match="holds the labels") as error:
        open_data(str(tmp_path), judging=True)
    assert all(f"'{name}'" in error.value.why for name in ("species", "place"))
    assert "--label-column" in error.value.mend
    assert "folders are classes" not in capsys.readouterr().err
    told = open_data(str(tmp_path), columns=ColumnNames(label="species"), judging=True)
    assert list(told.classes) == ["cat", "dog"]
