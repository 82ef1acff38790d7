"""The object that is held: pictures of every form in, the same answers out, from any thread; and the verb for work."""

import io
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_start import coloured_noise, small_model
from torch.nn.functional import interpolate

import residuum
from residuum import Answer, Predictor, Unanswered, UserError
from residuum.data.decode import BrokenPicture, decode
from residuum.engines.graph import net_graph
from residuum.evaluation.heat_maps import METHODS
from residuum.explanation.blocks import answers_with_blocks_off
from residuum.loading import load as load_classifier
from residuum.loading import save_classifier
from residuum.records.model import Provenance

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.safetensors", CLASSES, 24)


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return residuum.load(model, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of 30 px: more than an engine takes in one step."""
    return coloured_noise(tmp_path_factory.mktemp("pictures") / "all", COLOURS, 10, 30)


def assert_same(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    """Batches of other lengths may be rounded otherwise."""
    assert [one.classes for one in found] == [one.classes for one in expected]
    assert np.allclose([one.probabilities for one in found], [one.probabilities for one in expected], atol=1e-6)


def test_what_is_held_is_shown_in_a_line(model: Path) -> None:
    """A console shows it whole: the net has eighty modules, ImageNet a thousand classes."""
    held = residuum.load(model, engine="torch", threads=1)
    for one in (held, held.engine, held.classifier):
        assert len(repr(one)) < 900
        assert "\n" not in repr(one)
    assert "float32" in repr(held.engine)
    assert str(model) in repr(held)


def test_every_form_of_a_picture_has_the_answer_of_the_net_itself(predictor: Predictor, model: Path, folder: Path):
    file = folder / "red/0.png"
    opened = Image.open(file)
    pixels = np.asarray(opened)
    net = load_classifier(model)
    expected = net(predictor.preprocess(file))[0]
    answers = [predictor.predict(form, top=3) for form in (file, str(file), file.read_bytes(), opened, pixels)]
    assert {answer.classes for answer in answers} == {answers[0].classes}
    order = expected.argsort(descending=True).tolist()
    assert answers[0].classes == tuple(CLASSES[i] for i in order)
    assert answers[0].best == CLASSES[order[0]]
    for answer in answers:
        assert answer.probabilities == pytest.approx(expected[order].tolist(), abs=1e-6)
        assert (answer.engine, answer.precision) == ("torch", "float32")


def test_a_folder_and_a_list_have_the_answers_of_each_in_order(predictor: Predictor, folder: Path):
    files = sorted(folder.rglob("*.png"))
    each = [predictor.predict(file) for file in files]
    assert [one.picture for one in predictor.predict(folder)] == [str(file) for file in files]
    for several in (predictor.predict(folder), predictor.predict(file for file in files)):
        assert_same(several, each)
    assert [one.picture for one in predictor.predict([files[0].read_bytes(), files[1]])] == ["picture 1", str(files[1])]
    assert predictor.predict([]) == []


def test_features_are_what_the_last_layer_reads(predictor: Predictor, folder: Path):
    many = predictor.features(folder)
    assert many.shape == (20, 32)
    with pytest.raises(UserError, match="no pictures"):
        predictor.features([])
    one = predictor.features(folder / "green/0.png")
    assert one == pytest.approx(many[0], abs=1e-5)
    with torch.inference_mode():
        logits = predictor.net.fc(torch.from_numpy(many))
    probabilities = torch.softmax(logits, 1)
    assert [answer.best for answer in predictor.predict(folder)] == [CLASSES[i] for i in probabilities.argmax(1)]


def test_explaining_writes_nothing_and_agrees_with_the_answer(
    predictor: Predictor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    found = predictor.explain(folder / "red/0.png", of="green", methods=["Grad-CAM"])
    answer = predictor.predict(folder / "red/0.png")
    assert [one.probability for one in found.answers] == pytest.approx(list(answer.probabilities), abs=1e-6)
    assert found.heat_of == "green"
    assert {heat.method for heat in found.heat} <= {"Grad-CAM"}
    assert len(predictor.explain([folder / "red/0.png", folder / "red/1.png"], methods=[])) == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no class 'gren'"):
        predictor.explain(folder / "red/0.png", of="gren")
    with pytest.raises(UserError, match="no heat map 'RICE'"):
        predictor.explain(folder / "red/0.png", methods=["RICE"])
    assert "RISE" in METHODS


def test_threads_share_one_predictor_and_nothing_is_read_again(
    predictor: Predictor, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    alone = [predictor.predict(file) for file in sorted(folder.rglob("*.png"))]
    monkeypatch.setattr("residuum.loading.read_model", None)  # to read the model a second time would fail
    start = threading.Barrier(8)

    def ask(number: int) -> list[Answer]:
        start.wait()
        assert predictor.net is predictor.classifier.net
        return predictor.predict(folder)

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(ask, range(8)):
            assert_same(found, alone)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("views", ["mirrored", "halved"])
def test_a_model_whose_answers_are_means_of_two_views_is_asked_so(
    model: Path, folder: Path, tmp_path: Path, views: Any, engine: Any
):
    """The mean of the logits, of what the net says of a picture and of its mirror image, or of it at half its side."""
    plain, other = (
        load_classifier(model),
        {"mirrored": lambda x: x.flip(3), "halved": lambda x: interpolate(x, scale_factor=0.5, mode="area")}[views],
    )
    how = replace(plain.preprocessing, views=views)
    save_classifier(tmp_path / "two.safetensors", plain.net, plain.spec, CLASSES, how, Provenance())
    both = residuum.load(tmp_path / "two.safetensors", threads=1, engine=engine, precision="float32")
    images = both.preprocess(folder / "red")
    with torch.inference_mode():
        expected = torch.softmax((plain.net(images) + plain.net(other(images))) / 2, 1)
    found = both.predict(folder / "red", top=3)
    for answer, each in zip(found, expected, strict=True):
        assert answer.probabilities == pytest.approx(each.sort(descending=True).values.tolist(), abs=1e-6)
    assert found[0].probabilities != pytest.approx(residuum.load(model).predict(folder / "red/0.png").probabilities)
    explained = answers_with_blocks_off(plain.net, images, (), views)[-1][1]
    torch.testing.assert_close(explained, expected)
    if engine == "onnxruntime":  # the weights lie in the graph once
        sizes = [net_graph(plain.net, each).ByteSize() for each in (plain.preprocessing, how)]
        assert sizes[1] < sizes[0] + 10_000


def test_bad_pictures_do_not_stop_the_others(predictor: Predictor, folder: Path):
    good = folder / "red/0.png"
    pictures = [good, b"<html>", good.read_bytes()[:200], folder / "none.png", np.zeros((4, 4, 4), np.uint8), good]
    found = list(predictor.answers(pictures))
    assert [isinstance(one, Answer) for one in found] == [True, False, False, False, False, True]
    bad = [one for one in found if isinstance(one, Unanswered)]
    assert bad[0].as_json() == {"picture": "picture 2", "error": "it holds HTML or XML, not pixels"}
    assert bad[2].picture == str(folder / "none.png")
    assert "array of shape (4, 4, 4)" in bad[3].why
    with pytest.raises(BrokenPicture, match="picture 2"):
        predictor.predict(pictures)
    with pytest.raises(UserError, match="of type int"):
        predictor.predict([3])  # type: ignore[list-item]


def test_a_picture_without_a_name_is_called_by_its_number(predictor: Predictor):
    with pytest.raises(UserError) as error:
        predictor.predict(b"junk")
    assert error.value.what == "cannot read picture 1"


@pytest.mark.parametrize("pictures", ["", [""]])
def test_an_empty_name_is_not_the_working_folder(predictor: Predictor, pictures: Any):
    with pytest.raises(UserError, match="the name of picture 1 is empty"):
        predictor.predict(pictures)


def test_few_pictures_are_held_at_a_time(predictor: Predictor, folder: Path):
    """Of a stream without end, as many are read as two steps of the engine take."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield folder / "red/0.png"

    answers = predictor.answers(endless())
    for _ in range(17):
        next(answers)
    answers.close()
    assert taken <= 17 + 48


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "CMYK", "I;16", "F"])
def test_an_opened_image_is_decoded_as_its_file_and_left_alone(mode: str):
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    image = ramp.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(ramp).astype(np.uint16) * 256)
    if mode == "P":
        image.info["transparency"] = 3
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in {"CMYK", "F"} else "PNG", **({} if mode in {"CMYK", "F"} else {"exif": exif}))
    opened = Image.open(file)
    expected = decode(file.getvalue(), "x")
    from residuum.data.decode import decode_opened

    before = dict(opened.info)
    for _ in range(2):
        assert np.array_equal(decode_opened(opened, "x"), expected)
    assert opened.info == before
    assert opened.mode == Image.open(file).mode


def test_an_engine_that_needs_no_torch_answers_without_it(folder: Path):
    """All that lies between a picture and its answer, likeness too, in a process of its own: torch takes seconds."""
    program = f"""
import sys
import numpy as np
from pathlib import Path
import residuum.cli, residuum.prediction.predict
from residuum.engines.contract import Output
from residuum.engines.described import Described
from residuum.prediction.predictor import Predictor
from residuum.records.model import View
from residuum.records.review import Likeness

class Mean:
    name, precision = "onnxruntime", "float32"
    def __call__(self, views):
        colour = views.mean((1, 2), dtype=np.float32)
        return Output(colour / colour.sum(1, keepdims=True), colour)

like = Likeness(neighbours=1, threshold=0.1, known=0.05)
about = Described("x", ("red", "green", "blue"), View(image_size=24, resize_to=24), like, np.eye(3, dtype="f4")[:1], "")
found = Predictor(Mean(), about, Path("x")).predict(Path({str(folder)!r}))
print([one.best for one in found] == ["green"] * 10 + ["red"] * 10, {{one.unsure for one in found[:10]}})
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True {True}", "False"]
