"""Many small batches in one transaction, each told what became of its own rows.

At first all rows are written as one. If all of them met the same fate, everybody's answer is known. If not, nothing is kept of that,
and the transaction is made again by halves, until each half is alike or one batch alone: a bad row costs its neighbours a moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.ingest.claims import Receipt
from chainstrata.ingest.errors import UnfitColumn
from chainstrata.ingest.model import Answer, Witness, count_outside
from chainstrata.ingest.python_rows import Taken, take_rows
from chainstrata.ingest.runner import Batch, Ingest, is_worth_care
from chainstrata.ingest.wire import WireTable
from chainstrata.ingest.writer import Counts, Writer
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows, reason_for


class _Mixed(Exception):
    """Rows that were written together met different fates, so nobody knows whose is which."""


@dataclass(slots=True)
class _Share:
    """One caller's batch. `counts` and `refused` are those of the latest try."""

    batch: Batch
    origin: str
    witness: Witness | None
    counts: Counts = field(default_factory=Counts)
    refused: list[Refused] = field(default_factory=list)
    merged: int = 0

    @property
    def size(self) -> int:
        rows: int = self.batch.rows.num_rows
        return rows

    def answer(self, dataset: str, lsn: str) -> Answer:
        counts = self.counts
        refused = [*self.batch.refused, *self.refused]
        outside = count_outside(refused)
        return Answer(dataset, counts.accepted, counts.updated, counts.unchanged, self.merged, len(refused), lsn, outside=outside)


class Given(Protocol):
    """One caller's batch as it is handed in: read already, or as `records` that are read together with those of others."""

    @property
    def taken(self) -> Taken: ...
    @property
    def records(self) -> Sequence[Mapping[str, Any]] | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def origin(self) -> str: ...
    @property
    def witness(self) -> Witness | None: ...


class Together:
    """Writes batches of one dataset with the same columns in one transaction, all or none."""

    def __init__(self, ingest: Ingest, writer: Writer, table: WireTable, given: Sequence[Given], receipt: Receipt) -> None:
        self._ingest = ingest
        self._writer = writer
        self._table = table
        self._given = given
        self._receipt = receipt
        self._shares: list[_Share] = []

    async def write(self) -> list[Answer]:
        """Write all, and return the answers in the order of the batches."""
        whole = self._read_whole()
        if whole is not None:
            try:
                return await self._write_whole(whole)
            except (_Mixed, UnfitColumn):
                pass
            except StatementFailed as error:
                if not is_worth_care(error):
                    raise
                await self._ingest.learn_again(self._writer)
        return await self._write_shares(careful=whole is not None)

    def _read_whole(self) -> Any:
        """Return the rows of all as one table, if they are nothing but records and each is a row."""
        rows: list[Mapping[str, Any]] = []
        for one in self._given:
            if one.records is None:
                return None
            rows += one.records
        taken = take_rows(rows, self._table)
        return taken.rows if not taken.malformed else None

    async def _write_whole(self, rows: Any) -> list[Answer]:
        """Write all as one batch; raise `_Mixed` unless all rows meet one fate."""
        if len(self._writer.outside(rows)):
            raise _Mixed
        dataset = self._writer.dataset.full_name
        if not any(one.witness for one in self._given):
            answer = await self._ingest.write_alone(self._writer, rows, self._receipt, alike=True)
            if answer is not None:
                return [_answer(dataset, "accepted", one.rows, answer.lsn) for one in self._given]

        async def work(connection: Connection) -> str:
            await self._receipt.note(connection)
            fate = _fate(await self._writer.write(connection, rows, careful=False), rows.num_rows)
            for one in self._given:
                if one.witness:
                    await one.witness(connection, _answer(dataset, fate, one.rows, ""))
            return fate

        fate = await self._ingest.commit(work)
        self._writer.wrote(rows)
        self._writer.know_parents(rows)
        lsn = await self._ingest.current_lsn()
        return [_answer(dataset, fate, one.rows, lsn) for one in self._given]

    async def _write_shares(self, *, careful: bool) -> list[Answer]:
        self._shares = [_Share(Batch(one.taken.rows, refused=_malformed(one.taken)), one.origin, one.witness) for one in self._given]
        while True:
            try:
                await self._route(careful=careful)
                await self._ingest.commit(lambda connection: self._work(connection, careful=careful))  # noqa: B023  # awaited here
                break
            except _Mixed:
                careful = True
            except UnfitColumn:
                if all(share.batch.is_sifted for share in self._shares):
                    raise
                for share in self._shares:
                    self._ingest.sift(self._writer, share.batch)
            except StatementFailed as error:
                if careful or not is_worth_care(error):
                    raise
                careful = True
                await self._ingest.learn_again(self._writer)
        for share in self._shares:
            if share.size:
                self._writer.wrote(share.batch.rows)
                self._writer.know_parents(share.batch.rows)
        lsn = await self._ingest.current_lsn()
        return [share.answer(self._writer.dataset.full_name, lsn) for share in self._shares]

    async def _route(self, *, careful: bool) -> None:
        if careful or len(self._writer.outside(_rows(self._shares))):
            for share in self._shares:
                await self._ingest.route(self._writer, share.batch, careful=careful)

    async def _work(self, connection: Connection, *, careful: bool) -> None:
        await self._receipt.note(connection)
        filled = [share for share in self._shares if share.size]
        for share in self._shares:
            share.counts, share.refused, share.merged = Counts(), [], 0
        if careful:
            await self._write_apart(connection, filled)
        elif filled:
            counts = await self._writer.write(connection, _rows(filled), careful=False)
            _share_out(counts, filled)
        dataset = self._writer.dataset.full_name
        for share in self._shares:
            share.merged = await self._ingest.merge_late(connection, self._writer, share.batch.late)
            if share.batch.refused or share.refused:
                await add_rows(connection, dataset, [*share.batch.refused, *share.refused], source=share.origin or None)
            if share.witness:
                await share.witness(connection, share.answer(dataset, ""))

    async def _write_apart(self, connection: Connection, shares: Sequence[_Share]) -> None:
        if len(shares) == 1:
            share = shares[0]
            share.refused = await self._ingest.write_apart(connection, self._writer, share.batch.rows, share.counts)
        elif shares and not await self._write_alike(connection, shares):
            half = len(shares) // 2
            await self._write_apart(connection, shares[:half])
            await self._write_apart(connection, shares[half:])

    async def _write_alike(self, connection: Connection, shares: Sequence[_Share]) -> bool:
        """Write batches as one, and return whether that is known of each; if not, nothing of them is written."""
        try:
            async with connection.savepoint():
                counts = await self._writer.write(connection, _rows(shares), careful=True)
                _share_out(counts, shares)
        except _Mixed:
            return False
        except StatementFailed as error:
            if reason_for(error) is None:
                raise
            return False
        return True


def _malformed(taken: Taken) -> list[Refused]:
    return [Refused(Reason.MALFORMED, problem, original=text) for text, problem in taken.malformed]


def _rows(shares: Sequence[_Share]) -> pa.Table:
    names = shares[0].batch.rows.schema.names
    return pa.concat_tables([share.batch.rows.select(names) for share in shares])


def _share_out(counts: Counts, shares: Sequence[_Share]) -> None:
    """Give every batch its part of the counts; raise `_Mixed` unless all rows met one fate."""
    fate = _fate(counts, sum(share.size for share in shares))
    for share in shares:
        share.counts = Counts(**{fate: share.size})


def _fate(counts: Counts, rows: int) -> str:
    for fate in ("accepted", "updated", "unchanged"):
        if getattr(counts, fate) == rows:
            return fate
    raise _Mixed


def _answer(dataset: str, fate: str, rows: int, lsn: str) -> Answer:
    counts: Any = {fate: rows}
    return Answer(dataset, lsn=lsn, **counts)
