"""Rows of the validators pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

from chainstrata.packs.repository import Buckets, Repository, Table
from chainstrata.packs.validators import model


@dataclass(frozen=True, slots=True)
class Validator:
    """One row per validator that is followed: its latest record, and what its people call it."""

    validator_index: int
    pubkey: str | None
    name: str | None
    operator: str | None
    label: str | None
    status: model.ValidatorStatus | None
    withdrawal_credentials: str | None
    credential_type: model.CredentialType | None
    effective_balance: int | None
    slashed: bool
    activation_eligibility_epoch: int | None
    activation_epoch: int | None
    exit_epoch: int | None
    withdrawable_epoch: int | None
    metadata: Any | None
    slot: int | None
    block_root: str | None
    execution_optimistic: bool
    finalized: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewValidator:
    """A row to be written, as `Validator`."""

    validator_index: int
    pubkey: str | None = None
    name: str | None = None
    operator: str | None = None
    label: str | None = None
    status: model.ValidatorStatus | None = None
    withdrawal_credentials: str | None = None
    effective_balance: int | None = None
    slashed: bool | None = None
    activation_eligibility_epoch: int | None = None
    activation_epoch: int | None = None
    exit_epoch: int | None = None
    withdrawable_epoch: int | None = None
    metadata: Any = None
    slot: int | None = None
    block_root: str | None = None
    execution_optimistic: bool | None = None
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class ValidatorRecord:
    """One row per change of a validator's record, written by a trigger on validators: status, slashing, credentials, epochs."""

    validator_index: int
    slot: int
    status: model.ValidatorStatus
    slashed: bool
    withdrawal_credentials: str
    activation_eligibility_epoch: int | None
    activation_epoch: int | None
    exit_epoch: int | None
    withdrawable_epoch: int | None
    block_root: str | None
    execution_optimistic: bool
    finalized: bool
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewValidatorRecord:
    """A row to be written, as `ValidatorRecord`."""

    validator_index: int
    slot: int
    status: model.ValidatorStatus
    slashed: bool
    withdrawal_credentials: str
    activation_eligibility_epoch: int | None = None
    activation_epoch: int | None = None
    exit_epoch: int | None = None
    withdrawable_epoch: int | None = None
    block_root: str | None = None
    execution_optimistic: bool | None = None
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class ValidatorSnapshot:
    """One row per validator and slot in which something of it changed: balance, status, and what was settled since."""

    validator_index: int
    ts: dt.datetime
    slot: int
    epoch: int
    balance: int
    effective_balance: int | None
    status: model.ValidatorStatus | None
    execution_optimistic: bool
    finalized: bool
    block_root: str | None
    rewards_epoch: int | None
    reward_head: int | None
    reward_target: int | None
    reward_source: int | None
    reward_inactivity: int | None
    ideal_head: int | None
    ideal_target: int | None
    ideal_source: int | None
    earned_reward: int | None
    ideal_reward: int | None
    effectiveness: float | None
    due_attestations: int | None
    missed_attestations: int | None
    proposer_reward: int | None
    proposed_blocks: int | None
    missed_blocks: int | None
    sync_reward: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewValidatorSnapshot:
    """A row to be written, as `ValidatorSnapshot`."""

    validator_index: int
    ts: dt.datetime
    slot: int
    epoch: int
    balance: int
    effective_balance: int | None = None
    status: model.ValidatorStatus | None = None
    execution_optimistic: bool | None = None
    finalized: bool | None = None
    block_root: str | None = None
    rewards_epoch: int | None = None
    reward_head: int | None = None
    reward_target: int | None = None
    reward_source: int | None = None
    reward_inactivity: int | None = None
    ideal_head: int | None = None
    ideal_target: int | None = None
    ideal_source: int | None = None
    due_attestations: int | None = None
    missed_attestations: int | None = None
    proposer_reward: int | None = None
    proposed_blocks: int | None = None
    missed_blocks: int | None = None
    sync_reward: int | None = None


@dataclass(frozen=True, slots=True)
class ValidatorSnapshotsHourly:
    """One row per validator and hour: its balance and what it earned of what it could."""

    validator_index: int
    bucket: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    balance_first: int
    balance_last: int
    balance_min: int
    balance_max: int
    effective_balance_last: int | None
    status_last: model.ValidatorStatus | None
    earned_reward: decimal.Decimal | None
    ideal_reward: decimal.Decimal | None
    due_attestations: decimal.Decimal | None
    missed_attestations: decimal.Decimal | None
    proposer_reward: decimal.Decimal | None
    proposed_blocks: decimal.Decimal | None
    missed_blocks: decimal.Decimal | None
    sync_reward: decimal.Decimal | None
    effectiveness: decimal.Decimal | None
    participation: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ValidatorSnapshotsDaily:
    """One row per validator and day: its balance and what it earned of what it could."""

    validator_index: int
    bucket: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    balance_first: int
    balance_last: int
    balance_min: int
    balance_max: int
    effective_balance_last: int | None
    status_last: model.ValidatorStatus | None
    earned_reward: decimal.Decimal | None
    ideal_reward: decimal.Decimal | None
    due_attestations: decimal.Decimal | None
    missed_attestations: decimal.Decimal | None
    proposer_reward: decimal.Decimal | None
    proposed_blocks: decimal.Decimal | None
    missed_blocks: decimal.Decimal | None
    sync_reward: decimal.Decimal | None
    effectiveness: decimal.Decimal | None
    participation: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AttestationDuty:
    """One row per validator and epoch: its attestation, what became of it, and if it failed, why."""

    validator_index: int
    ts: dt.datetime
    epoch: int
    slot: int
    committee_index: int | None
    committee_position: int | None
    status: model.ValidatorStatus | None
    seen: bool | None
    included: bool
    inclusion_slot: int | None
    inclusion_distance: int | None
    correct_source: bool | None
    correct_target: bool | None
    correct_head: bool | None
    miss_reason: model.MissReason | None
    dependent_root: str | None
    block_root: str | None
    execution_optimistic: bool
    finalized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttestationDuty:
    """A row to be written, as `AttestationDuty`."""

    validator_index: int
    ts: dt.datetime
    epoch: int
    slot: int
    committee_index: int | None = None
    committee_position: int | None = None
    status: model.ValidatorStatus | None = None
    seen: bool | None = None
    included: bool
    inclusion_slot: int | None = None
    correct_source: bool | None = None
    correct_target: bool | None = None
    correct_head: bool | None = None
    dependent_root: str | None = None
    block_root: str | None = None
    execution_optimistic: bool | None = None
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class AttestationDutiesDaily:
    """One row per validator and day: its attestations by what became of them."""

    validator_index: int
    bucket: dt.datetime
    samples: int
    duties: int
    included: int
    not_seen: int
    not_included: int
    wrong_source: int
    wrong_target: int
    wrong_head: int
    late: int
    inclusion_distance_sum: decimal.Decimal | None
    inclusion_distance_count: int
    inclusion_distance_mean: decimal.Decimal | None
    inclusion_rate: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Proposal:
    """One row per slot a followed validator has to propose a block in."""

    slot: int
    validator_index: int
    ts: dt.datetime
    epoch: int
    outcome: model.ProposalOutcome
    reward_total: int | None
    reward_attestations: int | None
    reward_sync_aggregate: int | None
    reward_proposer_slashings: int | None
    reward_attester_slashings: int | None
    dependent_root: str | None
    block_root: str | None
    execution_optimistic: bool
    finalized: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProposal:
    """A row to be written, as `Proposal`."""

    slot: int
    validator_index: int
    ts: dt.datetime
    epoch: int
    outcome: model.ProposalOutcome | None = None
    reward_total: int | None = None
    reward_attestations: int | None = None
    reward_sync_aggregate: int | None = None
    reward_proposer_slashings: int | None = None
    reward_attester_slashings: int | None = None
    dependent_root: str | None = None
    block_root: str | None = None
    execution_optimistic: bool | None = None
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """One row per beacon block seen, on the chain or off it: what observations are dated and rewound by."""

    root: str
    slot: int
    epoch: int
    ts: dt.datetime
    parent_root: str
    state_root: str | None
    body_root: str | None
    proposer_index: int
    canonical: bool
    execution_optimistic: bool
    finalized: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChainBlock:
    """A row to be written, as `ChainBlock`."""

    root: str
    slot: int
    epoch: int
    ts: dt.datetime
    parent_root: str
    state_root: str | None = None
    body_root: str | None = None
    proposer_index: int
    canonical: bool
    execution_optimistic: bool | None = None
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class Reorg:
    """One row per change of the chain's head to another branch, as the node's chain_reorg events tell, and what was done about it."""

    slot: int
    old_head_block: str
    new_head_block: str
    old_head_state: str | None
    new_head_state: str | None
    epoch: int
    depth: int
    execution_optimistic: bool
    detected_at: dt.datetime
    ancestor_slot: int | None
    ancestor_root: str | None
    orphaned_blocks: int | None
    removed_rows: int | None
    rewound_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReorg:
    """A row to be written, as `Reorg`."""

    slot: int
    old_head_block: str
    new_head_block: str
    old_head_state: str | None = None
    new_head_state: str | None = None
    epoch: int
    depth: int
    execution_optimistic: bool | None = None
    detected_at: dt.datetime | None = None
    ancestor_slot: int | None = None
    ancestor_root: str | None = None
    orphaned_blocks: int | None = None
    removed_rows: int | None = None
    rewound_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One row per alert: what is wrong with a validator or the chain, since when, and what was done about it."""

    id: uuid.UUID
    alert_type: model.AlertType
    severity: model.AlertSeverity
    raised_at: dt.datetime
    validator_index: int | None
    slot: int | None
    epoch: int | None
    message: str
    details: Any | None
    dedupe_key: str
    occurrences: int
    last_seen_at: dt.datetime
    resolution_status: model.AlertResolution
    acknowledged_at: dt.datetime | None
    acknowledged_by: str | None
    resolved_at: dt.datetime | None
    resolved_by: str | None
    resolution_note: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlert:
    """A row to be written, as `Alert`."""

    id: uuid.UUID | None = None
    alert_type: model.AlertType
    severity: model.AlertSeverity
    raised_at: dt.datetime | None = None
    validator_index: int | None = None
    slot: int | None = None
    epoch: int | None = None
    message: str
    details: Any = None
    dedupe_key: str
    occurrences: int | None = None
    last_seen_at: dt.datetime | None = None
    resolution_status: model.AlertResolution | None = None
    acknowledged_at: dt.datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: dt.datetime | None = None
    resolved_by: str | None = None
    resolution_note: str | None = None


class Tables(Repository):
    """The tables and roll-ups of the validators pack."""

    @property
    def validators(self) -> Table[Validator, NewValidator]:
        """One row per validator that is followed: its latest record, and what its people call it."""
        return self._table("validators", Validator, NewValidator)

    @property
    def records(self) -> Table[ValidatorRecord, NewValidatorRecord]:
        """One row per change of a validator's record, written by a trigger on validators: status, slashing, credentials, epochs."""
        return self._table("records", ValidatorRecord, NewValidatorRecord)

    @property
    def snapshots(self) -> Table[ValidatorSnapshot, NewValidatorSnapshot]:
        """One row per validator and slot in which something of it changed: balance, status, and what was settled since."""
        return self._table("snapshots", ValidatorSnapshot, NewValidatorSnapshot)

    @property
    def snapshots_hourly(self) -> Buckets[ValidatorSnapshotsHourly]:
        """One row per validator and hour: its balance and what it earned of what it could."""
        return self._bucket_table("snapshots", "hourly", ValidatorSnapshotsHourly)

    @property
    def snapshots_daily(self) -> Buckets[ValidatorSnapshotsDaily]:
        """One row per validator and day: its balance and what it earned of what it could."""
        return self._bucket_table("snapshots", "daily", ValidatorSnapshotsDaily)

    @property
    def duties(self) -> Table[AttestationDuty, NewAttestationDuty]:
        """One row per validator and epoch: its attestation, what became of it, and if it failed, why."""
        return self._table("duties", AttestationDuty, NewAttestationDuty)

    @property
    def duties_daily(self) -> Buckets[AttestationDutiesDaily]:
        """One row per validator and day: its attestations by what became of them."""
        return self._bucket_table("duties", "daily", AttestationDutiesDaily)

    @property
    def proposals(self) -> Table[Proposal, NewProposal]:
        """One row per slot a followed validator has to propose a block in."""
        return self._table("proposals", Proposal, NewProposal)

    @property
    def blocks(self) -> Table[ChainBlock, NewChainBlock]:
        """One row per beacon block seen, on the chain or off it: what observations are dated and rewound by."""
        return self._table("blocks", ChainBlock, NewChainBlock)

    @property
    def reorgs(self) -> Table[Reorg, NewReorg]:
        """One row per change of the chain's head to another branch, as the node's chain_reorg events tell, and what was done about it."""
        return self._table("reorgs", Reorg, NewReorg)

    @property
    def alerts(self) -> Table[Alert, NewAlert]:
        """One row per alert: what is wrong with a validator or the chain, since when, and what was done about it."""
        return self._table("alerts", Alert, NewAlert)
