"""The routes: what is asked over HTTP, and what of a model answers it."""

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from msgspec import UNSET, convert
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from residuum import machine
from residuum.data.decode import BrokenPicture
from residuum.errors import UserError, in_python, nearest
from residuum.page.page import page
from residuum.prediction.answer import Answer
from residuum.records.explained import ExplainedPicture
from residuum.serving import replies
from residuum.serving.desk import Work
from residuum.serving.front import Front
from residuum.serving.incoming import MEGABYTE, broken, read_picture_of
from residuum.serving.openapi import openapi, queries
from residuum.serving.refusals import Refusal, refusal_as_json, refused
from residuum.serving.replies import Milliseconds, Said, as_json
from residuum.serving.served import HEAT_MAPS, Served
from residuum.serving.service import Service
from residuum.settings import PredictSettings

T = TypeVar("T")
AGAIN = 10
"""Seconds after which it is worth asking again at the latest: a machine may be idle by then."""


def app(service: Service) -> Starlette:
    """Return the app: the API under /v1, what watches over the server, and the page."""
    routes = [
        Route("/", _page),
        _of_pictures("/v1/predict", _predict),
        _of_pictures("/v1/explain", _explain),
        _of_pictures("/v1/blocks", _blocks),
        Route("/v1/models", _models),
        Route("/v1/models/{name}/examples/{number:int}", _example),
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
    ]
    starlette = Starlette(
        routes=routes,
        middleware=[Middleware(Front, service=service)],
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


def _of_pictures(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return the route, which refuses what it is not asked by: a mistyped name would change nothing, and nobody see."""
    known = queries(path)

    async def asked(request: Request) -> Response:
        for name in request.query_params:
            if name not in known:
                why = f"{path} is asked with {', '.join(known)}"
                raise Refusal(422, f"there is nothing to ask called {name[:40]!r}", why, nearest(name[:40], known))
        return await answer(request)

    return Route(path, asked, methods=["POST"])


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
        Refusal: no place, or no picture that can be read.
        ClientDisconnect: the client went away; nothing more is done for it.
    """
    service = _service(request)
    read = partial(served.view, is_cut=request.query_params.get("view") == "1")
    service.desk.look(work)  # before the picture is read: to refuse must cost little
    with contextlib.ExitStack() as until_answered:
        with service.held.one() as add:
            most = round(service.settings.megabytes * MEGABYTE)
            encoded = await read_picture_of(request, most, service.settings.receive, add)
            began = time.perf_counter()
            place = until_answered.enter_context(service.desk.place(work))
            view, decoded, busy = await _unless_gone(request, _decoded(service, read, encoded))
            del encoded
        service.desk.prepared(busy / machine.cores())
        answered = await _unless_gone(request, service.desk.answer(place, besides(view)))
    parts = {"decoding": decoded, "net": answered.seconds}
    parts["rest"] = (whole := time.perf_counter() - began) - sum(parts.values())
    milliseconds = Milliseconds(**{name: round(1000 * max(part, 0.0), 2) for name, part in parts.items()})
    took = {"answering": round(1000 * whole, 2), "decoding": milliseconds.decoding, "net": milliseconds.net}
    _note(request, model=served.name, batch=answered.pictures, **took)
    return Taken(view, answered.result, answered.pictures, milliseconds)


async def _decoded(service: Service, read: Callable[[bytes], T], encoded: bytes) -> tuple[T, float, float]:
    async with service.desk.turns.to_decode():
        return await asyncio.get_running_loop().run_in_executor(service.pool, _timed, read, encoded)


def _timed(function: Callable[[bytes], T], encoded: bytes) -> tuple[T, float, float]:
    """Return what the function gives, the seconds until then, and those in which the processor was at it.

    Raises:
        Refusal: the function finds no picture.
    """
    began, busy = time.perf_counter(), time.thread_time()
    try:
        found = function(encoded)
    except BrokenPicture as error:
        raise broken(error, encoded) from error
    return found, time.perf_counter() - began, time.thread_time() - busy


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
    served, top, at_least = _model(request), _top(request), _probability(request, "at_least")
    call_from = _probability(request, "call_from") or 0.0
    taken = await _take(request, served, served.predict, lambda view: (view, top, call_from))
    found: Answer = replace(taken.result, call_from=call_from, at_least=at_least)  # a batch's are from the lowest on
    if found.several and at_least is not None:
        why = f"{served.name} answers each label of a picture for itself"
        raise Refusal(422, "at_least is for one label a picture", why, "call_from says from where on labels are called")
    labels = UNSET if found.labels is None else list(found.labels)
    most = max(top, len(labels or ()))
    pairs = zip(found.classes[:most], found.probabilities[:most], strict=True)
    return as_json(
        replies.Predicted(
            request_id=request.scope["request_id"],
            model=served.name,
            answers=[Said(name, probability) for name, probability in pairs],
            labels=labels,
            unsure=found.unsure,
            reason=found.reason,
            engine=found.engine,
            precision=found.precision,
            batch=taken.batch,
            milliseconds=taken.milliseconds,
        )
    )


async def _explain(request: Request) -> Response:
    served, top, of = _model(request), _top(request), _class(request)
    method = request.query_params.get("method", next(iter(HEAT_MAPS)))
    if method not in HEAT_MAPS:
        raise Refusal(422, f"there is no map {method!r}", "", f"choose from: {', '.join(HEAT_MAPS)}")
    work, longest = _net_of(served, served.heat.get(method)), _service(request).settings.longest_wait
    if served.expected(method) > longest >= served.least[method]:
        await _time_anew(request, served)  # or who asks for maps alone would be refused for good
    if (seconds := served.expected(method)) > longest:  # every other request would wait for it
        raise _too_long(served, method, seconds, longest)
    taken = await _take(request, served, work, lambda view: (view, of, top))
    found: ExplainedPicture = taken.result
    heat = found.heat[0] if found.heat else None
    return as_json(
        replies.Heated(
            request_id=request.scope["request_id"],
            model=served.name,
            answers=[Said(one.name, one.probability) for one in found.answers],
            of=found.heat_of,
            method=method,
            heat=heat.picture if heat else None,
            x=heat.x if heat else None,
            y=heat.y if heat else None,
            milliseconds=taken.milliseconds,
        )
    )


async def _time_anew(request: Request, served: Served) -> None:
    """Have an answer computed, whose time tells how busy the machine is now (Refusal 429 if there is no place)."""
    desk = _service(request).desk
    with desk.place(served.predict) as place:
        await desk.answer(place, served.blank)


def _too_long(served: Served, method: str, seconds: float, longest: float) -> Refusal:
    """Return why a map is not drawn: not now (503), or never, where even an idle machine is too slow (422)."""
    why = f"it takes about {seconds:.1f} s with {served.name} now, and an answer may take {longest:g} s"
    mend = "serve with a larger --longest-wait, or use residuum explain"
    if served.least[method] > longest:
        return Refusal(422, f"{method} takes too long here", why, mend)
    mend = f"ask again when the machine is less busy, {mend}"
    return Refusal(503, f"{method} takes too long now", why, mend, retry_after=min(math.ceil(seconds), AGAIN))


async def _blocks(request: Request) -> Response:
    served, top, of = _model(request), _top(request), _class(request)
    off = [name for name in request.query_params.get("off", "").split(",") if name]
    depth = _number(request, "depth", None)
    asked = {"off": off, "depth": depth, "of": of, "top": top}
    taken = await _take(request, served, _net_of(served, served.switch), lambda view: {"view": view, **asked})
    found = {"request_id": request.scope["request_id"], "model": served.name, "milliseconds": taken.milliseconds}
    return as_json(convert({**found, **taken.result.as_json()}, replies.Switched))


def _net_of(served: Served, work: Work | None) -> Work:
    if work is None:
        what = f"{served.name} is what an engine makes of a net, and the net is not here"
        raise Refusal(422, what, "only the net itself can be looked into", "serve the run folder")
    return work


# --- what is asked for without a picture --------------------------------------------------------


async def _page(_: Request) -> Response:
    html = page()
    policy = re.search('http-equiv="Content-Security-Policy" *content="([^"]*)"', " ".join(html[:2000].split()))
    assert policy is not None
    told = {"content-security-policy": f"{policy[1]}; frame-ancestors 'none'"}
    return Response(html, headers=told, media_type="text/html")


async def _models(request: Request) -> Response:
    models = _service(request).models.values()
    return as_json([one.about() for one in models])


async def _example(request: Request) -> Response:
    served = _service(request).model(request.path_params["name"])
    number = request.path_params["number"]
    if number >= len(served.examples):
        raise Refusal(404, "there is no such example", f"there are {len(served.examples)}", "GET /v1/models")
    return Response(served.examples[number].content, media_type="image/png")


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


def _class(request: Request) -> str | None:
    """Return the class asked about (Refusal 422 if the model has none of this name)."""
    of, classes = request.query_params.get("of"), _model(request).classes
    if of is not None and of not in classes:
        raise Refusal(422, f"there is no class {of[:80]!r}", nearest(of, classes), "GET /v1/models lists the classes")
    return of


def _top(request: Request) -> int:
    return min(_number(request, "top", 5) or 1, len(_model(request).classes))


def _probability(request: Request, name: str) -> float | None:
    """Return a setting of `predict` that is a probability, by default as it is there (Refusal 422 if it is none)."""
    given = request.query_params.get(name)
    try:
        told = PredictSettings(**{} if given is None else {name: float(given)})  # type: ignore[arg-type]
    except ValueError:
        raise Refusal(422, f"{name} cannot be {str(given)[:40]!r}", "it is a number", "give one from 0 to 1") from None
    except UserError as error:
        in_python(error, (name,))
        raise
    found: float | None = getattr(told, name)
    return found


def _number(request: Request, name: str, default: int | None) -> int | None:
    """Return a whole number of the query (Refusal 422 if it is none, or not positive)."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 9 and int(given) > 0):
        raise Refusal(422, f"{name} cannot be {given[:40]!r}", "", "give a whole number from 1 on")
    return int(given)


def _note(request: Request, **fields: Any) -> None:
    """Have it written into the log's line about this request."""
    request.scope.setdefault("noted", {}).update(fields)


def _no_route(request: Request, error: HTTPException) -> Refusal:
    asked, headers = request.url.path[:200], dict(error.headers or {})
    what, why = f"there is no {asked} here", "a picture is asked about by POST /v1/predict"
    if error.status_code == 405:
        what, why = f"{asked} cannot be asked by {request.method}", f"it takes {headers.get('Allow')}"
    return Refusal(error.status_code, what, why, "GET /openapi.json describes every route", headers=headers)


async def _refuse(request: Request, error: Exception) -> Any:
    if isinstance(error, UserError):
        error = refused(error)
    elif isinstance(error, HTTPException):
        error = _no_route(request, error)
    assert isinstance(error, Refusal)
    _note(request, refused=error.what)
    return refusal_as_json(error, request.scope["request_id"])
