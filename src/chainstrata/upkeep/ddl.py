"""The statements of upkeep. None of them can run inside a function or beside others in a transaction, so a client sends them."""

from psycopg import sql

from chainstrata.upkeep.model import IndexBloat, Statistics, View, ViewVerdict

ONLY_FROM = 180000
"""The server's version from which statistics of a partitioned table can be made without those of its partitions."""


def refresh_view(view: View) -> sql.Composed:
    how = sql.SQL("CONCURRENTLY " if view.verdict is ViewVerdict.CONCURRENTLY else "")
    return sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(how, sql.Identifier(view.schema, view.name))


def analyze_table(table: Statistics, server_version: int) -> sql.Composed:
    only = sql.SQL("ONLY " if table.partitioned and server_version >= ONLY_FROM else "")
    return sql.SQL("ANALYZE (SKIP_LOCKED) {}{}").format(only, sql.Identifier(table.schema, table.name))


def reindex(index: IndexBloat) -> sql.Composed:
    return sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name))


def drop_leftover(schema: str, name: str) -> sql.Composed:
    return sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))


def measure_indexes(place: str) -> sql.Composed:
    """Return the query that reads indexes of at least a size and tells how densely their leaves are filled."""
    return sql.SQL("""
SELECT n.nspname AS schema, i.relname AS name, tn.nspname || '.' || t.relname AS table, pg_relation_size(i.oid) AS size_bytes,
    -- Leaves are filled to 90 percent when an index is built; pages that were emptied or deleted hold nothing.
    greatest(0, pg_relation_size(i.oid) - current_setting('block_size')::bigint * (
        ceil(m.leaf_pages * coalesce(nullif(m.avg_leaf_density, 'NaN'), 0) / 90.0)::bigint + m.internal_pages + 1
    ))::bigint AS reclaimable_bytes,
    true AS measured
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence = 'p'
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_am AS a ON a.oid = i.relam AND a.amname = 'btree'
CROSS JOIN LATERAL {}.pgstatindex(i.oid::regclass) AS m
WHERE x.indisvalid AND n.nspname = ANY(%(schemas)s) AND pg_relation_size(i.oid) BETWEEN %(minimum)s AND %(maximum)s
""").format(sql.Identifier(place))
