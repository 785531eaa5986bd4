"""What is noted of a dataset stored change-only: which entities were seen at which time, though no row came of it.

A row equal to its entity's row before is not stored. The table `<table>__seen` notes instead, for a time, the set of entities
that were seen then: one range for a million of them. The last row at or before a sighting says what was seen. So a row stands
for the sightings up to the next one:

- Who deletes a row takes these sightings back, by a record with `until`; records count in the order of their numbers.
- A row that comes late, between a row and a sighting of it, must not be taken for what was seen then: the sighting is *pinned*,
  made a row with the values it stood for, before they cannot be told any more.

`<table>__as_of(at, entities)` fills forward: the value of each entity at an instant, and when it was last seen until then.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata.model.dataset import Dataset
from chainstrata.model.latest import INSTANT, StateObject, state_parts
from chainstrata.model.marking import INTERNAL


def seen_table(dataset: Dataset, metadata: sa.MetaData) -> sa.Table:
    """Return the table of sightings."""
    name = f"{dataset.table.name}__seen"
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the record; later ones overrule."),
        sa.Column("ts", INSTANT, nullable=False, comment="When they were seen; or from when on their sightings are taken back."),
        sa.Column("until", INSTANT, nullable=True, comment="Until when their sightings are taken back. NULL: a sighting."),
        sa.Column("entities", pg.INT8MULTIRANGE(), nullable=False, comment="The entities, by number."),
        sa.PrimaryKeyConstraint("id", name=f"{name}_pkey"),
        sa.Index(
            f"idx_{name}_ts",
            "ts",
            postgresql_where=sa.text("until IS NULL"),
            info={"why": "The sighting before or after an instant."},
        ),
        sa.Index(
            f"idx_{name}_until",
            "until",
            postgresql_where=sa.text("until IS NOT NULL"),
            info={"why": "Whether a sighting was taken back."},
        ),
        comment=f"One row per time and set of entities of {dataset.table.name} seen then, whether or not a row came of it.",
        info=INTERNAL,
    )


def sighting_objects(dataset: Dataset) -> Iterator[StateObject]:
    """Yield what reads the sightings of a dataset and keeps them true."""
    parts = state_parts(dataset)
    what, name = dataset.full_name, f"{dataset.table.name}__"
    stated = (
        ("sighted_after", f"The first time after one instant and before another that an entity of {what} was seen.", _AFTER),
        ("sighted_before", f"The last time after one instant and up to another that an entity of {what} was seen.", _BEFORE),
        ("pin", f"Makes rows of the sightings of {what} that the given rows, already written, would be taken for.", _PIN),
        ("unsee", f"Takes back what the given rows of {what}, already deleted, stood for.", _UNSEE),
        ("rewind", f"Takes back all sightings of {what} from an instant on, as a reorg does; rows are deleted besides.", _REWIND),
        (
            "as_of",
            f"The rows that tell the values of some entities of {what} at an instant, and when each was last seen until then.",
            _AS_OF,
        ),
    )
    for word, doc, text in stated:
        yield StateObject("function", f"{name}{word}", doc, text.format(**parts).as_string())


_NOT_TAKEN_BACK = """
    SELECT s.ts FROM {seen} AS s
    WHERE s.until IS NULL AND s.entities @> p_entity AND NOT EXISTS (
        SELECT FROM {seen} AS v
        WHERE v.until IS NOT NULL AND v.until > s.ts AND v.ts <= s.ts AND v.id > s.id AND v.entities @> p_entity
    )"""
_AFTER = sql.SQL(
    """CREATE FUNCTION {sighted_after}(p_entity bigint, p_after timestamptz, p_before timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$"""
    + _NOT_TAKEN_BACK
    + """ AND s.ts > p_after AND s.ts < p_before
    ORDER BY s.ts LIMIT 1
$$"""
)
_BEFORE = sql.SQL(
    """CREATE FUNCTION {sighted_before}(p_entity bigint, p_after timestamptz, p_upto timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$"""
    + _NOT_TAKEN_BACK
    + """ AND s.ts > p_after AND s.ts <= p_upto
    ORDER BY s.ts DESC LIMIT 1
$$"""
)
_PIN = sql.SQL(
    """CREATE FUNCTION {pin}(p_entities bigint[], p_times timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF p_entities IS NULL OR NOT EXISTS (SELECT FROM {seen} WHERE until IS NULL AND ts > (SELECT min(t) FROM unnest(p_times) AS t)) THEN
        RETURN;
    END IF;
    PERFORM {lock}(p_entities);
    PERFORM set_config('chainstrata.pinning', 'on', true);
    INSERT INTO {raw} ({written}, {time})
    SELECT DISTINCT ON (given.entity, c.at) {theirs}, c.at
    FROM unnest(p_entities, p_times) AS given (entity, at)
    CROSS JOIN LATERAL (
        SELECT {sighted_after}(given.entity, given.at, coalesce(
            (SELECT n.{time} FROM {raw} AS n WHERE n.{entity} = given.entity AND n.{time} > given.at ORDER BY n.{time} LIMIT 1), 'infinity'
        )) AS at
    ) AS c
    CROSS JOIN LATERAL (
        SELECT r.* FROM {raw} AS r
        WHERE r.{entity} = given.entity AND r.{time} < given.at AND (given.entity, r.{time}) NOT IN (SELECT * FROM unnest(p_entities, p_times))
        ORDER BY r.{time} DESC LIMIT 1
    ) AS p
    WHERE c.at IS NOT NULL
    ON CONFLICT DO NOTHING;
    PERFORM set_config('chainstrata.pinning', '', true);
END
$$"""
)
_UNSEE = sql.SQL(
    """CREATE FUNCTION {unsee}(p_entities bigint[], p_times timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF p_entities IS NULL OR p_entities = '{{}}' THEN
        RETURN;
    END IF;
    PERFORM {lock}(p_entities);
    INSERT INTO {seen} (ts, until, entities)
    SELECT given.at, coalesce(n.at, 'infinity'), range_agg(int8range(given.entity, given.entity, '[]'))
    FROM unnest(p_entities, p_times) AS given (entity, at)
    LEFT JOIN LATERAL (
        SELECT r.{time} AS at FROM {raw} AS r WHERE r.{entity} = given.entity AND r.{time} > given.at ORDER BY r.{time} LIMIT 1
    ) AS n ON true
    GROUP BY given.at, coalesce(n.at, 'infinity');
END
$$"""
)
_REWIND = sql.SQL(
    """CREATE FUNCTION {rewind}(p_since timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    v_seen bigint[];
BEGIN
    PERFORM FROM {state} ORDER BY block FOR UPDATE;
    v_seen := ARRAY(
        SELECT (b.block << {bits}) + u.place - 1
        FROM {state} AS b
        CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)
        WHERE u.at IS NOT NULL AND greatest(b.seen_at, u.seen) >= p_since
    );
    INSERT INTO {seen} (ts, until, entities) VALUES (p_since, 'infinity', '{{(,)}}');
    PERFORM {settle}(v_seen);
END
$$"""
)
# Not of LANGUAGE sql, which is checked when it is made: what it calls may be made after it.
_AS_OF = sql.SQL(
    """CREATE FUNCTION {as_of}(p_at timestamptz, p_entities bigint[]) RETURNS TABLE ({shape})
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT {columns}, coalesce({sighted_before}(r.{entity}, r.{time}, p_at), r.{time})
    FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
    CROSS JOIN LATERAL (
        SELECT * FROM {raw} AS r WHERE r.{entity} = wanted.entity AND r.{time} <= p_at ORDER BY r.{time} DESC LIMIT 1
    ) AS r
    ORDER BY r.{entity};
END
$$"""
)
