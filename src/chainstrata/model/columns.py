"""Column types with one meaning each, and the pieces a table declaration is written with.

Whole numbers of 64 and 256 bits are domains over NUMERIC, prices are NUMERIC without a scale, times are timestamptz:
nothing here can round. `index` and `column` make the reason and the meaning part of the declaration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.model.interval import Interval
from chainstrata.model.stamps import CREATED, UPDATED

SYSTEM_SCHEMA = "strata"

UINT64 = pg.DOMAIN(
    "uint64",
    sa.Numeric(20, 0),
    schema=SYSTEM_SCHEMA,
    check="VALUE >= 0 AND VALUE <= 18446744073709551615",
    constraint_name="uint64_range",
    create_type=False,
)
UINT256 = pg.DOMAIN(
    "uint256",
    sa.Numeric(78, 0),
    schema=SYSTEM_SCHEMA,
    check=f"VALUE >= 0 AND VALUE <= {2**256 - 1}",
    constraint_name="uint256_range",
    create_type=False,
)
"""Raw units of a token. The number of decimals stands in a column beside it."""

INSTANT = sa.TIMESTAMP(timezone=True)
PRICE = sa.Numeric()
"""A decimal number of any size and scale, kept as given."""
HASH = sa.Text()
"""0x and lower-case hex, as chains print it."""
JSON = pg.JSONB(none_as_null=True)


def enum(name: str, values: type[StrEnum], *, schema: str) -> pg.ENUM:
    """Return the PostgreSQL enum of a StrEnum: one source for the database, the API and the code."""
    return pg.ENUM(*(member.value for member in values), name=name, schema=schema, create_type=False)


def column(name: str, kind: Any, *args: Any, doc: str, rolling: Interval | None = None, **options: Any) -> sa.Column[Any]:
    """Return a column that says what it means. NOT NULL unless `nullable=True`.

    `rolling` marks a figure that already covers a moving window, such as a volume of 24 hours: it is never summed.
    """
    options.setdefault("nullable", False)
    info = {"rolling": rolling} if rolling else {}
    return sa.Column(name, kind, *args, comment=doc, info=info, **options)


def created_at() -> sa.Column[Any]:
    made = column("created_at", INSTANT, server_default=sa.func.now(), doc="When the row was first written; never changes.")
    made.info.update(CREATED)
    return made


def updated_at() -> sa.Column[Any]:
    """Return the column that moves by itself with every update, in a table that has `created_at()` too."""
    made = column("updated_at", INSTANT, server_default=sa.func.now(), doc="When the row was last written.")
    made.info.update(UPDATED)
    return made


def index(name: str, *columns: Any, why: str, **options: Any) -> sa.Index:
    """Return an index that says which question it answers."""
    return sa.Index(name, *columns, info={"why": why}, **options)


def led_by(table: sa.Table, name: str) -> list[sa.Index]:
    """Return the indexes of a table that begin with a column."""
    # An expression is a column, or the text of one with its direction.
    return [index for index in table.indexes if str(index.expressions[0]).rpartition(".")[2].split()[0] == name]


def metadata(schema: str) -> sa.MetaData:
    """Return the MetaData of a pack's schema, with names for whatever a declaration leaves unnamed."""
    return sa.MetaData(
        schema=schema,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "%(constraint_name)s",
            "ix": "idx_%(table_name)s_%(column_0_N_name)s",
        },
    )


def unique(name: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=name)


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=name)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to spell a value: a regular expression for the whole of it, and how long it may be.

    Length stands apart because a bounded repetition costs PostgreSQL dearly, at every row: `^[0-9a-f]{64}$` ten times what
    `^[0-9a-f]*$` does, `{0,82}` a hundred times. So the expression has none.
    """

    pattern: str
    shortest: int
    longest: int

    def condition(self, column: str) -> str:
        """Return the condition that a column is spelled so."""
        length = f"= {self.shortest}" if self.shortest == self.longest else f"BETWEEN {self.shortest} AND {self.longest}"
        # A bare colon would be the mark of a parameter.
        pattern = self.pattern.replace(":", "\\:")
        return f"length({column}) {length} AND {column} ~ '^{pattern}$'"


def spelled(name: str, column: str, *ways: Spelling, empty: bool = False) -> sa.CheckConstraint:
    """Return a check that a column is spelled in one of the ways, or is the empty text if that may be."""
    conditions = [f"{column} = ''"] if empty else []
    conditions += [way.condition(column) for way in ways]
    return check(name, conditions[0] if len(conditions) == 1 else " OR ".join(f"({each})" for each in conditions))


def reference(name: str, columns: Sequence[str], target: Sequence[str], **options: Any) -> sa.ForeignKeyConstraint:
    """Return a named foreign key; `target` as `schema.table.column`."""
    return sa.ForeignKeyConstraint(list(columns), list(target), name=name, **options)
