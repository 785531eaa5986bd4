"""Retention: rows leave when they are old enough, archived, and needed by nobody. `Retention.run` is all of it.

Until then they stay, and the plan names who keeps them.
"""

from chainstrata.retention.errors import ArchiveInUse, ArchiveMismatch, ArchiveUnreadable, Kept, RetentionError
from chainstrata.retention.model import (
    AgedRows,
    Archive,
    ArchiveState,
    Blocker,
    Decision,
    Departed,
    Dependant,
    Hold,
    Leaving,
    Outcome,
    Plan,
    Verdict,
)
from chainstrata.retention.runner import Options, Retention, archive_storage

__all__ = [
    "AgedRows",
    "Archive",
    "ArchiveInUse",
    "ArchiveMismatch",
    "ArchiveState",
    "ArchiveUnreadable",
    "Blocker",
    "Decision",
    "Departed",
    "Dependant",
    "Hold",
    "Kept",
    "Leaving",
    "Options",
    "Outcome",
    "Plan",
    "Retention",
    "RetentionError",
    "Verdict",
    "archive_storage",
]
