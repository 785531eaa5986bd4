"""Errors of the access layer, and what a broken constraint means in the words of the declaration."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from chainstrata.engines.postgres.errors import (
    CheckViolation,
    ConstraintViolation,
    ForeignKeyViolation,
    NoPartition,
    NotNullViolation,
    UniqueViolation,
)
from chainstrata.errors import UsageError


class RowNotFound(UsageError):
    """No row has that key, or it is not in a state that allows what was asked."""

    code = "row_not_found"
    http_status = 404

    def __init__(self, what: str, key: Mapping[str, Any], *, hint: str = "") -> None:
        shown = ", ".join(f"{name} = {value!s}" for name, value in key.items())
        super().__init__(f"no row of {what} with {shown}", hint=hint or "Look for it with `where` first.")


class BadCursor(UsageError):
    """A place to go on from that was not given by this question."""

    code = "bad_cursor"

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"{cursor[:60]!r} is not a place to go on from", hint="Pass the `next` of the page before, with the same question."
        )


@contextmanager
def explaining(metadata: sa.MetaData) -> Iterator[None]:
    """Let broken constraints say what the declaration says of them."""
    try:
        yield
    except ConstraintViolation as error:
        if not error.hint:
            error.hint = explain(error, metadata)
        raise


def explain(error: ConstraintViolation, metadata: sa.MetaData) -> str:
    """Return what to do about a broken constraint."""
    constraint = next((one for table in metadata.tables.values() for one in table.constraints if one.name == error.constraint), None)
    if isinstance(error, NotNullViolation):
        return _explain_missing(error, metadata)
    if isinstance(error, UniqueViolation):
        columns = (
            f" ({', '.join(constraint.columns.keys())})" if isinstance(constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint) else ""
        )
        return f"A row with this key{columns} is there already: update it, or upsert instead of creating."
    if isinstance(error, ForeignKeyViolation):
        target = f" in {constraint.referred_table.fullname}" if isinstance(constraint, sa.ForeignKeyConstraint) else ""
        return (
            f"The row it refers to has to be there{target}: create it first, or send the rows through `ingest`, which adds what is missing."
        )
    if isinstance(error, CheckViolation) and not isinstance(error, NoPartition) and isinstance(constraint, sa.CheckConstraint):
        return f"What has to hold: {str(constraint.sqltext).replace(chr(92), '')}."
    return "See the constraint on the pack's page of the reference."


def _explain_missing(error: ConstraintViolation, metadata: sa.MetaData) -> str:
    for table in metadata.tables.values():
        # A partition bears a name of its own that begins with the table's.
        if error.schema == table.schema and error.table.startswith(table.name) and error.column in table.c:
            return f"Give {error.column}: {table.c[error.column].comment}"
    return f"Give {error.column}."
