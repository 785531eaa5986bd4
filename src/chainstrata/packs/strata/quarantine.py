"""Where rows go that a dataset does not take: kept with the reason, counted, and replayed or dropped later.

This is the side that adds, open to every feature that meets such rows. Listing and replaying are in `partitions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg import sql

from chainstrata.engines.postgres import Connection, errors, load_queries

QUERIES = load_queries(__package__, "quarantine.sql")


class Reason(StrEnum):
    """Why a row was not taken. Stable: alerts match on it.

    `NO_PARTITION` outside every partition; `SEALED` its partition is about to leave; `LATE` its partition has left and its
    roll-ups do not merge; `BAD_VALUE` a value the column cannot hold; `CONSTRAINT` a rule of the table; `DUPLICATE` its key is
    taken; `NO_PARENT` what it refers to is missing; `MALFORMED` not a row at all.
    """

    NO_PARTITION = "no_partition"
    SEALED = "sealed"
    LATE = "late"
    BAD_VALUE = "bad_value"
    CONSTRAINT = "constraint"
    DUPLICATE = "duplicate"
    NO_PARENT = "no_parent"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Refused:
    """One row that was not taken.

    `content` is the row as a JSON object, numbers digit by digit as they came; `original` the exact text it came as, needed
    only where that is not the content. At least one of them is there.
    """

    reason: Reason
    detail: str
    content: str | None = None
    original: str | None = None
    row_time: datetime | None = None


async def add_rows(
    connection: Connection, dataset: str, rows: Sequence[Refused], *, source: str | None = None, batch: str | None = None
) -> None:
    """Keep rows in the caller's transaction, all in one statement. A row that is held already is counted there."""
    if not rows:
        return
    params = {
        "dataset": dataset,
        "source": source,
        "batch": batch,
        "reasons": [row.reason.value for row in rows],
        "details": [row.detail for row in rows],
        "contents": [None if _NUL in (row.content or "") else row.content for row in rows],
        "originals": [_storable(row) for row in rows],
        "times": [row.row_time for row in rows],
    }
    await connection.execute(QUERIES.add_rows, params)


_NUL = "\\u0000"


def _storable(row: Refused) -> str | None:
    """Return the text to keep: the server stores no NUL, in a text as little as in a JSON string."""
    text = row.content if row.original is None and _NUL in (row.content or "") else row.original
    return None if text is None else text.replace("\0", _NUL)


async def add_relation(
    connection: Connection,
    dataset: str,
    relation: sql.Composable,
    reason: Reason,
    detail: str,
    *,
    time: str = "",
    source: str | None = None,
    batch: str | None = None,
) -> int:
    """Keep all rows of a relation shaped like the dataset's table, without their leaving the server; return how many."""
    statement = sql.SQL(_ADD_RELATION).format(
        relation=relation, time=sql.SQL("r.{}").format(sql.Identifier(time)) if time else sql.SQL("NULL::timestamptz")
    )
    params = {"dataset": dataset, "reason": reason.value, "detail": detail, "source": source, "batch": batch}
    return int(await connection.fetch_value(statement, params))


_ADD_RELATION = """
WITH given AS (
    SELECT to_jsonb(r) AS content, {time} AS row_time FROM {relation} AS r
), printed AS (
    SELECT content, min(row_time) AS row_time, count(*) AS times, sha256(convert_to(content::text, 'UTF8')) AS print
    FROM given GROUP BY content
), added AS (
    INSERT INTO strata.quarantine AS held (dataset, reason, detail, content, source, batch, row_time, fingerprint, times)
    SELECT %(dataset)s, %(reason)s, %(detail)s, content, %(source)s, %(batch)s, row_time, print, times
    FROM printed ORDER BY print
    ON CONFLICT (dataset, fingerprint) WHERE state = 'held' DO UPDATE
    SET times = held.times + excluded.times,
        last_seen = greatest(held.last_seen, excluded.last_seen),
        reason = excluded.reason,
        detail = excluded.detail,
        batch = coalesce(excluded.batch, held.batch)
)
SELECT count(*) FROM given
"""


SEALED_CONSTRAINT = "partition_sealed"
"""Constraint named by the refusal of a write to a partition that is about to leave."""

_REASONS: tuple[tuple[type[errors.StatementFailed], Reason], ...] = (
    (errors.NoPartition, Reason.NO_PARTITION),
    (errors.UniqueViolation, Reason.DUPLICATE),
    (errors.ForeignKeyViolation, Reason.NO_PARENT),
    (errors.ConstraintViolation, Reason.CONSTRAINT),
    (errors.BadValue, Reason.BAD_VALUE),
)


_TOO_LARGE = ("54000", "54001")
"""A value that no index can hold, and JSON nested deeper than the server's stack reaches."""


def reason_for(error: errors.StatementFailed) -> Reason | None:
    """Return why a row was refused, or None when the error says nothing about the row."""
    if error.constraint == SEALED_CONSTRAINT:
        return Reason.SEALED
    if error.sqlstate in _TOO_LARGE:
        return Reason.BAD_VALUE
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
