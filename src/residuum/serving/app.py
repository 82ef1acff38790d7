"""The routes: what is asked over HTTP, and what of a model answers it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from residuum.data.decode import BrokenPicture
from residuum.errors import UserError
from residuum.serving import replies
from residuum.serving.desk import Work
from residuum.serving.front import Front
from residuum.serving.incoming import MEGABYTE, read_picture_of
from residuum.serving.openapi import openapi
from residuum.serving.refusals import Refusal, refusal_as_json, refused
from residuum.serving.replies import Milliseconds, Said, as_json
from residuum.serving.served import Served
from residuum.serving.service import Service

PAGE = Path(__file__).parent / "page"
T = TypeVar("T")


def app(service: Service) -> Starlette:
    """Return the app: the API under /v1, what watches over the server, and the page."""
    routes = [
        Route("/v1/predict", _predict, methods=["POST"]),
        Route("/v1/explain", _explain, methods=["POST"]),
        Route("/v1/models", _models),
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
    ]
    if PAGE.is_dir():
        routes.append(Mount("/", StaticFiles(directory=PAGE, html=True)))  # type: ignore[arg-type]
    files = {"/" + file.relative_to(PAGE).as_posix() for file in PAGE.rglob("*") if file.is_file()}
    starlette = Starlette(
        routes=routes,
        middleware=[Middleware(Front, service=service, files=files)],  # type: ignore[arg-type]
        exception_handlers={Refusal: _refuse, UserError: _refuse, HTTPException: _refuse},  # the rest: Front
        lifespan=partial(_lifespan, service),
    )
    starlette.state.service = service
    return starlette


@contextlib.asynccontextmanager
async def _lifespan(service: Service, _: Starlette) -> AsyncIterator[None]:
    serving = asyncio.create_task(service.desk.serve())
    service.serving = serving
    yield
    serving.cancel()
    service.desk.close()
    service.pool.shutdown(wait=False, cancel_futures=True)


# --- a picture answered -------------------------------------------------------------------------


class Taken(NamedTuple):
    """What came of a picture: the view (S, S, 3), what was found, and the time it took."""

    view: Any
    result: Any
    batch: int
    milliseconds: Milliseconds


async def _take(
    request: Request, served: Served, work: Work, besides: Callable[[Any], Any] = lambda view: view
) -> Taken:
    """Read, decode and answer a request's picture; `besides` adds to its view what the work is told.

    Raises:
        Refusal: no place, or no picture (BrokenPicture) that can be read.
        ClientDisconnect: the client went away; nothing more is done for it.
    """
    service = _service(request)
    service.desk.look(work)  # before the picture is read: to refuse must cost little
    with service.held.one() as add:
        most = round(service.settings.megabytes * MEGABYTE)
        encoded = await read_picture_of(request, most, service.settings.receive, add)
        began = time.perf_counter()
        with service.desk.place(work) as place:
            decoding = asyncio.get_running_loop().run_in_executor(service.pool, _timed, served.view, encoded)
            view, decoded = await _unless_gone(request, decoding)
            del encoded
            answered = await _unless_gone(request, service.desk.answer(place, besides(view)))
    parts = {"decoding": decoded, "net": answered.seconds}
    parts["rest"] = time.perf_counter() - began - sum(parts.values())
    milliseconds = Milliseconds(**{name: round(1000 * max(part, 0.0), 2) for name, part in parts.items()})
    _note(request, model=served.name, batch=answered.pictures, net=milliseconds.net, decoding=milliseconds.decoding)
    return Taken(view, answered.result, answered.pictures, milliseconds)


def _timed(function: Callable[[bytes], T], encoded: bytes) -> tuple[T, float]:
    began = time.perf_counter()
    return function(encoded), time.perf_counter() - began


async def _unless_gone(request: Request, awaited: Awaitable[T]) -> T:
    """Wait for it as long as the client does."""
    wanted, gone = asyncio.ensure_future(awaited), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({wanted, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise ClientDisconnect
        return wanted.result()
    finally:
        wanted.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _predict(request: Request) -> Response:
    served = _model(request)
    top = _number(request, "top", 5, len(served.classes))
    taken = await _take(request, served, served.predict)
    found = taken.result
    return as_json(
        replies.Predicted(
            request_id=request.scope["request_id"],
            model=served.name,
            answers=_likeliest(found.probabilities, served, top),
            unsure=bool(found.unlike),
            reason=found.unlike,
            engine=served.engine.name,
            precision=served.engine.precision,
            batch=taken.batch,
            milliseconds=taken.milliseconds,
        )
    )


async def _explain(request: Request) -> Response:
    served = _model(request)
    top = _number(request, "top", 5, len(served.classes))
    method = request.query_params.get("method", "Grad-CAM")
    if method not in served.heat:
        raise Refusal(422, f"there is no map {method!r}", "", f"choose from: {', '.join(served.heat)}")
    of = request.query_params.get("of")
    number = None if of is None else served.class_number(of)
    taken = await _take(request, served, served.heat[method], lambda view: (view, number))
    found = taken.result
    return as_json(
        replies.Heated(
            request_id=request.scope["request_id"],
            model=served.name,
            answers=_likeliest(found.probabilities, served, top),
            of=served.classes[found.of],
            method=method,
            heat=found.heat.picture if found.heat else None,
            x=found.heat.x if found.heat else None,
            y=found.heat.y if found.heat else None,
            milliseconds=taken.milliseconds,
        )
    )


def _likeliest(probabilities: Any, served: Served, top: int) -> list[Said]:
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [Said(served.classes[number], float(probabilities[number])) for number in best.tolist()]


# --- what is asked for without a picture --------------------------------------------------------


async def _models(request: Request) -> Response:
    models = _service(request).models.values()
    return as_json([one.about() for one in models])


async def _healthy(_: Request) -> Response:
    return as_json(replies.Health(ok=True, why=""))


async def _ready(request: Request) -> Response:
    why = _service(request).why_not_ready()
    return as_json(replies.Health(ok=not why, why=why), 503 if why else 200)


async def _metrics(request: Request) -> Response:
    service = _service(request)
    text = service.metrics.text(service.desk, service.models.values())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _openapi(request: Request) -> Response:
    return as_json(openapi(has_token=_service(request).token is not None))


# --- parts of a request -------------------------------------------------------------------------


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _model(request: Request) -> Served:
    return _service(request).model(request.query_params.get("model"))


def _number(request: Request, name: str, default: int, most: int) -> int:
    """Return a whole number of the query, at most `most` (Refusal 422 if it is none or too small)."""
    given = request.query_params.get(name)
    if given is None:
        return min(default, most)
    if not (given.isascii() and given.isdigit() and 0 < len(given) <= 9 and int(given) > 0):
        raise Refusal(422, f"{name} cannot be {given[:40]!r}", "", "give a whole number from 1 on")
    return min(int(given), most)


def _note(request: Request, **fields: Any) -> None:
    """Have it written into the log's line about this request."""
    request.scope.setdefault("noted", {}).update(fields)


async def _refuse(request: Request, error: Exception) -> Any:
    if isinstance(error, BrokenPicture):
        error = Refusal(422, error.what, error.why, "send a whole picture: JPEG, PNG, WebP, BMP, GIF, TIFF or PPM")
    elif isinstance(error, UserError):
        error = refused(error)
    elif isinstance(error, HTTPException):
        error = Refusal(error.status_code, error.detail, "", "GET /openapi.json", headers=dict(error.headers or {}))
    assert isinstance(error, Refusal)
    _note(request, refused=error.what)
    return refusal_as_json(error, request.scope["request_id"])
