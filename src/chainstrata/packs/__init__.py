"""The domains. This package finds the installed packs; each pack only declares."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from chainstrata.errors import DeclarationError, UnknownName
from chainstrata.model import Catalog, Pack

__all__ = ["CORE", "ENTRY_POINT_GROUP", "load_catalog"]

ENTRY_POINT_GROUP = "chainstrata.packs"
CORE = "strata"


def load_catalog(names: Sequence[str] = ()) -> Catalog:
    """Return the catalog of the named packs and what they require; without names, of every installed pack."""
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    wanted = list(names or installed)
    packs: dict[str, Pack] = {}
    for name in (CORE, *wanted):
        _load(name, installed, packs)
    return Catalog(packs.values())


def _load(name: str, installed: Mapping[str, EntryPoint], packs: dict[str, Pack]) -> None:
    if name in packs:
        return
    if name not in installed:
        raise UnknownName("pack", name, list(installed))
    try:
        pack = installed[name].load()
    except ImportError as error:
        raise DeclarationError(name, "pack", f"cannot be imported: {error}") from error
    if not isinstance(pack, Pack):
        raise DeclarationError(name, "pack", f"the entry point leads to {type(pack).__name__}, not to a Pack")
    packs[name] = pack
    for needed in pack.requires:
        if needed in installed:
            _load(needed, installed, packs)
