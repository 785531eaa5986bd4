"""Migrations: the schema and its history.

`create_declared` builds a schema straight from declarations; `snapshot` says what a database holds, object by object.
"""

from chainstrata.migrate.declared import create_declared
from chainstrata.migrate.schema import Snapshot
from chainstrata.migrate.snapshot import snapshot

__all__ = ["Snapshot", "create_declared", "snapshot"]
