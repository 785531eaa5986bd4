"""The record of writes: who, what, when, by which request, and what became of it.

A write that is one transaction records itself in it (`record`). A longer one is recorded as begun, and its outcome afterwards
(`witness`), so one that was cut short shows. What cannot be recorded because PostgreSQL is away goes to a file in the home,
fsynced, and from there into the record as soon as it is back; each entry has a name of its own and is there once.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from chainstrata.access.model import Caller, Entry, Outcome, Role
from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.errors import ChainStrataError, EngineError

LOGGER: Final = logging.getLogger("chainstrata.access")
QUERIES: Final = load_queries(__package__)
JOURNAL: Final = "audit.ndjson"
_AT_ONCE: Final = 500


class Audit:
    """The record of one database. `home` is where entries wait while it cannot be reached."""

    def __init__(self, database: Database, home: Path) -> None:
        self._database = database
        self._journal = home / JOURNAL

    async def record(self, connection: Connection, entry: Entry) -> None:
        """Write an entry in the caller's transaction."""
        await connection.execute(QUERIES.record, _row(entry))

    async def add(self, entry: Entry) -> None:
        """Write an entry in a transaction of its own; while PostgreSQL is away, keep it in the file."""
        try:
            await self._database.execute(QUERIES.record, _row(entry))
        except EngineError as error:
            LOGGER.warning("entry %s of the record waits in %s: %s", entry.id, self._journal, error.message)
            await asyncio.to_thread(self._append, entry)

    @asynccontextmanager
    async def witness(self, entry: Entry) -> AsyncIterator[dict[str, Any]]:
        """Record a write that is more than one transaction: as begun now, with its outcome when the block ends.

        Yields a dict for what became of it. An error of ours is a refusal if the request was wrong, else a failure.
        """
        await self.add(entry)
        detail: dict[str, Any] = {}
        try:
            yield detail
        except BaseException as error:
            await asyncio.shield(self.add(replace(entry, outcome=outcome_of(error), detail=describe(error))))
            raise
        await self.add(replace(entry, outcome=Outcome.DONE, detail=detail or None))

    async def catch_up(self) -> int:
        """Write what waits in the file into the record, and return how many entries that were."""
        written = 0
        for path in await asyncio.to_thread(self._set_aside):
            lines = (await asyncio.to_thread(path.read_text, encoding="utf-8")).splitlines()
            entries = [entry for line in lines if (entry := _read(line))]
            for start in range(0, len(entries), _AT_ONCE):
                await self._database.execute_many(QUERIES.record, [_row(entry) for entry in entries[start : start + _AT_ONCE]])
            await asyncio.to_thread(path.unlink)
            written += len(entries)
        return written

    async def list_entries(self, *, before: datetime | None = None, actor: str | None = None, most: int = 100) -> Sequence[Any]:
        """Return entries, the newest first."""
        return await self._database.fetch_all(QUERIES.list_entries, {"before": before, "actor": actor, "most": most})

    def _append(self, entry: Entry) -> None:
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(_plain(entry)) + "\n"
        handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def _set_aside(self) -> list[Path]:
        """Return the files to write into the record; new entries go to another one meanwhile."""
        if self._journal.exists():
            self._journal.rename(self._journal.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}.waiting"))
        return sorted(self._journal.parent.glob(f"{self._journal.stem}.*.waiting"))


def outcome_of(error: BaseException) -> Outcome:
    """Return what an error makes of a write."""
    refused = isinstance(error, ChainStrataError) and error.http_status < 500
    return Outcome.REFUSED if refused else Outcome.FAILED


def describe(error: BaseException) -> dict[str, Any]:
    """Return what the record says of an error."""
    if isinstance(error, ChainStrataError):
        return {"code": error.code, "message": error.message}
    return {"code": "internal", "message": type(error).__name__}


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": entry.caller.name,
        "key_id": entry.caller.key,
        "request": entry.request,
        "action": entry.action,
        "object": entry.object,
        "outcome": entry.outcome.value,
        "detail": Jsonb(dict(entry.detail)) if entry.detail is not None else None,
    }


def _plain(entry: Entry) -> dict[str, Any]:
    row = _row(entry) | {"id": str(entry.id), "at": entry.at.isoformat(), "role": entry.caller.role.value}
    return row | {"detail": dict(entry.detail) if entry.detail is not None else None}


def _read(line: str) -> Entry | None:
    """Return the entry of a line; the last one may be half there, when the machine went down with it."""
    try:
        row = json.loads(line)
        return Entry(
            Caller(row["actor"], Role(row["role"]), row["key_id"]),
            row["action"],
            row["object"],
            row["request"],
            Outcome(row["outcome"]),
            row["detail"],
            datetime.fromisoformat(row["at"]),
            UUID(row["id"]),
        )
    except (ValueError, KeyError, TypeError):
        LOGGER.exception("a line of the record that waited is not readable: %s", line)
        return None
