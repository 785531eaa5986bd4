"""How long readers and writers wait while something else is done to their table: watched from a process of their own."""

import multiprocessing
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection as Pipe
from time import monotonic
from typing import Any

import psycopg

_CONTEXT = multiprocessing.get_context("spawn")


class Watchers:
    """Statements that are run over and over, each on a connection of its own."""

    def __init__(self, conninfo: str, statements: Mapping[str, str]) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, conninfo, dict(statements)), daemon=True)
        self._process.start()

    def start(self) -> None:
        """Begin to watch; returns once every statement has been run."""
        self._pipe.send("start")
        self._pipe.recv()

    def stop(self) -> dict[str, float]:
        """Return the longest that each statement took since `start`, in seconds."""
        self._pipe.send("stop")
        longest: dict[str, float] = self._pipe.recv()
        return longest

    def close(self) -> None:
        self._pipe.send("close")
        self._process.join(10)


def _serve(pipe: "Pipe[Any, Any]", conninfo: str, statements: dict[str, str]) -> None:
    while pipe.recv() == "start":
        watches = [_Watch(conninfo, name, statement) for name, statement in statements.items()]
        for watch in watches:
            watch.begun.wait(30)
        pipe.send("begun")
        pipe.recv()
        pipe.send({watch.name: watch.stop() for watch in watches})


class _Watch:
    def __init__(self, conninfo: str, name: str, statement: str) -> None:
        self.name = name
        self.begun = threading.Event()
        self._conninfo = conninfo
        self._statement = statement
        self._ended = threading.Event()
        self._longest = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join(120)
        return self._longest

    def _run(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(self._statement.encode())
            self.begun.set()
            while not self._ended.is_set():
                began = monotonic()
                connection.execute(self._statement.encode())
                self._longest = max(self._longest, monotonic() - began)
