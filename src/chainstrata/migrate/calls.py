"""The calls a revision makes for one object: to make it, to drop it, to turn it into another. Pure."""

import json
import re
from collections.abc import Sequence

from chainstrata.migrate import queue
from chainstrata.migrate.schema import (
    Column,
    Constraint,
    ConstraintKind,
    Domain,
    Enum,
    Extension,
    Function,
    Index,
    Item,
    Policy,
    Queue,
    Schema,
    Snapshot,
    Table,
    Trigger,
    View,
)
from chainstrata.migrate.source import Block, Call, Value, call, sql_text

_TYPES: dict[str, Call] = {
    "bigint": call("sa.BigInteger"),
    "boolean": call("sa.Boolean"),
    "bytea": call("sa.LargeBinary"),
    "date": call("sa.Date"),
    "double precision": call("sa.Double"),
    "integer": call("sa.Integer"),
    "interval": call("sa.Interval"),
    "numeric": call("sa.Numeric"),
    "smallint": call("sa.SmallInteger"),
    "text": call("sa.Text"),
    "timestamp with time zone": call("sa.TIMESTAMP", timezone=True),
    "uuid": call("sa.Uuid"),
}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_VARCHAR = re.compile(r"character varying\((\d+)\)")
INTEGERS = frozenset({"bigint", "integer", "smallint"})


def type_call(text: str) -> Call:
    """Return a column type; what SQLAlchemy has no name for, by PostgreSQL's."""
    if text in _TYPES:
        return _TYPES[text]
    if numeric := _NUMERIC.fullmatch(text):
        return call("sa.Numeric", int(numeric[1]), int(numeric[2]))
    if varchar := _VARCHAR.fullmatch(text):
        return call("sa.String", int(varchar[1]))
    return call("pgtype", text)


def text_call(text: str) -> Call:
    return call("sa.text", sql_text(text))


def column_call(column: Column, *, nullable: bool | None = None, key: tuple[str, ...] = ()) -> Call:
    """Return a column of a table whose primary key is `key`."""
    arguments: list[Value] = [column.name, type_call(column.type)]
    keywords: dict[str, Value] = {}
    if column.collation:
        arguments[1] = call("pgtype", f"{column.type} COLLATE {column.collation}")
    if column.generated:
        arguments.append(call("sa.Computed", sql_text(column.written or column.expression), persisted=column.generated == "s"))
    elif column.identity:
        arguments.append(call("sa.Identity", always=column.identity == "a"))
    elif column.expression:
        keywords["server_default"] = text_call(column.expression)
    if column.name in key and column.type in INTEGERS and not column.identity:
        # SQLAlchemy would make it a SERIAL.
        keywords["autoincrement"] = False
    keywords["nullable"] = not column.not_null if nullable is None else nullable
    if column.comment:
        keywords["comment"] = column.comment
    return Call("sa.Column", tuple(arguments), keywords)


def constraint_call(constraint: Constraint) -> Call | None:
    """Return a constraint as a part of CREATE TABLE, or None for what has to be added afterwards."""
    later: dict[str, Value] = {"deferrable": True, "initially": "DEFERRED" if constraint.deferred else "IMMEDIATE"}
    options = later if constraint.deferrable else {}
    if constraint.kind is ConstraintKind.PRIMARY_KEY:
        return Call("sa.PrimaryKeyConstraint", constraint.columns, {"name": constraint.name, **options})
    if constraint.kind is ConstraintKind.UNIQUE and "NULLS NOT DISTINCT" not in constraint.rule:
        return Call("sa.UniqueConstraint", constraint.columns, {"name": constraint.name, **options})
    if constraint.kind is ConstraintKind.CHECK and "NO INHERIT" not in constraint.rule:
        return call("sa.CheckConstraint", sql_text(constraint.written or constraint.condition), name=constraint.name)
    if constraint.kind is ConstraintKind.FOREIGN_KEY and "MATCH" not in constraint.rule:
        targets = [f"{constraint.target}.{column}" for column in constraint.target_columns]
        actions: dict[str, Value] = {"ondelete": constraint.on_delete, "onupdate": constraint.on_update}
        kept = {key: value for key, value in actions.items() if value}
        return Call("sa.ForeignKeyConstraint", (list(constraint.columns), targets), {"name": constraint.name, **kept, **options})
    return None


_INLINE = (ConstraintKind.PRIMARY_KEY, ConstraintKind.UNIQUE, ConstraintKind.FOREIGN_KEY, ConstraintKind.CHECK)


def create_table(table: Table, snapshot: Snapshot, *, without: frozenset[str] = frozenset()) -> list[Call]:
    """Return what makes a table with its columns, constraints and indexes; foreign keys named in `without` come later."""
    parts = snapshot.of_table(table.full_name)
    constraints = [part for part in parts if isinstance(part, Constraint) and part.name not in without]
    inline: list[Call] = []
    after: list[Call] = []
    for kind in (*_INLINE, ConstraintKind.EXCLUSION):
        for constraint in constraints:
            if constraint.kind is kind:
                made = constraint_call(constraint)
                if made is None:
                    after.append(add_constraint(constraint))
                else:
                    inline.append(made)
                after += _constraint_comment(constraint)
    keywords: dict[str, Value] = {"schema": table.schema, "comment": table.comment or None}
    if table.partition_by:
        keywords["postgresql_partition_by"] = table.partition_by
    if table.options:
        keywords["postgresql_with"] = dict(option.split("=", 1) for option in table.options)
    if table.unlogged:
        keywords["prefixes"] = ["UNLOGGED"]
    kept = {key: value for key, value in keywords.items() if value is not None}
    key = next((part.columns for part in constraints if part.kind is ConstraintKind.PRIMARY_KEY), ())
    columns = [column_call(part, key=key) for part in parts if isinstance(part, Column)]
    return [Call("op.create_table", (table.name, *columns, *inline), kept), *after] + [
        create_index(part) for part in parts if isinstance(part, Index)
    ]


def drop_table(table: Table) -> Call:
    return call("op.drop_table", table.name, schema=table.schema)


def add_constraint(constraint: Constraint) -> Call:
    return call("op.add_constraint", f"{constraint.schema}.{constraint.table}", constraint.name, rule(constraint))


def rule(constraint: Constraint) -> str:
    """Return what stands after the name in ADD CONSTRAINT."""
    return f"CHECK ({constraint.written})" if constraint.written and constraint.kind is ConstraintKind.CHECK else constraint.rule


def _constraint_comment(constraint: Constraint) -> list[Call]:
    if not constraint.comment:
        return []
    return [comment_on("constraint", f"{constraint.schema}.{constraint.table}.{constraint.name}", constraint.comment)]


def drop_constraint(constraint: Constraint, *, if_exists: bool | None = None) -> Call:
    """Return what drops a constraint. `if_exists` where the step may find it done."""
    return call("op.drop_constraint", constraint.name, constraint.table, schema=constraint.schema, if_exists=if_exists)


def _index_parts(index: Index) -> tuple[tuple[Value, ...], dict[str, Value]]:
    simple = re.compile(r"[a-z_][a-z0-9_]*")
    columns: list[Value] = [column if simple.fullmatch(column) else text_call(column) for column in index.columns]
    keywords: dict[str, Value] = {"schema": index.schema}
    if index.unique:
        keywords["unique"] = True
    if index.method != "btree":
        keywords["postgresql_using"] = index.method
    if index.include:
        keywords["postgresql_include"] = list(index.include)
    if index.predicate:
        keywords["postgresql_where"] = text_call(index.written or index.predicate)
    if index.options:
        keywords["postgresql_with"] = dict(option.split("=", 1) for option in index.options)
    if index.nulls_not_distinct:
        keywords["postgresql_nulls_not_distinct"] = True
    if index.comment:
        keywords["comment"] = index.comment
    return (index.table, columns), keywords


def create_index(index: Index, *, concurrently: bool = False, name: str = "") -> Call:
    arguments, keywords = _index_parts(index)
    return Call(f"op.create_index{'_concurrently' if concurrently else ''}", (name or index.name, *arguments), keywords)


def drop_index(index: Index, *, concurrently: bool = False) -> Call:
    return call(f"op.drop_index{'_concurrently' if concurrently else ''}", index.name, index.table, schema=index.schema)


def comment_on(kind: str, full_name: str, comment: str) -> Call:
    return call("op.comment_on", kind, full_name, comment)


def create(item: Item, snapshot: Snapshot) -> list[Call]:
    """Return what makes an object that is not part of a table."""
    match item:
        case Schema():
            return [call("op.create_schema", item.name, comment=item.comment or None)]
        case Extension() | Queue():
            return [create_queue(item.version) if isinstance(item, Queue) else call("op.create_extension", item.name)]
        case Enum():
            return [call("op.create_enum", item.key.name, list(item.labels), comment=item.comment or None)]
        case Domain():
            return [_create_domain(item)]
        case Table():
            return create_table(item, snapshot)
        case Function():
            return [call("op.create_function", item.signature, Block(item.written or item.sql), comment=item.comment or None)]
        case View():
            function = "op.create_materialized_view" if item.materialized else "op.create_view"
            indexes = [create_index(part) for part in snapshot.of_table(item.full_name) if isinstance(part, Index)]
            return [call(function, item.full_name, Block(item.written or item.sql), comment=item.comment or None), *indexes]
        case Trigger():
            return [_create_trigger(item)]
        case Policy():
            return [set_policy(item)]
        case _:
            raise TypeError(f"{item.key} is part of a table")


def create_queue(version: str, *, since: str = "") -> Call:
    return call("op.create_queue", version, since=since or None, sha256=queue.digest(version))


def _create_trigger(item: Trigger) -> Call:
    keywords: dict[str, Value] = {"comment": item.comment or None}
    return call("op.create_trigger", item.name, f"{item.schema}.{item.table}", Block(item.written or item.sql), **keywords)


def _create_domain(item: Domain) -> Call:
    keywords: dict[str, Value] = {
        "checks": domain_checks(item) or None,
        "not_null": item.not_null or None,
        "default": item.default or None,
        "comment": item.comment or None,
    }
    return call("op.create_domain", item.key.name, item.base, **keywords)


def domain_checks(item: Domain) -> dict[str, str]:
    return {check: item.written or condition for check, condition in item.checks} if len(item.checks) == 1 else dict(item.checks)


def set_policy(item: Policy) -> Call:
    return call("op.set_policy", item.dataset, json.loads(item.policy))


def drop(item: Item) -> list[Call]:
    """Return what drops an object that is not part of a table. An extension stays: others may use it."""
    match item:
        case Schema():
            return [call("op.drop_schema", item.name)]
        case Queue():
            return [call("op.drop_queue")]
        case Enum():
            return [call("op.drop_enum", item.key.name)]
        case Domain():
            return [call("op.drop_domain", item.key.name)]
        case Table():
            return [drop_table(item)]
        case Function():
            return [call("op.drop_function", item.signature, kind="procedure" if item.kind == "p" else None)]
        case View():
            return [call("op.drop_materialized_view" if item.materialized else "op.drop_view", item.full_name)]
        case Trigger():
            return [call("op.drop_trigger", item.name, f"{item.schema}.{item.table}")]
        case Policy():
            return [call("op.remove_policy", item.dataset)]
        case _:
            return []


def mentions(definition: str, columns: Sequence[str]) -> bool:
    """Whether a definition names one of the columns."""
    return any(re.search(rf'(?<![\w"]){re.escape(column)}(?![\w"])', definition) or f'"{column}"' in definition for column in columns)
