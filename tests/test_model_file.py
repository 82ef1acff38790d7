"""The model file: describes itself, holds no pickle, and refuses what is not whole."""

import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import new_cache, told_what_is_fastest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from residuum.console import one_line, say
from residuum.data.preprocess import Preprocessing
from residuum.depth.lesion import lesion
from residuum.engines.described import of_model_file
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.loading import load, save_classifier
from residuum.models.file import ModelFile, all_finite, read_model, read_tensors, sealed, write_model
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.prediction.predict import predict
from residuum.printing import print_answers
from residuum.publishing.card import as_text
from residuum.records.model import Provenance
from residuum.settings import EvaluateSettings, LesionSettings, PredictSettings
from residuum.version import VERSION

CLASSES = ("猫", "狗", "a b", '<script>"', "🐟")


@pytest.fixture
def saved(whole: tuple[Path, ResNet], tmp_path: Path) -> tuple[Path, ResNet]:
    """A model file of one's own, and the net in it, which nobody changes."""
    file, net = whole
    return Path(shutil.copy(file, tmp_path)), net


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ResNet]:
    torch.manual_seed(0)
    net = ResNet(named("resnet20", len(CLASSES), shortcut="B")).eval()
    how = Preprocessing(
        32, 32, np.random.default_rng(0).random((32, 32, 3), np.float32), np.array([1, 2, 3], np.float32)
    )
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    save_classifier(path, net.to(memory_format=torch.channels_last), net.spec, CLASSES, how, Provenance())
    return path, net


def test_what_is_loaded_is_what_was_saved(saved: tuple[Path, ResNet]) -> None:
    path, net = saved
    classifier = load(path)
    x = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(x), torch.softmax(net(x), 1))
    assert classifier.classes == CLASSES
    assert classifier.spec == net.spec
    np.testing.assert_array_equal(
        classifier.preprocessing.mean, np.random.default_rng(0).random((32, 32, 3), np.float32)
    )


def test_the_file_is_plain_safetensors_with_readable_json(saved: tuple[Path, ResNet]) -> None:
    with safe_open(saved[0], framework="np") as file:  # a reader that knows nothing of residuum
        about = json.loads(file.metadata()["residuum"])
        assert any(name.startswith("model/stages.stage1.block1.branch.conv1") for name in file.keys())  # noqa: SIM118
    assert about["classes"] == list(CLASSES)
    assert about["net"]["blocks"] == [3, 3, 3]


def test_the_same_content_is_the_same_file_each_time() -> None:
    assert len({sealed({"a": torch.zeros(2)}, {"residuum": '{"é": "\\n"}', "other": "1"}) for _ in range(20)}) == 1


@pytest.mark.parametrize("place", [50, 0.3, 0.7, -1])
def test_a_flipped_byte_anywhere_is_noticed(saved: tuple[Path, ResNet], place: float) -> None:
    content = bytearray(saved[0].read_bytes())
    index = int(place * len(content)) if isinstance(place, float) else int(place)
    content[index] ^= 0x01
    saved[0].write_bytes(content)
    with pytest.raises(UserError):
        load(saved[0])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved: tuple[Path, ResNet], share: float) -> None:
    content = saved[0].read_bytes()
    saved[0].write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="cannot be read"):
        load(saved[0])


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trap-was-sprung"),)  # type: ignore[return-value]


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(UserError, match="safetensors"):
        load(path)
    torch.save({"w": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="safetensors"):
        load(path)
    assert not Path("trap-was-sprung").exists()


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"conv1.weight": torch.zeros(3)}, foreign)
    with pytest.raises(UserError, match=r"(?s)not a residuum model.*residuum import .*\.safetensors"):
        load(foreign)
    with pytest.raises(UserError, match="no run or model"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither"):
        load(tmp_path)


def test_weights_that_do_not_fit_the_specification_are_listed(saved: tuple[Path, ResNet]) -> None:
    path, net = saved
    weights = dict(net.state_dict())
    weights.pop("fc.bias")
    weights["extra"] = torch.zeros(1)
    model = read_model(path)
    write_model(path, ModelFile(weights, model.preprocessing, model.about))
    with pytest.raises(UserError, match=r"2 tensors.*extra, fc.bias"):
        load(path)


# --- strict reading -------------------------------------------------------------------------------

BY_HAND: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown activation": (lambda about: about["net"].update(activation="swish"), "Invalid enum value 'swish'"),
    "unknown order": (lambda about: about["net"].update(order="sideways"), "Invalid enum value 'sideways'"),
    "unknown stem": (lambda about: about["net"].update(stem="flower"), "Invalid enum value 'flower'"),
    "unknown pooling": (lambda about: about["net"].update(pooling="lp"), "Invalid enum value 'lp'"),
    "unknown shortcut": (lambda about: about["net"].update(shortcut="D"), "Invalid enum value 'D'"),
    "unknown choice": (lambda about: about["net"].update(attention=True), "unknown: attention"),
    "unknown field": (lambda about: about.update(colour="red"), "unknown field `colour`"),
    "no net": (lambda about: about.pop("net"), "missing required field `net`"),
    "no blocks": (lambda about: about["net"].pop("blocks"), "missing required field `blocks`"),
    "net a list": (lambda about: about.update(net=[]), "got `array` - at `$.net`"),
    "no classes": (lambda about: about.pop("classes"), "missing required field `classes`"),
    "classes a number": (lambda about: about.update(classes=5), "`$.classes`"),
    "a class a number": (lambda about: about.update(classes=[1, 2, 3, 4, 5]), "`$.classes[0]`"),
    "too few classes": (lambda about: about["classes"].pop(), "names 4 classes, and its net has 5 outputs"),
    "too many classes": (lambda about: about["classes"].append("x"), "names 6 classes, and its net has 5 outputs"),
    "as if a backbone": (lambda about: about["classes"].clear(), "names 0 classes, and its net has 5 outputs"),
    "no preprocessing": (lambda about: about.pop("preprocessing"), "missing required field `preprocessing`"),
    "size zero": (lambda about: about["preprocessing"].update(image_size=0), "`int` >= 1"),
    "size huge": (lambda about: about["preprocessing"].update(image_size=10**12), "`int` <= 65536"),
    "size a word": (lambda about: about["preprocessing"].update(resize_to="big"), "`$.preprocessing.resize_to`"),
    "other resizing": (lambda about: about["preprocessing"].update(interpolation="lanczos"), "'lanczos'"),
    "blocks without end": (lambda about: about["net"].update(blocks=[10**9, 2, 2]), "of 1000000004 blocks"),
    "wide without end": (lambda about: about["net"].update(widths=[10**9] * 3), "at most 1000000000 channels"),
    "negative blocks": (lambda about: about["net"].update(blocks=[-3, 9, 3]), "at least one block"),
    "groups of none": (lambda about: about["net"].update(groups=0), "at least one block"),
    "data a number": (lambda about: about.update(data=7), "`$.data`"),
}


def rewritten(path: Path, change: Callable[[dict[str, Any]], object] = bool, **tensors: torch.Tensor) -> None:
    """Change a model file by hand, and seal it as if it were whole."""
    there, metadata = read_tensors(path)
    about = json.loads(metadata["residuum"])
    change(about)
    there |= {name.replace("__", "/").replace("_o_", "."): tensor for name, tensor in tensors.items()}
    path.write_bytes(sealed(there, {"residuum": json.dumps(about)}))


@pytest.mark.parametrize("kind", BY_HAND)
def test_what_a_model_file_says_is_read_strictly(kind: str, saved: tuple[Path, ResNet]) -> None:
    change, said = BY_HAND[kind]
    rewritten(saved[0], change)
    with pytest.raises(UserError) as refusal:
        load(saved[0])
    assert said in str(refusal.value)
    if "unknown" in kind:
        assert f"written by residuum {VERSION}" in refusal.value.why


def test_a_description_read_without_torch_is_as_strict(saved: tuple[Path, ResNet]) -> None:
    for kind in ("unknown field", "too few classes", "as if a backbone", "size huge"):
        whole = saved[0].read_bytes()
        change, said = BY_HAND[kind]
        rewritten(saved[0], change)
        with pytest.raises(UserError) as refusal:
            of_model_file(saved[0])
        assert said in str(refusal.value)
        saved[0].write_bytes(whole)


@pytest.mark.parametrize("numbers", [[], [0.0, 1.0], [3e38, 3e38], [-3e38, -3e38, 1.0]])
def test_numbers_whose_sum_overflows_are_finite_all_the_same(numbers: list[float]) -> None:
    assert all_finite(torch.tensor(numbers))
    for one in (math.nan, math.inf, -math.inf):
        assert not all_finite(torch.tensor([*numbers, one, 2.0]))
        assert not all_finite(torch.tensor([*numbers, one, -one]))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"model__fc_o_weight": torch.ones(5, 64, dtype=torch.float64)}, "fc.weight as float64"),
        ({"model__fc_o_weight": torch.ones(5, 64, dtype=torch.bfloat16)}, "fc.weight as bfloat16"),
        ({"model__fc_o_weight": torch.ones(5, 64, dtype=torch.int64)}, "fc.weight as int64"),
        ({"model__fc_o_bias": torch.full((5,), torch.nan)}, "fc.bias that are not finite"),
        ({"model__stem_o_bn_o_running_var": torch.full((16,), torch.inf)}, "running_var that are not finite"),
        ({"model__fc_o_weight": torch.ones(5, 63)}, "1 tensors are missing, extra or of another shape"),
        ({"preprocessing__std": torch.zeros(3)}, "the std of its pictures is no colour"),
        ({"preprocessing__std": torch.ones(4)}, "does not hold the std of its pictures"),
        ({"preprocessing__mean": torch.full((3,), torch.nan)}, "the mean of its pictures is no colour"),
        ({"preprocessing__mean": torch.ones(31, 31, 3)}, "does not hold the mean of its pictures"),
        ({"preprocessing__mean": torch.ones(3, dtype=torch.float64)}, "does not hold the mean of its pictures"),
    ],
)
def test_numbers_that_no_net_here_has_are_refused(
    tensors: dict[str, torch.Tensor], said: str, saved: tuple[Path, ResNet]
) -> None:
    rewritten(saved[0], **tensors)
    with pytest.raises(UserError) as refusal:
        load(saved[0])
    assert said in str(refusal.value)


def test_a_file_that_names_data_on_the_hub_asks_no_network(
    saved: tuple[Path, ResNet], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def called(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", called)
    monkeypatch.setattr("socket.getaddrinfo", called)
    monkeypatch.setenv("RESIDUUM_CACHE", str(told_what_is_fastest(new_cache(tmp_path / "cache"))))
    counts = {"train": 1, "validation": None, "test": None}
    where = {"name": "n", "source": "owner/name", "fingerprint": "f", "validation_from": "", "image_size": 32}
    data = {**where, "classes": list(CLASSES), "counts": counts}
    rewritten(saved[0], lambda about: about.update(data=data))
    for ask in (lambda: evaluate(EvaluateSettings(saved[0])), lambda: lesion(LesionSettings(saved[0]))):
        with pytest.raises(UserError, match="owner/name is not on this machine"):
            ask()


def test_names_that_steer_a_terminal_are_shown_escaped(
    saved: tuple[Path, ResNet], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = ["\x1b[2Ja", "\x9b31mb", "c\r", "\u202ed", "\x07e"]
    rewritten(saved[0], lambda about: about.update(classes=evil))
    Image.new("RGB", (32, 32)).save(saved[0].with_name("x.png"))
    for form in ("text", "csv", "jsonl"):
        settings = PredictSettings(saved[0], (str(saved[0].with_name("x.png")),), top=5, format=form)
        print_answers(settings, predict(settings), False)
        out = capsys.readouterr().out
        assert not set("\x1b\x9b\r\u202e\x07") & set(out)
        assert "\\u001b[2Ja" in out
        if form == "jsonl":
            assert {one["class"] for one in json.loads(out)["answers"]} == set(evil)
    assert one_line("a\nb\x1b") == "a\\u000ab\\u001b"
    assert as_text(evil[0]) == "\\\\u001b\\[2Ja"  # Markdown's own escapes before each
    say("\x1b[31mred")
    assert capsys.readouterr().err == "\\u001b[31mred\n"
