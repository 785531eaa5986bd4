"""Ingest: rows in, an answer out, every row accounted for.

A batch is one transaction: its rows, what they stand on, the marks of what they touch and the rows that were refused are all
there, or none is. Rows that do not fit go to quarantine with the reason and the rest goes on; a strict batch is refused whole.
A batch that bears a name is taken once, whatever happens to the answer.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import StatementFailed, UndefinedName
from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import BatchRefused, UnfitColumn
from chainstrata.ingest.intake import take
from chainstrata.ingest.model import Answer, LateRows
from chainstrata.ingest.payload import Format
from chainstrata.ingest.python_rows import Taken
from chainstrata.ingest.sift import Misfit, find_misfits, instant, refused, ticks_of, times_of, without
from chainstrata.ingest.wire import WireTable, describe_table
from chainstrata.ingest.writer import Counts, Writer
from chainstrata.model import Catalog
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows, reason_for

QUERIES = load_queries(__package__)


@dataclass(slots=True)
class _Batch:
    """Rows on their way, and what was refused of them so far."""

    rows: Any
    late: Any = None
    refused: list[Refused] = field(default_factory=list)
    is_sifted: bool = False


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
    ) -> Answer:
        """Take rows into a dataset and return what became of them.

        A table or frame is one transaction; a long iterable or file is one for every 65,536 rows. `batch` names the batch, so
        that it may be sent again. `strict` refuses a batch with `BatchRefused` if any row of it does not fit. `origin` says in
        quarantine where the rows came from.
        """
        writer = await self._writer(name)
        done: Answer | None = None
        for number, taken in enumerate(take(source, writer.table, format=format)):
            own = f"{batch}#{number}" if batch and number else batch
            answer = await self._take(writer, taken, strict=strict, batch=own, origin=origin)
            done = answer if done is None else done + answer
            if progress:
                progress(done)
        return done or Answer(name)

    async def _writer(self, name: str) -> Writer:
        if name not in self._writers:
            dataset = self._catalog.dataset(name)
            parents = {parent.dataset: self._catalog.dataset(parent.dataset) for parent in dataset.parents}
            async with self._database.connection() as connection:
                table = await describe_table(connection, dataset.schema, dataset.table.name)
                writer = Writer(dataset, table, parents)
                await writer.learn(connection)
            self._writers[name] = writer
        return self._writers[name]

    async def _take(self, writer: Writer, taken: Taken, *, strict: bool, batch: str, origin: str) -> Answer:
        name = writer.dataset.full_name
        sifted = _Batch(taken.rows)
        sifted.refused += [Refused(Reason.MALFORMED, problem, original=text) for text, problem in taken.malformed]
        careful = False
        while True:
            try:
                await self._route(writer, sifted, careful=careful)
                if strict and sifted.refused:
                    raise BatchRefused(name, sifted.refused)
                return await self._write(writer, sifted, careful=careful, strict=strict, name=batch, origin=origin)
            except UnfitColumn:
                if sifted.is_sifted:
                    raise
                self._sift(writer, sifted)
            except StatementFailed as error:
                # What was believed of the server no longer holds, or a row is refused: look again, then row by row.
                if careful or not (isinstance(error, UndefinedName) or reason_for(error)):
                    raise
                careful = True
                writer.forget()
                async with self._database.connection() as connection:
                    await writer.learn(connection)

    def _sift(self, writer: Writer, batch: _Batch) -> None:
        """Set rows aside that have values their columns cannot hold."""
        misfits = find_misfits(writer.table, batch.rows)
        batch.refused += refused(writer.dataset, batch.rows, misfits)
        batch.rows = without(batch.rows, [misfit.row for misfit in misfits])
        batch.is_sifted = True

    async def _route(self, writer: Writer, batch: _Batch, *, careful: bool) -> None:
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
        misfits = [_stray(int(place), bool(is_late[place]), instant(int(ticks[place]))) for place in stray]
        batch.refused += refused(dataset, batch.rows, misfits)
        if merges and is_late.any():
            late = batch.rows.filter(pa.array(is_late))
            batch.late = pa.concat_tables([batch.late, late]) if batch.late is not None else late
        batch.rows = without(batch.rows, [int(place) for place in aside])

    async def _write(self, writer: Writer, batch: _Batch, *, careful: bool, strict: bool, name: str, origin: str) -> Answer:
        dataset = writer.dataset.full_name

        async def work(connection: Connection) -> Answer:
            if name:
                before = await connection.fetch_one(QUERIES.claim_batch, {"dataset": dataset, "batch": name})
                if before.answer is not None:
                    return Answer(**{**before.answer, "repeated": True})
            counts, refusals = Counts(), list(batch.refused)
            if batch.rows.num_rows:
                if careful and not strict:
                    refusals += await self._write_apart(connection, writer, batch.rows, counts)
                else:
                    counts.add(await writer.write(connection, batch.rows, careful=careful))
            merged = await self._merge_late(connection, writer, batch.late)
            await add_rows(connection, dataset, refusals, source=origin or None, batch=name or None)
            answer = Answer(dataset, counts.accepted, counts.updated, counts.unchanged, merged, len(refusals))
            if name:
                await connection.execute(QUERIES.settle_batch, {"dataset": dataset, "batch": name, "answer": Jsonb(asdict(answer))})
            return answer

        answer = await self._database.run(work)
        if batch.rows.num_rows and not answer.repeated:
            writer.wrote(batch.rows)
            writer.know_parents(batch.rows)
        lsn = await self._database.fetch_value(QUERIES.current_lsn)
        return Answer(**{**asdict(answer), "lsn": lsn})

    async def _write_apart(self, connection: Connection, writer: Writer, rows: Any, counts: Counts) -> list[Refused]:
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
            first = await self._write_apart(connection, writer, rows.slice(0, half), counts)
            return first + await self._write_apart(connection, writer, rows.slice(half), counts)
        return []

    async def _merge_late(self, connection: Connection, writer: Writer, late: Any) -> int:
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


def _stray(place: int, is_late: bool, moment: datetime) -> Misfit:
    if is_late:
        return Misfit(place, Reason.LATE, f"its rows before have left ({moment.isoformat()})")
    return Misfit(place, Reason.NO_PARTITION, f"no partition holds {moment.isoformat()}")
