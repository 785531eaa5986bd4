"""Roll-ups: buckets of time kept true to their rows, late, corrected and deleted ones included."""

from chainstrata.rollups.model import Difference, Refreshed, Status
from chainstrata.rollups.runner import Rollups

__all__ = ["Difference", "Refreshed", "Rollups", "Status"]
