"""The model file: describes itself, holds no pickle, and refuses what is not whole."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.loading import load, save_classifier
from residuum.models.file import read_model, sealed
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance

CLASSES = ("猫", "狗", "a b", '<script>"', "🐟")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, ResNet]:
    torch.manual_seed(0)
    net = ResNet(named("resnet20", len(CLASSES), shortcut="B")).eval()
    how = Preprocessing(
        32, 32, np.random.default_rng(0).random((32, 32, 3), np.float32), np.array([1, 2, 3], np.float32)
    )
    path = tmp_path / "model.safetensors"
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
    with pytest.raises(UserError, match="not a residuum model"):
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
    from residuum.models.file import ModelFile, write_model

    write_model(path, ModelFile(weights, model.preprocessing, model.about))
    with pytest.raises(UserError, match=r"2 tensors.*extra, fc.bias"):
        load(path)
