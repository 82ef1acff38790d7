"""What is said to a client whose request is not answered: what happened, why, and how to mend it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residuum.errors import UserError
from residuum.serving.replies import Refused, as_json


class Refusal(Exception):  # noqa: N818 - as UserError, it names what is said
    """A request that is not answered.

    Args:
        status: of HTTP (RFC 9110, sec. 15).
        what: the fault, in one sentence.
        why: its cause, or what was expected.
        mend: what to do next.
        retry_after: in how many seconds to try again; None where that would not help.
        closes: whether the connection ends, since what the client still sends is of no use.
        headers: of the response, besides.
    """

    def __init__(
        self,
        status: int,
        what: str,
        why: str,
        mend: str,
        *,
        retry_after: int | None = None,
        closes: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what)
        self.status, self.what, self.why, self.mend = status, what, why, mend
        self.closes = closes
        self.headers = {**(headers or {}), **({} if retry_after is None else {"retry-after": str(retry_after)})}


def refused(error: UserError, status: int = 422) -> Refusal:
    """Return a fault in what was given as HTTP says it."""
    return Refusal(status, error.what, error.why, error.mend)


def refusal_as_json(refusal: Refusal, request_id: str) -> ASGIApp:
    """Return the response that says why there is no answer."""
    content = Refused(request_id=request_id, what=refusal.what, why=refusal.why, mend=refusal.mend)
    if not refusal.closes:
        return as_json(content, refusal.status, refusal.headers)
    return Lingering(as_json(content, refusal.status, {**refusal.headers, "connection": "close"}))


LINGER = 2.0
"""For how many seconds what a refused client still sends is thrown away, so that it comes to read why."""


@dataclass(frozen=True)
class Lingering:
    """A response after which the connection ends, once the client had time to read it (RFC 9112, sec. 9.6)."""

    response: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; its end, upon which the server closes, when the client has sent all or time is up."""
        last: list[Message] = []

        async def hold_the_end(message: Message) -> None:
            if message["type"] == "http.response.body":
                last.append({**message, "body": b""})
                message = {**message, "more_body": True}
            await send(message)

        await self.response(scope, receive, hold_the_end)
        try:
            async with asyncio.timeout(LINGER):
                while not scope.get("all_read"):  # Front notes it
                    await receive()
        except TimeoutError:
            pass
        await send(last[0])
