"""`python -m chainstrata.engines.clickhouse.daemon`: what `EmbeddedClickHouse` starts. Its order comes on standard input."""

import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any

from chainstrata.engines.clickhouse.daemon.server import Engine, Server
from chainstrata.engines.clickhouse.daemon.sessions import Sessions, quote


def main() -> int:
    """Open the data, serve until SIGTERM, close the data."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    logging.basicConfig(level=order["log_level"].upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    # Ctrl-C in a terminal reaches the whole group; the node alone decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    import chdb
    from chdb import ChdbError

    connect: Any = chdb.connect
    address = f"{order['data']}?config-file={order['config']}"
    engine = _open(order, lambda: connect(address), ChdbError)
    # Once the engine has its own handlers, ours again.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = Server(socket.socket(fileno=order["listener"]), engine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="accept", daemon=True)
    thread.start()
    os.write(sys.stdout.fileno(), f"ready {engine.version}\n".encode())
    stop.wait()
    server.shutdown()
    server.drain(order["grace"])
    engine.running.close()
    engine.sessions.close()
    logging.shutdown()
    # Threads of clients that are still connected have nothing left to do.
    os._exit(0)


def _open(order: dict[str, Any], connect: Any, failure: type[Exception]) -> Engine:
    first = connect()
    version = first.query("SELECT version()", "TabSeparatedRaw").bytes().decode().strip()
    first.query(f"CREATE DATABASE IF NOT EXISTS `{order['database']}` ENGINE = Atomic COMMENT {quote('chainstrata')}", "Null")
    sessions = Sessions(connect, shared=order["connections"], database=order["database"], patience=order["patience"])
    engine = Engine(sessions, password=order["password"], defaults=order["defaults"], version=version, failure=failure)
    first.close()
    return engine


if __name__ == "__main__":
    sys.exit(main())
