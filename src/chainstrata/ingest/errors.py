"""What can be wrong with rows on their way in."""

from collections.abc import Sequence

from chainstrata.errors import ChainStrataError, UnknownName
from chainstrata.packs.strata.quarantine import Refused


class IngestError(ChainStrataError):
    """Rows that cannot be written as they are."""

    code = "ingest"
    http_status = 422


class UnfitColumn(IngestError):
    """A column that is not there, or holds values its type cannot hold exactly."""

    code = "column_unfit"

    def __init__(self, table: str, column: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{table}.{column}: {problem}", hint=hint)
        self.table = table
        self.column = column


def no_such_column(table: str, name: str, known: Sequence[str]) -> UnfitColumn:
    """Return the error for a name that no column of the table bears."""
    near = next((own for own in known if own.lower() == name.strip().lower()), "")
    hint = f"Is {near} meant? Names are taken letter by letter." if near else f"It has {', '.join(known)}."
    return UnfitColumn(table, name[:200], "no such column, or one that is generated", hint=hint)


class FormNotTaken(IngestError):
    """A column in a form of Arrow that is not read: its values may lie over each other, so a few bytes could stand for gigabytes."""

    code = "form_not_taken"

    def __init__(self, column: str, form: str) -> None:
        super().__init__(f"column {column!r} is a {form}, and views of lists are not taken", hint="Write it as a plain list.")


class BatchRefused(IngestError):
    """A strict batch with rows that do not fit. Nothing of it was written."""

    code = "batch_refused"

    def __init__(self, dataset: str, rows: Sequence[Refused]) -> None:
        first = "; ".join(f"{row.reason}: {row.detail}" for row in rows[:3])
        super().__init__(
            f"{dataset}: {len(rows)} rows do not fit ({first})",
            hint="Correct them, or send the batch without strict: they go to quarantine and the others are written.",
        )
        self.rows = tuple(rows)


class TableMissing(UnknownName):
    """A dataset whose table the database does not have yet."""

    code = "table_missing"

    def __init__(self, table: str) -> None:
        super().__init__("table", table)
        self.hint = "The database was not migrated: `chainstrata migrate up` makes the tables of all packs."


class PayloadTooLarge(IngestError):
    """Rows that would cost more memory than one payload may. Nothing was unpacked beyond that."""

    code = "payload_too_large"
    http_status = 413

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"the payload is too large: {problem}", hint=hint or "Send it in several parts, each with a name of its own.")


class PayloadUnreadable(IngestError):
    """Bytes that are not what they are said to be, or end too early."""

    code = "payload_unreadable"
    http_status = 400
    exit_code = 2

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(
            f"not readable as {kind}: {problem}", hint="Check that it is whole, and that its format and encoding are named rightly."
        )


class TryLater(IngestError):
    """PostgreSQL is away and there is no room to keep rows until it is back, or too many wait already. Nothing was taken."""

    code = "try_later"
    retryable = True
    http_status = 503

    def __init__(self, problem: str, *, after: float) -> None:
        super().__init__(problem, hint=f"Send the same again in {after:g} s. `chainstrata spool list` says what waits.")
        self.retry_after = after
