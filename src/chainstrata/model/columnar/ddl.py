"""Declarations as the engine's DDL, on one server or on a cluster.

On a cluster every table is two: `name__local`, replicated, on each server, and `name`, which spreads rows over the shards and
reads from all. Everybody writes to and reads from `name`, so that nothing else has to know.
"""

from collections.abc import Sequence
from typing import Final

from chainstrata.model.columnar.table import ColumnarColumn, ColumnarObject, ColumnarTable, ColumnarView, SkipIndex

LOCAL: Final = "__local"
# Where replicas of a table find each other; both macros are set in every server's configuration.
_KEEPER: Final = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
# Inserts whose token is remembered, so that one that is sent again counts once.
TOKENS_KEPT: Final = 10_000


def quote_name(name: str) -> str:
    """Return a name quoted for the engine's SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote_text(text: str) -> str:
    """Return a text as a literal of the engine's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def create(item: ColumnarObject, database: str, cluster: str = "") -> tuple[str, ...]:
    """Return the statements that make a table or view, in order."""
    if isinstance(item, ColumnarView):
        return (_create_view(item, database, cluster),)
    if not cluster:
        return (_create_table(item, item.name, database, "", item.engine),)
    spread = item.shard_by or f"cityHash64({', '.join(map(quote_name, item.order_by))})"
    local = f"Distributed({quote_text(cluster)}, {quote_text(database)}, {quote_text(item.name + LOCAL)}, {spread})"
    where = f"{quote_name(database)}.{quote_name(item.name)}{_on(cluster)}"
    as_local = f"{quote_name(database)}.{quote_name(item.name + LOCAL)}"
    return (
        _create_table(item, item.name + LOCAL, database, cluster, _replicated(item.engine)),
        f"CREATE TABLE IF NOT EXISTS {where} AS {as_local} ENGINE = {local} COMMENT {quote_text(item.doc)}",
    )


def drop(item: ColumnarObject, database: str, cluster: str = "") -> tuple[str, ...]:
    """Return the statements that remove a table or view with all its rows, in order."""
    where = f"{quote_name(database)}."
    if isinstance(item, ColumnarView):
        return (f"DROP VIEW IF EXISTS {where}{quote_name(item.name)}{_on(cluster)} SYNC",)
    names = [item.name, item.name + LOCAL] if cluster else [item.name]
    return tuple(f"DROP TABLE IF EXISTS {where}{quote_name(name)}{_on(cluster)} SYNC" for name in names)


def _on(cluster: str) -> str:
    return f" ON CLUSTER {quote_name(cluster)}" if cluster else ""


def _replicated(engine: str) -> str:
    """Return the replicated kind of an engine: ReplacingMergeTree(v) becomes ReplicatedReplacingMergeTree(path, replica, v)."""
    name, _, arguments = engine.partition("(")
    arguments = arguments.removesuffix(")").strip()
    return f"Replicated{name.strip()}({_KEEPER}{', ' + arguments if arguments else ''})"


def _create_view(view: ColumnarView, database: str, cluster: str) -> str:
    query = view.query.strip().rstrip(";").replace("{database}", quote_name(database))
    where = f"{quote_name(database)}.{quote_name(view.name)}{_on(cluster)}"
    return f"CREATE VIEW IF NOT EXISTS {where} AS\n{query}\nCOMMENT {quote_text(view.doc)}"


def _create_table(table: ColumnarTable, name: str, database: str, cluster: str, engine: str) -> str:
    inside = [column(one) for one in table.columns] + [index(one) for one in table.indexes]
    lines = [
        f"CREATE TABLE IF NOT EXISTS {quote_name(database)}.{quote_name(name)}{_on(cluster)} (",
        ",\n".join(f"    {line}" for line in inside),
        ")",
        f"ENGINE = {engine}",
    ]
    if table.partition_by:
        lines.append(f"PARTITION BY {table.partition_by}")
    if table.primary_key:
        lines.append(f"PRIMARY KEY {_key(table.primary_key)}")
    lines.append(f"ORDER BY {_key(table.order_by)}")
    if table.ttl:
        lines.append(f"TTL {table.ttl}")
    window = "replicated_deduplication_window" if cluster else "non_replicated_deduplication_window"
    settings = [(window, str(TOKENS_KEPT)), *table.settings]
    lines.append("SETTINGS " + ", ".join(f"{key} = {value}" for key, value in settings))
    lines.append(f"COMMENT {quote_text(table.doc)}")
    return "\n".join(lines)


def column(one: ColumnarColumn, *, stored: bool = True) -> str:
    """Return a column as it stands in a table; `stored` False: in one that only spreads rows over others."""
    parts = [quote_name(one.name), one.type]
    if one.alias:
        parts.append(f"ALIAS {one.alias}")
    elif one.default:
        parts.append(f"DEFAULT {one.default}")
    if one.doc:
        parts.append(f"COMMENT {quote_text(one.doc)}")
    if one.codec and not one.alias and stored:
        parts.append(f"CODEC({one.codec})")
    return " ".join(parts)


def index(one: SkipIndex, *, again: bool = False) -> str:
    """Return a skip index as it stands in a table; `again` lets it be there already."""
    there = "IF NOT EXISTS " if again else ""
    return f"INDEX {there}{quote_name(one.name)} {one.expression} TYPE {one.kind} GRANULARITY {one.granularity}"


def places(table: str, cluster: str) -> tuple[str, ...]:
    """Return the tables behind a name, the one that holds rows first."""
    return (table + LOCAL, table) if cluster else (table,)


def alter(table: str, clause: str, database: str, cluster: str) -> str:
    """Return the statement that changes a table, and waits until it is done."""
    return f"ALTER TABLE {quote_name(database)}.{quote_name(table)}{_on(cluster)} {clause} SETTINGS mutations_sync = 1, alter_sync = 2"


def _key(names: Sequence[str]) -> str:
    listed = ", ".join(map(quote_name, names))
    return listed if len(names) == 1 else f"({listed})"
