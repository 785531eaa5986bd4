"""How requests are read from a connection: by the C parser, with a bound on what comes before the body."""

import json
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chainstrata.errors import UsageError

HEAD: Final = 64 * 1024
"""Most bytes of the first line and the headers."""
HEADERS: Final = 200


class RequestUnreadable(UsageError):
    """What came is no HTTP request, or its head is longer than one is read."""

    code = "request_unreadable"

    def __init__(self) -> None:
        super().__init__("the request cannot be read", hint=f"Its address and headers may have {HEAD} bytes and {HEADERS} lines together.")


class BoundedProtocol(HttpToolsProtocol):
    """Hangs up on a request whose head has no end; the parser itself would go on keeping it."""

    _head = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head = 0
        elif self._head > HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # one shape for every error
        error = RequestUnreadable()
        body = json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those that follow a body in chunks come this way too.
        if len(self.headers) >= HEADERS:
            raise ValueError(f"more than {HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        super().on_headers_complete()
