"""How requests are read from a connection: by the C parser, with a bound on what comes before the body.

An answer may be there before all of the body is: too large, no key, an unknown dataset. Who hung up then would have the system throw the
answer away, because what had come and was not read resets the connection, and the client would be told of that instead. So the rest of the
body is read, within bounds, and let go of.
"""

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chainstrata.errors import UsageError

HEAD: Final = 64 * 1024
"""Most bytes of the first line and the headers."""
HEADERS: Final = 200
REST: Final = 64 * 1024 * 1024
REST_SECONDS: Final = 10.0
"""How much of a body is read after its answer, and for how long."""


class RequestUnreadable(UsageError):
    """What came is no HTTP request, or its head is longer than one is read."""

    code = "request_unreadable"

    def __init__(self) -> None:
        super().__init__("the request cannot be read", hint=f"Its address and headers may have {HEAD} bytes and {HEADERS} lines together.")


class _Patient(asyncio.Transport):
    """A connection that is closed only once the body has come that is still on its way."""

    def __init__(self, inner: asyncio.Transport, protocol: "BoundedProtocol") -> None:
        super().__init__()
        self._inner = inner
        self._protocol = protocol
        self.write = inner.write  # type: ignore[method-assign]  # asked most, and nothing to add
        self.is_closing = inner.is_closing  # type: ignore[method-assign]

    def close(self) -> None:
        if not self._protocol.waits_for_rest():
            self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """Hangs up on a request whose head has no end, which the parser itself would go on keeping, and on a body that has none."""

    _head = 0
    _in_head = True
    _in_body = False
    _rest = 0
    _giving_up: asyncio.TimerHandle | None = None
    _closing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the one above has it
        super().connection_made(_Patient(transport, self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_body = False
        self._have_rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._giving_up is not None:
            self._rest += len(data)
            if self._rest > REST:
                self._give_up()
                return
        self._head += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head = 0
        elif self._head > HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # one shape for every error
        if not self.transport.is_closing() and not self._closing:
            error = RequestUnreadable()
            body = json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}).encode()
            head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self._give_up()

    def on_message_begin(self) -> None:
        if self._closing:
            raise ValueError("the connection was said to be closed, so nothing more is answered")
        self._unset_keepalive_if_required()
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those that follow a body in chunks come this way too.
        if len(self.headers) >= HEADERS:
            raise ValueError(f"more than {HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
        self._have_rest()

    def on_response_complete(self) -> None:
        if self._in_body and self._giving_up is None:
            self._rest, self._giving_up = 0, self.loop.call_later(REST_SECONDS, self._give_up)
        super().on_response_complete()

    def waits_for_rest(self) -> bool:
        """Whether the connection is kept until the body has come. Who asks wants it closed; asked again, it is."""
        waits = self._in_body and not self._closing and self.cycle.response_complete
        self._closing = True
        return waits

    def _have_rest(self) -> None:
        """The body has come."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
            # As after every answer; what came since has stopped it.
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if self._closing:
            self.transport.close()

    def _give_up(self) -> None:
        self._in_body = False
        self._have_rest()
        self.transport.close()
