"""Whether the columnar engine holds what the packs declare, object by object.

The declared schema is made in a scratch database of the same engine, and both are read back the same way: the engine's own words
are compared, not ours.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from os import getpid, urandom
from typing import Any

from chainstrata.engines.clickhouse import Columnar, quote_name
from chainstrata.migrate.columnar.history import HISTORY
from chainstrata.migrate.columnar.make import declared
from chainstrata.migrate.verify import Deviation, Difference
from chainstrata.model import Catalog
from chainstrata.model.columnar import compare
from chainstrata.model.columnar.ddl import LOCAL

Described = dict[tuple[str, str], str]
_TABLES = "SELECT name, engine, create_table_query, partition_key, sorting_key, primary_key, comment FROM system.tables WHERE database = {db:String}"
_COLUMNS = "SELECT table, name, type, default_kind, default_expression, compression_codec, comment FROM system.columns WHERE database = {db:String}"
_INDEXES = "SELECT table, name, type_full, expr, granularity FROM system.data_skipping_indices WHERE database = {db:String}"
_TTL = re.compile(r"\bTTL (.*?)(?: SETTINGS | COMMENT |\Z)")


async def verify(columnar: Columnar, catalog: Catalog, packs: Collection[str] = ()) -> list[Difference]:
    """Return every object that is missing, too many or different."""
    scratch = f"chainstrata_scratch_{getpid()}_{urandom(4).hex()}"
    chosen = [pack for pack in catalog.packs if not packs or pack.name in packs]
    await columnar.execute(f"CREATE DATABASE {quote_name(scratch)}")
    try:
        for pack in chosen:
            for change in compare({}, declared(pack)):
                for statement in change.statements(scratch, ""):
                    await columnar.execute(statement)
        wanted = await _describe(columnar, scratch, "")
    finally:
        await columnar.execute(f"DROP DATABASE IF EXISTS {quote_name(scratch)} SYNC")
    live = await _describe(columnar, columnar.database, columnar.cluster)
    names = [f"{pack.name}__" for pack in chosen]
    mine = {key: text for key, text in live.items() if key[1].startswith(tuple(names)) and key[1].split(".")[0] != HISTORY.name}
    return list(_differences(wanted, mine))


def _differences(wanted: Mapping[tuple[str, str], str], live: Mapping[tuple[str, str], str]) -> Iterator[Difference]:
    for key in sorted(wanted.keys() | live.keys()):
        before, after = live.get(key), wanted.get(key)
        if before != after:
            deviation = Deviation.MISSING if before is None else Deviation.EXTRA if after is None else Deviation.DIFFERENT
            yield Difference(deviation, f"columnar {key[0]}", key[1], after or "", before or "")


async def _describe(columnar: Columnar, database: str, cluster: str) -> Described:
    """Return the definition of every object of a database, by kind and name; on a cluster of the tables that hold rows."""
    params = {"db": database}
    described: Described = {}
    holds = {}
    for row in await columnar.query_rows(_TABLES, params):
        if cluster and row.engine == "Distributed":
            continue
        name = row.name.removesuffix(LOCAL) if cluster else row.name
        holds[row.name] = name
        if row.engine == "View":
            described["view", name] = _query(row.create_table_query, database)
        else:
            described["table", name] = _table(row)
    views = {name for kind, name in described if kind == "view"}
    for row in await columnar.query_rows(_COLUMNS, params):
        if row.table in holds and holds[row.table] not in views:
            text = f"{row.type} {row.default_kind} {row.default_expression} {row.compression_codec} {row.comment}"
            described["column", f"{holds[row.table]}.{row.name}"] = " ".join(text.split())
    for row in await columnar.query_rows(_INDEXES, params):
        if row.table in holds:
            described["index", f"{holds[row.table]}.{row.name}"] = f"{row.type_full} ({row.expr}) granularity {row.granularity}"
    return described


def _table(row: Any) -> str:
    ttl = _TTL.search(row.create_table_query)
    engine = row.engine.removeprefix("Replicated")
    kept = f" until {ttl[1]}" if ttl else ""
    return f"{engine} by ({row.partition_key}) sorted by ({row.sorting_key}) found by ({row.primary_key}){kept}: {row.comment}"


def _query(text: str, database: str) -> str:
    return " ".join(text[text.index(" AS ") :].replace(f"`{database}`.", "").replace(f"{database}.", "").split())
