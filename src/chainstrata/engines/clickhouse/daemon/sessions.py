"""Connections to the engine: a few for everybody, and one for each session a client asks for.

Settings and the database in use belong to a connection, so a connection remembers what it was told and is told only what
differs. Whatever a client sets for one statement is gone at the next. A session keeps what its client set by `SET`, and its
temporary tables, for as long as the client said.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from time import monotonic
from typing import Any, Final

from chainstrata.engines.clickhouse.daemon.request import BadRequest

_NAME: Final = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.]*\Z")
# Statements whose effect outlives them: only a session keeps it.
_STAYS: Final = re.compile(r"\s*(SET|USE|CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY)\b", re.IGNORECASE)
_LONGEST_SESSION: Final = 3600.0
_SHORTEST_SESSION: Final = 60.0
_MANY_SESSIONS: Final = 256


class TooMany(BadRequest):
    """Every connection is busy, and stayed so."""


def quote(text: str) -> str:
    """Return a text as a literal of the engine's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Slot:
    """One connection to the engine. Used by one thread at a time."""

    def __init__(self, connection: Any, database: str) -> None:
        self.connection = connection
        self.busy = threading.Lock()
        self.ends = 0.0
        self._given: dict[str, str] = {}
        self._home = database
        self._database = ""

    def prepare(self, database: str, settings: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        """Bring database and settings to what a statement wants, and nothing else."""
        wanted = {**defaults, **settings}
        for name in wanted:
            if not _NAME.match(name):
                raise BadRequest(f"Setting {name!r} is not a name", 115)
        changed = {name: quote(value) for name, value in wanted.items() if self._given.get(name) != value}
        changed |= {name: "DEFAULT" for name in self._given if name not in wanted}
        if changed:
            try:
                self._tell(changed)
            except Exception:
                self._forget(changed)
                raise
            self._given = wanted
        target = database or self._home
        if target != self._database:
            self._database = ""
            self.connection.query("USE `" + target.replace("\\", "\\\\").replace("`", "\\`") + "`", "Null")
            self._database = target

    def _tell(self, settings: Mapping[str, str]) -> None:
        self.connection.query("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()), "Null")

    def _forget(self, names: Iterable[str]) -> None:
        """Bring settings back to their defaults after some of them were refused."""
        for name in names:
            self._given.pop(name, None)
            # Refused again: there is no such setting.
            with suppress(Exception):
                self._tell({name: "DEFAULT"})

    def renew(self, connection: Any) -> None:
        """Take a new connection, so that nothing of what a statement left on the old one stays."""
        self.close()
        self.connection, self._given, self._database = connection, {}, ""

    def close(self) -> None:
        self.connection.close()


class Sessions:
    """All connections of the process. `open_connection` makes one."""

    def __init__(self, open_connection: Any, *, shared: int, database: str, patience: float) -> None:
        self._open = open_connection
        self._database = database
        self._patience = patience
        self._idle: LifoQueue[Slot] = LifoQueue()
        self._all: list[Slot] = []
        self._own: dict[str, Slot] = {}
        self._lock = threading.Lock()
        for _ in range(shared):
            self._idle.put(self._make())

    def _make(self) -> Slot:
        slot = Slot(self._open(), self._database)
        self._all.append(slot)
        return slot

    @contextmanager
    def borrow(self, session: str, options: Mapping[str, str], statement: str = "") -> Iterator[Slot]:
        """Yield a connection for one statement; raise `TooMany` when none becomes free, or the session is busy."""
        if session:
            slot = self._session(session, options)
            try:
                yield slot
            finally:
                slot.ends = monotonic() + _seconds(options)
                slot.busy.release()
            return
        try:
            slot = self._idle.get(timeout=self._patience)
        except Empty:
            raise TooMany("Too many simultaneous queries", 202) from None
        try:
            yield slot
        finally:
            if _STAYS.match(statement):
                slot.renew(self._open())
            self._idle.put(slot)

    def _session(self, name: str, options: Mapping[str, str]) -> Slot:
        with self._lock:
            self._expire()
            slot = self._own.get(name)
            if slot is None:
                if options.get("session_check") == "1":
                    raise BadRequest(f"Session {name} not found", 372)
                if len(self._own) >= _MANY_SESSIONS:
                    raise TooMany("Too many sessions", 202)
                slot = self._own[name] = self._make()
            if not slot.busy.acquire(blocking=False):
                raise TooMany(f"Session {name} is locked by a concurrent client", 373)
        return slot

    def _expire(self) -> None:
        now = monotonic()
        for name, slot in list(self._own.items()):
            if slot.ends and slot.ends < now and slot.busy.acquire(blocking=False):
                del self._own[name]
                self._all.remove(slot)
                slot.close()

    def close(self) -> None:
        """Close every connection; the last one closes the engine, which then has everything on disk."""
        for slot in self._all:
            slot.close()
        self._all.clear()


def _seconds(options: Mapping[str, str]) -> float:
    given = options.get("session_timeout", "")
    return min(float(given) if given.isdigit() else _SHORTEST_SESSION, _LONGEST_SESSION)
