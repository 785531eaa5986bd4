"""An answer that is there before all of the body came reaches who is still sending it, whatever they send with."""

import asyncio
import io
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection
from typing import Any, NoReturn

import aiohttp
import httpx
import pytest
import requests

from chainstrata.api import bodies
from chainstrata.engines.postgres.waiting import happened
from chainstrata.node import Platform
from chainstrata.node.protocol import REST, REST_SECONDS
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.postgres import Server
from tests.fixtures.served import Served, serve

SIZE = 12 * bodies.MB
PIECE = b" " * 100_000
Answer = tuple[int, dict[str, Any]]
ROWS = "/api/v1/ingest/demo.prices"


@pytest.fixture(scope="module")
def served(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give the API on a socket, served from a thread, which takes a megabyte of rows at a time."""

    async def fill(platform: Platform) -> None:
        await create_demo(platform.database, platform.catalog)

    settings: dict[str, Any] = {"ingest__payload_bytes": bodies.MB, "api__local_reads": False}
    with serve(server, demo_catalog(), tmp_path_factory.mktemp("home"), prepare=fill, **settings) as found:
        yield found


def headers_of(served: Served, *, key: bool = True) -> dict[str, str]:
    return {"Content-Type": "application/x-ndjson"} | ({"Authorization": f"Bearer {served.key}"} if key else {})


def pieces(size: int = SIZE) -> Iterator[bytes]:
    for _ in range(size // len(PIECE)):
        yield PIECE


async def apieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


async def by_httpx(url: str, headers: dict[str, str], chunked: bool) -> Answer:
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, headers=headers, content=apieces() if chunked else b" " * SIZE)
        return answer.status_code, answer.json()


async def by_aiohttp(url: str, headers: dict[str, str], chunked: bool) -> Answer:
    made: list[socket.socket] = []

    def make(address: Any) -> socket.socket:
        made.append(socket.socket(*address[:3]))
        return made[-1]

    data = apieces() if chunked else io.BytesIO(b" " * SIZE)
    connector = aiohttp.TCPConnector(socket_factory=make)
    async with aiohttp.ClientSession(connector=connector) as client, client.post(url, headers=headers, data=data) as answer:
        found = answer.status, await answer.json()
    # It does not wait until what it closes is closed.
    async with asyncio.timeout(20):
        while any(one.fileno() >= 0 for one in made):
            await happened(asyncio.Event(), 0.01)
    return found


async def by_requests(url: str, headers: dict[str, str], chunked: bool) -> Answer:
    def ask() -> Answer:
        answer = requests.post(url, headers=headers, data=pieces() if chunked else b" " * SIZE, timeout=30)
        return answer.status_code, answer.json()

    return await asyncio.to_thread(ask)


async def by_http_client(url: str, headers: dict[str, str], chunked: bool) -> Answer:
    def ask() -> Answer:
        host, slash, path = url.removeprefix("http://").partition("/")
        connection = HTTPConnection(host, timeout=30)
        try:
            connection.request("POST", slash + path, pieces() if chunked else b" " * SIZE, headers, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def by_curl(url: str, headers: dict[str, str], chunked: bool) -> Answer:
    given = headers | ({"Transfer-Encoding": "chunked"} if chunked else {})
    flags = [part for name, value in given.items() for part in ("-H", f"{name}: {value}")]
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "30", url, *flags, "-H", "Expect:", "--data-binary", "@-", "-w", "\n%{http_code}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate(b" " * SIZE)
    assert process.returncode == 0, complaint
    body, _, status = said.rpartition(b"\n")
    return int(status), json.loads(body)


Client = Callable[[str, dict[str, str], bool], Awaitable[Answer]]
CLIENTS: dict[str, Client] = {
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
    "requests": by_requests,
    "http.client": by_http_client,
    "curl": by_curl,
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_who_sends_too_much_is_told_so(served: Served, name: str, absent: Callable[[str], NoReturn]) -> None:
    if name == "curl" and shutil.which(name) is None:
        absent("curl is not here")
    for path in (ROWS, "/api/v1/keys"):
        for chunked in (False, True):
            status, told = await CLIENTS[name](served.address + path, headers_of(served), chunked)
            assert (status, told["error"]["code"]) == (413, "body_too_large"), (path, chunked)
    # Whatever else keeps a body from being read is told just so.
    for chunked in (False, True):
        status, told = await CLIENTS[name](served.address + ROWS, headers_of(served, key=False), chunked)
        assert (status, told["error"]["code"]) == (401, "key_missing"), chunked


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> Answer:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def head_of(served: Served, *lines: str, key: bool = False) -> bytes:
    headers = [f"{name}: {value}" for name, value in headers_of(served, key=key).items()]
    return "\r\n".join([f"POST {ROWS} HTTP/1.1", "Host: x", *headers, *lines, "", ""]).encode()


async def test_a_size_that_is_said_is_answered_before_the_body(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(head_of(served, f"Content-Length: {SIZE}", "Expect: 100-continue", key=True))
        assert (await answer_of(reader))[0] == 413


async def test_a_connection_goes_on_after_a_body_that_nobody_wanted(served: Served) -> None:
    async with connected(served) as (reader, writer):
        whole = head_of(served, f"Content-Length: {bodies.MB // 2}") + b" " * (bodies.MB // 2)
        for _ in range(3):
            writer.write(whole)
            assert (await answer_of(reader))[0] == 401


async def test_a_connection_goes_on_after_the_head_of_a_stream(served: Served) -> None:
    paths = ("datasets/demo.prices/rows?format=ndjson", "datasets/demo.prices/tail", "datasets", "datasets/demo.prices/rows?limit=0")
    async with connected(served) as (reader, writer):
        for path, status in zip(paths, (200, 200, 200, 422), strict=True):
            writer.write(f"HEAD /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n\r\n".encode())
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
            assert int(head.split()[1]) == status, head


async def test_a_body_without_end_is_hung_up_on_after_its_answer(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(head_of(served, "Transfer-Encoding: chunked"))
        assert (await answer_of(reader))[0] == 401
        sent = 0
        with suppress(ConnectionError):
            while sent < 4 * REST:
                writer.write(b"186a0\r\n" + PIECE + b"\r\n")
                sent += len(PIECE)
                await asyncio.wait_for(writer.drain(), 20)
        assert sent < 2 * REST


@pytest.mark.long
async def test_a_body_that_does_not_come_is_hung_up_on_after_its_answer(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(head_of(served, f"Content-Length: {SIZE}", "Connection: close"))
        assert (await answer_of(reader))[0] == 401
        assert await asyncio.wait_for(reader.read(), 2 * REST_SECONDS) == b""


async def test_nothing_is_answered_on_a_connection_that_is_to_be_closed(served: Served) -> None:
    async with connected(served) as (reader, writer):
        one = head_of(served, "Content-Length: 5", "Connection: close")
        writer.write(one + b"abcd")
        assert (await answer_of(reader))[0] == 401
        writer.write(b"e" + one + b"abcde")
        assert await asyncio.wait_for(reader.read(), 5) == b""
