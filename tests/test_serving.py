"""The server, without a network: what it answers, what it refuses, and that it keeps its bounds."""

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from small_start import coloured_noise, small_model

from residuum.choices import Interpolation
from residuum.data.decode import decode
from residuum.data.resize import evaluation_view
from residuum.errors import UserError
from residuum.loading import load
from residuum.outward_settings import ServeSettings
from residuum.records.model import View

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client", "jsonschema_rs"):
    pytest.importorskip(package, reason="needs the extra serve, and schemathesis")

# ruff: noqa: E402
from jsonschema_rs import Draft202012Validator, ValidationError
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from residuum.serving import served
from residuum.serving.app import app
from residuum.serving.desk import Answered, Desk, Work
from residuum.serving.examples import examples_of
from residuum.serving.refusals import Refusal
from residuum.serving.run import _address, _bound, _reached, _token
from residuum.serving.service import Service, open_service

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file and a folder with a picture of each class."""
    folder = tmp_path_factory.mktemp("serving")
    coloured_noise(folder / "pictures", COLOURS, 1, 24)
    small_model(folder / "small.safetensors", CLASSES, 16)
    return folder


def opened(place: Path, **changed: Any) -> Service:
    return open_service(ServeSettings((place / "small.safetensors",), **changed))


@pytest.fixture(scope="module")
def service(place: Path) -> Service:
    return opened(place, megabytes=0.1, megapixels=1.0, threads=1)


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(app(service), BASE) as client:
        yield client


@pytest.fixture(scope="module")
def picture(place: Path) -> bytes:
    return (place / "pictures" / "red" / "0.png").read_bytes()


def png(content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": "image/png"}}


def form(content: bytes, name: str = "picture") -> dict[str, Any]:
    return {"files": {name: ("../../etc/x.png", content, "image/png")}}


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [png, form])
def test_a_picture_is_answered_as_the_net_answers_it(
    sent: Callable[[bytes], dict[str, Any]], client: TestClient, place: Path, picture: bytes
) -> None:
    import torch

    classifier = load(place / "small.safetensors")
    shown = Image.open(io.BytesIO(picture)).resize((16, 16), Image.Resampling.BILINEAR)
    mean, std = (
        torch.from_numpy(x)[:, None, None] for x in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    images = (torch.from_numpy(np.array(shown)).permute(2, 0, 1).float() - mean) / std
    expected = dict(zip(CLASSES, classifier(images[None])[0].tolist(), strict=True))

    reply = client.post("/v1/predict?top=2", **sent(picture)).json()
    assert {one["class"]: one["probability"] for one in reply["answers"]} == pytest.approx(
        dict(sorted(expected.items(), key=lambda one: -one[1])[:2]), abs=1e-5
    )
    assert (reply["model"], reply["engine"], reply["precision"]) == ("small", "torch", "float32")
    assert set(reply["milliseconds"]) == {"decoding", "net", "rest"}
    assert (reply["unsure"], reply["reason"]) == (None, "")  # it does not know what it was trained on


def test_an_answer_below_what_is_asked_is_unsure(client: TestClient, picture: bytes) -> None:
    usual = client.post("/v1/predict", **png(picture)).json()
    best = usual["answers"][0]["probability"]
    for at_least, is_low in ((best - 0.01, False), (best + (1 - best) / 2, True)):
        reply = client.post(f"/v1/predict?at_least={at_least}", **png(picture)).json()
        assert reply["answers"] == usual["answers"]
        assert reply["unsure"] is (is_low or bool(usual["unsure"]))
        assert ("the likeliest class has" in reply["reason"]) is is_low


def test_a_heat_map_is_a_picture(client: TestClient, picture: bytes) -> None:
    reply = client.post("/v1/explain?of=green", **png(picture)).json()
    assert reply["of"] == "green"
    assert reply["heat"].startswith("data:image/png;base64,")


def test_blocks_are_switched_off_and_what_the_net_saw_can_be_sent_again(client: TestClient, picture: bytes) -> None:
    whole = client.post("/v1/blocks", **png(picture)).json()
    plain = client.post("/v1/predict", **png(picture)).json()
    assert [one["class"] for one in whole["answers"]] == [one["class"] for one in plain["answers"]]
    seen = base64.b64decode(whole["seen"].partition(",")[2])
    less = client.post("/v1/blocks?off=stage1.block1&view=1", **png(seen)).json()
    assert less["off"] == ["stage1.block1"]
    assert client.post("/v1/blocks?view=1", **png(seen)).json()["answers"] == whole["answers"]
    (model,) = client.get("/v1/models").json()
    assert [one["name"] for one in model["blocks"]] == [one["block"] for one in whole["after"]]


def with_data(source: str, classes: Sequence[str], view: View) -> Any:
    about = SimpleNamespace(data=SimpleNamespace(source=source), settings=None)
    return SimpleNamespace(about=about, classes=tuple(classes), model=SimpleNamespace(view=view))


def test_examples_are_a_picture_of_each_class_and_none_where_the_data_are_gone() -> None:
    def model(source: str) -> Any:
        return with_data(source, "0123456789", View(image_size=8, resize_to=8))

    found = examples_of(model("digits"), 8)
    assert [one.name for one in found] == list("01234567")
    assert all(Image.open(io.BytesIO(one.content)).size == (8, 8) for one in found)
    assert examples_of(model("/nowhere"), 8) == ()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_net_sees_of_an_example_what_it_sees_of_the_file(interpolation: Interpolation, tmp_path: Path) -> None:
    """Of a photograph: large, no square, upright by its note alone."""
    luck, turned = np.random.default_rng(5), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for name in CLASSES:
        (tmp_path / name).mkdir()
        noise = Image.fromarray(luck.integers(0, 256, (61, 83, 3), np.uint8)).resize((830, 610))
        noise.save(tmp_path / name / "0.jpg", exif=turned)
    view = View(image_size=21, resize_to=24, interpolation=interpolation)
    found = examples_of(with_data(str(tmp_path), CLASSES, view), 3)
    assert [one.name for one in found] == list(CLASSES)
    for one in found:
        seen, file = (
            evaluation_view(decode(content, ""), 21, 24, interpolation)
            for content in (one.content, (tmp_path / one.name / "0.jpg").read_bytes())
        )
        np.testing.assert_array_equal(seen, file)


def test_a_map_that_all_others_would_wait_for_is_refused(client: TestClient, service: Service, picture: bytes) -> None:
    asked = "/v1/explain?method=RISE"
    assert client.post(asked, **png(picture)).json()["method"] == "RISE"
    served = service.models["small"]
    rise, predict, times = served.heat["RISE"], served.predict, served.answers["RISE"]
    measured = rise.seconds, predict.seconds
    rise.seconds, predict.seconds = 100.0, 100.0 / times
    refused = client.post(asked, **png(picture))
    assert (refused.status_code, refused.json()["what"]) == (503, "RISE takes too long now")  # it may be asked again
    assert refused.headers["retry-after"] == "10"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(served.least, "RISE", 99.0)
        never = client.post(asked, **png(picture))
    assert (never.status_code, never.json()["what"]) == (422, "RISE takes too long here")
    assert "retry-after" not in never.headers
    # it was timed in a busy moment; what is refused times an answer anew
    statuses = [client.post(asked, **png(picture)).status_code for _ in range(60)]
    rise.seconds, predict.seconds = measured
    assert (statuses[0], statuses[-1]) == (503, 200)


def test_a_map_that_was_timed_in_a_busy_moment_is_not_refused_for_good(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heated, later = served._heated, [0.0]

    def busy(*given: Any) -> Any:
        later[0] += 0.4  # what others compute takes none of this process's time
        return heated(*given)

    with monkeypatch.context() as patch:
        clocks = {"perf_counter": lambda: time.perf_counter() + later[0], "process_time": time.process_time}
        patch.setattr(served, "time", SimpleNamespace(**clocks))
        patch.setattr(served, "_heated", busy)
        opened_busily = opened(place, threads=1).models["small"]
    assert opened_busily.heat["Grad-CAM"].seconds > 0.4
    assert opened_busily.expected("Grad-CAM") < 0.4


# --- refusals -----------------------------------------------------------------------------------


def encoded(side: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, kind)
    return file.getvalue()


def with_many_passes() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG", progressive=True)
    start = file.getvalue()
    scan = start[start.rindex(b"\xff\xda") : -2]
    return start[:-2] + scan * 200 + b"\xff\xd9"


REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "a broken JPEG": (
        422,
        "/v1/predict",
        {"content": encoded(64, "JPEG")[:200], "headers": {"content-type": "image/jpeg"}},
    ),
    "no picture": (422, "/v1/predict", png(b"<html>")),
    "a pixel bomb": (422, "/v1/predict", png(encoded(1100, "PNG"))),
    "a JPEG of many passes": (422, "/v1/predict", png(with_many_passes())),
    "nothing": (422, "/v1/predict", png(b"")),
    "another kind": (415, "/v1/predict", {"content": b"x", "headers": {"content-type": "text/plain"}}),
    "no kind": (415, "/v1/predict", {"content": b"x"}),
    "too large, as announced": (413, "/v1/predict", png(bytes(100_001))),
    "too large, as it comes": (413, "/v1/predict", png(bytes(1000) for _ in range(1000))),  # type: ignore[arg-type]
    "a form without the field": (422, "/v1/predict", form(b"x", "file")),
    "a field that is no file": (422, "/v1/predict", {"files": {"picture": (None, "x")}}),
    "a broken form": (422, "/v1/predict", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    "two files": (422, "/v1/predict", {"files": [("picture", b"x"), ("other", b"y")]}),
    "an unknown model": (404, "/v1/predict?model=none", png(b"x")),
    "no number": (422, "/v1/predict?top=many", png(b"x")),
    "zero": (422, "/v1/predict?top=0", png(b"x")),
    "no probability": (422, "/v1/predict?call_from=1.5", png(b"x")),
    "half a number": (422, "/v1/predict?call_from=0.5.1", png(b"x")),
    "not a number": (422, "/v1/predict?call_from=nan", png(b"x")),
    "no least probability": (422, "/v1/predict?at_least=60", png(b"x")),
    "no number as the least": (422, "/v1/predict?at_least=most", png(b"x")),
    "from which, of a map": (422, "/v1/explain?call_from=0.5", png(b"x")),
    "an unknown class": (422, "/v1/explain?of=none", png(b"x")),
    "an unknown block": (422, "/v1/blocks?off=none", png(encoded(16, "PNG"))),
    "too deep": (422, "/v1/blocks?depth=999", png(encoded(16, "PNG"))),
    "a mistyped name": (422, "/v1/predict?tops=3", png(encoded(16, "PNG"))),
    "an unknown map": (422, "/v1/explain?method=none", png(b"x")),
    "an unknown path": (404, "/v1/nothing", {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_with_the_reason(case: str, client: TestClient) -> None:
    status, path, sent = REFUSED[case]
    response = client.post(path, **sent)
    reply = response.json()
    assert response.status_code == status, reply
    assert reply["what"]
    assert reply["mend"]
    assert reply["request_id"] == response.headers["x-request-id"]


def test_another_method_is_refused_with_those_that_go(client: TestClient) -> None:
    response = client.get("/v1/predict")
    assert (response.status_code, response.headers["allow"], response.json()["why"]) == (405, "POST", "it takes POST")


def as_curl_sends(content: bytes) -> bytes:
    """What `curl -d @FILE` makes of a file: no line breaks, and of each line what is before a zero."""
    return b"".join(line.partition(b"\0")[0].replace(b"\r", b"") for line in content.split(b"\n"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_what_curl_made_of_a_picture_is_told_from_one_that_is_broken(kind: str, client: TestClient) -> None:
    file, luck = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(luck.integers(0, 256, (64, 64, 3), np.uint8)).save(file, kind)
    whole = file.getvalue()
    for content, named in ((as_curl_sends(whole), True), (whole[:60], False), (b"<html>", False), (b"", False)):
        response = client.post("/v1/predict", **png(content))
        assert response.status_code == 422
        assert ("leaves out line breaks" in response.json()["mend"]) is named


def test_of_a_picture_that_is_too_large_a_smaller_one_is_wanted(client: TestClient) -> None:
    mend = client.post("/v1/predict", **png(encoded(1100, "PNG"))).json()["mend"]
    assert mend == "send a smaller one; whoever runs the server may allow more by --megapixels"


@pytest.mark.parametrize("side", [10_001, 30_000])  # Pillow refuses the second by itself
def test_who_runs_the_server_is_not_asked_for_more_than_can_be_allowed(client: TestClient, side: int) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))
    refused = client.post("/v1/predict", **png(picture + encoded(16, "PNG")[33:])).json()
    assert refused["mend"] == "send a smaller one"
    assert "more than 100 million pixels" in refused["why"]
    with pytest.raises(UserError, match=r"from 0\.001 to 100"):
        ServeSettings(megapixels=side * side / 1e6)


def test_who_asks_in_the_wrong_place_or_way_is_told_how(client: TestClient) -> None:
    """As `curl -d` does without a header, and a browser."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    refused = client.post("/v1/predict", content=b"x", headers=form)
    assert (refused.status_code, "--data-binary @FILE" in refused.json()["mend"]) == (415, True)
    two = client.post("/v1/predict", files=[("picture", b"x"), ("picture", b"y")])
    assert (two.status_code, "one picture a request" in two.json()["mend"]) == (422, True)
    lost = client.get("/predict").json()
    assert (lost["what"], "POST /v1/predict" in lost["why"]) == ("there is no /predict here", True)


async def ask(service: Service, pause: float, **headers: str) -> list[dict[str, Any]]:
    """Put a request whose body does not end to the app by ASGI alone, and return what is sent."""
    sent: list[dict[str, Any]] = []
    raw = [(name.encode().replace(b"_", b"-"), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/predict",
        "raw_path": b"/v1/predict", "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000), "headers": [(b"host", b"localhost"), (b"content-type", b"image/png"), *raw],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(service)(scope, receive, send)  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize(("pause", "status"), [(0.0, 413), (0.03, 408)])
def test_a_body_without_end_is_refused_while_it_is_read(
    pause: float, status: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residuum.serving.refusals.LINGER", 0.05)
    sent = asyncio.run(ask(opened(place, megabytes=0.1, receive=0.1), pause))
    assert sent[0]["status"] == status
    assert (b"connection", b"close") in sent[0]["headers"]
    assert len(sent[1]["body"]) > 0  # the reason is there before the rest is thrown away
    assert not sent[-1].get("more_body")


def test_all_requests_together_hold_bounded_memory(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.held, "most", 2500)
    monkeypatch.setattr("residuum.serving.refusals.LINGER", 0.01)
    assert asyncio.run(ask(service, 0.0))[0]["status"] == 429
    assert service.held.now == 0


# --- who may ask --------------------------------------------------------------------------------


def test_a_foreign_name_is_not_answered_on_this_machines_own_address(client: TestClient) -> None:
    assert client.get("/healthz", headers={"host": "rebound.example:8000"}).status_code == 421
    for name in ("localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:80"):
        assert client.get("/healthz", headers={"host": name}).status_code == 200


def test_another_sites_page_may_not_send(client: TestClient, picture: bytes) -> None:
    for origin, status in (("http://evil.example", 403), ("null", 403), (BASE, 200)):
        assert client.post("/v1/predict", **form(picture), headers={"origin": origin}).status_code == status
    assert (
        "access-control-allow-origin" not in client.get("/healthz", headers={"origin": "http://evil.example"}).headers
    )


def test_a_token_is_wanted_where_there_is_one(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "token", "s3cret-ü")
    for path in ("/v1/models", "/metrics", "/v1%2Fmodels", "/v1/nothing"):
        refused = client.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/healthz").status_code == 200
    for given, status in (
        ("Bearer s3cret-ü", 200),
        ("bearer s3cret-ü", 200),
        ("Bearer s3cret", 401),
        ("s3cret-ü", 401),
    ):
        assert client.get("/v1/models", headers={"authorization": given.encode()}).status_code == status


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESIDUUM_TOKEN", raising=False)
    (tmp_path / "token").write_text("secret\n")
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UserError, match="needs a token"):
            _token(ServeSettings(host=host))
        assert _token(ServeSettings(host=host, token_file=tmp_path / "token")) == "secret"
    assert _token(ServeSettings()) is None


@pytest.mark.parametrize(("host", "here"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("127.0.0.1", "")])
def test_every_address_is_said_as_one_that_can_be_asked(host: str, here: str) -> None:
    try:
        port = _bound(ServeSettings(host=host, port=0))
    except UserError:
        pytest.skip("there is no IPv6 here")
    with port:
        number = port.getsockname()[1]
        said = _reached(_address(port))
        assert (f"from here http://{here}:{number}; for others http://NAME:{number}," in said) == bool(here)
        assert bool(said) == bool(here)
        if here:
            port.listen()
            socket.create_connection((here.strip("[]"), number), 5).close()


def test_a_port_that_is_taken_is_said() -> None:
    with _bound(ServeSettings(port=0)) as taken:
        taken.listen()
        with pytest.raises(UserError, match="cannot listen"):
            _bound(ServeSettings(port=taken.getsockname()[1]))


# --- what watches over it -----------------------------------------------------------------------


def test_what_is_said_fits_the_schema(client: TestClient, picture: bytes) -> None:
    described = client.get("/openapi.json").json()
    asked = {
        "/v1/predict": client.post("/v1/predict", **png(picture)),
        "/v1/explain": client.post("/v1/explain", **png(picture)),
        "/v1/blocks": client.post("/v1/blocks", **png(picture)),
        "/v1/models": client.get("/v1/models"),
        "/healthz": client.get("/healthz"),
        "/readyz": client.get("/readyz"),
    }
    for path, response in asked.items():
        assert response.status_code == 200, response.text
        (operation,) = described["paths"][path].values()
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": described["components"]}).validate(response.json())
    with pytest.raises(ValidationError):
        Draft202012Validator({**schema, "components": described["components"]}).validate({"ok": "yes"})


def test_every_route_is_described(client: TestClient) -> None:
    routes = {re.sub(r":\w+", "", route.path) for route in client.app.routes} - {"/"}  # type: ignore[attr-defined]
    assert routes == set(client.get("/openapi.json").json()["paths"])


def test_the_page_may_ask_nobody_else(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    digest = base64.b64encode(hashlib.sha256(page.text.split("<script>")[-1].split("</script>")[0].encode()).digest())
    assert f"script-src 'sha256-{digest.decode()}'" in policy


def test_counters_are_prometheus_text(client: TestClient, picture: bytes) -> None:
    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {
            f"{one.name} {one.labels.get('route')} {one.labels.get('status')}": one.value
            for family in families
            for one in family.samples
        }

    before = counted()
    client.post("/v1/predict", **png(picture))
    after = counted()
    assert after["residuum_batch_pictures_count None None"] == before["residuum_batch_pictures_count None None"] + 1
    assert after["residuum_requests_total /v1/predict 200"] >= 1
    assert after["residuum_requests_total /metrics 200"] >= 1
    assert after["process_resident_memory_bytes None None"] > 1e6


def test_every_request_is_one_line_of_the_log(
    client: TestClient, picture: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/v1/predict", **form(picture), headers={"x-request-id": "mine-1"})
    client.post("/v1/predict", **form(b"x"), headers={"x-request-id": "no\tid"})
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["request_id"], first["status"], first["model"], first["batch"]) == ("mine-1", 200, "small", 1)
    assert second["request_id"] != "no\tid"
    assert second["refused"].startswith("cannot read the picture")


def test_a_server_that_ends_answers_but_is_not_ready(client: TestClient, service: Service, picture: bytes) -> None:
    assert client.get("/readyz").status_code == 200
    service.draining = True
    try:
        assert client.get("/readyz").status_code == 503
        answered = client.post("/v1/predict", **png(picture))
        assert (answered.status_code, answered.headers["connection"]) == (200, "close")
    finally:
        service.draining = False


# --- models -------------------------------------------------------------------------------------


def test_several_models_are_served_by_name(place: Path, picture: bytes) -> None:
    settings = ServeSettings((place / "small.safetensors", f"other={place / 'small.safetensors'}"))
    with TestClient(app(open_service(settings)), BASE) as client:
        assert [one["name"] for one in client.get("/v1/models").json()] == ["small", "other"]
        assert client.post("/v1/predict?model=other", **png(picture)).json()["model"] == "other"
    with pytest.raises(UserError, match="two models are called"):
        open_service(ServeSettings((place / "small.safetensors",) * 2))
    with pytest.raises(UserError, match="which model"):
        open_service(ServeSettings())


def test_a_model_is_replaced_while_a_request_waits_for_the_old(place: Path, tmp_path: Path, picture: bytes) -> None:
    file = small_model(tmp_path / "small.safetensors", CLASSES, 16)
    service = open_service(ServeSettings((file,)))
    old = service.models["small"]
    go_on = threading.Event()
    run = old.predict.run
    old.predict.run = lambda views: (go_on.wait(10), run(views))[1]
    replies: list[Any] = []
    with TestClient(app(service), BASE) as client:
        waiting = threading.Thread(target=lambda: replies.append(client.post("/v1/predict", **png(picture))))
        waiting.start()
        while not service.desk.taken:
            time.sleep(0.001)
        small_model(file, ("a", "b", "c"), 24)
        client.portal.call(service.reload)  # type: ignore[union-attr]
        go_on.set()
        waiting.join()
        assert {one["class"] for one in replies[0].json()["answers"]} == set(CLASSES)
        new = client.post("/v1/predict", **png(picture)).json()
        assert {one["class"] for one in new["answers"]} == {"a", "b", "c"}
        file.write_bytes(b"broken")
        client.portal.call(service.reload)  # type: ignore[union-attr]
        assert client.post("/v1/predict", **png(picture)).status_code == 200


# --- the desk -----------------------------------------------------------------------------------


def at_a_desk(desk: Desk, use: Callable[[], Any]) -> Any:
    async def run() -> Any:
        serving = asyncio.create_task(desk.serve())
        try:
            return await asyncio.wait_for(use(), 10)
        finally:
            serving.cancel()
            desk.close()

    return asyncio.run(run())


async def through(desk: Desk, work: Work, payload: Any, decoding: float = 0.0) -> Answered:
    with desk.place(work) as place:
        await asyncio.sleep(decoding)
        return await desk.answer(place, payload)


def test_pictures_that_come_together_go_together_in_order() -> None:
    batches: list[Sequence[int]] = []
    work = Work(lambda given: (batches.append(given), time.sleep(0.002), [10 * x for x in given])[2], 4, 0.001)
    other = Work(lambda given: [-x for x in given], 4, 0.001)
    desk = Desk(100, 10.0, 0.5)

    async def use() -> list[Answered]:
        mixed = [through(desk, other if i == 5 else work, i, decoding=0.001 * (i % 3)) for i in range(10)]
        return await asyncio.gather(*mixed)

    found = at_a_desk(desk, use)
    assert [one.result for one in found] == [10 * i if i != 5 else -5 for i in range(10)]
    assert max(map(len, batches)) == 4
    assert len(batches) <= 4


def test_a_lone_picture_waits_for_nobody_and_none_waits_long() -> None:
    work = Work(list, 4, 0.001)
    desk = Desk(100, 10.0, 0.15)

    async def use() -> tuple[float, float]:
        began = time.monotonic()
        await through(desk, work, 1)
        alone = time.monotonic() - began
        late = asyncio.create_task(through(desk, work, 2, decoding=0.5))
        await asyncio.sleep(0)
        began = time.monotonic()
        await through(desk, work, 1)
        late.cancel()
        return alone, time.monotonic() - began

    alone, beside = at_a_desk(desk, use)
    assert alone < 0.1
    assert 0.1 < beside < 0.45


@pytest.mark.parametrize("used", [2, 1])
def test_pictures_are_decoded_on_the_cores_that_the_net_leaves(used: int) -> None:
    computing, decoding, seen = threading.Event(), set[int](), list[tuple[bool, int]]()
    batches: list[int] = []

    def run(given: Sequence[int]) -> Sequence[int]:
        computing.set()
        time.sleep(0.03)
        computing.clear()
        batches.append(len(given))
        return given

    work = Work(run, 4, 0.01, cores=used)
    desk = Desk(100, 10.0, 0.0, cores=2)

    async def one(i: int) -> Answered:
        with desk.place(work) as place:
            async with desk.turns.to_decode():
                decoding.add(i)
                seen.append((computing.is_set(), len(decoding)))
                await asyncio.sleep(0.002)
                decoding.discard(i)
            return await desk.answer(place, i)

    async def use() -> list[Answered]:
        asked = [asyncio.create_task(one(i)) for i in range(13)]
        await asyncio.sleep(0.001)
        asked.pop(5).cancel()
        return await asyncio.gather(*asked)

    assert [answer.result for answer in at_a_desk(desk, use)] == [i for i in range(13) if i != 5]
    assert max(count for _, count in seen) == 2
    beside = sum(while_computing for while_computing, _ in seen)
    assert beside <= 4 if used == 2 else beside > 4  # two that had been let before, for each of two batches
    assert batches == [4, 4, 4]


def test_decoding_for_others_keeps_no_picture_waiting_for_long() -> None:
    work, other = Work(list, 4, 0.01, cores=2), Work(list, 4, 0.01, cores=2)
    desk = Desk(100, 10.0, 0.0, cores=1)

    async def decode(of: Work, seconds: float) -> None:
        with desk.place(of):
            async with desk.turns.to_decode():
                await asyncio.sleep(seconds)

    async def use() -> float:
        others = [asyncio.create_task(decode(kind, 0.3)) for kind in (other, work)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await through(desk, work, 1)
        for one in others:
            one.cancel()
        return time.monotonic() - began

    assert 0.02 < at_a_desk(desk, use) < 0.25


@pytest.mark.parametrize(("places", "longest_wait"), [(3, 100.0), (100, 0.65)])
def test_a_full_desk_refuses_and_keeps_what_it_took(places: int, longest_wait: float) -> None:
    go_on = threading.Event()
    work = Work(lambda given: (go_on.wait(10), list(given))[1], 2, 0.1)
    desk = Desk(places, longest_wait, 0.0)

    async def use() -> list[Any]:
        asked = [asyncio.create_task(through(desk, work, i)) for i in range(10)]
        await asyncio.sleep(0.02)
        go_on.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = at_a_desk(desk, use)
    assert [one.result for one in found[:3]] == [0, 1, 2]
    assert all(isinstance(one, Refusal) and one.status == 429 for one in found[3:])
    assert all(int(one.headers["retry-after"]) >= 1 for one in found[3:])
    assert not desk.taken


def test_a_desk_that_was_slower_than_it_thought_promises_less_but_not_for_one_slow_batch() -> None:
    work = Work(list, 4, 0.01)
    desk = Desk(100, 0.2, 0.0)

    async def use() -> list[float]:
        found = list[float]()
        for count, decoding in ((3, 0.0), (1, 0.15), (1, 0.15), (50, 0.0)):
            for _ in range(count):
                await through(desk, work, 1, decoding)
            found.append(desk.drag)
        return found

    before, slow_once, slow_again, later = at_a_desk(desk, use)
    assert slow_once == before == 1.0
    assert slow_again > 1.2
    assert later < 1.1


def test_a_slow_batch_of_many_refuses_nobody_that_fits() -> None:
    """Eight clients ask and ask again: all fit, before and after a batch that took six times as long as the others."""
    takes = iter([0.08] * 3 + [0.5])
    work = Work(lambda given: (time.sleep(next(takes, 0.08)), list(given))[1], 8, 0.01)
    desk = Desk(64, 1.0, 0.0)

    async def client() -> int:
        return len([await through(desk, work, i) for i in range(7)])

    async def use() -> list[int]:
        return await asyncio.gather(*(client() for _ in range(8)))

    assert at_a_desk(desk, use) == [7] * 8  # a refusal would have been raised


def test_what_a_picture_takes_follows_what_lasts() -> None:
    work = Work(list, 4, 0.01)
    for seconds in (0.01, 0.01, 5.0, 0.01):
        work.measured(seconds, 1)
    assert work.seconds == pytest.approx(0.01)
    for _ in range(20):
        work.measured(5.0, 1)
    assert work.seconds > 4


def test_a_refusal_says_what_was_compared() -> None:
    work, desk = Work(list, 1, 0.3), Desk(64, 2.0, 0.0)
    with contextlib.ExitStack() as places:
        for _ in range(3):
            places.enter_context(desk.place(work))
        with pytest.raises(Refusal) as refused:
            desk.look(work)
    limit = "3 are ahead, and an answer would take about 1.2 s; the limits are 64 requests and 1 s"
    assert refused.value.why == f"{limit}, half of --longest-wait"


def test_who_goes_away_is_not_computed_for() -> None:
    computed: list[int] = []
    go_on = threading.Event()
    work = Work(lambda given: (go_on.wait(10), computed.extend(given), list(given))[2], 1, 0.001)
    desk = Desk(100, 10.0, 0.0)

    async def use() -> None:
        first, second, third = (asyncio.create_task(through(desk, work, i)) for i in range(3))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(first, third)

    at_a_desk(desk, use)
    assert computed == [0, 2]


def test_a_batch_that_fails_leaves_the_desk_at_work() -> None:
    def run(given: Sequence[int]) -> list[int]:
        if 0 in given:
            raise MemoryError
        return list(given)

    work = Work(run, 1, 0.001)
    desk = Desk(100, 10.0, 0.0)

    async def use() -> int:
        with pytest.raises(MemoryError):
            await through(desk, work, 0)
        found: int = (await through(desk, work, 1)).result
        return found

    assert at_a_desk(desk, use) == 1


def test_a_fault_of_ours_is_logged_and_said(
    client: TestClient,
    service: Service,
    picture: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: Any) -> Any:
        raise ZeroDivisionError("our own")

    monkeypatch.setattr(service.models["small"].predict, "run", fails)
    response = client.post("/v1/predict", **png(picture))
    assert response.status_code == 500
    assert "our own" not in response.text
    assert "our own" in capsys.readouterr().out
