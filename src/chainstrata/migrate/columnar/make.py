"""What the packs declare for the columnar engine, and the revisions that lead there."""

import re
from pathlib import Path

from chainstrata.errors import UsageError
from chainstrata.migrate.columnar.scripts import columnar_folder, load_revisions, write_revision
from chainstrata.model import Catalog, Pack
from chainstrata.model.columnar import CannotChange, Change, ColumnarObject, State, compare, mirror_table, replay


def declared(pack: Pack) -> State:
    """Return the tables and views a pack declares: mirrors, its own datasets, what is kept of their rows."""
    found: list[ColumnarObject] = list(pack.columnar_objects)
    for dataset in pack.datasets:
        if dataset.mirror is not None:
            mirror = mirror_table(dataset)
            found += [mirror.table, mirror.view]
    for one in pack.columnar:
        found += one.objects()
    return {item.name: item for item in found}


def recorded(catalog: Catalog, pack: Pack, folders: "dict[str, Path] | None" = None) -> State:
    """Return what there is after every revision of a pack."""
    return replay(change for revision in load_revisions(catalog, folders)[pack.name] for change in revision.changes)


def make(catalog: Catalog, name: str, message: str = "", *, folders: "dict[str, Path] | None" = None) -> tuple[Path | None, list[Change]]:
    """Write the revision that leads from the last one to what a pack declares. Needs no engine; writes nothing when nothing differs."""
    pack = catalog.pack(name)
    try:
        changes = compare(recorded(catalog, pack, folders), declared(pack))
    except CannotChange as error:
        raise UsageError(str(error)) from error
    if not changes:
        return None, []
    number = len(load_revisions(catalog, folders)[name]) + 1
    said = message or ("create initial schema" if number == 1 else ", ".join(change.title for change in changes[:2]))
    folder = (folders or {}).get(name) or columnar_folder(pack)
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")[:60].strip("_")
    path = folder / f"{number:04d}_{slug}.py"
    path.write_text(write_revision(said, changes), encoding="utf-8")
    return path, changes
