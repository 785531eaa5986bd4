"""Which repositories a pack has: its own, or one that knows its tables alone; and one on the columnar engine, if it names it."""

from importlib.util import find_spec

from chainstrata.errors import DeclarationError
from chainstrata.model import Pack
from chainstrata.packs.repository.columnar import ColumnarRepository
from chainstrata.packs.repository.repository import Repository


def repository_class(pack: Pack) -> type[Repository]:
    """Return the class that the pack's module `repository` calls REPOSITORY, or `Repository` where there is none."""
    if find_spec(f"{pack.package}.repository") is None:
        return Repository
    found = getattr(pack.module("repository"), "REPOSITORY", None)
    if not (isinstance(found, type) and issubclass(found, Repository)):
        raise DeclarationError(pack.name, "repository", "has no REPOSITORY", hint="Name the class there: `REPOSITORY = Tides`.")
    return found


def columnar_class(pack: Pack) -> type[ColumnarRepository] | None:
    """Return the class that the pack's module `repository` calls COLUMNAR, or None where there is none."""
    if find_spec(f"{pack.package}.repository") is None:
        return None
    found = getattr(pack.module("repository"), "COLUMNAR", None)
    if found is not None and not (isinstance(found, type) and issubclass(found, ColumnarRepository)):
        raise DeclarationError(pack.name, "repository", "has a COLUMNAR that is none", hint="Name a subclass of `ColumnarRepository`.")
    return found
