"""What a look at the platform shows. Data only; every edge renders the same."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """`ERROR`: something does not work. `WARNING`: something will not, or is slower than it should be."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `code` is stable, `object` names what it is about."""

    severity: Severity
    code: str
    object: str
    message: str
    hint: str = ""


class ServiceState(StrEnum):
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service of the node. `error` is why it failed last."""

    name: str
    state: ServiceState
    since: datetime
    restarts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The pool of the process that answers. Waits in seconds, over the most recent ones."""

    size: int
    used: int
    waiting: int
    min_size: int
    max_size: int
    wait_p50: float
    wait_p95: float
    wait_max: float
    acquire_timeouts: int
    connections_lost: int
    queries: int
    slow_queries: int
    errors: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The process that runs everything."""

    pid: int
    version: str
    python: str
    mode: str
    home: str
    address: str
    started: datetime
    uptime_seconds: float
    services: tuple[ServiceStatus, ...] = ()
    pool: PoolStatus | None = None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine. `kind` says whether it is embedded or reached by URL; `detail` is for people."""

    name: str
    kind: str
    state: str
    version: str = ""
    started: datetime | None = None
    size_bytes: int | None = None
    connections: int | None = None
    max_connections: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The schema of a pack: the revision that is applied and the newest there is. Empty: none."""

    pack: str
    applied: str
    newest: str
    pending: int = 0


@dataclass(frozen=True, slots=True)
class PackStatus:
    """A pack with its datasets summed up. `schema` is None when nobody could tell."""

    name: str
    doc: str
    datasets: int
    rows: int
    rows_exact: bool
    size_bytes: int
    schema: SchemaVersion | None = None


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """A dataset, or one of its roll-ups, with all its partitions summed up.

    `rollup_of` names the dataset of a roll-up. `rows` and `size_bytes` are counted and measured where they say exact, else
    estimated from the server's statistics.
    `partitions` is 0 for a plain table. Inserts, updates and deletes are counted by the server since its statistics were
    last reset.
    """

    name: str
    pack: str
    table: str
    exists: bool
    rollup_of: str = ""
    rows: int = 0
    rows_exact: bool = True
    partitions: int = 0
    size_bytes: int = 0
    size_exact: bool = True
    index_bytes: int = 0
    dead_rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    analyzed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How everything is at one moment. `healthy` means that no finding is an error."""

    healthy: bool
    at: datetime
    took_seconds: float
    engines: tuple[EngineStatus, ...]
    packs: tuple[PackStatus, ...] = ()
    datasets: tuple[DatasetStatus, ...] = ()
    findings: tuple[Finding, ...] = ()
    node: NodeStatus | None = None

    @property
    def rows(self) -> int:
        return sum(dataset.rows for dataset in self.datasets)

    @property
    def size_bytes(self) -> int:
        return sum(dataset.size_bytes for dataset in self.datasets)
