"""The HTTP server inside the node's own event loop: its port is ours before anything is announced."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from chainstrata.errors import ChainStrataError

FIRST_PORT: Final = 8640
LAST_PORT: Final = 8739
# Longest wait for answers under way when the node stops, in seconds. Live tails end with the server.
_FINISH: Final = 5

Application = Callable[..., Any]
"""An ASGI application."""


class AddressError(ChainStrataError):
    """The API cannot listen where it should."""

    code = "address_unusable"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; port 0 takes the first free one from 8640 on. Raises `AddressError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise AddressError(f"node.host {host!r} is no address of this machine: {error.strerror or error}", hint=_HOST_HINT) from error
    for candidate in [port] if port else range(FIRST_PORT, LAST_PORT + 1):
        # The protocol is named, because asyncio sends at once only what it knows to be TCP: else an answer waits 40 ms for its reader's ack.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # A port that a node just left is free again at once, and never shared with another.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address[0], candidate))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and not port:
                continue
            raise _refused(host, candidate, error) from error
        listener.setblocking(False)
        return listener
    raise AddressError(f"no port from {FIRST_PORT} to {LAST_PORT} of {host} is free", hint="Set node.port to one that is.")


_HOST_HINT: Final = "Set node.host to 127.0.0.1, 0.0.0.0 or an address this machine has."


def _refused(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        from chainstrata.engines.postgres.processes import who_listens

        who = who_listens(port)
        message = f"port {port} of {host} is in use" + (f" by {who}" if who else "")
        return AddressError(message, hint="Set node.port to another one, or to 0 to have a free one picked.")
    if error.errno == errno.EACCES:
        return AddressError(f"port {port} of {host} is not for ordinary users", hint="Set node.port to 1024 or higher, or to 0.")
    return AddressError(f"cannot listen on {host} port {port}: {error.strerror}", hint=_HOST_HINT)


def address_of(listener: socket.socket) -> str:
    """Return the address as a browser takes it."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether only this machine itself is reached by this name or address."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class HttpService:
    """Serves an application on a socket that is bound already."""

    name = "http"

    def __init__(self, application: Application, listener: socket.socket) -> None:
        self._application = application
        self._listener = listener

    async def run(self, stop: asyncio.Event) -> None:
        import uvicorn

        from chainstrata.node.protocol import BoundedProtocol

        class Server(uvicorn.Server):
            """Leaves signals to the node: it stops the server as one of several."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        options = uvicorn.Config(
            self._application,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_FINISH,
        )
        server = Server(options)
        # A copy, because the server closes what it is given, and may have to start again.
        serving = asyncio.create_task(server.serve(sockets=[self._listener.dup()]), name="uvicorn")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
        finally:
            stopping.cancel()
            server.should_exit = server.force_exit = True
            if not serving.done():
                await asyncio.wait({serving})
