"""What a mirror's rows were read from, so that it is noticed where that is something else by now.

The log tells of changes, not of what makes it silent: a table that is taken out of the publication, or dropped and made anew, or a column
whose values a change of its type rewrote. So it is on record, from before a mirror's copy, which entry of the publication its table had
and which columns; as long as that is so still, no change was missed. A table that is called something else for a while stays the same one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from chainstrata.cdc.errors import DatasetLost
from chainstrata.cdc.slot import PUBLICATION, QUERIES
from chainstrata.engines.postgres import Connection, Database
from chainstrata.model import Dataset

_TEXTS: Final = frozenset({"text", "character varying"})
_TYPE: Final = re.compile(r"(?P<name>[^(]+)(?:\((?P<size>\d+)(?:,(?P<scale>-?\d+))?\))?(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class OriginColumn:
    """A column by its number, which no other column ever gets, and its type, by number and as people write it."""

    number: int
    type_oid: int
    modifier: int
    type: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A table as it is published. `published` numbers its entry in the publication, `relation` the table."""

    relation: int
    published: int
    columns: Mapping[str, OriginColumn]

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> "Origin":
        columns = {name: OriginColumn(**column) for name, column in known["columns"].items()}
        return cls(known["relation"], known["published"], columns)

    def merged(self, found: "Origin") -> "Origin":
        """Return what is to be on record from now on; columns that went away stay, or one that comes back would pass for them."""
        return Origin(found.relation, found.published, {**self.columns, **found.columns})


def judge_origin(name: str, kept: Origin, found: Origin | None) -> DatasetLost | None:
    """Return why a mirror made from one origin cannot go on from another, if it cannot."""
    if found is None:
        return DatasetLost(name, "its table is not published any more: it was dropped, renamed or taken out of the publication")
    if (found.relation, found.published) != (kept.relation, kept.published):
        return DatasetLost(name, "its table was dropped or taken out of the publication for a while, and changes of that time are missing")
    for column, before in kept.columns.items():
        now = found.columns.get(column)
        if now is None:
            continue
        if now.number != before.number:
            return DatasetLost(name, f"column {column!r} was dropped and made anew; the mirror has values of the old one")
        if (now.type_oid, now.modifier) != (before.type_oid, before.modifier) and not keeps_values(before.type, now.type):
            return DatasetLost(name, f"column {column!r} was {before.type} and is {now.type} now, which may have changed its values")
    return None


def keeps_values(before: str, now: str) -> bool:
    """Return whether changing a column's type leaves every value as it is."""
    was, becomes = _TYPE.fullmatch(before), _TYPE.fullmatch(now)
    if was is None or becomes is None or was["rest"] != becomes["rest"]:
        return False
    if was["name"] != becomes["name"] and not {was["name"], becomes["name"]} <= _TEXTS:
        return False
    if becomes["size"] is None:
        return True
    if was["size"] is None:
        return False
    # More digits in all do not make up for fewer after the point.
    return int(becomes["size"]) >= int(was["size"]) and int(becomes["scale"] or 0) >= int(was["scale"] or 0)


async def read_origins(reader: Database | Connection, datasets: Iterable[Dataset]) -> dict[str, Origin]:
    """Return what the tables of datasets are now, of those that are published."""
    rows = await reader.fetch_all(QUERIES.show_origins, {"publication": PUBLICATION})
    there = {row.name: Origin.of({"relation": row.relation, "published": row.published, "columns": row.columns}) for row in rows}
    found = {dataset.full_name: (dataset, there.get(f"{dataset.schema}.{dataset.table.name}")) for dataset in datasets}
    return {name: _mirrored(dataset, origin) for name, (dataset, origin) in found.items() if origin is not None}


class Origins:
    """The origins of the datasets that are followed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[str, Origin] = {}

    def begin(self, kept: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take on what is on record."""
        self._kept = {name: Origin.of(known) for name, known in kept.items() if known is not None}

    def owner(self, relation: int) -> str | None:
        """Return the dataset whose table this is, whatever it is called."""
        return next((name for name, origin in self._kept.items() if origin.relation == relation), None)

    async def check(self, datasets: Iterable[Dataset]) -> dict[str, DatasetLost]:
        """Return the problem of each dataset that is not what it was; put on record what is new and does no harm."""
        listed = list(datasets)
        now = await read_origins(self._database, listed)
        problems = {}
        for dataset in listed:
            name = dataset.full_name
            kept, found = self._kept.get(name), now.get(name)
            if kept is not None and (problem := judge_origin(name, kept, found)) is not None:
                problems[name] = problem
            elif found is not None:
                await self.note(name, kept.merged(found) if kept else found)
        return problems

    async def note(self, name: str, origin: Origin) -> None:
        """Put on record what a mirror is made from."""
        if self._kept.get(name) != origin:
            await self._database.execute(QUERIES.note_origin, {"dataset": name, "origin": json.dumps(asdict(origin))})
            self._kept[name] = origin


def _mirrored(dataset: Dataset, origin: Origin) -> Origin:
    """Return an origin without columns that are not mirrored."""
    wanted = dataset.mirror.columns if dataset.mirror is not None else None
    if not wanted:
        return origin
    columns = {name: column for name, column in origin.columns.items() if name in wanted or name in dataset.key}
    return Origin(origin.relation, origin.published, columns)
