"""Statements that answer a question, with JSON made by the server.

A statement depends on what is asked, not on its values: those are parameters, or literals where a COPY takes none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from chainstrata.model import Dataset
from chainstrata.model.latest import SEEN_AT, keeps_latest, last_rows, state_parts
from chainstrata.model.marking import identifier, type_sql
from chainstrata.packs.repository.filling import BUCKET, FILLED, Filling
from chainstrata.query.model import Order, Wanted
from chainstrata.query.planner import EXACT, shape_of

Value = Callable[[str, Any], sql.Composable]
"""Puts a value into a statement: as a parameter of that name, or as a literal."""
COMMA = sql.SQL(", ")
AND = sql.SQL(" AND ")


def parameter(name: str, _: Any) -> sql.Composable:
    """Leave a place for a value of this name."""
    return sql.Placeholder(name)


def literal(_: str, value: Any) -> sql.Composable:
    """Put a value into the statement itself, safely quoted."""
    return sql.Literal(value)


def values_of(dataset: Dataset, wanted: Wanted, after: Sequence[str], *, latest: bool = False) -> dict[str, Any]:
    """Return the values of a statement's parameters."""
    values: dict[str, Any] = {"start": wanted.start, "end": wanted.end, "as_of": wanted.as_of, "most": wanted.limit}
    listed = dataset.entity[0] if latest and looks_up_each(dataset, wanted) else ""
    for column, given in wanted.filters.items():
        values[f"is_{column}"] = given[0] if len(given) == 1 and column != listed else list(given)
    return values | {f"after_{place}": text for place, text in enumerate(after)}


def looks_up_each(dataset: Dataset, wanted: Wanted) -> bool:
    """Whether the latest rows wanted are those of single entities, given by name."""
    return len(dataset.entity) == 1 and bool(dataset.time) and dataset.entity[0] in wanted.filters


def shaped(table: sa.Table, column: str) -> sql.Composed:
    """Return a column as JSON is to hold it."""
    name = sql.Identifier(column)
    match shape_of(table.c[column].type):
        case "text":
            return sql.SQL("t.{0}::text AS {0}").format(name)
        case "texts":
            return sql.SQL("t.{0}::text[] AS {0}").format(name)
        case "whole":
            return sql.SQL("CASE WHEN t.{0} BETWEEN {1} AND {2} THEN to_json(t.{0}) ELSE to_json(t.{0}::text) END AS {0}").format(
                name, sql.Literal(-EXACT), sql.Literal(EXACT)
            )
        case _:
            return sql.SQL("t.{0}").format(name)


def as_page(columns: Sequence[str], inner: sql.Composable, *, said: str = "") -> sql.Composed:
    """Return the statement for all rows of `inner` as one text, a JSON object on each line, and whether `said` holds for all and for any."""
    names = COMMA.join(sql.SQL("x.{}").format(sql.Identifier(column)) for column in columns)
    flag = sql.Identifier("x", said) if said else sql.SQL("NULL::boolean")
    return sql.SQL(
        "SELECT string_agg(row_to_json(r)::text, E'\\n') AS body, bool_and({flag}) AS every, bool_or({flag}) AS any"
        " FROM ({inner}) AS x CROSS JOIN LATERAL (SELECT {names}) AS r"
    ).format(flag=flag, inner=inner, names=names)


def as_lines(columns: Sequence[str], inner: sql.Composable) -> sql.Composed:
    """Return the query for all rows of `inner`, each as the text of a JSON object."""
    names = COMMA.join(sql.SQL("x.{}").format(sql.Identifier(column)) for column in columns)
    return sql.SQL("SELECT row_to_json(r)::text FROM ({inner}) AS x CROSS JOIN LATERAL (SELECT {names}) AS r").format(
        inner=inner, names=names
    )


def sent(lines: sql.Composable) -> sql.Composed:
    """Return the COPY that sends lines of JSON. It has no control characters, so with these two as its marks CSV writes it as it is."""
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')").format(lines)


@dataclass(frozen=True, slots=True)
class BucketPage:
    """Makes the page of JSON of a query for buckets; `open` of its columns says that a bucket has not ended."""

    table: sa.Table
    columns: tuple[str, ...]
    open: str = "is_open"

    def __call__(self, query: sql.Composable) -> sql.Composed:
        return as_page((*self.columns, self.open), self.shaped(query), said=self.open)

    def shaped(self, query: sql.Composable) -> sql.Composed:
        """Return the query for the buckets as JSON is to hold them."""
        selected = COMMA.join(shaped(self.table, column) for column in self.columns)
        return sql.SQL("SELECT {}, t.{} FROM ({}) AS t").format(selected, sql.Identifier(self.open), query)


@dataclass(frozen=True, slots=True)
class BucketLines(BucketPage):
    """Makes lines of JSON of a query for buckets."""

    def __call__(self, query: sql.Composable) -> sql.Composed:
        return as_lines((*self.columns, self.open), self.shaped(query))


@dataclass(frozen=True, slots=True)
class BucketRows(BucketPage):
    """Makes rows of a query for buckets, with their columns as they are."""

    def __call__(self, query: sql.Composable) -> sql.Composed:
        names = COMMA.join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in (*self.columns, self.open))
        return sql.SQL("SELECT {} FROM ({}) AS t").format(names, query)


FINAL = "__final"
_BOUNDS = {"start": sql.SQL(">="), "end": sql.SQL("<"), "as_of": sql.SQL("<=")}


def rows(
    dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value, *, plain: bool = False
) -> sql.Composed:
    """Return the statement for rows in the order of the key. `plain`: as they are, not as JSON is to hold them."""
    conditions = _conditions(dataset, wanted, value)
    if after:
        conditions.append(_beyond(dataset, dataset.key, wanted.order, after, value))
    return sql.SQL("SELECT {columns} FROM {table} AS t WHERE {where} ORDER BY {order}{limit}").format(
        columns=_selected(dataset, columns, plain=plain),
        table=identifier(dataset.table),
        where=AND.join(conditions),
        order=_order(dataset.key, wanted.order),
        limit=_limit(wanted, value),
    )


def latest(dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value) -> sql.Composed:
    """Return the statement for the last row of each entity, in the order of entities; where it is stored change-only, with `seen_at`."""
    if is_at_hand(dataset, wanted):
        return _latest_at_hand(dataset, columns, wanted, after, value)
    if looks_up_each(dataset, wanted):
        return _latest_of(dataset, columns, wanted, after, value)
    if list(dataset.entity) == [dataset.key[0]] and dataset.time:
        return _latest_of_all(dataset, columns, wanted, after, value)
    conditions = _conditions(dataset, wanted, value)
    if after:
        conditions.append(_beyond(dataset, dataset.entity, Order.ASC, after, value))
    newest = sql.SQL(", t.{} DESC").format(sql.Identifier(dataset.time)) if dataset.time else sql.SQL("")
    return sql.SQL("SELECT DISTINCT ON ({entity}) {columns} FROM {table} AS t WHERE {where} ORDER BY {entity}{newest}{limit}").format(
        entity=COMMA.join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in dataset.entity),
        columns=_selected_last(dataset, columns, wanted, value),
        table=identifier(dataset.table),
        where=AND.join(conditions),
        newest=newest,
        limit=_limit(wanted, value),
    )


def filled(filling: Filling, columns: Sequence[str]) -> sql.Composed:
    """Return the statement for the page of a series without holes, of the entities that the filters name."""
    dataset = filling.dataset
    given = [
        sql.SQL("unnest({}::{}[]) AS {} ({})").format(
            sql.Placeholder(f"is_{name}"), type_sql(dataset.table.c[name].type), sql.Identifier(f"given_{place}"), sql.Identifier(name)
        )
        for place, name in enumerate(dataset.entity)
    ]
    entities = sql.SQL("wanted AS (SELECT DISTINCT * FROM {})").format(sql.SQL(" CROSS JOIN ").join(given))
    inner = filling.statement(entities, _selected(dataset, columns), texts=True)
    return as_page((BUCKET, FILLED, *columns, *filling.mean_names), inner, said=FINAL if dataset.final else "")


def is_at_hand(dataset: Dataset, wanted: Wanted) -> bool:
    """Whether the current state of the dataset tells where the rows wanted are."""
    return keeps_latest(dataset) and wanted.as_of is None and set(wanted.filters) <= set(dataset.entity)


def _latest_at_hand(dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value) -> sql.Composed:
    [entity] = dataset.entity
    given = value(f"is_{entity}", list(wanted.filters[entity])) if entity in wanted.filters else None
    beyond = sql.SQL("{}::bigint").format(value("after_0", after[0])) if after else None
    found = last_rows(dataset, _selected(dataset, columns), given=given, after=beyond, seen=dataset.change_only is not None)
    return sql.SQL("{}{}").format(found, _limit(wanted, value))


def _newest_row(dataset: Dataset, columns: Sequence[str], wanted: Wanted, value: Value, given: sql.Composable) -> sql.Composed:
    [entity] = dataset.entity
    others = replace(wanted, filters={name: values for name, values in wanted.filters.items() if name != entity})
    return sql.SQL("SELECT {columns} FROM {table} AS t WHERE t.{entity} = {given} AND {where} ORDER BY t.{time} DESC LIMIT 1").format(
        columns=_selected_last(dataset, columns, wanted, value),
        table=identifier(dataset.table),
        entity=sql.Identifier(entity),
        given=given,
        where=AND.join(_conditions(dataset, others, value)),
        time=sql.Identifier(dataset.time),
    )


def _latest_of(dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value) -> sql.Composed:
    """Look each given entity up by itself: the end of its part of the index, whatever lies between."""
    [entity] = dataset.entity
    kind = type_sql(dataset.table.c[entity].type)
    beyond = sql.SQL(" WHERE g > {}::{}").format(value("after_0", after[0]), kind) if after else sql.SQL("")
    return sql.SQL(
        "SELECT n.* FROM (SELECT DISTINCT g FROM unnest({given}::{kind}[]) AS g{beyond} ORDER BY g) AS e (g)"
        " CROSS JOIN LATERAL ({newest}) AS n ORDER BY e.g{limit}"
    ).format(
        given=value(f"is_{entity}", list(wanted.filters[entity])),
        kind=kind,
        beyond=beyond,
        newest=_newest_row(dataset, columns, wanted, value, sql.SQL("e.g")),
        limit=_limit(wanted, value),
    )


def _latest_of_all(dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value) -> sql.Composed:
    """Walk the index from entity to entity, so that what lies between is never read."""
    [entity] = dataset.entity
    kind = type_sql(dataset.table.c[entity].type)
    first = sql.SQL(" WHERE {} > {}::{}").format(sql.Identifier(entity), value("after_0", after[0]), kind) if after else sql.SQL("")
    return sql.SQL(
        "WITH RECURSIVE e (g) AS ((SELECT {entity} FROM {table}{first} ORDER BY {entity} LIMIT 1)"
        " UNION ALL SELECT (SELECT {entity} FROM {table} WHERE {entity} > e.g ORDER BY {entity} LIMIT 1) FROM e WHERE e.g IS NOT NULL)"
        " SELECT n.* FROM e CROSS JOIN LATERAL ({newest}) AS n WHERE e.g IS NOT NULL{limit}"
    ).format(
        entity=sql.Identifier(entity),
        table=identifier(dataset.table),
        first=first,
        newest=_newest_row(dataset, columns, wanted, value, sql.SQL("e.g")),
        limit=_limit(wanted, value),
    )


def _selected(dataset: Dataset, columns: Sequence[str], *, plain: bool = False) -> sql.Composed:
    if plain:
        return COMMA.join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in columns)
    selected: list[sql.Composable] = [shaped(dataset.table, column) for column in columns]
    if dataset.final:
        selected.append(sql.SQL("t.{} AS {}").format(sql.Identifier(dataset.final), sql.Identifier(FINAL)))
    return COMMA.join(selected)


# A row stands for the sightings up to the next one.
_SEEN_AT = sql.SQL(
    "coalesce({sighted_before}(t.{entity}, t.{time}, least({upto}, (SELECT min(f.{time}) FROM {raw} AS f"
    " WHERE f.{entity} = t.{entity} AND f.{time} > t.{time}) - interval '1 microsecond')), t.{time}) AS {seen_at}"
)


def _selected_last(dataset: Dataset, columns: Sequence[str], wanted: Wanted, value: Value) -> sql.Composable:
    """Return what is selected of a row that may not be its entity's last: when it was last seen is to be found from what was noted."""
    selected = _selected(dataset, columns)
    if dataset.change_only is None:
        return selected
    upto = sql.SQL("{}::timestamptz").format(value("as_of", wanted.as_of)) if wanted.as_of else sql.SQL("'infinity'")
    return COMMA.join([selected, _SEEN_AT.format(**state_parts(dataset), upto=upto, seen_at=sql.Identifier(SEEN_AT))])


def _conditions(dataset: Dataset, wanted: Wanted, value: Value) -> list[sql.Composable]:
    """Return what rows have to meet, but for where a page begins."""
    conditions: list[sql.Composable] = [sql.SQL("true")]
    for column, values in wanted.filters.items():
        name, kind = sql.Identifier(column), type_sql(dataset.table.c[column].type)
        if len(values) == 1:
            conditions.append(sql.SQL("t.{} = {}::{}").format(name, value(f"is_{column}", values[0]), kind))
        else:
            conditions.append(sql.SQL("t.{} = ANY ({}::{}[])").format(name, value(f"is_{column}", list(values)), kind))
    if dataset.time:
        time = sql.Identifier(dataset.time)
        kind = type_sql(dataset.table.c[dataset.time].type)
        for bound, given in (("start", wanted.start), ("end", wanted.end), ("as_of", wanted.as_of)):
            if given is not None:
                conditions.append(sql.SQL("t.{} {} {}::{}").format(time, _BOUNDS[bound], value(bound, given), kind))
    return conditions


def _beyond(dataset: Dataset, key: Sequence[str], order: Order, after: Sequence[str], value: Value) -> sql.Composed:
    """Return the condition that a row comes after a key: compared as a whole, so an index finds the place."""
    given = [
        sql.SQL("{}::{}").format(value(f"after_{place}", text), type_sql(dataset.table.c[name].type))
        for place, (name, text) in enumerate(zip(key, after, strict=True))
    ]
    names = COMMA.join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in key)
    return sql.SQL("({}) {} ({})").format(names, sql.SQL(">" if order is Order.ASC else "<"), COMMA.join(given))


def _order(key: Sequence[str], order: Order) -> sql.Composed:
    word = sql.SQL("ASC" if order is Order.ASC else "DESC")
    return COMMA.join(sql.SQL("t.{} {}").format(sql.Identifier(name), word) for name in key)


def _limit(wanted: Wanted, value: Value) -> sql.Composable:
    return sql.SQL(" LIMIT {}").format(value("most", wanted.limit)) if wanted.limit else sql.SQL("")


def tail(
    dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], value: Value, order: Sequence[str]
) -> sql.Composed:
    """Return the statement for rows after a place, in the order of time. The place is a time, or a whole key that begins with it."""
    conditions = [*_conditions(dataset, wanted, value), _beyond(dataset, order[: len(after)], Order.ASC, after, value)]
    time = sql.SQL("t.{} >= {}::{}").format(
        sql.Identifier(dataset.time), value("after_0", after[0]), type_sql(dataset.table.c[dataset.time].type)
    )
    return sql.SQL("SELECT {columns} FROM {table} AS t WHERE {where} ORDER BY {order}{limit}").format(
        columns=_selected(dataset, columns),
        table=identifier(dataset.table),
        # Said by itself too, because only that leaves partitions out.
        where=AND.join([*conditions, time]),
        order=_order(order, Order.ASC),
        limit=_limit(wanted, value),
    )


def newest_time(dataset: Dataset, since: str = "") -> sql.Composed:
    """Return the query for the newest time of a dataset; `since` limits it to a span before the present."""
    within = sql.SQL(" WHERE {} > now() - {}::interval").format(sql.Identifier(dataset.time), sql.Literal(since)) if since else sql.SQL("")
    return sql.SQL("SELECT max({})::timestamptz FROM {}{}").format(sql.Identifier(dataset.time), identifier(dataset.table), within)


def newest_since(dataset: Dataset) -> sql.Composed:
    """Return the query for the newest time of a dataset from an instant on."""
    return sql.SQL("SELECT max({0})::timestamptz FROM {1} WHERE {0} >= %(since)s").format(
        sql.Identifier(dataset.time), identifier(dataset.table)
    )


def signature(dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], what: str) -> tuple[Any, ...]:
    """Return what a statement depends on, so that it is put together once."""
    shape: Mapping[str, bool] = {name: len(values) == 1 for name, values in wanted.filters.items()}
    bounds = (wanted.start is not None, wanted.end is not None, wanted.as_of is not None, bool(wanted.limit))
    return what, dataset.full_name, tuple(columns), tuple(shape.items()), bounds, wanted.order, len(after)
