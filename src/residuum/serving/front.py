"""What every request passes first: its id, who may ask, the headers of every answer, and one line of the log."""

import hmac
import re
import time
import traceback
from dataclasses import dataclass
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residuum.serving.refusals import Refusal, refusal_as_json
from residuum.serving.served import LOOPBACK
from residuum.serving.service import Service, log

OPEN = {"/", "/healthz", "/readyz", "/openapi.json"}
"""What needs no token: nothing of a picture or a model is in it."""
GONE = 499
"""What is noted, as nginx does, where the client went away before its answer."""
_FAULT = Refusal(500, "the server has a fault", "it stands in its log under the request's id", "tell those who run it")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = {"GET", "HEAD", "OPTIONS"}
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Front:
    """An ASGI app before another."""

    app: ASGIApp
    service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the app do so."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers, began, status = Headers(scope=scope), time.perf_counter(), GONE
        given = headers.get("x-request-id", "")
        scope["request_id"] = request_id = given if _ID.fullmatch(given) else uuid4().hex

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ours = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    ours.setdefault(name, value)
                ours["x-request-id"] = request_id
                if self.service.draining:
                    ours["connection"] = "close"
            await send(message)

        async def receive_noted() -> Message:
            message = await receive()
            scope["all_read"] = not message.get("more_body")
            return message

        try:
            if refusal := self._barred(scope, headers):
                await refusal_as_json(refusal, request_id)(scope, receive_noted, send_with_headers)
            else:
                await self.app(scope, receive_noted, send_with_headers)
        except ClientDisconnect:
            pass
        except Exception:
            log("fault", request_id=request_id, traceback=traceback.format_exc())
            if status == GONE:
                await refusal_as_json(_FAULT, request_id)(scope, receive_noted, send_with_headers)
        finally:
            self._count(scope, status, time.perf_counter() - began)
        return None

    def _barred(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Say why this client is not answered; None if it is."""
        host = headers.get("host", "")
        if self.service.settings.host in LOOPBACK and _name(host) not in LOOPBACK:
            # a foreign page whose name was turned to this address would read what is meant for this machine alone
            return Refusal(
                421, f"this server is not {host or 'named'}", "it answers to localhost", "use its own address"
            )
        if self.service.token is not None:
            path = scope["path"]
            if path in OPEN or _brings(headers, self.service.token):
                return None
            return Refusal(
                401,
                "this server wants a token",
                "",
                "send the header Authorization: Bearer TOKEN",
                headers={"www-authenticate": "Bearer"},
            )
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in _SAFE and origin.partition("://")[2] != host:
            return Refusal(
                403, "another site may not send requests here", f"it is {origin}", "use the server's own page"
            )
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.service.metrics.requests.labels(route, str(status)).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client")
        log(
            "request",
            request_id=scope["request_id"],
            client=client[0] if client else None,
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            milliseconds=round(1000 * seconds, 1),
            **scope.get("noted", {}),
        )


def _name(host: str) -> str:
    """Return a Host header's name without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0].lower()


def _brings(headers: Headers, token: str) -> bool:
    kind, _, given = headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
