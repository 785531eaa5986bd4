"""What can go wrong when rows leave.

RetentionError (a ChainStrataError)
├── ArchiveUnreadable       an archive's manifest or file is not what it should be
├── ArchiveMismatch         what was read back is not what was in the database
├── ArchiveInUse            a period cannot be put back because something stands in its place
└── Kept                    something needs the rows after all
"""

from collections.abc import Sequence

from chainstrata.errors import ChainStrataError
from chainstrata.retention.model import Blocker


class RetentionError(ChainStrataError):
    """Base of everything about rows that leave."""

    code = "retention"


class ArchiveUnreadable(RetentionError):
    """An archive's manifest or file is not what it should be."""

    code = "archive_unreadable"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}", hint="Put the file back from a copy; what is in it is no longer in the database.")
        self.path = path


class ArchiveMismatch(RetentionError):
    """What was read back is not what was in the database. Nothing has left."""

    code = "archive_mismatch"

    def __init__(self, path: str, differences: Sequence[str]) -> None:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        super().__init__(
            f"archive {path} differs from the rows: {shown}", hint="The rows stay. Check the storage, then run retention again."
        )
        self.differences = tuple(differences)


class ArchiveInUse(RetentionError):
    """A period cannot be put back because something stands in its place."""

    code = "archive_in_use"
    http_status = 409


class Kept(RetentionError):
    """Something needs the rows after all. They stay; the next run takes it up from there."""

    code = "retention_blocked"
    retryable = True
    http_status = 409

    def __init__(self, name: str, blockers: Sequence[Blocker]) -> None:
        why = "; ".join(f"{blocker.who}: {blocker.reason}" for blocker in blockers)
        super().__init__(f"{name} stays: {why}", hint="`chainstrata retention plan` names everyone who keeps rows.")
        self.blockers = tuple(blockers)
