"""The closed lists of the validators pack: one source for the database, the code and the API."""

from enum import StrEnum


class ValidatorStatus(StrEnum):
    """Where a validator is in its life, in the words of the Beacon API and in the order they come about."""

    PENDING_INITIALIZED = "pending_initialized"
    PENDING_QUEUED = "pending_queued"
    ACTIVE_ONGOING = "active_ongoing"
    ACTIVE_EXITING = "active_exiting"
    ACTIVE_SLASHED = "active_slashed"
    EXITED_UNSLASHED = "exited_unslashed"
    EXITED_SLASHED = "exited_slashed"
    WITHDRAWAL_POSSIBLE = "withdrawal_possible"
    WITHDRAWAL_DONE = "withdrawal_done"


class CredentialType(StrEnum):
    """What the first byte of the withdrawal credentials says: 0x00, 0x01, 0x02, or one that came later."""

    BLS = "bls"
    EXECUTION = "execution"
    COMPOUNDING = "compounding"
    OTHER = "other"


class AlertType(StrEnum):
    MISSED_ATTESTATION = "missed_attestation"
    MISSED_PROPOSAL = "missed_proposal"
    MISSED_SYNC = "missed_sync"
    LOW_EFFECTIVENESS = "low_effectiveness"
    BALANCE_DECREASE = "balance_decrease"
    STATUS_CHANGE = "status_change"
    SLASHED = "slashed"
    INACTIVITY_LEAK = "inactivity_leak"
    REORG = "reorg"
    FINALITY_DELAY = "finality_delay"
    SOURCE_UNAVAILABLE = "source_unavailable"
    OTHER = "other"


class AlertSeverity(StrEnum):
    """How grave, in order: the database sorts it so."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertResolution(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


class MissReason(StrEnum):
    """What was wrong with an attestation, the gravest first."""

    NOT_ACTIVE = "not_active"
    NOT_SEEN = "not_seen"
    NOT_INCLUDED = "not_included"
    WRONG_SOURCE = "wrong_source"
    WRONG_TARGET = "wrong_target"
    WRONG_HEAD = "wrong_head"
    LATE = "late"


class ProposalOutcome(StrEnum):
    PENDING = "pending"
    PROPOSED = "proposed"
    MISSED = "missed"
    ORPHANED = "orphaned"
