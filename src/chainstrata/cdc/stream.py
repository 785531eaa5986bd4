"""The replication connection: changes as the server sends them, and our answers.

libpq's functions are used as they are, because the driver has no more than that for replication. What has come is taken in bursts, so
that a row costs a call and no more: not even a copy of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from chainstrata.cdc import wire
from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.messages import NONE, Messages
from chainstrata.cdc.model import show_lsn
from chainstrata.engines.postgres import open_replication, translate
from chainstrata.engines.postgres.waiting import happened

APPLICATION: Final = "chainstrata cdc"
STREAMS_BY: Final = 160_000
"""From this version on transactions can be streamed with what the protocol's fourth version says of those that fail."""
_BURST: Final = 4_000
_EPOCH_SECONDS: Final = 946_684_800
_ANSWER_EVERY: Final = 5.0
_RELEASED_WITHIN: Final = 30.0
_TRY_EVERY: Final = 0.02


class ReplicationStream:
    """One stream of a slot. `server_end` is the end of the server's log as last heard."""

    def __init__(self, driver: "psycopg.AsyncConnection[Any]") -> None:
        self._driver = driver
        self._pgconn = driver.pgconn
        self._readable = asyncio.Event()
        self._written = 0
        self._answered = 0.0
        self.flushed = 0
        self.server_end = 0

    async def read(self, within: float) -> Messages:
        """Return what has come, as soon as something has, at most after `within` seconds. Answers the server on the way."""
        deadline = time.monotonic() + within
        try:
            while True:
                messages = self._take()
                if len(messages) or time.monotonic() >= deadline:
                    self._answer_in_time()
                    return messages
                await self._wait(deadline - time.monotonic())
        except psycopg.Error as error:
            raise translate(error) from error

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything before this position is kept by us: it may forget it."""
        if lsn > self.flushed:
            self.flushed = lsn
            self._answer()

    def keep_alive(self) -> None:
        """Let the server hear from us while nothing is read."""
        self._answer_in_time()

    def _take(self) -> Messages:
        """Return what is there already. What is done for each message is done some hundred thousand times a second."""
        pieces: list[Any] = []
        sizes: list[int] = []
        add, note, read = pieces.append, sizes.append, self._pgconn.get_copy_data
        dry = False
        while len(sizes) < _BURST:
            size, data = read(1)
            if size > 0:
                add(data)
                note(size)
                dry = False
            elif size < 0:
                self._end()
            elif dry:
                break
            else:
                self._pgconn.consume_input()
                dry = True
        if not pieces:
            return NONE
        came = Messages.of(pieces, sizes)
        kinds = came.kinds
        changes = kinds == wire.WAL
        if not changes.all():
            for place in np.flatnonzero(kinds == wire.KEEPALIVE):
                self.server_end, asked = wire.read_keepalive(came.one(int(place)))
                if asked:
                    self._answer()
            came = came.take(changes)
        if len(came):
            last = came.one(len(came) - 1)
            self._written = max(self._written, int.from_bytes(last[1:9]))
            self.server_end = max(self.server_end, int.from_bytes(last[9:17]))
        return came.skip(wire.HEADER)

    def _end(self) -> None:
        """Say why the server ended the stream."""
        result = self._pgconn.get_result()
        said = result.get_error_message() if result is not None else ""
        raise StreamBroken(f"the server ended the stream: {' '.join(said.split()) or 'no reason given'}")

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._readable.clear()
        socket = self._pgconn.socket
        loop.add_reader(socket, self._readable.set)
        try:
            await happened(self._readable, min(max(seconds, 0.0), _ANSWER_EVERY))
        finally:
            loop.remove_reader(socket)
        self._answer_in_time()

    def _answer_in_time(self) -> None:
        if time.monotonic() - self._answered > _ANSWER_EVERY:
            self._answer()

    def _answer(self) -> None:
        clock = int((time.time() - _EPOCH_SECONDS) * 1_000_000)
        self._pgconn.put_copy_data(wire.status(max(self._written, self.flushed), self.flushed, clock))
        self._pgconn.flush()
        self._answered = time.monotonic()


def options(version: int) -> dict[str, str]:
    """Return what to ask of pgoutput on a server of this version."""
    return {
        "proto_version": "4" if version >= STREAMS_BY else "3",
        "binary": "true",
        "streaming": "on",
        "messages": "true",
    }


@asynccontextmanager
async def open_stream(conninfo: str, *, slot: str, publication: str, start: int = 0) -> AsyncIterator[ReplicationStream]:
    """A stream of a slot from a position on, or from where its last answer left it, whichever is later."""
    async with open_replication(conninfo, name=APPLICATION) as driver:
        asked = {**options(driver.info.server_version), "publication_names": publication}
        listed = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in asked.items())
        head = sql.SQL("START_REPLICATION SLOT {} LOGICAL").format(sql.Identifier(slot))
        # A position is neither a name nor a value in this language, so it is put in as what it is.
        statement = b"%s %s (%s)" % (head.as_bytes(driver), show_lsn(start).encode(), listed.as_bytes(driver))
        await _start(driver, statement)
        yield ReplicationStream(driver)


async def _start(driver: "psycopg.AsyncConnection[Any]", statement: bytes) -> None:
    """Begin a stream. A reader before us that is gone holds on to the slot until the server has noticed."""
    never = asyncio.Event()
    deadline = time.monotonic() + _RELEASED_WITHIN
    while True:
        try:
            await driver.execute(statement)
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
        else:
            return
        await happened(never, _TRY_EVERY)
