"""Change capture: what is committed in PostgreSQL, read from its log and carried to sinks in order, effectively once.

`Mirrors` is what commands, routes and other features call; `Capture` is what a service runs.
"""

from chainstrata.cdc.ending import Ended, EndedMirror
from chainstrata.cdc.mirrors import CaptureStatus, Mirrors, MirrorStatus, Replayed
from chainstrata.cdc.options import Options
from chainstrata.cdc.reconcile import Reconciled
from chainstrata.cdc.runner import Capture
from chainstrata.cdc.store import DeadLetter, State

__all__ = [
    "Capture",
    "CaptureStatus",
    "DeadLetter",
    "Ended",
    "EndedMirror",
    "MirrorStatus",
    "Mirrors",
    "Options",
    "Reconciled",
    "Replayed",
    "State",
]
