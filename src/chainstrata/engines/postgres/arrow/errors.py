"""What cannot be given as Arrow, and what is no value at all."""

from chainstrata.engines.postgres.errors import PostgresError


class Unrepresentable(PostgresError):
    """A value that PostgreSQL holds and Arrow's type does not: an infinite time, a number that is none."""

    code = "unrepresentable"
    http_status = 422

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"column {column!r} {problem}", hint="Leave such rows out, or read the column as text: `column::text`.")
        self.column = column


class Malformed(PostgresError):
    """Bytes of a value are not what its type's binary form is. Reading on would risk making up values."""

    code = "malformed"
    http_status = 502
