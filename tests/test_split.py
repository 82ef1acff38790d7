"""Cutting validation from training data, and the common names of splits."""

from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.data.digits import digits
from residuum.data.split import configuration, cut_validation, draw_rows, drawn, kept_aside, split_called
from residuum.errors import UserError

LABELS = st.lists(st.integers(0, 6), max_size=80).map(lambda labels: np.array(labels, np.int64))
FRACTIONS = st.floats(0.001, 0.999)
SEEDS = st.integers(0, 2**31 - 1)


def rows_cut(labels, share, seed):
    """Training and validation rows; the latter are none, and all are trained on, where none can be spared."""
    cut = cut_validation(labels, share, seed)
    if cut is None:
        assert np.bincount(labels, minlength=1).max() <= 1
        return np.arange(len(labels)), np.empty(0, np.int64)
    assert len(cut.validation) > 0
    return cut.training, cut.validation


@given(LABELS, FRACTIONS, SEEDS)
def test_each_row_goes_to_exactly_one_side_in_order(labels, fraction, seed):
    train, validation = rows_cut(labels, fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert train.dtype == validation.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@given(LABELS, FRACTIONS, SEEDS)
def test_each_class_gives_its_share_and_keeps_one(labels, fraction, seed):
    _, validation = rows_cut(labels, fraction, seed)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        given_away = int((labels[validation] == label).sum())
        if count == 1:
            assert given_away == 0
        else:
            assert 1 <= given_away <= count - 1
            clipped = np.clip(fraction * count, 1, count - 1)
            assert abs(given_away - clipped) <= 0.5 + 1e-9


@given(LABELS, FRACTIONS, SEEDS)
def test_the_same_seed_cuts_the_same_rows(labels, fraction, seed):
    first, second = (rows_cut(labels, fraction, seed)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_another_seed_cuts_other_rows():
    labels = np.zeros(1000, np.int64)
    assert set(rows_cut(labels, 0.1, 0)[1]) != set(rows_cut(labels, 0.1, 1)[1])


def test_every_row_has_the_same_chance():
    labels = np.repeat(np.arange(2), [10, 30])
    drawn = np.zeros(40)
    for seed in range(2000):
        drawn[rows_cut(labels, 0.2, seed)[1]] += 1
    # Each count is binomial(2000, 0.2): mean 400, standard deviation 18.
    assert np.abs(drawn - 400).max() < 5 * 18


def test_the_cut_never_changes_between_versions():
    train, validation = rows_cut(np.arange(20) % 2, 0.3, 7)
    assert validation.tolist() == [1, 3, 4, 8, 16, 19]
    assert len(train) == 14


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        cut_validation(np.array([0, 0, 1, 1]), fraction, 0)


def test_a_cut_says_where_it_comes_from():
    cut = cut_validation(np.arange(20) % 2, 0.25, 7)
    assert (cut.share, cut.seed) == (0.25, 7)
    assert cut.origin == "cut from the training pictures (25 %, seed 7)"


def test_what_training_kept_aside_is_cut_again_or_read(tmp_path):
    labels = np.arange(20) % 2
    again = kept_aside(labels, 0.3, 7, tmp_path / "split.json")
    np.testing.assert_array_equal(again.validation, cut_validation(labels, 0.3, 7).validation)
    assert again.origin == "kept aside in training"
    (tmp_path / "split.json").write_text('{"validation": [0, 5, 6]}')
    read = kept_aside(labels, 0.3, 7, tmp_path / "split.json")
    assert read.validation.tolist() == [0, 5, 6]
    np.testing.assert_array_equal(read.training, np.setdiff1d(np.arange(20), [0, 5, 6]))
    assert kept_aside(labels, 0.0, 7, tmp_path / "split.json") is None


def test_drawn_pictures_are_the_same_ones_in_their_order():
    whole = digits().train
    some, again, others = drawn(whole, 50), drawn(whole, 50), drawn(whole, 50, 1)
    rows = [some.pictures.indices.tolist(), again.pictures.indices.tolist(), others.pictures.indices.tolist()]
    assert rows[0] == rows[1] == sorted(set(rows[0])) != rows[2]
    assert len(some) == 50
    np.testing.assert_array_equal(drawn(whole, 5000).labels, whole.labels)


def test_draw_rows_draws_as_many_of_each_class_as_wanted():
    labels = np.array([2, 0, 1, 2, 0, 1, 2, 2])
    rows = draw_rows(labels, np.array([1, 0, 3]), 5)
    assert np.bincount(labels[rows], minlength=3).tolist() == [1, 0, 3]
    assert rows.tolist() == sorted(set(rows.tolist()))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("VAL", "validation"),
        ("valid", "validation"),
        ("validation", "validation"),
        ("dev", "validation"),
        ("Test", "test"),
        ("testing", "test"),
        ("eval", "test"),
        ("trains", None),
        ("cat", None),
    ],
)
def test_splits_go_by_their_common_names(name, split):
    assert split_called(name) == split


@pytest.mark.parametrize(
    ("file", "folder"),
    [("a/train-0.parquet", "a"), ("a/train/0.parquet", "a"), ("a/b/0.parquet", "a/b"), ("0.parquet", ".")],
)
def test_a_configuration_is_the_folder_less_its_splits(file, folder):
    assert configuration(PurePosixPath(file)) == folder


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "null",
        "[]",
        "{}",
        *(f'{{"validation": {rows}}}' for rows in ("null", '"x"', "[-1]", "[1.5]", "[]", "[1, 1]", "[20]")),
    ],
)
def test_a_file_that_holds_no_rows_of_these_pictures_is_refused(rows, tmp_path):
    (tmp_path / "split.json").write_text(rows)
    with pytest.raises(UserError, match=r"split\.json"):
        kept_aside(np.arange(20) % 2, 0.1, 0, tmp_path / "split.json")
