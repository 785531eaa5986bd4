"""Looks at the columnar engine: sizes of columns, codecs that would save more, queries that cost much."""

from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any

from chainstrata.columnar.model import ColumnSize, Suggestion
from chainstrata.columnar.planner import choose, list_candidates
from chainstrata.engines.clickhouse import Columnar, quote_name
from chainstrata.engines.clickhouse.errors import ColumnarUndefined

_SIZES = """
SELECT table, name AS column, type, compression_codec AS codec, data_uncompressed_bytes AS plain_bytes, data_compressed_bytes AS stored_bytes
FROM system.columns
WHERE database = currentDatabase() AND data_uncompressed_bytes > 0
ORDER BY data_compressed_bytes DESC, table, name
"""
_SLOW = """
SELECT any(normalizeQuery(query)) AS query, count() AS times, quantileExact(0.95)(query_duration_ms) AS p95,
    max(memory_usage) AS memory, sum(read_rows) AS rows
FROM system.query_log
WHERE type = 'QueryFinish' AND query_kind = 'Select' AND has(databases, currentDatabase()) AND event_time >= {since:DateTime('UTC')}
GROUP BY normalized_query_hash
HAVING p95 >= {slow:UInt64} OR memory >= {heavy:UInt64}
ORDER BY sum(query_duration_ms) DESC
LIMIT 20
"""
_HEAVY = 1 << 30


async def report(columnar: Columnar) -> list[ColumnSize]:
    """Return every column with its bytes before and after compression, the largest first. Tables of a few rows have no figures of columns."""
    rows = await columnar.query_rows(_SIZES)
    return [ColumnSize(row.table, row.column, row.type, _inside(row.codec), row.plain_bytes, row.stored_bytes) for row in rows]


def _inside(codec: str) -> str:
    return codec.removeprefix("CODEC(").removesuffix(")")


async def advise(
    columnar: Columnar, *, columns: int = 20, sample_rows: int = 200_000, slow: timedelta = timedelta(seconds=1), days: int = 7
) -> list[Suggestion]:
    """Return what would help: other codecs for the largest columns, each tried on a sample first, and queries that cost much."""
    found = await _advise_queries(columnar, slow, days)
    for size in (await report(columnar))[:columns]:
        if size.type.startswith(("AggregateFunction", "Array", "Map", "Tuple")):
            continue
        measured = await _measure(columnar, size, sample_rows)
        better = choose(size.codec, measured)
        if better:
            part = 1 - measured[better] / measured[size.codec]
            place = f"{quote_name(size.table)} MODIFY COLUMN {quote_name(size.column)}"
            reason = (
                f"{better} takes {part:.0%} less than {size.codec or 'the default'}: {measured[better]:,} of {measured[size.codec]:,} bytes"
            )
            statement = f"ALTER TABLE {place} {size.type} CODEC({better})"
            found.append(Suggestion("codec", f"{size.table}.{size.column}", f"{reason}, on a sample", statement))
    return found


async def _measure(columnar: Columnar, size: ColumnSize, rows: int) -> dict[str, int]:
    """Return the bytes of a sample by codec, the column's own among them. Rows come in the table's order, on which compression depends."""
    codecs = list(dict.fromkeys([size.codec, *list_candidates(size.type)]))
    scratch = quote_name(f"strata__sample_{urandom(4).hex()}")
    made = ", ".join(f"c{number} {size.type}{f' CODEC({codec})' if codec else ''}" for number, codec in enumerate(codecs))
    settings = "min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0, allow_nullable_key = 1"
    await columnar.execute(f"CREATE TABLE {scratch} ({made}) ENGINE = MergeTree ORDER BY tuple() SETTINGS {settings}")
    try:
        chosen = ", ".join(f"v AS c{number}" for number in range(len(codecs)))
        source = f"SELECT {quote_name(size.column)} AS v FROM {quote_name(size.table)} LIMIT {rows}"  # noqa: S608  # names are quoted
        await columnar.execute(f"INSERT INTO {scratch} SELECT {chosen} FROM ({source})")  # noqa: S608  # names are quoted
        sizes = (
            "SELECT name, data_compressed_bytes AS stored FROM system.columns WHERE database = currentDatabase() AND table = {name:String}"
        )
        stored = {row.name: int(row.stored) for row in await columnar.query_rows(sizes, {"name": scratch.strip("`")})}
        return {codec: stored[f"c{number}"] for number, codec in enumerate(codecs)}
    finally:
        await columnar.execute(f"DROP TABLE IF EXISTS {scratch} SYNC")


async def _advise_queries(columnar: Columnar, slow: timedelta, days: int) -> list[Suggestion]:
    params = {"since": datetime.now(UTC) - timedelta(days=days), "slow": round(slow.total_seconds() * 1000), "heavy": _HEAVY}
    try:
        await columnar.execute("SYSTEM FLUSH LOGS")
        rows = await columnar.query_rows(_SLOW, params)
    except ColumnarUndefined:
        # A server may keep no log of its queries.
        return [Suggestion("query", "system.query_log", "there is no log of queries to look at; switch query_log on")]
    return [Suggestion("query", row.query, _cost(row)) for row in rows]


def _cost(row: Any) -> str:
    return f"{row.times} times, p95 {row.p95:.0f} ms, up to {row.memory / 1e6:.0f} MB, {row.rows:,} rows read"
