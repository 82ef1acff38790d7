"""The starter: packed weights, its place in the wheel, and what it answers."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from residuum.data.preprocess import Preprocessing, normalise
from residuum.errors import UserError
from residuum.loading import load, save_classifier
from residuum.models.file import read_model, write_model
from residuum.models.named import named
from residuum.models.packing import packed, unpacked
from residuum.models.resnet import ResNet
from residuum.records.codec import to_json
from residuum.records.model import Provenance
from residuum.weights.fetched import STARTER_FILE

ROOT = Path(__file__).parent.parent

# --- packing -------------------------------------------------------------------------------------


def channelwise(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """By torch's own simulation of symmetric quantisation, one scale a channel."""
    return torch.fake_quantize_per_channel_affine(
        weight, scale, torch.zeros(len(scale), dtype=torch.int32), 0, -127, 127
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(4, 7), (3, 2, 3, 3), (5, 1)]), st.floats(-20, 20))
def test_packing_is_symmetric_quantisation_of_each_channel(seed: int, shape: tuple[int, ...], power: float) -> None:
    torch.manual_seed(seed)
    sizes = 10.0 ** (power * torch.rand(shape[0]))
    weight = torch.randn(shape) * sizes.view(-1, *[1] * (len(shape) - 1))
    given_ = {"a.weight": weight, "a.bias": sizes, "bn.num_batches_tracked": torch.tensor(7)}
    small = packed(given_)
    back, scale = unpacked(small), small["a.weight.scale"]
    assert small["a.weight"].dtype == torch.int8
    assert back.keys() == given_.keys()
    torch.testing.assert_close(scale, weight.flatten(1).abs().amax(1) / 127)
    moved = (back["a.weight"] - weight).abs() / scale.view(-1, *[1] * (len(shape) - 1))
    assert float(moved.max()) <= 0.5001
    torch.testing.assert_close(back["a.weight"], channelwise(weight, scale), rtol=1e-6, atol=float(scale.max()) * 1e-6)
    assert all(torch.equal(back[name], given_[name]) for name in ("a.bias", "bn.num_batches_tracked"))
    again = packed(back)
    assert torch.equal(again["a.weight"], small["a.weight"])


def test_a_channel_of_zeros_is_packed() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -0.5]])
    assert unpacked(packed({"w": weight}))["w"][0].tolist() == [0.0, 0.0]


def test_a_packed_file_is_read_as_any_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = named("resnet20", 5, widths=(4, 4, 4), blocks=(1, 1, 1))
    how = Preprocessing(32, 32, np.zeros(3, np.float32), np.ones(3, np.float32))
    path = tmp_path / "model.safetensors"
    save_classifier(path, ResNet(spec).eval(), spec, tuple("abcde"), how, Provenance())
    model = read_model(path)
    write_model(path, replace(model, weights=packed(model.weights)))
    net = load(path).net
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32, torch.int64}
    for name, weight in model.weights.items():
        torch.testing.assert_close(net.state_dict()[name], weight, rtol=0, atol=float(weight.abs().max()) / 250)
    broken = packed(model.weights)
    broken["fc.weight.scale"] = broken["fc.weight.scale"][:2]  # made by hand: the seal fits
    write_model(path, replace(model, weights=broken))
    with pytest.raises(UserError, match=r"fc\.weight as int8"):
        load(path)


# --- the file ------------------------------------------------------------------------------------


def test_the_starter_is_small_and_says_where_it_is_from() -> None:
    assert STARTER_FILE.stat().st_size <= 4_000_000
    starter = load(STARTER_FILE)
    assert len(starter.classes) == 199
    assert "bee" not in starter.classes
    assert [step.verb for step in starter.about.lineage] == ["train"]
    told = json.dumps(to_json(starter.about))
    assert str(Path.home()) not in told
    assert not re.search(r'"/\w', told)  # no path of the machine it was made on


def test_the_starter_is_in_the_wheel() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed: pip install .[dev]")
    inside = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"residuum/starter/starter.safetensors", "residuum/starter/README.md"} <= inside


def test_the_starter_answers_as_was_recorded() -> None:
    """On the first pictures of the thumbnails' validation split that are of its classes, read by nobody of ours."""
    path = SHARED / "thumbnails" / "data" / "validation-00000-of-00001.parquet"
    if not path.is_file():
        pytest.skip(f"the thumbnails are not at {path}; set RESIDUUM_DATA to the folder that holds them")
    recorded = json.loads((ROOT / "results" / "starter.json").read_text())["first"]
    file = pq.ParquetFile(path)
    names = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    rows = next(file.iter_batches(2 * recorded["images"])).to_pylist()
    starter = load(STARTER_FILE)
    rows = [row for row in rows if names[row["label"]] in starter.classes][: recorded["images"]]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows])
    images = normalise(torch.from_numpy(pixels), starter.preprocessing)  # at the side it learnt at
    with torch.inference_mode():
        found = starter.net(images).argmax(1)
    right = sum(starter.classes[answer] == names[row["label"]] for answer, row in zip(found, rows, strict=True))
    assert abs(right - recorded["right"]) <= 2  # rounding differs between processors


def test_the_pages_name_the_size_it_sees() -> None:
    size = load(STARTER_FILE).preprocessing.image_size
    for page in ("README.md", "README.zh.md", "docs/limits.md", "docs/zh/limits.md"):
        assert re.search(rf"{size}\s*(px|像素)", (ROOT / page).read_text(encoding="utf-8")), page
