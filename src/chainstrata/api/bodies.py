"""Bodies of requests: how much of one is read, for how long, and for how many at a time."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chainstrata.api.errors import error_answer
from chainstrata.errors import ChainStrataError, UsageError

MB: Final = 1024 * 1024
SMALL: Final = MB
"""Largest body of a route that does not take rows."""
PATIENCE: Final = 60.0
"""Longest time a body may take to arrive, in seconds."""
ROWS: Final = re.compile(r"/api/v1/ingest/")


class BodyTooLarge(UsageError):
    """A body of more bytes than are taken."""

    code = "body_too_large"
    http_status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"a body of more than {limit} bytes is not taken", hint="Send it in parts, each with a name of its own.")


class BodyTooSlow(UsageError):
    """A body that did not arrive in time."""

    code = "body_too_slow"
    http_status = 408

    def __init__(self) -> None:
        super().__init__(f"the body did not arrive within {PATIENCE:g} s", hint="Send smaller parts.")


class BodyEncoding(UsageError):
    """A body that is compressed in a way nobody here unpacks, or said to be of a type that nobody here reads."""

    code = "body_unknown"
    http_status = 415


class Busy(ChainStrataError):
    """More work at once than is taken on. Trying again later is all that helps."""

    code = "busy"
    retryable = True
    http_status = 503

    def __init__(self, what: str, *, retry_after: float = 1) -> None:
        super().__init__(f"too many {what} at once", hint="Try again as Retry-After says.")
        self.retry_after = retry_after


class Room:
    """Memory for bodies. Who finds none is told to come back; nobody waits unseen."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes while the block runs."""
        if self.taken and self.taken + size > self.total:
            raise Busy("bodies are read")
        self.taken += size
        try:
            yield
        finally:
            self.taken -= size


def declared_size(request: Request, limit: int) -> int:
    """Return how long a body is said to be, the limit where nothing is said; raise `BodyTooLarge`."""
    given = request.headers.get("content-length", "")
    size = int(given) if given.isdecimal() and len(given) < 20 else limit
    if size > limit:
        raise BodyTooLarge(limit)
    return size


async def read_body(request: Request, limit: int) -> bytearray:
    """Return a body, read to its end within `PATIENCE` and `limit`; raise `BodyTooLarge` or `BodyTooSlow`."""
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise BodyTooLarge(limit)
    except TimeoutError:
        raise BodyTooSlow from None
    except ClientDisconnect:
        raise BodyTooSlow from None
    return body


class SmallBodies:
    """Reads the body of a route that does not take rows before the route is asked, and refuses one that is too large or too slow."""

    def __init__(self, app: ASGIApp, limit: int = SMALL) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or ROWS.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            declared_size(request, self._limit)
            body: Message | None = {"type": "http.request", "body": bytes(await read_body(request, self._limit)), "more_body": False}
        except UsageError as error:
            answer = error_answer(error.http_status, error.code, error.message, error.hint, headers={"Connection": "close"})
            await answer(scope, receive, send)
            return

        async def receive_again() -> Message:
            nonlocal body
            message, body = body, None
            return message if message is not None else await receive()

        await self._app(scope, receive_again, send)
