"""What the helpers of an adoption are called. All stand beside the table, in its schema, and are gone in the end."""

import hashlib
from dataclasses import dataclass

from psycopg import sql

from chainstrata.model import TimedTable
from chainstrata.partitions.names import NAME_LIMIT

OWN_TRIGGERS = "strata_adopt"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one adoption: the table, its partitioned copy, what the table becomes, the log of changes, the notes."""

    table: TimedTable

    def sibling(self, suffix: str) -> str:
        return extend(self.table.table, f"__{suffix}")

    def identify(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.table.schema, name)

    @property
    def plain(self) -> sql.Identifier:
        return self.identify(self.table.table)

    @property
    def copy(self) -> sql.Identifier:
        return self.identify(self.sibling("adopt"))

    @property
    def before(self) -> sql.Identifier:
        return self.identify(self.sibling("before"))

    @property
    def log(self) -> sql.Identifier:
        return self.identify(self.sibling("adopt_log"))

    @property
    def notes(self) -> sql.Identifier:
        return self.identify(self.sibling("adopt_notes"))

    @property
    def function(self) -> sql.Identifier:
        return self.identify(self.sibling("adopt_note"))


def extend(name: str, suffix: str) -> str:
    """Return a name with a suffix, cut and told apart by a hash where it would be too long."""
    if len(f"{name}{suffix}".encode()) <= NAME_LIMIT:
        return name + suffix
    tail = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return name.encode()[: NAME_LIMIT - len(tail)].decode(errors="ignore") + tail
