"""Upkeep of what PostgreSQL does not keep up by itself: materialized views, statistics of partitioned tables, bloated indexes."""

from chainstrata.upkeep.errors import UpkeepFailed
from chainstrata.upkeep.model import IndexBloat, Statistics, View, ViewVerdict
from chainstrata.upkeep.runner import (
    Options,
    analyze,
    plan_analyze,
    plan_refresh,
    plan_reindex,
    refresh,
    reindex,
)

__all__ = [
    "IndexBloat",
    "Options",
    "Statistics",
    "UpkeepFailed",
    "View",
    "ViewVerdict",
    "analyze",
    "plan_analyze",
    "plan_refresh",
    "plan_reindex",
    "refresh",
    "reindex",
]
