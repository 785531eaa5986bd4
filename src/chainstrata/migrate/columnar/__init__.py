"""Migrations of the columnar engine: revisions per pack, checksummed and recorded in the engine itself, beside what they made.

A revision is a file in a pack's folder `columnar`, written by `make` from the declarations: a list of steps, each with its way back. Every
statement may run again, so what was interrupted simply goes on. One lock, that of PostgreSQL's migrations, keeps two apart.
"""

from collections.abc import Sequence

from chainstrata.migrate.columnar.make import declared, make
from chainstrata.migrate.columnar.model import ColumnarRevision, ColumnarState
from chainstrata.migrate.columnar.runner import create_declared, down, locked, plan_up, status, up
from chainstrata.migrate.columnar.scripts import load_revisions
from chainstrata.migrate.columnar.verify import verify

__all__: Sequence[str] = [
    "ColumnarRevision",
    "ColumnarState",
    "create_declared",
    "declared",
    "down",
    "load_revisions",
    "locked",
    "make",
    "plan_up",
    "status",
    "up",
    "verify",
]
