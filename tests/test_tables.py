"""Parquet tables as people have them: paths, columns of other names and kinds, a column of splits, gaps."""

import hashlib
import io
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_start import SPEC

from residuum.compute import choose_compute
from residuum.data import cache
from residuum.data.contract import ColumnNames, ImageData
from residuum.data.open import open_data
from residuum.data.parquet_footer import chunks_of
from residuum.data.preprocess import Preprocessing
from residuum.data.tables import open_parquet
from residuum.depth.repair import _settings
from residuum.errors import UserError
from residuum.evaluation.opening import open_with_data
from residuum.loading import load, save_classifier
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance
from residuum.settings import TrimSettings

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
LABELS = [0, 1, 2, 0, 1, 2]
PATHS = [f"pictures/{row}.png" for row in range(6)]


def png(colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (colour, 1, 2)).save(file, "PNG")
    return file.getvalue()


PNGS = [png(row) for row in range(6)]


def table(root: Path, file: str = "train.parquet", /, **columns: Any) -> Path:
    """Write a table with pictures in `image`, unless it is given, and six picture files beside it."""
    for path, content in zip(PATHS, PNGS, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    rows = len(next(iter(columns.values())))
    if not {"image", "photo", "file_name"} & set(columns):
        columns = {"image": pa.array(PNGS[:rows], pa.binary()), **columns}
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), root / file)
    return root


def contents(data: ImageData) -> list[Any]:
    return [data.train.pictures.encoded(row) for row in range(len(data.train))]


IMAGES = {
    "struct": pa.array([{"bytes": None, "path": path} for path in PATHS], STRUCT),
    "text": PATHS,
    "dictionary": pa.array(PATHS).dictionary_encode(),
    "windows": [path.replace("/", "\\") for path in PATHS],
    "mixed": pa.array([{"bytes": PNGS[row] if row % 2 else None, "path": PATHS[row]} for row in range(6)], STRUCT),
}


@pytest.mark.parametrize("file", ["train.parquet", "data/train-00000-of-00001.parquet"])
@pytest.mark.parametrize("kind", IMAGES)
def test_paths_are_read_from_the_tables_folder_or_the_data_sets(tmp_path: Path, kind: str, file: str) -> None:
    data = open_parquet(table(tmp_path, file, image=IMAGES[kind], label=LABELS))
    assert contents(data) == PNGS
    assert str(tmp_path / PATHS[0]) in data.train.pictures.files()  # type: ignore[operator]
    assert PATHS[0] in data.train.pictures.name(0)


def test_paths_may_be_absolute_and_stand_in_a_column_of_another_usual_name(tmp_path: Path) -> None:
    data = open_parquet(table(tmp_path, file_name=[str(tmp_path / path) for path in PATHS], species=list("ababab")))
    assert contents(data) == PNGS
    assert list(data.classes) == ["a", "b"]


def test_a_row_without_a_path_gives_no_bytes(tmp_path: Path) -> None:
    assert contents(open_parquet(table(tmp_path, image=[None, "", *PATHS[2:]], label=LABELS)))[:3] == [
        b"",
        b"",
        PNGS[2],
    ]


TRUE_CAUSES = [
    ({"image": ["no/where.png"] * 6, "label": LABELS}, "are not found", "'no/where.png'"),
    ({"image": ["iVBORw0KGgo" * 99] * 6, "label": LABELS}, "are not found", "iVBORw0KGgo"),
    ({"image": ["https://x.org/1.png"] * 6, "label": LABELS}, "not on this machine", "https://x.org"),
    ({"image": [0.5] * 6, "label": LABELS}, "column 'image' of .* holds double", "wanted is pictures"),
    ({"image": [[1, 2]] * 6, "label": LABELS}, "column 'image' of .* holds list", "wanted is pictures"),
    ({"label": [[0.5], [1.5]] * 3}, "column 'label' of .* holds list", "wanted is labels"),
    ({"label": [{"a": 0}] * 6}, "column 'label' of .* holds struct", "wanted is labels"),
    ({"label": [None] * 6}, "column 'label' of .* holds null", "wanted is labels"),
    ({"label": [float("nan"), 1.0, 0.0]}, "1 of 3 rows of the train split", "first in row 0"),
    ({"label": [0.0, 0.5, 1.0]}, "does not hold class numbers", "fractions, such as 0.5"),
    ({"label": [5, 17, 99, 4]}, "does not hold class numbers", "each of its 4 rows"),
    ({"label": LABELS, "split": ["train"] * 5 + ["extra"]}, "does not say the split of each row", "'extra'"),
    ({"label": LABELS, "split": ["train"] * 5 + [None]}, "does not say the split of each row", "None"),
    ({"label": LABELS, "split": ["test"] * 6}, "no training split", ""),
    ({"label": LABELS, "split": ["train"] * 2 + ["test"] * 4}, "test split of .* has the label 2", ""),
]


@pytest.mark.parametrize(("columns", "what", "why"), TRUE_CAUSES)
def test_a_message_names_the_true_cause(tmp_path: Path, columns: dict[str, Any], what: str, why: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        open_parquet(table(tmp_path, **columns))
    assert why in caught.value.why


def test_a_footer_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    pictures = pa.array([{"bytes": PNGS[row] if row < 4 else None, "path": PATHS[row]} for row in range(6)], STRUCT)
    path = tmp_path / "x.parquet"
    for how in ({}, {"compression": "none", "use_dictionary": False}, {"write_statistics": False}):
        many = {f"x{number}": [0.5] * 6 for number in range(20)}  # a list's count has a byte of its own from 15 on
        pq.write_table(pa.table({"img": pictures, "label": LABELS, **many}), path, row_group_size=2, **how)
        metadata = pq.read_metadata(path)
        for column in ("img.bytes", "label"):
            found = chunks_of(path, column)
            for number, chunk in enumerate(found):
                group = metadata.row_group(number)
                said = next(one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == column)
                assert (chunk.uncompressed, chunk.compressed, chunk.data_page) == (
                    said.total_uncompressed_size,
                    said.total_compressed_size,
                    said.data_page_offset,
                )
                assert (chunk.codec == 0) == (said.compression == "UNCOMPRESSED")
                assert (0 in chunk.encodings) == ("PLAIN" in said.encodings)
                assert chunk.nulls == (said.statistics.null_count if said.is_stats_set else None)
            assert len(found) == 3


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=60)
def test_a_damaged_footer_is_one_error(at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = table(Path(folder), image=IMAGES["mixed"], label=LABELS) / "train.parquet"
        written = bytearray(path.read_bytes())
        length = int.from_bytes(written[-8:-4], "little")
        written[-8 - length + at % length] = byte
        path.write_bytes(written)
        with suppress(UserError):
            assert len(chunks_of(path, "image.bytes")) < 1000


def test_a_chunk_of_another_type_than_the_schemas_does_not_end_the_process(tmp_path: Path) -> None:
    path = table(tmp_path, image=IMAGES["mixed"], label=LABELS) / "train.parquet"
    written = path.read_bytes()
    byte_array, fixed_length = b"\x15\x0c\x19", b"\x15\x0e\x19"  # ColumnMetaData's type, then its encodings
    assert byte_array in written
    path.write_bytes(written.replace(byte_array, fixed_length, 1))
    with suppress(UserError):
        contents(open_parquet(tmp_path))


def test_a_column_of_other_length_than_the_table_is_damage(tmp_path: Path) -> None:
    path = table(tmp_path, label=LABELS) / "train.parquet"
    written, six, five = path.read_bytes(), b"\x15\x0c", b"\x15\x0a"  # a page's count of values
    whys = list[str]()
    for at in (at for at in range(len(written)) if written.startswith(six, at)):
        path.write_bytes(written[:at] + five + written[at + 2 :])
        try:
            train = open_parquet(tmp_path).train
            assert len(train.labels) == len([train.pictures.encoded(row) for row in range(len(train))])
        except UserError as error:
            whys.append(error.why)
    assert "its column 'label' holds 5 of 6 rows" in whys


def test_a_table_beside_class_folders_may_be_what_is_in_the_way(tmp_path: Path) -> None:
    table(tmp_path, "notes.parquet", file_name=["no/where.png"] * 6, label=LABELS)
    with pytest.raises(UserError, match="are not found") as caught:
        open_data(str(tmp_path))
    assert caught.value.mend.endswith("if the folders of pictures beside it are the data, move the table elsewhere")


NO_TEXT = pa.array([b"\xff"] * 6, pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    "columns", [{"image": NO_TEXT, "label": LABELS}, {"label": NO_TEXT}, {"label": LABELS, "split": NO_TEXT}]
)
def test_text_that_is_no_utf_8_is_one_error(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"cannot read .*train\.parquet"):
        open_parquet(table(tmp_path, **columns))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([3, 7, 12, 12, 7, 3], ["3", "7", "12"]),
        ([1, 2, 1, 2, 1, 2], ["1", "2"]),
        ([1_000_000, 5] * 3, ["5", "1000000"]),
        ([3.0, 7.0, 3.0], ["3", "7"]),
    ],
)
def test_of_numbers_with_gaps_those_used_are_the_classes_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: list[int], classes: list[str]
) -> None:
    data = open_parquet(table(tmp_path, label=labels))
    assert list(data.classes) == classes
    assert [data.classes[number] for number in data.train.labels] == [
        f"{label:g}" if label < 99 else str(label) for label in labels
    ]
    assert f"these {len(classes)} are the classes" in capsys.readouterr().err


def test_whole_numbers_stored_as_fractions_and_yes_and_no_are_labels(tmp_path: Path) -> None:
    assert open_parquet(table(tmp_path, label=[0.0, 1.0, 0.0])).train.labels.tolist() == [0, 1, 0]
    assert list(open_parquet(table(tmp_path, label=[True, False])).classes) == ["false", "true"]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "DEV", "Test_Set"), ("训练集", "验证集", "测试集")]
)
def test_a_column_of_splits_is_honoured(tmp_path: Path, names: tuple[str, str, str]) -> None:
    said = [names[0], names[1], names[0], names[0], names[2], names[0]]
    data = open_parquet(
        table(tmp_path, "all.parquet", label=[0, 1, 1, 0, 1, 0], split=pa.array(said).dictionary_encode())
    )
    assert contents(data) == [PNGS[row] for row in (0, 2, 3, 5)]
    assert {name: split.labels.tolist() for name, split in data.splits().items()} == {
        "train": [0, 1, 0, 0], "validation": [1], "test": [1]
    }  # fmt: skip
    assert data.test is not None
    assert data.test.pictures.encoded(0) == PNGS[4]


def test_a_column_of_splits_that_names_none_is_said_to_be_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in (LABELS, list("AABBAB"), [None] * 6):
        assert len(open_parquet(table(tmp_path, label=LABELS, split=other)).train) == 6
        assert capsys.readouterr().err.count("no names of splits") == 1


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    both = {"photo": pa.array(PNGS, pa.binary()), "drawing": pa.array(PNGS[::-1], pa.binary())}
    root = table(tmp_path, **both, species=list("ababab"), colour=list("xyzxyz"))
    data = open_data(str(root), columns=ColumnNames("drawing", "colour"))
    assert contents(data) == PNGS[::-1]
    assert list(data.classes) == ["x", "y", "z"]
    with pytest.raises(UserError, match="holds the pictures") as caught:
        open_data(str(root))
    assert "--image-column" in caught.value.mend
    for columns, said in (
        (ColumnNames("drwing", None), "did you mean drawing"),
        (ColumnNames("photo", "specis"), "did you mean species"),
        (ColumnNames("photo", "photo"), "choose from"),
    ):
        with pytest.raises(UserError) as caught:
            open_data(str(root), columns=columns)
        assert said in caught.value.mend


def test_what_is_remembered_of_a_column_is_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", 0)
    paths = {"left": [*PATHS[:3]] * 2, "right": [*PATHS[:3], *PATHS[2::-1]]}  # the same files, first in the same order
    both = {"photo": pa.array(PNGS, pa.binary()), "drawing": pa.array(PNGS[::-1], pa.binary())}
    root = table(tmp_path, **both, **paths, label=LABELS, backwards=[0, 1, 2, 2, 1, 0])
    for name, label in {"photo": "label", "drawing": "label", "left": "label", "right": "backwards"}.items():
        pictures = open_data(str(root), columns=ColumnNames(name, label)).train.pictures
        wanted = [hashlib.sha256(pictures.encoded(row)).digest() for row in range(len(pictures))]
        for _ in range(2):
            assert [bytes(one) for one in cache.picture_digests(pictures)] == wanted, name


@pytest.mark.parametrize("hidden", [None, pa.nulls(2), [float("nan")] * 2])
def test_a_test_file_without_labels_is_passed_over_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hidden: Any
) -> None:
    table(tmp_path, label=LABELS)
    table(
        tmp_path, "test.parquet", image=pa.array(PNGS[:2], pa.binary()), **({} if hidden is None else {"label": hidden})
    )
    assert open_parquet(tmp_path).test is None
    assert "the test split of" in capsys.readouterr().err


def test_files_are_told_apart_by_a_word_in_their_names(tmp_path: Path) -> None:
    table(tmp_path, "cifar_train.parquet", label=LABELS)
    table(tmp_path, "cifar_test.parquet", label=[2, 0])
    data = open_parquet(tmp_path)
    assert data.test is not None
    assert data.test.labels.tolist() == [2, 0]


def test_to_be_judged_a_table_needs_no_training_split(tmp_path: Path) -> None:
    data = open_parquet(table(tmp_path, "test.parquet", label=["b", "b"]), judging=True)
    assert (len(data.train), list(data.classes)) == (0, ["b"])


def test_a_table_elsewhere_is_read_as_in_training_where_it_has_those_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"image": pa.array(PNGS, pa.binary()), "drawing": pa.array(PNGS[::-1], pa.binary())}
    root = table(tmp_path / "a", **both, label=list("ababab"), kind=list("aabbab"))
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    about = Provenance(settings={"image_column": "drawing", "label_column": "kind"})
    spec = replace(SPEC, num_classes=2)
    save_classifier(tmp_path / "m.safetensors", ResNet(spec), spec, ("a", "b"), how, about)
    classifier = load(tmp_path / "m.safetensors")
    opened = open_with_data(classifier, choose_compute("cpu"), root)
    repair = _settings(TrimSettings(tmp_path / "m.safetensors", repair=1), opened, tmp_path)
    assert (repair.image_column, repair.label_column) == ("drawing", "kind")
    training = opened.data.train
    assert [training.pictures.encoded(row) for row in range(6)] == PNGS[::-1]
    assert training.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert "columns are read that the model was trained with" in capsys.readouterr().err
    other = table(tmp_path / "b", label=list("ababab"))  # which has the usual ones alone
    assert open_with_data(classifier, choose_compute("cpu"), other).data.train.labels.tolist() == [0, 1] * 3
