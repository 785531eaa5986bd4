"""Migrations: the schema and its history.

`up`, `down` and `goto` move a database along the revisions of the packs, `status` and `list_history` say where it stands,
`make` writes revisions from declarations, `lint` looks for what is risky in them, `verify` compares a database with its
history and the declarations. `create_declared` builds a schema straight from declarations; `snapshot` says what a database
holds, object by object.
"""

from chainstrata.migrate.declared import create_declared
from chainstrata.migrate.lint import Finding, lint
from chainstrata.migrate.make import Made, make
from chainstrata.migrate.model import Direction, Outcome, Progress, Site, Status
from chainstrata.migrate.operations import op, pgtype
from chainstrata.migrate.runner import down, goto, up
from chainstrata.migrate.schema import Snapshot
from chainstrata.migrate.site import offline_site, open_site
from chainstrata.migrate.snapshot import snapshot
from chainstrata.migrate.status import RevisionStatus, SchemaStatus, list_history, status
from chainstrata.migrate.verify import Difference, Verdict, verify

__all__ = [
    "Difference",
    "Direction",
    "Finding",
    "Made",
    "Outcome",
    "Progress",
    "RevisionStatus",
    "SchemaStatus",
    "Site",
    "Snapshot",
    "Status",
    "Verdict",
    "create_declared",
    "down",
    "goto",
    "lint",
    "list_history",
    "make",
    "offline_site",
    "op",
    "open_site",
    "pgtype",
    "snapshot",
    "status",
    "up",
    "verify",
]
