"""A look at a pack without a database: declarations, files of SQL, revisions, sample data."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from importlib.util import find_spec

from chainstrata.errors import DeclarationError, UnknownName
from chainstrata.model import Catalog, Pack
from chainstrata.model.rollup import rollup_table_name

ANCHOR = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is of a pack. `sample_rows` is 0 for one without a sample."""

    pack: str
    datasets: int
    rollups: int
    sql_objects: int
    revisions: int
    sample_rows: int


def inspect_pack(catalog: Catalog, pack: Pack) -> Inspection:
    """Return what there is of a pack whose declarations fit already; raise `DeclarationError` for what else is wrong."""
    folder = files(pack.package) / "migrations"
    revisions = sum(entry.name.endswith(".py") and entry.name[:1].isdigit() for entry in folder.iterdir()) if folder.is_dir() else 0
    rollups = sum(len(dataset.rollups) for dataset in pack.datasets)
    return Inspection(pack.name, len(pack.datasets), rollups, len(pack.sql_objects()), revisions, _count_sample(catalog, pack))


def _count_sample(catalog: Catalog, pack: Pack) -> int:
    """Make the small sample, see that its columns are those of the tables, and return its number of rows."""
    if find_spec(f"{pack.package}.sample") is None:
        return 0
    make = getattr(pack.module("sample"), "make", None)
    if make is None:
        raise DeclarationError(
            pack.name, "sample", "has no function `make`", hint="make(scale, seed, anchor) yields (dataset, pyarrow.Table)."
        )
    rows = 0
    for name, table in make("small", 1, ANCHOR):
        known = _columns(catalog, pack, name)
        unknown = [column for column in table.schema.names if column not in known]
        if unknown:
            raise DeclarationError(
                name, "sample", f"gives columns the table has not: {', '.join(unknown)}", hint=f"It has {', '.join(known)}."
            )
        rows += table.num_rows
    return rows


def _columns(catalog: Catalog, pack: Pack, name: str) -> list[str]:
    try:
        if name.count(".") > 1:
            dataset, rollup = catalog.rollup(name)
            return list(pack.metadata.tables[f"{dataset.schema}.{rollup_table_name(rollup, dataset.table)}"].c.keys())
        return list(catalog.dataset(name).table.c.keys())
    except UnknownName as error:
        raise DeclarationError(pack.name, "sample", error.message, hint=error.hint) from error
