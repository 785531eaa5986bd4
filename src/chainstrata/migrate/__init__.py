"""Migrations: the schema and its history.

`up`, `down` and `goto` move a database along the revisions of the packs, `make` writes revisions from declarations.
`create_declared` builds a schema straight from declarations; `snapshot` says what a database holds, object by object.
"""

from chainstrata.migrate.declared import create_declared
from chainstrata.migrate.make import Made, make
from chainstrata.migrate.model import Direction, Outcome, Progress, Site, Status
from chainstrata.migrate.operations import op, pgtype
from chainstrata.migrate.runner import down, goto, up
from chainstrata.migrate.schema import Snapshot
from chainstrata.migrate.snapshot import snapshot

__all__ = [
    "Direction",
    "Made",
    "Outcome",
    "Progress",
    "Site",
    "Snapshot",
    "Status",
    "create_declared",
    "down",
    "goto",
    "make",
    "op",
    "pgtype",
    "snapshot",
    "up",
]
