"""The HTTP server: a thread for each connection of a client, an answer in one write."""

import hmac
import logging
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from chainstrata.engines.clickhouse.daemon.answer import Answer, code_of, of_error, of_insert, of_result
from chainstrata.engines.clickhouse.daemon.inserts import NoRoom, from_file, received
from chainstrata.engines.clickhouse.daemon.request import BadRequest, Request, credentials, encode, read_request
from chainstrata.engines.clickhouse.daemon.sessions import Sessions, Slot, quote

LOGGER: Final = logging.getLogger("chainstrata.clickhouse.daemon")
USER: Final = "default"
_IDLE: Final = 600.0
_LOOK_EVERY: Final = 0.25
_UNREAD: Final = 1 << 20


class Engine:
    """The engine and what every statement starts from. `failure` is what chdb raises."""

    def __init__(self, sessions: Sessions, *, password: str, defaults: Mapping[str, str], version: str, failure: type[Exception]) -> None:
        self.sessions = sessions
        self.password = password
        self.defaults = dict(defaults)
        self.version = version
        self._failures = (failure, RuntimeError)
        self.running = Running(sessions, self._failures)

    def admits(self, user: str, password: str) -> bool:
        return user == USER and hmac.compare_digest(password.encode("utf-8", "replace"), self.password.encode())

    def run(self, request: Request, query_id: str, connection: socket.socket) -> Answer:
        """Run one statement and return its answer, errors included."""
        try:
            options = request.options
            with self.running.counted(), self.sessions.borrow(options.get("session_id", ""), options, request.text) as slot:
                slot.prepare(options.get("database", ""), {**request.settings, "log_comment": query_id}, self.defaults)
                if request.format:
                    return self._insert(slot, request)
                with self.running.watched(query_id, connection):
                    default = options.get("default_format") or "TabSeparated"
                    result = slot.connection.query(request.text, default, params=request.parameters)
                return of_result(result, request.result_format if request.has_result else "")
        except BadRequest as error:
            return of_error(str(error), error.engine_code, self.version)
        except NoRoom as error:
            return of_error(str(error), 243, self.version)
        except self._failures as error:
            text = str(error)
            at = text.find("Code: ")
            return of_error(text[max(at, 0) :], code_of(text), self.version)

    def _insert(self, slot: Slot, request: Request) -> Answer:
        """Write rows once all of them are here: a client that goes away before the end leaves nothing behind.

        As a file, because the engine's own way to take an insert in parts tells of no error that writing meets: rows on a full disk, or
        against a constraint, would be acknowledged and not be there.
        """
        with received(request.data) as path:
            result = slot.connection.query(from_file(request, path), "Null", params=request.parameters)
            return of_insert(result)


class Running:
    """Statements under way. One whose client has gone is ended, since nobody would hear its answer."""

    def __init__(self, sessions: Sessions, failures: tuple[type[Exception], ...]) -> None:
        self._sessions = sessions
        self._failures: tuple[type[Exception], ...] = (BadRequest, *failures)
        self.count = 0
        self._running: dict[str, socket.socket] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="running", daemon=True)
        self._thread.start()

    @contextmanager
    def watched(self, query_id: str, connection: socket.socket) -> Iterator[None]:
        """Watch the client of a statement for as long as the block runs."""
        with self._lock:
            self._running[query_id] = connection
        try:
            yield
        finally:
            self._end(query_id)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a statement as under way for as long as the block runs."""
        with self._lock:
            self.count += 1
        try:
            yield
        finally:
            with self._lock:
                self.count -= 1

    def _end(self, query_id: str) -> None:
        with self._lock:
            self._running.pop(query_id, None)

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            with self._lock:
                gone = [name for name, connection in self._running.items() if _has_gone(connection)]
            # Again each time until it has ended: one that was only about to begin is not found the first time.
            for name in gone:
                self.cancel(name)

    def cancel(self, query_id: str) -> None:
        """End a statement by the id its client knows it by."""
        find = f"SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {quote(query_id)}"  # noqa: S608  # quoted
        try:
            with self._sessions.borrow(f"cancel {threading.get_ident()}", {}) as slot:
                slot.connection.query(f"KILL QUERY WHERE query_id IN ({find}) ASYNC", "Null")
        except self._failures as error:  # the statement then runs until its time is over
            LOGGER.warning("statement %s of a client that went away could not be ended: %s", query_id, error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def _has_gone(connection: socket.socket) -> bool:
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):
        return True


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    rbufsize = 1 << 16

    def do_GET(self) -> None:  # http.server's name
        if self.path.split("?")[0] == "/ping":
            self._send(Answer(b"Ok.\n"), "")
        else:
            self._answer()

    do_POST = do_GET  # noqa: N815

    @property
    def engine(self) -> Engine:
        assert isinstance(self.server, Server)  # noqa: S101  # nobody else makes one
        return self.server.engine

    def _answer(self) -> None:
        engine = self.engine
        query_id = ""
        try:
            request = read_request(self.path, self.headers, self.rfile)
            query_id = request.options.get("query_id") or self.headers.get("X-ClickHouse-Query-Id") or str(uuid4())
            if engine.admits(*credentials(self.headers, request.options)):
                request.options.setdefault("database", self.headers.get("X-ClickHouse-Database") or "")
                answer = engine.run(request, query_id, self.connection)
            else:
                answer = of_error("Authentication failed: password is incorrect, or there is no user with such name", 516, engine.version)
            # What was not read of the body would be taken for the next request.
            if answer.engine_code and not self._skip(request):
                self.close_connection = True
            self._send(answer, query_id, compress=request.options.get("enable_http_compression") == "1")
        except BadRequest as error:
            self.close_connection = True
            self._send(of_error(str(error), error.engine_code, engine.version), query_id)
        except ValueError as error:
            self.close_connection = True
            self._send(of_error(f"Bad request: {error}", 36, engine.version), query_id)

    def _skip(self, request: Request) -> bool:
        """Read the rest of a refused insert, if it is short."""
        left = _UNREAD
        for part in request.data:
            left -= len(part)
            if left < 0:
                return False
        return True

    def _send(self, answer: Answer, query_id: str, *, compress: bool = False) -> None:
        body, encoding = encode(answer.body, self.headers.get("Accept-Encoding") or "", compress)
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(body)),
            "X-ClickHouse-Server-Display-Name": "chainstrata",
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": answer.summary,
        }
        if query_id.isprintable() and query_id:
            headers["X-ClickHouse-Query-Id"] = query_id
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        if answer.engine_code:
            headers["X-ClickHouse-Exception-Code"] = str(answer.engine_code)
        if encoding:
            headers["Content-Encoding"] = encoding
        if self.close_connection:
            headers["Connection"] = "close"
        head = f"HTTP/1.1 {answer.status} {'OK' if answer.status == 200 else 'Error'}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        # One write: two small ones in a row would each wait for the other side's acknowledgement.
        if len(body) < _UNREAD:
            self.wfile.write(head.encode("latin-1", "replace") + bytes(body))
        else:
            self.wfile.write(head.encode("latin-1", "replace"))
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        LOGGER.debug(format, *args)


class Server(ThreadingMixIn, TCPServer):
    """Serves on a socket it is given, which outlives it: clients wait in its queue while a crashed process is started again."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, listener: socket.socket, engine: Engine) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.engine = engine

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's signature
        LOGGER.debug("a client's connection broke")

    def drain(self, within: float) -> None:
        """Let what is under way come to its end."""
        deadline = monotonic() + within
        waiting = threading.Event()
        while self.engine.running.count and monotonic() < deadline:
            waiting.wait(0.01)
