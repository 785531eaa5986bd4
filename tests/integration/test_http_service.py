"""The HTTP server by itself: what it makes of requests that are none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from chainstrata.node.http import HttpService, bind
from chainstrata.node.protocol import HEAD, HEADERS


async def answer(scope: Any, _: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    stop = asyncio.Event()
    with bind("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(HttpService(answer, listener).run(stop))
        yield listener.getsockname()[1]
        stop.set()
        await serving


async def say(port: int, pieces: Iterator[bytes]) -> bytes:
    """Send until nobody listens any more; return what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if got.done():
                break
    writer.close()
    with suppress(ConnectionError):
        return await asyncio.wait_for(got, 20)
    return b""


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    for _ in range(50_000):
        yield piece
    raise AssertionError("it never hung up")


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        pytest.param(b"GET /", b"a" * 4096, id="address"),
        pytest.param(b"GET / HTTP/1.1\r\nx: ", b"a" * 4096, id="header"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 50, id="headers"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 50, id="trailers"),
        pytest.param(b"what\r\n\r\n", b"what" * 1000, id="no request"),
    ],
)
async def test_a_request_without_end_is_hung_up_on(port: int, start: bytes, piece: bytes) -> None:
    assert HEAD > HEADERS
    assert b"200 OK" not in await say(port, endless(start, piece)) or start.startswith(b"POST")


async def test_one_after_the_other_on_one_connection_however_long_together(port: int) -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\nx: %s\r\n\r\n" % (number, b"a" * 2000) for number in range(100))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(requests)
    await writer.drain()
    for _ in range(100):
        assert (await asyncio.wait_for(reader.readuntil(b"ok"), 20)).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
