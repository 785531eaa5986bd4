"""Batches of the spool on their way into PostgreSQL: in order, each exactly once.

Every batch bears a name that is taken in the transaction that writes its rows, so one that was written just before the process died
is only let go. A long one is written in pieces, a transaction each, and taken up where it was cut short; a strict one is whole or not.
So is one whose writer never heard what became of it: it was written under the name it is spooled under, or not at all.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chainstrata.engines.postgres import Database, errors
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.ingest.errors import BatchRefused, UnfitColumn
from chainstrata.ingest.formats import ROWS_AT_ONCE
from chainstrata.ingest.model import Answer, Piece
from chainstrata.ingest.python_rows import Taken
from chainstrata.ingest.runner import Ingest
from chainstrata.ingest.spool import Damaged, Entry, Header, Spool, Waiting
from chainstrata.packs.strata.quarantine import Reason, Refused, reason_for

LOGGER: Final = logging.getLogger("chainstrata.ingest")
AWAY: Final = (
    errors.CannotConnect,
    errors.ConnectionLost,
    errors.PoolTimeout,
    errors.DiskFull,
    errors.ResourceExhausted,
    errors.ReadOnly,
)
"""What says that PostgreSQL takes nothing now, whatever the rows are."""
EVERY: Final = 1.0


@dataclass(slots=True)
class Replayed:
    """What one replay did. `stuck` says of a dataset why its batches stay."""

    batches: int = 0
    rows: int = 0
    damaged: int = 0
    stuck: dict[str, str] = field(default_factory=dict)


class _Stays(Exception):
    """A batch that cannot be written now, and why. What comes after it of the same dataset waits too."""


class _Away(_Stays):
    """PostgreSQL takes nothing now. Nothing is wrong with the batch."""


class Replayer:
    """Writes what waits in a spool. `stuck` says of a dataset why its oldest batch stays."""

    def __init__(self, ingest: Ingest, database: Database, spool: Spool, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._ingest = ingest
        self._rows_at_once = rows_at_once
        self._database = database
        self._spool = spool
        self.stuck: dict[str, str] = {}
        self.moved = asyncio.Event()
        """Set whenever a batch went or a replay ended; whoever waits for that clears it."""
        self.is_busy = False
        self.is_running = False

    async def run(self, stop: asyncio.Event) -> None:
        """Replay whatever comes, until it is asked to stop."""
        self.is_running = True
        try:
            while not stop.is_set():
                # Again at once as long as something went: callers wait for the spool to be empty, and must see it so.
                waits = bool(await asyncio.to_thread(self._spool.list_datasets))
                if not (waits and (await self._replay((), stop)).batches):
                    self.is_busy = False
                    await happened(stop, EVERY)
        finally:
            self.is_running = self.is_busy = False

    async def replay(self, datasets: Sequence[str] = ()) -> Replayed:
        """Write what waits, of some datasets or of all, as far as PostgreSQL takes it."""
        try:
            return await self._replay(datasets, asyncio.Event())
        finally:
            self.is_busy = False

    async def _replay(self, datasets: Sequence[str], stop: asyncio.Event) -> Replayed:
        done = Replayed()
        try:
            for dataset in datasets or await asyncio.to_thread(self._spool.list_datasets):
                with self._spool.replaying(dataset) as is_ours:
                    if is_ours:
                        await self._drain(dataset, stop, done)
        finally:
            self.moved.set()
        return done

    async def _drain(self, dataset: str, stop: asyncio.Event, done: Replayed) -> None:
        """Write the batches of a dataset until none is left, those that come meanwhile too."""
        while waiting := await asyncio.to_thread(self._spool.list_waiting, dataset):
            for one in waiting:
                if stop.is_set():
                    return
                try:
                    entry = await asyncio.to_thread(self._spool.read, one.path)
                    done.rows += (await self._write(entry, stop)).rows
                    done.batches += 1
                    # Said at once, because callers who wait for the spool to drain give up where it is stuck.
                    self.stuck.pop(dataset, None)
                    await asyncio.to_thread(self._spool.remove, one.path)
                except FileNotFoundError:
                    continue
                except Damaged as error:
                    done.damaged += 1
                    await self._set_aside(one, error)
                except _Stays as error:
                    done.stuck[dataset] = str(error)
                    self._note(dataset, error)
                    return
                finally:
                    self.moved.set()

    def _note(self, dataset: str, error: _Stays) -> None:
        if isinstance(error, _Away):
            self.stuck.pop(dataset, None)
            return
        if dataset not in self.stuck:
            LOGGER.warning("batches of %s stay in the spool: %s", dataset, error)
        self.stuck[dataset] = str(error)

    async def _set_aside(self, waiting: Waiting, error: Damaged) -> None:
        place = await asyncio.to_thread(self._spool.set_aside, waiting.path)
        LOGGER.error("a batch of %s in the spool is damaged: %s; it is kept as %s", waiting.dataset, error, place)

    async def _write(self, entry: Entry, stop: asyncio.Event) -> Answer:
        header = entry.header
        try:
            await self._reach()
            self.is_busy = True
            taken = await self._ingest.count_taken(header.dataset, header.batch)
            if taken is None:
                return Answer(header.dataset, accepted=header.rows, repeated=True)
            return await self._take_pieces(entry, taken, stop)
        except AWAY as error:
            self.is_busy = False
            raise _Away(error.message) from error
        except ChainStrataError as error:
            raise _Stays(error.message) from error

    async def _take_pieces(self, entry: Entry, start: int, stop: asyncio.Event) -> Answer:
        """Write what is left of a batch, so much at a time that neither a transaction nor what it would have to do again is long."""
        header, rows = entry.header, int(entry.rows.num_rows)
        if header.strict or rows <= self._rows_at_once:
            return await self._take(entry.taken, header, None)
        done = Answer(header.dataset)
        taken: int | None = start
        while taken is not None and taken < rows:
            if stop.is_set():
                raise _Away("it was asked to stop")
            piece = Piece(taken, min(rows, taken + self._rows_at_once), rows)
            # Lines that are no rows go with the first.
            lines = entry.taken.malformed if not taken else []
            done += await self._take(Taken(entry.rows.slice(piece.start, piece.end - piece.start), lines), header, piece)
            taken = await self._ingest.count_taken(header.dataset, header.batch)
        return done

    async def _take(self, taken: Taken, header: Header, piece: Piece | None) -> Answer:
        problem: Refused
        try:
            return await self._ingest.take_one(
                header.dataset, taken, strict=header.strict, batch=header.batch, origin=header.origin, piece=piece
            )
        except (BatchRefused, UnfitColumn) as error:
            # Its sender was told that it is safe, so nobody is there to be refused.
            problem = Refused(Reason.BAD_VALUE, error.message)
        except errors.StatementFailed as error:
            reason = reason_for(error)
            if reason is None:
                raise
            problem = Refused(reason, error.constraint or error.message)
        return await self._ingest.refuse(header.dataset, taken, batch=header.batch, problem=problem, origin=header.origin, piece=piece)

    async def _reach(self) -> None:
        """Raise at once, rather than after a long wait for a connection, when the server is away."""
        async with self._database.connection(timeout=EVERY):
            pass
