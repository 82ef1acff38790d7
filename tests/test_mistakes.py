"""The gallery of confident mistakes: order, names and thumbnails."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_records import as_file
from PIL import Image

from residuum.evaluation.mistakes import most_confident_mistakes, thumbnail

CLASSES = ["cat", "dog", "owl"]


def opened(uri: str) -> Image.Image:
    head, body = uri.split(",", 1)
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
    assert image.format == "PNG"
    return image


def grey(i: int) -> np.ndarray:
    return np.full((4, 6, 3), i, np.uint8)


def mistakes(probabilities, labels, **options):
    return most_confident_mistakes(
        np.array(probabilities, np.float32), np.array(labels), CLASSES, "image {}".format, grey, **options
    )


def test_only_the_wrong_ones_the_surest_first():
    found = mistakes([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.0, 0.05, 0.95], [0.9, 0.1, 0.0]], [1, 1, 0, 2])
    assert [(m.name, m.truth, m.predicted) for m in found] == [
        ("image 2", "cat", "owl"),
        ("image 3", "owl", "cat"),
        ("image 0", "dog", "cat"),
    ]
    assert [m.confidence for m in found] == pytest.approx([0.95, 0.9, 0.6])
    assert [opened(m.thumbnail).getpixel((0, 0)) for m in found] == [(2,) * 3, (3,) * 3, (0,) * 3]
    assert set(as_file(found[0])) == {"name", "truth", "predicted", "confidence", "thumbnail"}


def test_equals_keep_the_order_of_the_images_and_the_limit_holds():
    found = mistakes([[0.5, 0.25, 0.25]] * 60, [1] * 60)
    assert [m.name for m in found] == [f"image {i}" for i in range(48)]
    assert [m.name for m in mistakes([[0.5, 0.25, 0.25]] * 60, [1] * 60, limit=2)] == [
        "image 0",
        "image 1",
    ]
    assert mistakes([[0.5, 0.25, 0.25]] * 60, [1] * 60, limit=0) == []


def test_no_mistakes_and_no_images():
    assert mistakes([[0.9, 0.1, 0.0]], [0]) == []
    assert mistakes(np.empty((0, 3)), np.empty(0, np.int64)) == []


def test_pixels_are_asked_for_the_shown_images_only():
    asked = []

    def pixels_of(i: int) -> np.ndarray:
        asked.append(i)
        return grey(i)

    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    most_confident_mistakes(probabilities, np.array([0, 1, 1, 1]), ["a", "b"], str, pixels_of, limit=2)
    assert asked == [1, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40))
def test_order_against_python_sorting(cases):
    table = np.array([[4 + sure, 1, 0] for sure, _ in cases], np.float32)
    probabilities, labels = table / table.sum(axis=1, keepdims=True), [label for _, label in cases]
    expected = sorted((-p[0], i) for i, p in enumerate(probabilities) if labels[i] != 0)[:5]
    found = mistakes(probabilities, labels, limit=5)
    assert [(-m.confidence, m.name) for m in found] == [(c, f"image {i}") for c, i in expected]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 200), (96, 64)),
        ((200, 300), (64, 96)),
        ((96, 96), (96, 96)),
        ((32, 32), (32, 32)),
        ((5000, 2), (96, 1)),
    ],
)
def test_thumbnail_sizes(size, expected):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert opened(thumbnail(pixels)).size == expected


def test_a_small_image_comes_back_exactly():
    pixels = np.random.default_rng(1).integers(0, 256, (32, 20, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(opened(thumbnail(pixels))), pixels)
    flipped = pixels[:, ::-1]  # not contiguous
    assert np.array_equal(np.asarray(opened(thumbnail(flipped))), flipped)


def test_our_own_slips():
    with pytest.raises(AssertionError):
        thumbnail(np.zeros((8, 8), np.uint8))
    with pytest.raises(AssertionError):
        thumbnail(np.zeros((8, 8, 3), np.float32))
