"""One HTTP request, read: who asks, what for, with which settings, and the body as a stream."""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from io import BufferedIOBase
from typing import Final
from urllib.parse import parse_qsl, urlsplit

CHUNK: Final = 1 << 20
# Parameters of the protocol itself; whatever else stands in the address is a setting of the engine.
PROTOCOL: Final = frozenset(
    {
        "query", "query_id", "database", "user", "password", "session_id", "session_timeout", "session_check", "quota_key", "role",
        "default_format", "compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression", "http_zlib_compression_level",
        "cancel_http_readonly_queries_on_client_close", "close_session", "framing",
    }
)  # fmt: skip
PARAMETER: Final = "param_"
_COMMENTS: Final = rb"\s*(?:/\*.*?\*/\s*)*"
_INSERT: Final = re.compile(
    rb"\A(" + _COMMENTS + rb"INSERT\s+INTO\b(?:(?!\b(?:VALUES|SELECT)\b).)*?)\bFORMAT\s+(\w+)[ \t]*;?(\r?\n|\s*\Z)",
    re.IGNORECASE | re.DOTALL,
)
_IS_INSERT: Final = re.compile(rb"\A" + _COMMENTS + rb"INSERT\s+INTO\b", re.IGNORECASE | re.DOTALL)
_RESULT: Final = re.compile(
    r"\A[\s(]*(?:/\*.*?\*/[\s(]*)*(SELECT|WITH|SHOW|DESCRIBE|DESC|EXISTS|EXPLAIN|CHECK|BACKUP|RESTORE|KILL|VALUES|FROM)\b",
    re.IGNORECASE | re.DOTALL,
)
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)


Headers = Message


class BadRequest(Exception):
    """The request breaks the protocol. `engine_code` is the code a ClickHouse answers with."""

    def __init__(self, message: str, engine_code: int = 36) -> None:
        super().__init__(message)
        self.engine_code = engine_code


@dataclass(slots=True)
class Request:
    """What a client asks for. `text` is the whole statement; for an insert with data `format` is set and `data` has the rows."""

    text: str
    parameters: dict[str, str]
    settings: dict[str, str]
    options: dict[str, str]
    format: str = ""
    data: Iterator[bytes] = field(default_factory=lambda: iter(()))

    @property
    def has_result(self) -> bool:
        """Whether the statement answers with rows."""
        return bool(_RESULT.match(self.text))

    @property
    def result_format(self) -> str:
        found = _FORMAT.search(self.text)
        return found[1] if found else self.options.get("default_format") or "TabSeparated"


def read_body(headers: Headers, file: BufferedIOBase) -> Iterator[bytes]:
    """Yield the body as it arrives, with the compression the client chose undone."""
    return _decoded(_raw(headers, file), str(headers.get("Content-Encoding", "")).lower())


def _raw(headers: Headers, file: BufferedIOBase) -> Iterator[bytes]:
    if "chunked" in str(headers.get("Transfer-Encoding", "")).lower():
        yield from _chunks(file)
        return
    left = int(headers.get("Content-Length") or 0)
    while left:
        part = file.read(min(left, CHUNK))
        if not part:
            raise ConnectionResetError("the client went away within its request")
        left -= len(part)
        yield part


def _chunks(file: BufferedIOBase) -> Iterator[bytes]:
    while True:
        line = file.readline(1024)
        if not line:
            raise ConnectionResetError("the client went away within its request")
        left = int(line.split(b";")[0], 16)
        if not left:
            while file.readline(65_536) not in (b"\r\n", b"\n", b""):
                pass
            return
        while left:
            part = file.read(min(left, CHUNK))
            if not part:
                raise ConnectionResetError("the client went away within its request")
            left -= len(part)
            yield part
        file.readline(8)


def _decoded(parts: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from parts
    elif encoding in ("gzip", "deflate"):
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        for part in parts:
            yield inflate.decompress(part)
        yield inflate.flush()
    elif encoding == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        frame = LZ4FrameDecompressor()
        for part in parts:
            yield frame.decompress(part)
    elif encoding == "zstd":
        from clickhouse_connect.driver.compression import _zstd_decompress  # the client's own choice of a library

        yield _zstd_decompress(b"".join(parts))
    else:
        raise BadRequest(f"Unknown compression method: {encoding}", 89)


def encode(body: "bytes | memoryview", accepted: str, wanted: bool) -> tuple["bytes | memoryview", str]:
    """Return the answer compressed in a way the client reads, and what that way is called; small answers stay plain."""
    if not wanted or len(body) < 4096:
        return body, ""
    names = [name.split(";")[0].strip().lower() for name in accepted.split(",")]
    if "lz4" in names:
        from lz4 import frame

        return bytes(frame.compress(body)), "lz4"
    if "gzip" in names:
        return gzip.compress(body, compresslevel=1), "gzip"
    return body, ""


def read_request(path: str, headers: Headers, file: BufferedIOBase) -> Request:
    """Read a request. The body of an insert is left to be read as it arrives; any other is read now."""
    options = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True, errors="surrogateescape"))
    body = read_body(headers, file)
    if str(headers.get("Content-Type", "")).startswith("multipart/form-data"):
        options |= _form(headers, b"".join(body))
        body = iter(())
    request = Request(
        "",
        {name[len(PARAMETER) :]: value for name, value in options.items() if name.startswith(PARAMETER)},
        {name: value for name, value in options.items() if name not in PROTOCOL and not name.startswith(PARAMETER)},
        {name: value for name, value in options.items() if name in PROTOCOL},
    )
    _split(request, options.get("query", "").encode("utf-8", "surrogateescape"), body)
    return request


def _form(headers: Headers, body: bytes) -> dict[str, str]:
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    fields = {}
    for part in form.iter_parts():
        if part.get_filename():
            raise BadRequest("External data is not supported by the embedded engine", 48)
        content = part.get_payload(decode=True)
        fields[str(part.get_param("name", header="Content-Disposition"))] = bytes(content or b"").decode("utf-8", "surrogateescape")
    return fields


def _split(request: Request, query: bytes, body: Iterator[bytes]) -> None:
    """Tell the statement from the rows that may follow it."""
    if query and _IS_INSERT.match(query):
        found = _INSERT.match(query)
        if found:
            rest = query[found.end() :]
            _insert(request, found, (part for source in ((rest,) if rest else (), body) for part in source))
            return
    head = query
    for part in body:
        head = head + b"\n" + part if head == query and query else head + part
        if _IS_INSERT.match(head) and (found := _INSERT.match(head)) and found[3]:
            rest = head[found.end() :]
            _insert(request, found, (part for source in ((rest,) if rest else (), body) for part in source))
            return
    request.text = head.decode("utf-8", "surrogateescape").strip().rstrip(";")


def _insert(request: Request, found: "re.Match[bytes]", data: Iterator[bytes]) -> None:
    request.text = found[1].decode("utf-8", "surrogateescape").strip()
    request.format = found[2].decode()
    request.data = data


def credentials(headers: Headers, options: Mapping[str, str]) -> tuple[str, str]:
    """Return user and password, however the client gave them."""
    from base64 import b64decode

    basic = headers.get("Authorization") or ""
    if basic.startswith("Basic "):
        try:
            user, _, password = b64decode(basic[6:]).decode().partition(":")
        except ValueError:
            return "", ""
        return user, password
    named = headers.get("X-ClickHouse-User")
    if named is not None:
        return named, headers.get("X-ClickHouse-Key") or ""
    return options.get("user", ""), options.get("password", "")
