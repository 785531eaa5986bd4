"""What can go wrong with a backfill."""

from uuid import UUID

from chainstrata.errors import ChainStrataError, UsageError


class BackfillError(ChainStrataError):
    """A backfill did not end well."""

    code = "backfill_failed"


class BackfillRefused(UsageError):
    """The backfill cannot be started, or what is asked of it does not fit its status."""

    code = "backfill_refused"
    http_status = 409


class BackfillsMissing(UsageError):
    """The tables that backfills are kept in are those of a pack that is not in use."""

    code = "backfills_missing"
    http_status = 404

    def __init__(self) -> None:
        super().__init__("backfills are kept in the pack insights, which is not in use", hint="Add insights to the setting packs.")


class UnknownBackfill(UsageError):
    """No backfill has this identifier."""

    code = "unknown_backfill"
    http_status = 404

    def __init__(self, job: UUID) -> None:
        super().__init__(f"no backfill {job}", hint="`chainstrata jobs backfill list` shows those there are.")


class ChunkLost(BackfillError):
    """The chunk is no longer this worker's: the backfill was cancelled, or another worker took it up."""

    code = "backfill_chunk_lost"
    http_status = 409

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"the chunk from {start} to {end} was taken away", hint="Nothing is lost: what it had written stays, once.")
