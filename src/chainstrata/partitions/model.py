"""What can be done to the partitions of a table, and what can be wrong with them. Data only."""

from dataclasses import dataclass
from enum import StrEnum

from chainstrata.engines.postgres.partitioning import Partition
from chainstrata.model import TimedTable


class Action(StrEnum):
    """What a step does.

    `FINALIZE` ends a detachment that was cut short. `PREPARE` lets a hypertable have compressed chunks, `COMPRESS` makes one.
    """

    FINALIZE = "finalize"
    CREATE = "create"
    PREPARE = "prepare"
    COMPRESS = "compress"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do to one partition, or to `PREPARE` the table: a transaction, or a statement that can be taken up again."""

    action: Action
    table: TimedTable
    partition: Partition

    def __str__(self) -> str:
        if self.action is Action.PREPARE:
            return f"{self.action} {self.table.qualified} for compression"
        return f"{self.action} {self.partition.qualified} ({self.partition.span})"


class ProblemCode(StrEnum):
    """What can be wrong with the partitions of a table. Stable: alerts match on it."""

    TABLE_MISSING = "table_missing"
    NOT_PARTITIONED = "not_partitioned"
    WRONG_KEY = "wrong_key"
    FEW_AHEAD = "few_ahead"
    GAP = "gap"
    DEFAULT_PARTITION = "default_partition"
    DETACH_PENDING = "detach_pending"
    OTHER_WIDTH = "other_width"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something `verify` found. `urgent` when rows have no partition, or soon will not."""

    table: str
    code: ProblemCode
    detail: str
    urgent: bool
