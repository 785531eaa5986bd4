"""Streams that are made up: rows as the sources of a pack would send them, at a rate that is held, through the way all rows go.

A pack brings `stream.py`, which tells tick by tick what its sources say; equal seed, start and rate, equal rows. `Simulation` sends it,
with some rows late, some twice and some broken if asked to, and counts what becomes of them.
"""

from chainstrata.simulate.model import Counts, Options, Report
from chainstrata.simulate.runner import Simulation, packs_with_streams

__all__ = ["Counts", "Options", "Report", "Simulation", "packs_with_streams"]
