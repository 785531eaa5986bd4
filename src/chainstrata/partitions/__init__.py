"""Partitions kept by declaration: made ahead, in UTC, without blocking readers or writers.

`apply` is what the command, the API and the schedule call; `ensure` covers a past range for samples and backfills; `adopt`
gives an existing plain table its partitions.
"""

from chainstrata.partitions.adoption import (
    Adopted,
    AdoptionDiffers,
    AdoptionPlan,
    CannotAdopt,
    Phase,
    adopt,
    cancel_adoption,
    plan_adoption,
)
from chainstrata.partitions.model import Action, Problem, ProblemCode, Step
from chainstrata.partitions.quarantine import Held, HeldCount, Replayed, count_held, drop_held, list_held, replay
from chainstrata.partitions.runner import NotPartitioned, Options, apply, ensure, ensure_named, list_all, plan, render, verify

__all__ = [
    "Action",
    "Adopted",
    "AdoptionDiffers",
    "AdoptionPlan",
    "CannotAdopt",
    "Held",
    "HeldCount",
    "NotPartitioned",
    "Options",
    "Phase",
    "Problem",
    "ProblemCode",
    "Replayed",
    "Step",
    "adopt",
    "apply",
    "cancel_adoption",
    "count_held",
    "drop_held",
    "ensure",
    "ensure_named",
    "list_all",
    "list_held",
    "plan",
    "plan_adoption",
    "render",
    "replay",
    "verify",
]
