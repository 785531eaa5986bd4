r"""Online operations as SQL for psql, where nobody of ours is there to look at the database between two statements.

A query that ends with `\gexec` asks the database itself what is to be done: psql runs every row of its answer.
"""

from typing import Final, LiteralString

from chainstrata.migrate.text import compose, literal, literals, name, raw

GEXEC: Final = r"\gexec"

# Same names as online.part_name.
_PART_NAME: Final[LiteralString] = """CASE WHEN octet_length({0}) <= 63 THEN {0}
       ELSE left({0}, 52) || '_' || left(encode(sha256(convert_to({0}, 'UTF8')), 'hex'), 10) END"""

_DROP_INVALID: Final[LiteralString] = """SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, i.relname)
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_namespace AS n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND i.relkind = 'i' AND x.indrelid IN (
    SELECT {table}::regclass UNION SELECT relid FROM pg_partition_tree({table}::regclass)
) AND i.relname IN ({index}, {part})"""

_SHELL: Final[LiteralString] = """SELECT {create}
FROM pg_class WHERE oid = {table}::regclass AND relkind = 'p'"""

_LEAVES: Final[LiteralString] = """SELECT {create} || quote_ident(CASE WHEN leaf.root THEN {index} ELSE {part} END)
    || ' ON ' || format('%I.%I', n.nspname, c.relname) || {tail}
FROM (
    SELECT relid, false AS root FROM pg_partition_tree({table}::regclass) WHERE isleaf AND parentrelid IS NOT NULL
    UNION ALL
    SELECT oid, true FROM pg_class WHERE oid = {table}::regclass AND relkind <> 'p'
) AS leaf
JOIN pg_class AS c ON c.oid = leaf.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace"""

_ATTACH: Final[LiteralString] = """SELECT format('ALTER INDEX %s ATTACH PARTITION %I.%I', {quoted}, n.nspname, {part})
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.inhparent = {table}::regclass AND NOT EXISTS (
    SELECT FROM pg_inherits AS ih JOIN pg_index AS x ON x.indexrelid = ih.inhrelid
    WHERE ih.inhparent = to_regclass({quoted}) AND x.indrelid = c.oid
)"""


def asks(text: str) -> str:
    """Return a query whose answers psql is to run."""
    return f"{text} {GEXEC}"


def create_index(schema: str, index: str, table: str, tail: str, unique: bool) -> list[str]:
    words = "CREATE UNIQUE INDEX " if unique else "CREATE INDEX "
    part = raw(compose(_PART_NAME, raw(compose("(c.relname || {})", literal(f"_{index}")))))
    invalid = raw(compose(_PART_NAME, raw(compose("((SELECT relname FROM pg_class WHERE oid = x.indrelid) || {})", literal(f"_{index}")))))
    quoted = literal(compose("{}", name(schema, index)))
    shell = compose("{}{} ON ONLY {} {}", raw(f"{words}IF NOT EXISTS "), name(index), name(table), raw(tail))
    return [
        asks(compose(_DROP_INVALID, table=literal(table), index=literal(index), part=invalid)),
        asks(compose(_SHELL, create=literal(shell), table=literal(table))),
        asks(
            compose(
                _LEAVES,
                create=literal(f"{words}CONCURRENTLY IF NOT EXISTS "),
                index=literal(index),
                part=part,
                tail=literal(f" {tail}"),
                table=literal(table),
            )
        ),
        asks(compose(_ATTACH, quoted=quoted, part=part, table=literal(table))),
    ]


def drop_index(schema: str, index: str) -> list[str]:
    text = compose(
        "SELECT format('DROP INDEX %s%s', CASE relkind WHEN 'I' THEN '' ELSE 'CONCURRENTLY ' END, oid::regclass)\n"
        "FROM pg_class WHERE oid = to_regclass({})",
        literal(compose("{}", name(schema, index))),
    )
    return [asks(text)]


def add_constraint(table: str, constraint: str, rule: str) -> list[str]:
    """Return the constraint in the two steps that hold nobody up; for a foreign key, on every partition before the parent."""
    add = compose(" ADD CONSTRAINT {} {}", name(constraint), raw(rule))
    if rule.lstrip().upper().startswith("UNIQUE"):
        return [compose("ALTER TABLE {}", name(table)) + add]
    validate = compose(" VALIDATE CONSTRAINT {}", name(constraint))
    if not rule.lstrip().upper().startswith("FOREIGN KEY"):
        return [compose("ALTER TABLE {}", name(table)) + text for text in (f"{add} NOT VALID", validate)]
    leaves = (
        "SELECT format('ALTER TABLE %s', relid::regclass) || {}\n"
        "FROM (SELECT relid FROM pg_partition_tree({table}::regclass) WHERE isleaf UNION SELECT {table}::regclass) AS leaf\n"
        "WHERE (SELECT relkind FROM pg_class WHERE oid = leaf.relid) = 'r'"
    )
    parent = "SELECT {} FROM pg_class WHERE oid = {table}::regclass AND relkind = 'p'"
    whole = compose("ALTER TABLE {}", name(table)) + add
    return [
        asks(compose(leaves, literal(f"{add} NOT VALID"), table=literal(table))),
        asks(compose(leaves, literal(validate), table=literal(table))),
        asks(compose(parent, literal(whole), table=literal(table))),
    ]


def set_not_null(table: str, column: str, check: str) -> list[str]:
    return [
        compose("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NOT NULL) NOT VALID", name(table), name(check), name(column)),
        compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", name(table), name(check)),
        compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", name(table), name(column)),
        compose("ALTER TABLE {} DROP CONSTRAINT {}", name(table), name(check)),
    ]


def backfill(table: str, assignments: str, where: str, pages: int) -> list[str]:
    """Return the batches as a query that lists them, page span by page span."""
    text = (
        "SELECT format('UPDATE ONLY %s SET ' || {assignments} || ' WHERE ctid >= ''(%s,0)'' AND ctid < ''(%s,0)'' AND (' || {where} || ')',\n"
        "    relid::regclass, start, start + {pages})\n"
        "FROM (SELECT relid FROM pg_partition_tree({table}::regclass) WHERE isleaf UNION SELECT {table}::regclass) AS leaf,\n"
        "    generate_series(0, pg_relation_size(relid) / current_setting('block_size')::bigint, {pages}) AS start\n"
        "WHERE (SELECT relkind FROM pg_class WHERE oid = leaf.relid) = 'r'"
    )
    doubled = {key: literal(value.replace("%", "%%")) for key, value in (("assignments", assignments), ("where", where))}
    return [asks(compose(text, **doubled, pages=raw(str(pages)), table=literal(table)))]


def from_query(query: str, parameters: dict[str, str | list[str]]) -> list[str]:
    """Return a query of ours, whose answers are statements, with its parameters written in."""
    text = query
    for key, value in parameters.items():
        given = literal(value) if isinstance(value, str) else raw(compose("ARRAY[{}]::text[]", literals(tuple(value))))
        text = text.replace(f"%({key})s", given.as_string())
    return [asks(text.replace("%%", "%"))]
