"""How everything is: engines, packs, schema, datasets, services. One public function, `status`, behind every edge."""

from chainstrata.monitor.model import (
    DatasetStatus,
    EngineStatus,
    Finding,
    NodeStatus,
    PackStatus,
    PoolStatus,
    SchemaVersion,
    ServiceState,
    ServiceStatus,
    Severity,
    Status,
)
from chainstrata.monitor.planner import Sizes
from chainstrata.monitor.runner import Health, health, status

__all__ = [
    "DatasetStatus",
    "EngineStatus",
    "Finding",
    "Health",
    "NodeStatus",
    "PackStatus",
    "PoolStatus",
    "SchemaVersion",
    "ServiceState",
    "ServiceStatus",
    "Severity",
    "Sizes",
    "Status",
    "health",
    "status",
]
