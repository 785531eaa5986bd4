"""What PostgreSQL says about the rows to be archived: their columns, and totals that the files are held against."""

import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

from psycopg import sql
from psycopg.rows import dict_row

from chainstrata.engines.postgres import Connection, load_queries
from chainstrata.retention.archive.columns import ArchivedColumn, Encoding, Profile, SourceColumn, fit

QUERIES: Final = load_queries("chainstrata.retention")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows to archive: a relation, and a condition on it that holds for all of them."""

    relation: sql.Composable
    oid: int
    where: sql.Composable = field(default_factory=lambda: sql.SQL("true"))


@dataclass(frozen=True, slots=True)
class Expected:
    """The form of each column, and what the server counts: rows, values that are not NULL, totals as it gives them."""

    columns: tuple[ArchivedColumn, ...]
    rows: int
    counts: Mapping[str, int]
    totals: Mapping[str, decimal.Decimal | None]


async def read_columns(connection: Connection, oid: int) -> list[SourceColumn]:
    """Return the columns of a table in their order."""
    rows = await connection.fetch_all(QUERIES.list_columns, {"oid": oid})
    return [SourceColumn(row.name, row.position, row.type, row.declared, row.digits, row.scale, row.generated) for row in rows]


async def prepare_session(connection: Connection) -> None:
    """Make values print the same whatever the server's defaults are. For the transaction that reads."""
    await connection.execute("SET LOCAL bytea_output = hex")
    await connection.execute("SET LOCAL extra_float_digits = 1")
    await connection.execute("SET LOCAL intervalstyle = iso_8601")
    # One sort of a whole partition, by the one process that does this: what maintenance may take is what is meant for it.
    await connection.execute("SELECT set_config('work_mem', current_setting('maintenance_work_mem'), true)")


async def expect(connection: Connection, rows: Rows) -> Expected:
    """Look at all rows once, in the server, and return which form they take and what must be found in the files."""
    columns = await read_columns(connection, rows.oid)
    statement = sql.SQL("SELECT count(*) AS n, {aggregates} FROM {relation} WHERE {where}").format(
        aggregates=sql.SQL(", ").join(part for column in columns for part in _aggregates(column)),
        relation=rows.relation,
        where=rows.where,
    )
    found = await connection.fetch_one(statement, row_factory=dict_row)
    if found is None:
        raise AssertionError("an aggregate has a row")
    fitted = tuple(fit(column, _profile(found, column)) for column in columns)
    totals = {column.source.name: _total(found, column) for column in fitted}
    totals |= await _text_totals(connection, rows, [column for column in fitted if column.encoding is Encoding.TEXT])
    counts = {column.name: found[_label("count", column)] for column in columns}
    return Expected(fitted, found["n"], counts, totals)


_PLAIN_TIME: Final = "coalesce(bool_and(isfinite({c}) AND {c} >= '0001-01-01' AND {c} < '9999-12-31'), true)"
_TIME_TOTAL: Final = "coalesce(sum(extract(epoch FROM {c}) * 1000000) FILTER (WHERE isfinite({c})), 0)"
_AGGREGATES: Final[Mapping[str, Mapping[str, LiteralString]]] = {
    "numeric": {
        "plain": "NOT coalesce(bool_or({c} IN ('NaN', 'Infinity', '-Infinity')), false)",
        "total": "coalesce(sum({c}) FILTER (WHERE {c} NOT IN ('NaN', 'Infinity', '-Infinity')), 0)",
        "scale": "coalesce(max(scale({c})), 0)",
        "largest": "coalesce(max(abs({c})) FILTER (WHERE {c} NOT IN ('NaN', 'Infinity', '-Infinity')), 0)",
    },
    "int2": {"total": "coalesce(sum({c}), 0)"},
    "int4": {"total": "coalesce(sum({c}), 0)"},
    "int8": {"total": "coalesce(sum({c}), 0)"},
    "bool": {"total": "count(*) FILTER (WHERE {c})"},
    "date": {
        "plain": _PLAIN_TIME,
        "total": "coalesce(sum({c} - '1970-01-01'::date) FILTER (WHERE isfinite({c})), 0)",
    },
    "timestamp": {"plain": _PLAIN_TIME, "total": _TIME_TOTAL},
    "timestamptz": {"plain": _PLAIN_TIME, "total": _TIME_TOTAL},
}


def _aggregates(column: SourceColumn) -> list[sql.Composed]:
    wanted: dict[str, LiteralString] = {"count": "count({c})", **_AGGREGATES.get(column.type, {})}
    name = sql.Identifier(column.name)
    return [sql.SQL("{} AS {}").format(sql.SQL(text).format(c=name), sql.Identifier(_label(what, column))) for what, text in wanted.items()]


def _label(what: str, column: SourceColumn) -> str:
    """Return the name of an aggregate in the result; by number, because a column's own name may fill the 63 bytes there are."""
    return f"{what}_{column.position}"


def _profile(found: Mapping[str, Any], column: SourceColumn) -> Profile:
    def of(what: str, default: Any) -> Any:
        return found.get(_label(what, column), default)

    largest = decimal.Decimal(of("largest", 0))
    whole = len(str(int(largest))) if largest >= 1 else 0
    return Profile(whole, of("scale", 0), of("plain", True))


def _total(found: Mapping[str, Any], column: ArchivedColumn) -> decimal.Decimal | None:
    total = found.get(_label("total", column.source))
    return None if total is None else decimal.Decimal(total)


async def _text_totals(connection: Connection, rows: Rows, columns: Sequence[ArchivedColumn]) -> dict[str, decimal.Decimal]:
    """Return how many bytes the texts of columns have, for those that stand as text."""
    if not columns:
        return {}
    # A CHAR(n) is padded in the file as COPY pads it; casting it to text would cut that off.
    padded, plain = sql.SQL("coalesce(sum(octet_length({})), 0)"), sql.SQL("coalesce(sum(octet_length({}::text)), 0)")
    lengths = [(padded if column.source.type == "bpchar" else plain).format(sql.Identifier(column.source.name)) for column in columns]
    statement = sql.SQL("SELECT ARRAY[{}]::bigint[] FROM {} WHERE {}").format(sql.SQL(", ").join(lengths), rows.relation, rows.where)
    found = await connection.fetch_value(statement)
    return {column.source.name: decimal.Decimal(total) for column, total in zip(columns, found, strict=True)}
