"""Ingest: rows in, an answer out, every row accounted for.

A batch is one transaction: its rows, what they stand on, the marks of what they touch and the rows that were refused are all
there, or none is. Rows that do not fit go to quarantine with the reason and the rest goes on; a strict batch is refused whole.
A batch that bears a name is taken once, whatever happens to the answer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from psycopg import sql

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import PostgresError, StatementFailed, TransactionConflict, UndefinedName
from chainstrata.errors import UnknownName
from chainstrata.ingest.claims import Receipt, check_name, claim, count_taken
from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import BatchRefused, TableMissing, UnfitColumn
from chainstrata.ingest.intake import take
from chainstrata.ingest.model import Answer, LateRows, Piece, Witness, count_outside
from chainstrata.ingest.payload import Format
from chainstrata.ingest.python_rows import Taken
from chainstrata.ingest.sift import Misfit, find_misfits, refused, ticks_of, times_of, told_instant, without
from chainstrata.ingest.wire import WireTable, describe_table
from chainstrata.ingest.writer import Counts, Writer
from chainstrata.model import Catalog
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows, reason_for

T = TypeVar("T")
QUERIES = load_queries(__package__)


@dataclass(slots=True)
class Batch:
    """Rows on their way, and what was refused of them so far."""

    rows: Any
    late: Any = None
    refused: list[Refused] = field(default_factory=list)
    is_sifted: bool = False


class _Undone(Exception):
    """A part that was written only to see what becomes of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


async def _undo(_: Connection, answer: Answer) -> None:
    raise _Undone(answer)


class Ingest:
    """Takes rows into the datasets of a catalog."""

    def __init__(self, database: Database, catalog: Catalog, late: LateRows | None = None) -> None:
        self._database = database
        self._catalog = catalog
        self._late = late
        self._writers: dict[str, Writer] = {}

    async def ingest(
        self,
        name: str,
        source: Any,
        *,
        strict: bool = False,
        batch: str = "",
        format: Format | None = None,  # noqa: A002  # as everybody calls it
        origin: str = "",
        progress: Callable[[Answer], None] | None = None,
        witness: Witness | None = None,
    ) -> Answer:
        """Take rows into a dataset and return what became of them.

        A table or frame is one transaction; a long iterable, reader or file is one for every 65,536 rows. `batch` names the batch, so
        that it may be sent again. `strict` refuses a batch with `BatchRefused` if any row of it does not fit. `origin` says in
        quarantine where the rows came from. `witness` is called with each part's answer in the transaction that writes it.
        """
        check_name(batch)
        writer = await self.writer(name)
        done: Answer | None = None
        for number, taken in enumerate(take(source, writer.table, format=format)):
            own = f"{batch}#{number}" if batch and number else batch
            answer = await self._take(writer, taken, strict=strict, batch=own, origin=origin, witness=witness)
            done = answer if done is None else done + answer
            if progress:
                progress(done)
        return done or Answer(name)

    async def rehearse(
        self,
        name: str,
        source: Any,
        *,
        strict: bool = False,
        format: Format | None = None,  # noqa: A002  # as everybody calls it
        progress: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Return what would become of rows, each part of them by itself, and write nothing.

        Each part is written and undone. What is remembered of it between batches is not to be trusted then: not for an `Ingest` that
        writes.
        """
        done = Answer(name)
        for taken in take(source, (await self.writer(name)).table, format=format):
            answer = Answer(name)
            try:
                await self._take(await self.writer(name), taken, strict=strict, batch="", origin="", witness=_undo)
            except _Undone as undone:
                answer = undone.answer
            self._writers.clear()
            done += answer
            if progress:
                progress(done)
        return done

    async def writer(self, name: str) -> Writer:
        if name not in self._writers:
            dataset = self._catalog.dataset(name)
            parents = {parent.dataset: self._catalog.dataset(parent.dataset) for parent in dataset.parents}
            async with self._database.connection() as connection:
                try:
                    table = await describe_table(connection, dataset.schema, dataset.table.name)
                except UnknownName as error:
                    raise TableMissing(error.name) from error
                writer = Writer(dataset, table, parents, self._late)
                await writer.learn(connection)
            self._writers[name] = writer
        return self._writers[name]

    async def take_one(
        self,
        name: str,
        taken: Taken,
        *,
        strict: bool = False,
        batch: str = "",
        origin: str = "",
        receipt: Receipt | None = None,
        witness: Witness | None = None,
        piece: Piece | None = None,
    ) -> Answer:
        """Take rows that were read already, as one transaction that notes the receipt. They may be a `piece` of the batch."""
        writer = await self.writer(name)
        return await self._take(writer, taken, strict=strict, batch=batch, origin=origin, receipt=receipt, witness=witness, piece=piece)

    async def _take(
        self,
        writer: Writer,
        taken: Taken,
        *,
        strict: bool,
        batch: str,
        origin: str,
        receipt: Receipt | None = None,
        witness: Witness | None = None,
        piece: Piece | None = None,
    ) -> Answer:
        name = writer.dataset.full_name
        sifted = Batch(taken.rows)
        sifted.refused += [Refused(Reason.MALFORMED, problem, original=text) for text, problem in taken.malformed]
        careful = False
        while True:
            try:
                await self.route(writer, sifted, careful=careful)
                if strict and sifted.refused:
                    raise BatchRefused(name, sifted.refused)
                is_plain = not (careful or batch or witness or sifted.refused or sifted.late)
                if is_plain and (answer := await self.write_alone(writer, sifted.rows, receipt)) is not None:
                    return answer
                return await self._write(
                    writer,
                    sifted,
                    careful=careful,
                    strict=strict,
                    name=batch,
                    origin=origin,
                    receipt=receipt,
                    witness=witness,
                    piece=piece,
                )
            except UnfitColumn:
                if sifted.is_sifted:
                    raise
                self.sift(writer, sifted)
            except StatementFailed as error:
                if careful or not is_worth_care(error):
                    raise
                careful = True
                await self.learn_again(writer)

    async def count_taken(self, name: str, batch: str) -> int | None:
        """Return how many rows of a named batch are written so far; None once it is all there."""
        return await count_taken(self._database, name, batch)

    async def learn_again(self, writer: Writer) -> None:
        """Look at the server again: what was believed of it no longer holds."""
        writer.forget()
        async with self._database.connection() as connection:
            await writer.learn(connection)

    async def current_lsn(self) -> str:
        """Return how far the log is written; nothing if the server went away just after it had committed."""
        try:
            return str(await self._database.fetch_value(QUERIES.current_lsn))
        except PostgresError:
            return ""

    async def commit(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction; from the start again if it met another one."""
        return await self._database.run(work)

    async def refuse(self, name: str, taken: Taken, *, batch: str, problem: Refused, origin: str, piece: Piece | None = None) -> Answer:
        """Put all rows of a named batch, or of a piece of one, into quarantine, once, with one reason."""
        dataset = self._catalog.dataset(name)
        places = [Misfit(row, problem.reason, problem.detail) for row in range(taken.rows.num_rows)]
        rows = [Refused(problem.reason, problem.detail, original=text) for text, _ in taken.malformed]
        rows += refused(dataset, taken.rows, places)

        async def work(connection: Connection) -> Answer:
            claimed = await claim(connection, name, batch, piece)
            if claimed.given:
                return claimed.given
            await add_rows(connection, name, rows, source=origin or None, batch=batch)
            answer = Answer(name, quarantined=len(rows))
            await claimed.settle(connection, answer)
            return answer

        return await self.commit(work)

    def sift(self, writer: Writer, batch: Batch) -> None:
        """Set rows aside that have values their columns cannot hold."""
        misfits = find_misfits(writer.table, batch.rows)
        batch.refused += refused(writer.dataset, batch.rows, misfits)
        batch.rows = without(batch.rows, [misfit.row for misfit in misfits])
        batch.is_sifted = True

    async def route(self, writer: Writer, batch: Batch, *, careful: bool) -> None:
        """Set rows aside that no partition takes: late ones that roll-ups take in, others for quarantine.

        A partition put back from the archive stands where rows have left, and is sealed. So once a write was refused, every
        row before the instant is late.
        """
        dataset = writer.dataset
        ticks = times_of(dataset, batch.rows) if batch.rows.num_rows and dataset.partitioned else None
        if ticks is None:
            return
        places = writer.outside(batch.rows)
        if len(places):
            async with self._database.connection() as connection:
                await writer.learn(connection)
            places = writer.outside(batch.rows)
        if not len(places) and not careful:
            return
        gone = await self._late.gone_before(dataset.full_name) if self._late else None
        outside = np.isin(np.arange(len(ticks)), places)
        is_late = (ticks < ticks_of(gone)) & (outside | careful) if gone is not None else np.zeros(len(ticks), dtype=bool)
        aside = np.flatnonzero(outside | is_late)
        if not len(aside):
            return
        merges = bool(gone is not None and self._late and self._late.takes_late(dataset.full_name))
        stray = [place for place in aside if not (merges and is_late[place])]
        misfits = [_stray(int(place), bool(is_late[place]), told_instant(int(ticks[place]))) for place in stray]
        batch.refused += refused(dataset, batch.rows, misfits)
        if merges and is_late.any():
            late = batch.rows.filter(pa.array(is_late))
            batch.late = pa.concat_tables([batch.late, late]) if batch.late is not None else late
        batch.rows = without(batch.rows, [int(place) for place in aside])

    async def _write(
        self,
        writer: Writer,
        batch: Batch,
        *,
        careful: bool,
        strict: bool,
        name: str,
        origin: str,
        receipt: Receipt | None,
        witness: Witness | None,
        piece: Piece | None,
    ) -> Answer:
        dataset = writer.dataset.full_name

        async def work(connection: Connection) -> Answer:
            if receipt is not None:
                await receipt.note(connection)
            claimed = await claim(connection, dataset, name, piece) if name else None
            if claimed and claimed.given:
                if witness:
                    await witness(connection, claimed.given)
                return claimed.given
            counts, refusals = Counts(), list(batch.refused)
            if batch.rows.num_rows:
                if careful and not strict:
                    refusals += await self.write_apart(connection, writer, batch.rows, counts)
                else:
                    counts.add(await writer.write(connection, batch.rows, careful=careful))
            merged = await self.merge_late(connection, writer, batch.late)
            await add_rows(connection, dataset, refusals, source=origin or None, batch=name or None)
            answer = Answer(
                dataset, counts.accepted, counts.updated, counts.unchanged, merged, len(refusals), outside=count_outside(refusals)
            )
            if witness:
                await witness(connection, answer)
            if claimed:
                await claimed.settle(connection, answer)
            return answer

        answer = await self._database.run(work)
        if batch.rows.num_rows and not answer.repeated:
            writer.wrote(batch.rows)
            writer.know_parents(batch.rows)
        return Answer(**{**asdict(answer), "lsn": await self.current_lsn()})

    async def write_alone(self, writer: Writer, rows: Any, receipt: Receipt | None, *, alike: bool = False) -> Answer | None:
        """Write a batch that is nothing but new rows, whose places were asked for, in one message.

        None if it is another, if it met another transaction, or if its rows are not `alike` in what becomes of them.
        """
        alone = writer.plan_alone(rows) if rows.num_rows else None
        if alone is None or (alike and alone.counts.unchanged):
            return None
        work = alone.work
        work.before = [receipt.statement()] if receipt else []
        work.ask = sql.SQL(QUERIES.current_lsn.sql)  # pyright: ignore[reportArgumentType]  # of a file of ours
        try:
            await self._database.run_alone(work)
        except TransactionConflict:
            return None
        writer.wrote(rows)
        writer.know_parents(rows)
        return Answer(writer.dataset.full_name, alone.counts.accepted, unchanged=alone.counts.unchanged, lsn=work.told)

    async def write_apart(self, connection: Connection, writer: Writer, rows: Any, counts: Counts) -> list[Refused]:
        """Write what the server takes and return what it refuses, by halving what is refused until single rows are left."""
        try:
            async with connection.savepoint():
                counts.add(await writer.write(connection, rows, careful=True))
        except StatementFailed as error:
            reason = reason_for(error)
            if reason is None:
                raise
            if rows.num_rows == 1:
                detail = error.constraint or error.message
                return refused(writer.dataset, rows, [Misfit(0, reason, detail)])
            half = rows.num_rows // 2
            first = await self.write_apart(connection, writer, rows.slice(0, half), counts)
            return first + await self.write_apart(connection, writer, rows.slice(half), counts)
        return []

    async def merge_late(self, connection: Connection, writer: Writer, late: Any) -> int:
        if late is None or not late.num_rows or self._late is None:
            return 0
        dataset = writer.dataset
        stage = f"late_{dataset.schema}_{dataset.table.name}"[:63]
        table = sql.Identifier(dataset.schema, dataset.table.name)
        create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS TABLE {} WITH NO DATA")
        await connection.execute(create.format(sql.Identifier(stage), table))
        await copy_rows(connection, WireTable("pg_temp", stage, writer.table.columns), late)
        await self._late.merge_late(connection, dataset.full_name, sql.Identifier("pg_temp", stage))
        return int(late.num_rows)


def is_worth_care(error: StatementFailed) -> bool:
    """Return whether a batch that was refused may go in after another look at the server, or row by row."""
    return isinstance(error, UndefinedName) or reason_for(error) is not None


def _stray(place: int, is_late: bool, moment: str) -> Misfit:
    if is_late:
        return Misfit(place, Reason.LATE, f"its rows before have left ({moment})")
    return Misfit(place, Reason.NO_PARTITION, f"no partition holds {moment}")
