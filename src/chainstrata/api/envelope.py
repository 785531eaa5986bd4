"""One shape for every answer with rows, and its freshness: in the headers, and in the answer itself where that is not a stream.

    {"data": [...], "page": {"next": ..., "limit": ...}, "freshness": {...}}

An answer to a request that names what it has already (`If-None-Match`) is empty while the rows are the same.
"""

import hashlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.ipc
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json

from chainstrata.query import Freshness, Page

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
SMALL: Final = 1024
"""Answers below so many bytes are not worth packing."""
_FAST: Final = 1


class FreshnessAnswer(BaseModel):
    """How fresh the answer is."""

    lsn: str | None = Field(
        description="Everything committed before this position of the log is in the answer; null where it is not made from PostgreSQL."
    )
    read_at: datetime = Field(description="When it was read.")
    latest: datetime | None = Field(description="The dataset has rows up to this time, or later ones.")
    as_of: datetime | None = Field(description="The time it was asked for.")
    open: bool | None = Field(description="Whether it holds a bucket that has not ended.")
    final: bool | None = Field(description="Whether all of it is beyond being undone by a reorg; null where the dataset does not tell.")


class PageAnswer(BaseModel):
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
    limit: int


class RowsAnswer(BaseModel):
    """Rows with their freshness. Exact numbers are text, whole ones of 64 bits a number as long as a double holds them."""

    data: list[dict[str, Any]]
    page: PageAnswer
    freshness: FreshnessAnswer


def freshness_headers(freshness: Freshness) -> dict[str, str]:
    """Return the freshness as headers, `X-Freshness-Lsn` and so on; what is not known is left out."""
    return {header: _shown(value) for name, header in _HEADERS if (value := getattr(freshness, name)) is not None}


_HEADERS: Final = tuple((field.name, f"X-Freshness-{field.name.replace('_', '-').title()}") for field in fields(Freshness))


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
    return str(value).lower() if isinstance(value, bool) else str(value)


def answer_page(request: Request, page: Page, limit: int, freshness: Freshness) -> Response:
    """Return a page in the envelope, packed if the caller takes that, or 304 if they have these rows already."""
    return answer_rows(request, f"[{','.join(page.rows)}]".encode(), limit, freshness, next=page.next)


def answer_rows(request: Request, rows: bytes, limit: int, freshness: Freshness, *, next: str | None = None) -> Response:  # noqa: A002
    """Return rows, a JSON list of objects, in the envelope."""
    data = b'"data":%b,"page":%b' % (rows, to_json({"next": next, "limit": limit}))
    tag = f'W/"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept, Accept-Encoding, Authorization", **freshness_headers(freshness)}
    if {"*", tag} & {given.strip() for given in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    body = b'{%b,"freshness":%b}' % (data, to_json(freshness))
    packing = accepted_packing(request) if len(body) >= SMALL else ""
    if packing:
        packer = pack(packing)
        body = packer.add(body) + packer.end()
        headers["Content-Encoding"] = packing
    return Response(body, headers=headers, media_type=JSON)


def answer_stream(request: Request, chunks: AsyncIterator[bytes], freshness: Freshness, media_type: str) -> Response:
    """Return a stream, packed on the way if the caller takes that. Freshness is in the headers."""
    packing = accepted_packing(request)
    headers = {**freshness_headers(freshness), "Cache-Control": "no-store", "Vary": "Accept, Accept-Encoding, Authorization"}
    if packing:
        headers["Content-Encoding"] = packing
        chunks = _packed(chunks, packing)
    return StreamingResponse(chunks, headers=headers, media_type=media_type)


async def _packed(chunks: AsyncIterator[bytes], packing: str) -> AsyncIterator[bytes]:
    packer = pack(packing)
    async for chunk in chunks:
        if packed := packer.add(chunk):
            yield packed
    yield packer.end()


def accepted_packing(request: Request) -> str:
    """Return how the caller takes answers packed: zstd, gzip or not at all."""
    found: dict[str, float] = {}
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.partition(";")
        found[name.strip()] = 0.0 if weight.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") else 1.0
    return next((name for name in ("zstd", "gzip") if found.get(name, 0.0) > 0), "")


class Packer(Protocol):
    """Packs a stream a piece at a time."""

    def add(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(_FAST, wbits=31)

    def add(self, piece: bytes) -> bytes:
        return self._inner.compress(piece)

    def end(self) -> bytes:
        return self._inner.flush()


class _Sink:
    """A file that gives back what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def writable(self) -> bool:
        return True


class ArrowWriter:
    """Writes record batches as an Arrow IPC stream, a piece at a time."""

    def __init__(self, schema: Any) -> None:
        self._sink = _Sink()
        self._inner = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), schema)

    def add(self, batch: Any) -> bytes:
        self._inner.write_batch(batch)
        return self._sink.take()

    def end(self) -> bytes:
        self._inner.close()
        return self._sink.take()


class _Zstd:
    def __init__(self) -> None:
        self._sink = _Sink()
        self._inner = pa.CompressedOutputStream(pa.PythonFile(self._sink, mode="w"), "zstd")

    def add(self, piece: bytes) -> bytes:
        self._inner.write(piece)
        return self._sink.take()

    def end(self) -> bytes:
        self._inner.close()
        return self._sink.take()


def pack(packing: str) -> Packer:
    """Return what packs a stream as gzip or zstd."""
    return _Gzip() if packing == "gzip" else _Zstd()
