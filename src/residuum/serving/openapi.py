"""/openapi.json, version 3.1: the routes, with the types of replies.py."""

from typing import Any

from msgspec import json

from residuum.data.labels import CALLED
from residuum.serving import replies
from residuum.serving.incoming import FIELD
from residuum.version import VERSION

_REF = "#/components/schemas/{name}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {FIELD: {"type": "string", "format": "binary"}},
        "required": [FIELD],
    }
}
_PICTURE = {
    "required": True,
    "description": "The picture: its file as it is, or the field of a form. It is not kept.",
    "content": {"image/jpeg": _BINARY, "image/png": _BINARY, "multipart/form-data": _FORM},
}
_REFUSALS = {
    "401": "a token is wanted",
    "403": "another site's page asks",
    "404": "there is no such model",
    "408": "the request was not there in time",
    "413": "the request is too large",
    "415": "it is no kind of picture",
    "421": "asked under a foreign name",
    "422": "the picture cannot be read, or what is asked cannot be",
    "429": "too many requests are waiting; Retry-After says when to try again",
    "503": "the map would take too long now, while the machine is busy; Retry-After says when to try again",
}
_OF_PICTURES = tuple(status for status in _REFUSALS if status != "503")
_OF_MAPS = tuple(_REFUSALS)
_OF_ALL = ("401", "421")


def openapi(*, has_token: bool) -> dict[str, Any]:
    """Return the document; `has_token`: whether requests have to bring one."""
    types = [replies.Predicted, replies.Heated, replies.Switched, replies.Model, replies.Health, replies.Refused]
    _, schemas = json.schema_components(types, ref_template=_REF)
    paths = {
        **{path: {"post": route} for path, route in _of_pictures().items()},
        "/v1/models": {"get": _route("What is served", _listed(replies.Model), _OF_ALL)},
        "/v1/models/{name}/examples/{number}": {"get": _example()},
        "/healthz": {"get": _route("Whether the server lives", _json(replies.Health), ("421",))},
        "/readyz": {"get": {**_route("Whether it takes requests", _json(replies.Health), ("421",))}},
        "/metrics": {
            "get": _route("Counters, for Prometheus", {"text/plain": {"schema": {"type": "string"}}}, _OF_ALL)
        },
        "/openapi.json": {"get": _route("This", {"application/json": {"schema": {"type": "object"}}}, ("421",))},
    }
    paths["/readyz"]["get"]["responses"]["503"] = {"description": "Not now", "content": _json(replies.Health)}
    for path in paths if has_token else ():
        if path.startswith("/v1/") or path == "/metrics":
            for route in paths[path].values():
                route["security"] = [{"token": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "residuum", "version": VERSION, "description": "Answers of trained residual networks."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def queries(path: str) -> tuple[str, ...]:
    """Return the names with which a route that takes a picture may be asked."""
    return tuple(one["name"] for one in _of_pictures()[path]["parameters"])


def _of_pictures() -> dict[str, dict[str, Any]]:
    """Return the routes that take a picture, by path."""
    all_take = [_model(), _top(), _view()]
    return {
        "/v1/predict": _picture_route(
            "What a picture shows", replies.Predicted, [*all_take, _call_from(), _at_least()]
        ),
        "/v1/explain": _picture_route("Where the evidence lies", replies.Heated, [*all_take, *_heat()], _OF_MAPS),
        "/v1/blocks": _picture_route("With blocks off", replies.Switched, [*all_take, *_blocks()]),
    }


def _route(summary: str, content: dict[str, Any], refusals: tuple[str, ...]) -> dict[str, Any]:
    responses = {"200": {"description": summary, "content": content}}
    for status in refusals:
        responses[status] = {"description": _REFUSALS[status], "content": _json(replies.Refused)}
    return {"summary": summary, "responses": responses}


def _picture_route(
    summary: str, reply: type, parameters: list[dict[str, Any]], refusals: tuple[str, ...] = _OF_PICTURES
) -> dict[str, Any]:
    route = _route(summary, _json(reply), refusals)
    seconds = {"description": "In how many seconds to try again", "schema": {"type": "integer"}}
    for status in {"429", "503"} & set(refusals):
        route["responses"][status]["headers"] = {"Retry-After": seconds}
    return {**route, "parameters": parameters, "requestBody": _PICTURE}


def _example() -> dict[str, Any]:
    parts = [("name", {"type": "string"}), ("number", {"type": "integer", "minimum": 0})]
    parameters = [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in parts]
    return {**_route("A picture to try", {"image/png": _BINARY}, ("401", "404", "421")), "parameters": parameters}


def _json(reply: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=reply.__name__)}}}


def _listed(reply: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "array", "items": {"$ref": _REF.format(name=reply.__name__)}}}}


def _query(name: str, about: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def _model() -> dict[str, Any]:
    return _query("model", "Which model answers; by default the first.", type="string")


def _top() -> dict[str, Any]:
    how_many = "How many classes to name; of several labels a picture, those called are named besides."
    return _query("top", how_many, type="integer", minimum=1, maximum=999_999_999, default=5)


def _call_from() -> dict[str, Any]:
    what = "For several labels a picture: the probability from which on a label is called."
    return _query("call_from", what, type="number", minimum=0, maximum=1, default=CALLED)


def _at_least() -> dict[str, Any]:
    what = "For one label a picture: an answer whose likeliest class has less than this is unsure, too."
    return _query("at_least", what, type="number", minimum=0, maximum=1)


def _view() -> dict[str, Any]:
    return _query("view", "1: the picture is the square that the net sees, as `seen` has it.", type="string")


def _heat() -> list[dict[str, Any]]:
    methods = {"type": "string", "enum": ["Grad-CAM", "RISE"], "default": "Grad-CAM"}
    return [_query("of", "The class; by default the likeliest.", type="string"), _query("method", "How.", **methods)]


def _blocks() -> list[dict[str, Any]]:
    return [
        _query("off", "Names of blocks, with commas between.", type="string"),
        _query("depth", "How many layers to keep at most.", type="integer", minimum=1, maximum=999_999_999),
        _query("of", "The class that is followed; by default the likeliest.", type="string"),
    ]
