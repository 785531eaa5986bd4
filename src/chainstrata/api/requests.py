"""Requests by name: every one gets an ID, or keeps the caller's, and its answer and the log carry it."""

import logging
import re
import secrets
from contextvars import ContextVar
from time import perf_counter
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGER: Final = logging.getLogger("chainstrata.api")
HEADER: Final = "X-Request-ID"
_GIVEN: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_REQUEST: ContextVar[str] = ContextVar("chainstrata_request", default="-")
_SLOW_SECONDS: Final = 1.0


def request_id() -> str:
    """Return the ID of the request that is being answered."""
    return _REQUEST.get()


class RequestIds:
    """Gives every request its ID, and logs those that are slow or fail."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        name = given.decode() if _GIVEN.fullmatch(given) else secrets.token_hex(8)
        token = _REQUEST.set(name)
        began = perf_counter()
        answered = 0

        async def send_named(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            took = perf_counter() - began
            level = logging.INFO if answered >= 500 or took > _SLOW_SECONDS else logging.DEBUG
            LOGGER.log(level, "%s %s %s: %d in %.3f s", name, scope["method"], scope["path"], answered, took)
            _REQUEST.reset(token)
