"""What can be wrong with rows on their way in."""

from chainstrata.errors import ChainStrataError


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
