"""What the database knows of archives, departures and holds. One statement each; the callers own the transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.partitioning import BEGINNING, END, Span
from chainstrata.retention.archive.source import QUERIES
from chainstrata.retention.model import Archive, ArchiveState, Hold


def _archive(row: Any) -> Archive:
    return Archive(
        row.id,
        row.dataset,
        row.table_schema,
        row.table_name,
        Span(row.lower_bound, row.upper_bound),
        row.rows,
        row.size_bytes,
        row.url,
        row.directory,
        row.manifest_sha256,
        ArchiveState(row.state),
        row.written_at,
        row.verified_at,
    )


ALWAYS = Span(BEGINNING, END)
PRESENT = (ArchiveState.READY, ArchiveState.SERVING, ArchiveState.RESTORED)
"""States of archives that are whole."""


async def list_archives(
    connection: Connection, datasets: Sequence[str] = (), *, states: Sequence[ArchiveState] = PRESENT, span: Span = ALWAYS
) -> list[Archive]:
    """Return archives, those of older rows first."""
    params = {"datasets": list(datasets), "states": [str(state) for state in states], "lower": span.start, "upper": span.end}
    return [_archive(row) for row in await connection.fetch_all(QUERIES.list_archives, params)]


async def list_serving(connection: Connection, dataset: str, span: Span = ALWAYS) -> list[Archive]:
    """Return the archives that answer for rows of a dataset that are not in its table, at the snapshot of this statement."""
    params = {"dataset": dataset, "lower": span.start, "upper": span.end}
    return [_archive(row) for row in await connection.fetch_all(QUERIES.list_serving, params)]


async def list_holds(connection: Connection, datasets: Sequence[str] = ()) -> list[Hold]:
    """Return the holds that are in force."""
    rows = await connection.fetch_all(QUERIES.list_holds, {"datasets": list(datasets)})
    return [Hold(row.id, row.dataset, Span(row.lower_bound, row.upper_bound), row.reason, row.until, row.created_at) for row in rows]


async def add_hold(connection: Connection, dataset: str, span: Span, reason: str, until: datetime | None) -> int:
    """Keep rows of a span of time, whatever their age, and return the number of the hold."""
    params = {"dataset": dataset, "lower": span.start, "upper": span.end, "reason": reason, "until": until}
    return int(await connection.fetch_value(QUERIES.add_hold, params))
