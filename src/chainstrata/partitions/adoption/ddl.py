"""The statements of an adoption."""

from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

from psycopg import sql

from chainstrata.model import TimedTable
from chainstrata.partitions.adoption.model import Column, Facts, Index
from chainstrata.partitions.adoption.names import OWN_TRIGGERS, Names, extend


def trusted(text: Any) -> sql.SQL:
    """Return a definition the server itself printed."""
    return sql.SQL(text)


def listed(names: Sequence[str], prefix: str = "") -> sql.Composed:
    """Return names as a list; with a prefix, of the relation called so."""
    return sql.SQL(", ").join(sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names)


def matched(names: Sequence[str], one: str, other: str) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name)) for name in names)


def make_copy(names: Names, facts: Facts) -> Iterator[sql.Composed]:
    """Yield what makes the partitioned copy, still empty: columns, defaults, checks, key, owner. Triggers and references come last."""
    table = names.table
    yield sql.SQL(
        "CREATE TABLE {copy} (LIKE {plain} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY"
        " INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING STATISTICS INCLUDING COMMENTS) PARTITION BY RANGE ({time})"
    ).format(copy=names.copy, plain=names.plain, time=sql.Identifier(table.column))
    yield sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
        names.copy, sql.Identifier(extend(key_name(table, facts), "__adopt")), listed(table.key)
    )
    yield sql.SQL("ALTER TABLE {} OWNER TO {}").format(names.copy, trusted(facts.owner))
    if facts.comment is not None:
        yield sql.SQL("COMMENT ON TABLE {} IS {}").format(names.copy, sql.Literal(facts.comment))


def key_name(table: TimedTable, facts: Facts) -> str:
    """Return what the primary key is called: as it was, or as PostgreSQL would call it."""
    return next((index.name for index in facts.indexes if index.primary), extend(table.table, "_pkey"))


def make_log(names: Names, columns: Sequence[Column]) -> Iterator[sql.Composed]:
    """Yield what notes the keys of all rows that change from now on, in the transaction that changes them.

    By statement, with transition tables; ALWAYS, so that a session that replays replication cannot slip past. The function is
    run with its owner's rights: whoever may write the table need not know of the log.
    """
    key = names.table.key
    types = {column.name: trusted(column.type) for column in columns}
    declared = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), types[name]) for name in key)
    yield sql.SQL(
        "CREATE TABLE {} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, emptied boolean NOT NULL DEFAULT false, {})"
    ).format(names.log, declared)
    yield sql.SQL(
        "CREATE TABLE {} (copied bigint NOT NULL, followed bigint NOT NULL, reached text[], complete boolean NOT NULL,"
        " locked double precision NOT NULL, promises jsonb NOT NULL)"
    ).format(names.notes)
    yield sql.SQL("INSERT INTO {} VALUES (0, 0, NULL, false, 0, '[]')").format(names.notes)
    yield _FUNCTION.format(function=names.function, log=names.log, key=listed(key))
    for event, rows in _EVENTS.items():
        name = sql.Identifier(f"{OWN_TRIGGERS}_{event.lower()}")
        yield sql.SQL("CREATE TRIGGER {} AFTER {} ON {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()").format(
            name, sql.SQL(event), names.plain, sql.SQL(rows), names.function
        )
        yield sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(names.plain, name)


_EVENTS: dict[LiteralString, LiteralString] = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}
_FUNCTION = sql.SQL(
    """CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {log} ({key}) SELECT {key} FROM new_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO {log} ({key}) SELECT {key} FROM old_rows UNION SELECT {key} FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {log} ({key}) SELECT {key} FROM old_rows;
    ELSE
        INSERT INTO {log} (emptied) VALUES (true);
    END IF;
    RETURN NULL;
END
$$"""
)


def remove_helpers(names: Names) -> Iterator[sql.Composed]:
    """Yield what ends the noting of changes. The notes stay until all is done."""
    for event in _EVENTS:
        yield sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(f"{OWN_TRIGGERS}_{event.lower()}"), names.plain)
    yield sql.SQL("DROP FUNCTION IF EXISTS {}()").format(names.function)
    yield sql.SQL("DROP TABLE IF EXISTS {}").format(names.log)


def make_index(names: Names, index: Index) -> list[sql.Composed]:
    """Return what makes an index of the plain table on the copy, under a name of its own for now."""
    own = extend(index.name, "__adopt")
    if index.constraint is not None:
        return [sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(names.copy, sql.Identifier(own), trusted(index.constraint))]
    # The server prints `CREATE [UNIQUE] INDEX name ON schema.table USING …`: what follows USING is the same for both.
    _, _, rest = index.definition.partition(" USING ")
    unique = sql.SQL("UNIQUE ") if index.unique else sql.SQL("")
    return [sql.SQL("CREATE {}INDEX {} ON {} USING {}").format(unique, sql.Identifier(own), names.copy, trusted(rest))]


def exchange(names: Names, facts: Facts) -> Iterator[sql.Composed]:
    """Yield what puts the copy in the table's place. In one transaction that holds the table locked."""
    yield from remove_helpers(names)
    for index in facts.indexes:
        yield _rename("INDEX", names.identify(index.name), extend(index.name, "__before"))
    for name, _ in facts.references:
        # Or rows that are here no more would keep what they refer to from being deleted.
        yield sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(names.plain, sql.Identifier(name))
    yield _rename("TABLE", names.plain, names.sibling("before"))
    yield _rename("TABLE", names.copy, names.table.table)
    key = key_name(names.table, facts)
    for name in (key, *(index.name for index in facts.indexes if not index.primary)):
        yield _rename("INDEX", names.identify(extend(name, "__adopt")), name)
    for index in facts.indexes:
        if index.comment is not None:
            yield sql.SQL("COMMENT ON INDEX {} IS {}").format(names.identify(index.name), sql.Literal(index.comment))
    for column in facts.columns:
        if column.sequence is not None and not column.identity:
            owned = sql.SQL("{}.{}").format(names.plain, sql.Identifier(column.name))
            yield sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(trusted(column.sequence), owned)


def _rename(kind: LiteralString, name: sql.Identifier, to: str) -> sql.Composed:
    return sql.SQL("ALTER {} {} RENAME TO {}").format(sql.SQL(kind), name, sql.Identifier(to))


def enable(names: Names, trigger: str, enabled: str) -> sql.Composed | None:
    """Return what brings a trigger into the state it was in; None when it is in it as it was made."""
    how: dict[str, LiteralString] = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}
    if enabled not in how:
        return None
    return sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(names.plain, sql.SQL(how[enabled]), sql.Identifier(trigger))
