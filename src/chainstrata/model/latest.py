"""The current state of a dataset: where the last row of every entity is, and when the entity was last seen.

A dataset that declares `latest`, and every one stored change-only, has a table `<table>__state` of blocks. A block holds
`BLOCK` neighbouring entities: the time of the last row of each, by which it is found in the series, and when each was last
seen. A million entities are a thousand small rows, so keeping it costs next to nothing, and reading one entity is two look-ups
by key. Ingest keeps it in the transaction that writes; for anyone who writes SQL statement triggers do.

Read it by `<table>__latest`, a view of one row per entity, or by `<table>__latest_of(entities)`, both with `seen_at`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata.model.dataset import Dataset
from chainstrata.model.marking import INTERNAL, identifier, type_sql

BLOCK_BITS: Final = 10
BLOCK: Final = 1 << BLOCK_BITS
"""Entities in a block. Neighbours share one, so numbers counted up from somewhere are packed."""
INSTANT: Final = sa.TIMESTAMP(timezone=True)
SEEN_AT: Final = "seen_at"


@dataclass(frozen=True, slots=True)
class StateObject:
    """A function, view or trigger that follows from a declaration."""

    kind: Literal["function", "view", "trigger"]
    name: str
    doc: str
    sql: str
    requires: tuple[str, ...] = ()


def keeps_latest(dataset: Dataset) -> bool:
    """Whether the dataset has a current state."""
    return dataset.latest or dataset.change_only is not None


def state_table(dataset: Dataset, metadata: sa.MetaData) -> sa.Table:
    """Return the table of the blocks."""
    name = f"{dataset.table.name}__state"
    return sa.Table(
        name,
        metadata,
        sa.Column("block", sa.BigInteger(), nullable=False, autoincrement=False, comment=f"Number of an entity by {BLOCK}."),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("0"), comment="Transaction that wrote it last."),
        sa.Column("seen_at", INSTANT, nullable=True, comment="When all its entities were last seen, where that was together."),
        sa.Column("at", pg.ARRAY(INSTANT), nullable=True, comment="Time of the last row of each entity, in order."),
        sa.Column("seen", pg.ARRAY(INSTANT), nullable=True, comment="When each was last seen, where that was not together."),
        sa.PrimaryKeyConstraint("block", name=f"{name}_pkey"),
        comment=f"One row per {BLOCK} entities of {dataset.table.name}: where the last row of each is.",
        info=INTERNAL,
    )


def state_parts(dataset: Dataset) -> dict[str, Any]:
    """Return what statements about the state of a dataset are composed of."""
    [entity] = dataset.entity
    table = dataset.table
    written = [column.name for column in table.c if column.computed is None and column.name != dataset.time]
    words = (
        "state",
        "lock",
        "settle",
        "keep",
        "latest",
        "latest_of",
        "seen",
        "sighted_after",
        "sighted_before",
        "pin",
        "unsee",
        "rewind",
        "as_of",
    )
    return {word: sql.Identifier(dataset.schema, f"{table.name}__{word}") for word in words} | {
        "raw": identifier(table),
        "entity": sql.Identifier(entity),
        "kind": type_sql(table.c[entity].type),
        "time": sql.Identifier(dataset.time),
        "shape": sql.SQL(", ").join(
            [
                *(sql.SQL("{} {}").format(sql.Identifier(column.name), type_sql(column.type)) for column in table.c),
                sql.SQL("seen_at timestamptz"),
            ]
        ),
        "columns": sql.SQL(", ").join(sql.Identifier("r", column.name) for column in table.c),
        "written": sql.SQL(", ").join(map(sql.Identifier, written)),
        "theirs": sql.SQL(", ").join(sql.Identifier("p", name) for name in written),
        "bits": sql.Literal(BLOCK_BITS),
        "mask": sql.Literal(BLOCK - 1),
        "size": sql.Literal(BLOCK),
    }


def last_rows(
    dataset: Dataset,
    columns: sql.Composable,
    *,
    given: sql.Composable | None = None,
    after: sql.Composable | None = None,
    seen: bool = False,
) -> sql.Composed:
    """Return the query for the last rows of entities, in the order of entities; a LIMIT may follow.

    `columns` are of the row `t`. Of those in the array `given`, or of all there are; only those beyond `after`. Each is one look-up by
    key, and no more are made than rows are taken. `seen` adds `seen_at`, when the entity was last seen.
    """
    parts = state_parts(dataset)
    if given is None:
        edge = (
            sql.SQL(" AND b.block >= {0} >> {1} AND (b.block << {1}) + u.place - 1 > {0}").format(after, parts["bits"])
            if after
            else sql.SQL("")
        )
        wanted = _ALL.format(**parts, edge=edge)
    else:
        edge = sql.SQL(" WHERE g > {}").format(after) if after else sql.SQL("")
        wanted = _SOME.format(**parts, given=given, edge=edge)
    sighted = sql.SQL(", k.{}").format(sql.Identifier(SEEN_AT)) if seen else sql.SQL("")
    return _LAST_ROWS.format(**parts, wanted=wanted, shown=columns, sighted=sighted)


def latest_objects(dataset: Dataset) -> Iterator[StateObject]:
    """Yield what reads the state and keeps it."""
    parts = state_parts(dataset)
    changes = dataset.change_only is not None
    name = f"{dataset.table.name}__"
    sighting = _SIGHTING.format(**parts) if changes else sql.SQL("NULL::timestamptz")
    settle = _SETTLE.format(**parts, sighting=sighting, sightings=_SIGHTINGS if changes else sql.SQL("NULL::timestamptz[]"))
    keep = (_KEEP_CHANGES if changes else _KEEP).format(**parts)
    what = dataset.full_name
    yield _function(f"{name}lock", f"Locks the state of entities of {what}, in one order for everybody.", _LOCK.format(**parts))
    yield _function(f"{name}settle", f"Finds the last rows of entities of {what} again, by one probe of the series each.", settle)
    kept = f"Keeps the current state of {what} true to what a statement wrote."
    yield _function(f"{name}keep", kept, keep)
    yield StateObject(
        "view",
        f"{name}latest",
        f"One row per entity of {what}: its last row, and when it was last seen.",
        _LATEST.format(**parts).as_string(),
    )
    yield _function(
        f"{name}latest_of",
        f"The last rows of some entities of {what}, and when each was last seen: two look-ups by key for each.",
        _LATEST_OF.format(**parts),
    )
    for event, when in _TRIGGERS.items():
        trigger = f"{name}keep_{event}"
        text = sql.SQL("CREATE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()")
        made = text.format(sql.Identifier(trigger), when.format(table=parts["raw"]), parts["keep"]).as_string()
        yield StateObject("trigger", trigger, kept, made, (f"{name}keep",))


def _function(name: str, doc: str, text: sql.Composed) -> StateObject:
    return StateObject("function", name, doc, text.as_string())


_ALL = sql.SQL(
    "SELECT b.block AS major, u.place AS minor, (b.block << {bits}) + u.place - 1 AS entity, u.at,"
    " greatest(u.at, b.seen_at, u.seen) AS seen_at"
    " FROM {state} AS b CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)"
    " WHERE u.at IS NOT NULL{edge} ORDER BY b.block, u.place"
)
_SOME = sql.SQL(
    "SELECT e.g AS major, 0 AS minor, e.g AS entity, b.at[(e.g & {mask}) + 1] AS at,"
    " greatest(b.at[(e.g & {mask}) + 1], b.seen_at, b.seen[(e.g & {mask}) + 1]) AS seen_at"
    " FROM (SELECT DISTINCT g FROM unnest({given}::bigint[]) AS g{edge}) AS e JOIN {state} AS b ON b.block = e.g >> {bits} ORDER BY e.g"
)
# Not a plain join: that may be made by reading the whole series.
_LAST_ROWS = sql.SQL(
    "SELECT n.*{sighted} FROM ({wanted}) AS k CROSS JOIN LATERAL"
    " (SELECT {shown} FROM {raw} AS t WHERE t.{entity} = k.entity AND t.{time} = k.at LIMIT 1) AS n ORDER BY k.major, k.minor"
)

# The entities of a block stand at their number within it, counted from one as arrays are.
_LATEST = sql.SQL(
    """CREATE VIEW {latest} AS
SELECT {columns}, kept.seen_at
FROM (
    SELECT
        ((b.block << {bits}) + u.place - 1)::{kind} AS entity,
        u.at,
        greatest(u.at, b.seen_at, u.seen) AS seen_at
    FROM {state} AS b
    CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)
    WHERE u.at IS NOT NULL
) AS kept
JOIN {raw} AS r ON r.{entity} = kept.entity AND r.{time} = kept.at"""
)
_LATEST_OF = sql.SQL(
    """CREATE FUNCTION {latest_of}(p_entities bigint[]) RETURNS TABLE ({shape})
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT {columns}, greatest(r.{time}, b.seen_at, b.seen[(wanted.entity & {mask}) + 1])
    FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
    JOIN {state} AS b ON b.block = wanted.entity >> {bits}
    JOIN {raw} AS r ON r.{entity} = wanted.entity AND r.{time} = b.at[(wanted.entity & {mask}) + 1]
    ORDER BY r.{entity}
$$"""
)
_LOCK = sql.SQL(
    """CREATE FUNCTION {lock}(p_entities bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO {state} (block)
        SELECT DISTINCT entity >> {bits} FROM unnest(p_entities) AS entity ORDER BY 1
        ON CONFLICT (block) DO NOTHING;
    PERFORM FROM {state} WHERE block IN (SELECT entity >> {bits} FROM unnest(p_entities) AS entity) ORDER BY block FOR UPDATE;
END
$$"""
)
# Behind the lock every statement sees all that is committed.
_SETTLE = sql.SQL(
    """CREATE FUNCTION {settle}(p_entities bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM {lock}(p_entities);
    WITH touched AS MATERIALIZED (
        SELECT wanted.entity >> {bits} AS block, (wanted.entity & {mask}) + 1 AS place, probed.at, {sighting} AS seen
        FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
        LEFT JOIN LATERAL (
            SELECT r.{time} AS at FROM {raw} AS r WHERE r.{entity} = wanted.entity ORDER BY r.{time} DESC LIMIT 1
        ) AS probed ON true
    )
    UPDATE {state} AS b
    SET at = made.at, seen_at = NULL, seen = made.seen, version = pg_current_xact_id()::text::bigint
    FROM (
        SELECT
            b.block,
            array_agg(CASE WHEN t.block IS NULL THEN u.at ELSE t.at END ORDER BY u.place) AS at,
            {sightings} AS seen
        FROM {state} AS b
        CROSS JOIN LATERAL unnest(coalesce(b.at, array_fill(NULL::timestamptz, ARRAY[{size}])), b.seen) WITH ORDINALITY AS u (at, seen, place)
        LEFT JOIN touched AS t ON t.block = b.block AND t.place = u.place
        WHERE b.block IN (SELECT block FROM touched)
        GROUP BY b.block
    ) AS made
    WHERE made.block = b.block;
END
$$"""
)
_SIGHTING = sql.SQL("CASE WHEN probed.at IS NOT NULL THEN {sighted_before}(wanted.entity, probed.at, 'infinity') END")
_SIGHTINGS = sql.SQL(
    "array_agg(CASE WHEN t.block IS NOT NULL THEN t.seen WHEN u.at IS NOT NULL THEN coalesce(b.seen_at, u.seen) END ORDER BY u.place)"
)
_KEEP = sql.SQL(
    """CREATE FUNCTION {keep}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {state};
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM {settle}(ARRAY(SELECT DISTINCT {entity} FROM old_rows));
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM {settle}(ARRAY(SELECT DISTINCT {entity} FROM new_rows));
    ELSE
        PERFORM {settle}(ARRAY(SELECT {entity} FROM old_rows UNION SELECT {entity} FROM new_rows));
    END IF;
    RETURN NULL;
END
$$"""
)
# A row stands for the sightings that found it unchanged: they go with it. A row that comes between makes the next sighting a row.
_KEEP_CHANGES = sql.SQL(
    """CREATE FUNCTION {keep}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {seen};
        DELETE FROM {state};
        RETURN NULL;
    ELSIF coalesce(current_setting('chainstrata.pinning', true), '') <> '' THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM {unsee}(ARRAY(SELECT {entity} FROM old_rows), ARRAY(SELECT {time} FROM old_rows));
        PERFORM {settle}(ARRAY(SELECT DISTINCT {entity} FROM old_rows));
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM {pin}(ARRAY(SELECT {entity} FROM new_rows), ARRAY(SELECT {time} FROM new_rows));
        PERFORM {settle}(ARRAY(SELECT DISTINCT {entity} FROM new_rows));
    ELSE
        PERFORM {unsee}(array_agg({entity}), array_agg({time}))
        FROM (SELECT {entity}, {time} FROM old_rows EXCEPT SELECT {entity}, {time} FROM new_rows) AS gone;
        PERFORM {pin}(array_agg({entity}), array_agg({time}))
        FROM (SELECT {entity}, {time} FROM new_rows EXCEPT SELECT {entity}, {time} FROM old_rows) AS come;
        PERFORM {settle}(ARRAY(SELECT {entity} FROM old_rows UNION SELECT {entity} FROM new_rows));
    END IF;
    RETURN NULL;
END
$$"""
)
_TRIGGERS = {
    "insert": sql.SQL("AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows"),
    "update": sql.SQL("AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    "delete": sql.SQL("AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows"),
    "truncate": sql.SQL("AFTER TRUNCATE ON {table}"),
}
