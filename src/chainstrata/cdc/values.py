"""Types as the server's catalog has them, and what values of each are: a domain travels as what it is over, an enum as its label."""

from collections.abc import Mapping
from dataclasses import dataclass

from chainstrata.engines.postgres.arrow.kinds import NAMES, Kind, numeric_kind


@dataclass(frozen=True, slots=True)
class CatalogType:
    """A type as the server's catalog has it. `kind` is `b` base, `d` domain, `e` enum, and so on."""

    oid: int
    name: str
    kind: str
    over: int
    over_modifier: int
    element: int


class UnknownType(LookupError):
    """A type that values cannot be read of. The message names it."""


def resolve(types: Mapping[int, CatalogType], oid: int, modifier: int = -1) -> Kind:
    """Return what values of this type are; raise `UnknownType` if they cannot be read."""
    found = types.get(oid)
    if found is None:
        raise UnknownType(f"type {oid}, which is not in the catalog")
    if found.kind == "d":
        return resolve(types, found.over, found.over_modifier)
    if found.kind == "e":
        return Kind("enum")
    if found.name.startswith("_") and found.element:
        return Kind("array", element=resolve(types, found.element, modifier))
    if found.name == "numeric":
        return numeric_kind(modifier)
    if found.name not in NAMES:
        raise UnknownType(f"type {found.name}")
    return Kind(found.name)
