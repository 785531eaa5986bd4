"""What a schema consists of, as PostgreSQL itself tells it: one frozen value for each object, equal when the objects are.

Definitions are PostgreSQL's own rendering, never a user's text, so that two databases can be compared object by object.
Beside it may stand what somebody wrote (`written`): a whole CREATE, or the condition or expression alone.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from chainstrata.model.queue import QUEUE_SCHEMA


class Kind(StrEnum):
    SCHEMA = "schema"
    EXTENSION = "extension"
    QUEUE = "job queue"
    DOMAIN = "domain"
    ENUM = "enum"
    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    INDEX = "index"
    FUNCTION = "function"
    VIEW = "view"
    TRIGGER = "trigger"
    POLICY = "policy"


class Key(NamedTuple):
    """The name an object is known by. Full names; a function's has its arguments."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Schema:
    name: str
    comment: str = ""

    @property
    def schema(self) -> str:
        return self.name

    @property
    def key(self) -> Key:
        return Key(Kind.SCHEMA, self.name)

    @property
    def definition(self) -> str:
        return f"CREATE SCHEMA {self.name}{_comment(self.comment)}"


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension belongs to no pack's schema; `place` is where its objects are."""

    name: str
    place: str = field(default="public", compare=False)

    @property
    def schema(self) -> str:
        return ""

    @property
    def key(self) -> Key:
        return Key(Kind.EXTENSION, self.name)

    @property
    def definition(self) -> str:
        return f"CREATE EXTENSION {self.name}"


@dataclass(frozen=True, slots=True)
class Queue:
    """The job queue's schema, whose objects are not ours to compare: its version says what they are."""

    version: str

    @property
    def name(self) -> str:
        return QUEUE_SCHEMA

    @property
    def schema(self) -> str:
        return ""

    @property
    def key(self) -> Key:
        return Key(Kind.QUEUE, self.name)

    @property
    def definition(self) -> str:
        return f"JOB QUEUE {self.version}"


@dataclass(frozen=True, slots=True)
class Enum:
    schema: str
    name: str
    labels: tuple[str, ...]
    comment: str = ""

    @property
    def key(self) -> Key:
        return Key(Kind.ENUM, f"{self.schema}.{self.name}")

    @property
    def definition(self) -> str:
        return f"ENUM ({', '.join(self.labels)}){_comment(self.comment)}"


@dataclass(frozen=True, slots=True)
class Domain:
    """`checks` are pairs of name and condition."""

    schema: str
    name: str
    base: str
    not_null: bool = False
    default: str = ""
    checks: tuple[tuple[str, str], ...] = ()
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.DOMAIN, f"{self.schema}.{self.name}")

    @property
    def definition(self) -> str:
        parts = [self.base, "NOT NULL" if self.not_null else "", f"DEFAULT {self.default}" if self.default else ""]
        parts += [f"CONSTRAINT {name} CHECK ({condition})" for name, condition in self.checks]
        return " ".join(part for part in parts if part) + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class Table:
    """The table itself; its columns, constraints and indexes are objects of their own."""

    schema: str
    name: str
    comment: str = ""
    partition_by: str = ""
    options: tuple[str, ...] = ()
    unlogged: bool = False

    @property
    def key(self) -> Key:
        return Key(Kind.TABLE, self.full_name)

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def definition(self) -> str:
        parts = ["UNLOGGED TABLE" if self.unlogged else "TABLE"]
        parts += [f"PARTITION BY {self.partition_by}"] if self.partition_by else []
        parts += [f"WITH ({', '.join(self.options)})"] if self.options else []
        return " ".join(parts) + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class Column:
    """`expression` is the default, or what a generated column is computed from."""

    schema: str
    table: str
    name: str
    type: str
    not_null: bool = False
    expression: str = ""
    generated: str = ""
    identity: str = ""
    collation: str = ""
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.COLUMN, f"{self.schema}.{self.table}.{self.name}")

    @property
    def definition(self) -> str:
        parts = [self.type, f"COLLATE {self.collation}" if self.collation else "", "NOT NULL" if self.not_null else ""]
        if self.generated:
            parts.append(f"GENERATED ALWAYS AS ({self.expression}) {'STORED' if self.generated == 's' else 'VIRTUAL'}")
        elif self.expression:
            parts.append(f"DEFAULT {self.expression}")
        if self.identity:
            parts.append(f"GENERATED {'ALWAYS' if self.identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
        return " ".join(part for part in parts if part) + _comment(self.comment)


class ConstraintKind(StrEnum):
    """PostgreSQL's own letters."""

    PRIMARY_KEY = "p"
    UNIQUE = "u"
    CHECK = "c"
    FOREIGN_KEY = "f"
    EXCLUSION = "x"


ACTIONS: Mapping[str, str] = {"a": "", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", " ": ""}


@dataclass(frozen=True, slots=True)
class Constraint:
    """`rule` is PostgreSQL's definition; the other fields are its parts."""

    schema: str
    table: str
    name: str
    kind: ConstraintKind
    rule: str
    valid: bool = True
    condition: str = ""
    columns: tuple[str, ...] = ()
    target: str = ""
    target_columns: tuple[str, ...] = ()
    on_delete: str = ""
    on_update: str = ""
    deferrable: bool = False
    deferred: bool = False
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.CONSTRAINT, f"{self.schema}.{self.table}.{self.name}")

    @property
    def definition(self) -> str:
        return self.rule + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class Index:
    """`columns` are the keys as written in the definition, operator class and order included; `tail` is all of it after USING."""

    schema: str
    table: str
    name: str
    method: str
    columns: tuple[str, ...]
    # Names the options in the order they were given in, which means nothing.
    tail: str = field(compare=False)
    unique: bool = False
    include: tuple[str, ...] = ()
    predicate: str = ""
    options: tuple[str, ...] = ()
    nulls_not_distinct: bool = False
    valid: bool = True
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.INDEX, f"{self.schema}.{self.name}")

    @property
    def definition(self) -> str:
        unique = "UNIQUE " if self.unique else ""
        invalid = "" if self.valid else " INVALID"
        return f"{unique}INDEX ON {self.schema}.{self.table} USING {self.method} {self.tail}{invalid}{_comment(self.comment)}"


@dataclass(frozen=True, slots=True)
class Function:
    """`kind` is f for a function, p for a procedure, w for a window function."""

    schema: str
    name: str
    arguments: str
    result: str
    sql: str
    kind: str = "f"
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.FUNCTION, self.signature)

    @property
    def signature(self) -> str:
        return f"{self.schema}.{self.name}({self.arguments})"

    @property
    def definition(self) -> str:
        return self.sql.rstrip() + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class View:
    """`columns` are pairs of name and type."""

    schema: str
    name: str
    query: str
    materialized: bool = False
    options: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.VIEW, self.full_name)

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        options = f" WITH ({', '.join(self.options)})" if self.options else ""
        return f"CREATE {'MATERIALIZED ' if self.materialized else ''}VIEW {self.full_name}{options} AS\n{self.query.strip()}"

    @property
    def definition(self) -> str:
        return self.sql + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class Trigger:
    """`enabled` is PostgreSQL's letter: O as usual, D never, A always, R on replicas only."""

    schema: str
    table: str
    name: str
    sql: str
    enabled: str = "O"
    comment: str = ""
    written: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return Key(Kind.TRIGGER, f"{self.schema}.{self.table}.{self.name}")

    @property
    def definition(self) -> str:
        return self.sql + ("" if self.enabled == "O" else f" ENABLED {self.enabled}") + _comment(self.comment)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the platform should do with a dataset, as recorded in the database. `policy` is canonical JSON."""

    dataset: str
    policy: str

    @property
    def schema(self) -> str:
        return self.dataset.partition(".")[0]

    @property
    def key(self) -> Key:
        return Key(Kind.POLICY, self.dataset)

    @property
    def definition(self) -> str:
        return json.dumps(json.loads(self.policy), indent=2, sort_keys=True)


Item: TypeAlias = Schema | Extension | Queue | Enum | Domain | Table | Column | Constraint | Index | Function | View | Trigger | Policy
OfTable: TypeAlias = Column | Constraint | Index | Trigger


def _comment(text: str) -> str:
    return f" -- {text}" if text else ""


def canonical_json(value: Any) -> str:
    """Return JSON that is equal when the values are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Broken:
    """A partition whose part of an index of its parent is missing (`index` empty) or invalid."""

    partition: str
    index: str
    parent_index: str


class Snapshot(Mapping[Key, Item]):
    """The objects of some schemas at one moment. `needs` says what must be there before an object can be."""

    def __init__(self, items: Iterable[Item], needs: Mapping[Key, frozenset[Key]] | None = None, broken: Iterable[Broken] = ()) -> None:
        self._items = {item.key: item for item in items}
        self.needs = dict(needs or {})
        self.broken = tuple(broken)

    def __getitem__(self, key: Key) -> Item:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def of_table(self, table: str) -> list[OfTable]:
        """Return columns, constraints, indexes and triggers of a table, in the order the database gave them."""
        return [
            item
            for item in self._items.values()
            if isinstance(item, Column | Constraint | Index | Trigger) and f"{item.schema}.{item.table}" == table
        ]

    def within(self, schemas: Iterable[str]) -> "Snapshot":
        """Return the part that belongs to these schemas; extensions and the job queue, which belong to none, stay."""
        wanted = {*schemas, ""}
        return Snapshot((item for item in self._items.values() if item.schema in wanted), self.needs, self.broken)

    def with_written(self, texts: Mapping[Key, str]) -> "Snapshot":
        """Return the same with what users wrote beside it. A function is named without its arguments."""
        return Snapshot((_with_written(item, texts) for item in self._items.values()), self.needs, self.broken)


def _with_written(item: Item, texts: Mapping[Key, str]) -> Item:
    key = Key(item.key.kind, f"{item.schema}.{item.name}") if isinstance(item, Function) else item.key
    if key in texts and isinstance(item, Domain | Column | Constraint | Index | Function | View | Trigger):
        return replace(item, written=texts[key])
    return item
