"""Several labels a picture, served: what the server answers, and its page shows."""

import io
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from page_reading import in_browser
from PIL import Image
from small_several import LABELS, called_in, expected_of, pictures, several_model, table_of
from test_widths import WIDTHS, cut

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client", "jsonschema_rs"):
    pytest.importorskip(package, reason="needs the extra serve, and schemathesis")

# ruff: noqa: E402
from browser import Tab
from jsonschema_rs import Draft202012Validator
from served_here import served_at
from starlette.testclient import TestClient

from residuum.outward_settings import ServeSettings
from residuum.records.run import Data
from residuum.serving.app import app
from residuum.serving.service import Service, open_service

COUNT = 12
SHOWN, ANSWERS = pictures(COUNT), expected_of(pictures(COUNT))
CALLED = [called_in(row) for row in ANSWERS]
MOST = max(range(COUNT), key=lambda number: len(CALLED[number]))
NONE = next(number for number, labels in enumerate(CALLED) if not labels)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file whose data are at hand: a table that says of each picture what the net calls."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "walks").mkdir()
    source = table_of(folder / "walks", SHOWN, CALLED, "train.csv")
    counts = {"train": COUNT, "validation": 0, "test": 0}
    about = Data(
        name="walks", source=str(source), classes=LABELS, fingerprint="", counts=counts, validation_from="",
        image_size=24,
    )  # fmt: skip
    return several_model(folder / "walks.safetensors", {"label_separator": ";"}, data=about)


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    with TestClient(app(open_service(ServeSettings((model,), threads=1))), "http://127.0.0.1:8000") as client:
        yield client


def sent(number: int) -> dict[str, object]:
    file = io.BytesIO()
    Image.fromarray(SHOWN[number]).save(file, "PNG")
    return {"content": file.getvalue(), "headers": {"content-type": "image/png"}}


def test_the_labels_called_are_named_with_their_probabilities_whatever_top(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    for number, labels in enumerate(CALLED):
        reply = client.post("/v1/predict?top=1", **sent(number)).json()  # type: ignore[arg-type]
        assert reply["labels"] == labels
        order = np.argsort(-ANSWERS[number])[: max(1, len(labels))]
        assert [one["class"] for one in reply["answers"]] == [LABELS[k] for k in order]
        shares = [one["probability"] for one in reply["answers"]]
        assert shares == pytest.approx(ANSWERS[number][order].tolist(), abs=1e-5)
        schema = {"$ref": "#/components/schemas/Predicted", "components": described["components"]}
        Draft202012Validator(schema).validate(reply)
    assert "labels" in described["components"]["schemas"]["Predicted"]["properties"]
    assert client.get("/v1/models").json()[0]["several"] is True


def test_from_where_on_labels_are_called_can_be_asked(client: TestClient) -> None:
    for number, call_from in product((MOST, NONE), (0.0, 0.2, float(np.median(ANSWERS[MOST])) + 1e-4, 0.9, 1.0)):
        reply = client.post(f"/v1/predict?top=1&call_from={call_from}", **sent(number)).json()  # type: ignore[arg-type]
        order = np.argsort(-ANSWERS[number])
        assert reply["labels"] == [LABELS[k] for k in order if ANSWERS[number][k] >= call_from]
        assert len(reply["answers"]) == max(1, len(reply["labels"]))


def test_the_least_probability_is_for_one_label_a_picture(client: TestClient) -> None:
    reply = client.post("/v1/predict?at_least=0.5", **sent(MOST))  # type: ignore[arg-type]
    assert reply.status_code == 422
    assert reply.json()["what"] == "at_least is for one label a picture"


def test_requests_of_one_batch_are_called_each_from_its_own(model: Path) -> None:
    """As if each had been alone, though all are computed at once."""
    service = open_service(ServeSettings((model,), threads=1))
    (served,) = service.models.values()
    view = served.view(sent(MOST)["content"])  # type: ignore[arg-type]
    together = served.predict.run([(view, 1, 0.9), (view, 2, 0.0), (view, 1, 0.5)])
    assert [one.probabilities for one in together] == [together[1].probabilities] * 3
    assert len(together[0].classes) == len(LABELS)


def test_blocks_are_switched_off_by_the_sigmoid_of_each(client: TestClient) -> None:
    reply = client.post("/v1/blocks?top=1", **sent(MOST)).json()  # type: ignore[arg-type]
    assert [one["class"] for one in reply["answers"]] == CALLED[MOST]
    for one in reply["answers"]:
        assert one["probability"] == pytest.approx(ANSWERS[MOST][LABELS.index(one["class"])], abs=1e-4)


def test_examples_are_of_each_label_and_say_all_that_they_show(client: TestClient) -> None:
    names = [one["name"] for one in client.get("/v1/models").json()[0]["examples"]]
    told = {", ".join(name for name in LABELS if name in labels) or "–" for labels in CALLED}
    assert set(names) <= told
    assert {name for each in names for name in each.split(", ")} >= {*", ".join(told).split(", ")} - {"–"}


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[tuple[Service, str]]:
    with served_at(model) as found:
        yield found


@pytest.fixture
def tab(chromium: Tab, served: tuple[Service, str]) -> Tab:
    chromium.size(1200)
    chromium.open(served[1])
    chromium.wait(ANSWERED)
    return chromium


ANSWERED = """document.querySelectorAll('#bars li').length > 1 && document.getElementById('looks').hidden === false
    && document.querySelector('main').ariaBusy === 'false'"""
CALLED_ON_PAGE = "[...document.querySelectorAll('#bars li.called bdi')].map(n => n.textContent)"
SENTENCE = "document.getElementById('sentence').textContent"


def dropped(tab: Tab, number: int, folder: Path) -> None:
    file = folder / f"own{number}.png"
    Image.fromarray(SHOWN[number]).save(file)
    tab.drop(file)
    tab.wait(f"document.getElementById('seen').alt.includes({json.dumps(file.name)}) && {ANSWERED}")


@in_browser
def test_every_label_called_has_its_bar(tab: Tab, tmp_path: Path) -> None:
    dropped(tab, MOST, tmp_path)
    assert tab.js(CALLED_ON_PAGE) == CALLED[MOST]
    for name in CALLED[MOST]:
        assert f"{name} (" in tab.js(SENTENCE)
    assert "of 50\u00a0% or more" in tab.js("document.getElementById('called').textContent")
    dropped(tab, NONE, tmp_path)
    assert tab.js(CALLED_ON_PAGE) == []
    assert "It calls no label." in tab.js(SENTENCE)
    assert "none has 50\u00a0% or more" in tab.js("document.getElementById('called').textContent")


@in_browser
def test_the_drawing_follows_the_label_whose_evidence_is_asked_for(tab: Tab, tmp_path: Path) -> None:
    dropped(tab, MOST, tmp_path)
    final = "document.querySelector('#drawing .final').textContent"
    assert tab.js(final) == CALLED[MOST][0]
    tab.js("Object.assign(document.getElementById('evidence'), {value: 'flower'}).dispatchEvent(new Event('change'))")
    tab.wait(f"{final} === 'flower' && {ANSWERED}")
    share = tab.js("document.querySelector('#drawing .final-share').textContent")
    share_of = ANSWERS[MOST][LABELS.index("flower")]
    assert "<" in share or abs(float(share.split("\u00a0")[0]) / 100 - share_of) < 0.0006
    assert "for flower" in tab.js("document.getElementById('heat-note').textContent")


@in_browser
def test_nothing_is_cut_at_any_width(tab: Tab, tmp_path: Path) -> None:
    dropped(tab, MOST, tmp_path)
    assert [one for width in WIDTHS for one in cut(tab, width)] == []
