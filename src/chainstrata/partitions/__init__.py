"""Partitions kept by declaration: made ahead, in UTC, without blocking readers or writers.

`apply` is what the command, the API and the schedule call; `ensure` covers a past range for samples and backfills.
"""

from chainstrata.partitions.model import Action, Problem, ProblemCode, Step
from chainstrata.partitions.quarantine import Held, HeldCount, Replayed, count_held, drop_held, list_held, replay
from chainstrata.partitions.runner import NotPartitioned, Options, apply, ensure, ensure_named, list_all, plan, render, verify

__all__ = [
    "Action",
    "Held",
    "HeldCount",
    "NotPartitioned",
    "Options",
    "Problem",
    "ProblemCode",
    "Replayed",
    "Step",
    "apply",
    "count_held",
    "drop_held",
    "ensure",
    "ensure_named",
    "list_all",
    "list_held",
    "plan",
    "render",
    "replay",
    "verify",
]
