"""Rows of the insights pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

from chainstrata.packs.insights import model
from chainstrata.packs.repository import Buckets, Repository, Table


@dataclass(frozen=True, slots=True)
class BackfillJob:
    """One row per job that fetches a span of past blocks."""

    id: uuid.UUID
    job_type: str
    start_block: int
    end_block: int
    current_block: int
    status: model.JobStatus
    progress_percentage: decimal.Decimal
    estimated_completion: dt.datetime | None
    error_message: str | None
    started_at: dt.datetime
    completed_at: dt.datetime | None
    created_by: str | None
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBackfillJob:
    """A row to be written, as `BackfillJob`."""

    id: uuid.UUID | None = None
    job_type: str
    start_block: int
    end_block: int
    current_block: int
    status: model.JobStatus | None = None
    estimated_completion: dt.datetime | None = None
    error_message: str | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class BackfillRange:
    """One row per chunk of a backfill job: who works on it, until when, and what came of it."""

    job_id: uuid.UUID
    from_block: int
    to_block: int
    status: model.RangeStatus
    attempts: int
    not_before: dt.datetime | None
    leased_by: str | None
    leased_until: dt.datetime | None
    heartbeat_at: dt.datetime | None
    rows_written: int
    last_error: str | None
    started_at: dt.datetime | None
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBackfillRange:
    """A row to be written, as `BackfillRange`."""

    job_id: uuid.UUID
    from_block: int
    to_block: int
    status: model.RangeStatus | None = None
    attempts: int | None = None
    not_before: dt.datetime | None = None
    leased_by: str | None = None
    leased_until: dt.datetime | None = None
    heartbeat_at: dt.datetime | None = None
    rows_written: int | None = None
    last_error: str | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class InsightFeedback:
    """One row per user and insight: what the user thinks of it."""

    id: uuid.UUID
    insight_id: str
    user_id: str
    rating: int | None
    comment: str | None
    flag_type: model.FlagType | None
    flag_reason: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInsightFeedback:
    """A row to be written, as `InsightFeedback`."""

    id: uuid.UUID | None = None
    insight_id: str
    user_id: str
    rating: int | None = None
    comment: str | None = None
    flag_type: model.FlagType | None = None
    flag_reason: str | None = None


@dataclass(frozen=True, slots=True)
class SystemMetric:
    """One row per service, type of metric, instance and instant: one measurement."""

    service_name: str
    metric_type: str
    timestamp: dt.datetime
    instance: str
    metric_value: float
    unit: str
    metric_metadata: Any | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSystemMetric:
    """A row to be written, as `SystemMetric`."""

    service_name: str
    metric_type: str
    timestamp: dt.datetime | None = None
    instance: str | None = None
    metric_value: float
    unit: str
    metric_metadata: Any = None


@dataclass(frozen=True, slots=True)
class SystemMetricsHourly:
    """One row per service, type of metric, instance, unit and hour."""

    service_name: str
    metric_type: str
    instance: str
    unit: str
    bucket: dt.datetime
    samples: int
    value_sum: float
    value_count: int
    value_min: float
    value_max: float
    value_sketch: Any
    value_mean: float | None
    value_p50: float | None
    value_p95: float | None
    value_p99: float | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Block:
    """One row per block seen, on the chain or off it."""

    hash: str
    height: int
    previous_hash: str | None
    block_time: dt.datetime
    median_time: dt.datetime | None
    version: int
    merkle_root: str
    nonce: int
    bits: str
    difficulty: decimal.Decimal | None
    chainwork: str | None
    size: int
    stripped_size: int | None
    weight: int | None
    transaction_count: int
    coinbase_param: str | None
    output_sats: int | None
    fee_sats: int | None
    canonical: bool
    finalized: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBlock:
    """A row to be written, as `Block`."""

    hash: str
    height: int
    previous_hash: str | None = None
    block_time: dt.datetime
    median_time: dt.datetime | None = None
    version: int
    merkle_root: str
    nonce: int
    bits: str
    difficulty: decimal.Decimal | None = None
    chainwork: str | None = None
    size: int
    stripped_size: int | None = None
    weight: int | None = None
    transaction_count: int
    coinbase_param: str | None = None
    output_sats: int | None = None
    fee_sats: int | None = None
    canonical: bool
    finalized: bool | None = None


@dataclass(frozen=True, slots=True)
class Reorg:
    """One row per change of the chain to another branch."""

    old_tip: str
    new_tip: str
    fork_height: int
    orphaned_blocks: int
    adopted_blocks: int
    applied_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReorg:
    """A row to be written, as `Reorg`."""

    old_tip: str
    new_tip: str
    fork_height: int
    orphaned_blocks: int
    adopted_blocks: int
    applied_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row per transaction and block that holds it."""

    txid: str
    block_hash: str
    block_time: dt.datetime
    height: int
    position: int
    wtxid: str | None
    version: int
    lock_time: int
    size: int
    virtual_size: int | None
    weight: int | None
    coinbase: bool
    input_count: int
    output_count: int
    input_sats: int | None
    output_sats: int
    fee_sats: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransaction:
    """A row to be written, as `Transaction`."""

    txid: str
    block_hash: str
    block_time: dt.datetime
    height: int
    position: int
    wtxid: str | None = None
    version: int
    lock_time: int
    size: int
    virtual_size: int | None = None
    weight: int | None = None
    coinbase: bool
    input_count: int
    output_count: int
    input_sats: int | None = None
    output_sats: int
    fee_sats: int | None = None


class Tables(Repository):
    """The tables and roll-ups of the insights pack."""

    @property
    def jobs(self) -> Table[BackfillJob, NewBackfillJob]:
        """One row per job that fetches a span of past blocks."""
        return self._table("jobs", BackfillJob, NewBackfillJob)

    @property
    def ranges(self) -> Table[BackfillRange, NewBackfillRange]:
        """One row per chunk of a backfill job: who works on it, until when, and what came of it."""
        return self._table("ranges", BackfillRange, NewBackfillRange)

    @property
    def feedback(self) -> Table[InsightFeedback, NewInsightFeedback]:
        """One row per user and insight: what the user thinks of it."""
        return self._table("feedback", InsightFeedback, NewInsightFeedback)

    @property
    def metrics(self) -> Table[SystemMetric, NewSystemMetric]:
        """One row per service, type of metric, instance and instant: one measurement."""
        return self._table("metrics", SystemMetric, NewSystemMetric)

    @property
    def metrics_hourly(self) -> Buckets[SystemMetricsHourly]:
        """One row per service, type of metric, instance, unit and hour."""
        return self._bucket_table("metrics", "hourly", SystemMetricsHourly)

    @property
    def blocks(self) -> Table[Block, NewBlock]:
        """One row per block seen, on the chain or off it."""
        return self._table("blocks", Block, NewBlock)

    @property
    def reorgs(self) -> Table[Reorg, NewReorg]:
        """One row per change of the chain to another branch."""
        return self._table("reorgs", Reorg, NewReorg)

    @property
    def transactions(self) -> Table[Transaction, NewTransaction]:
        """One row per transaction and block that holds it."""
        return self._table("transactions", Transaction, NewTransaction)
