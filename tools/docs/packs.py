"""A page for each pack: how its tables refer to each other, what they hold, and why everything is as it is."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.schema import CreateIndex

from chainstrata.model import Dataset, Kind, Lifecycle, Measure, Pack, Rollup, SqlObject
from chainstrata.model.marking import INTERNAL
from chainstrata.model.rollup import mean_names
from chainstrata.packs import load_catalog
from tools.docs.page import Page, table

DIALECT: sa.Dialect = pg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
SHORT = {"TIMESTAMP WITH TIME ZONE": "timestamptz", "DOUBLE PRECISION": "float8"}


def pages() -> Iterable[Page]:
    """Yield the list of packs and the page of each that comes with the product."""
    catalog = load_catalog()
    own = [pack for pack in catalog.packs if pack.package.startswith("chainstrata.packs.")]
    rows = ((f"[{pack.name}](packs/{pack.name}.md)", pack.doc, len(pack.datasets)) for pack in own)
    text = "# Packs\n\nThe domains that come with the product. A pack is a schema of the database.\n\n"
    yield Page("reference/packs.md", text + table(("pack", "what it is", "datasets"), rows))
    for pack in own:
        yield Page(f"reference/packs/{pack.name}.md", "\n\n".join(_page(pack)))


def _page(pack: Pack) -> Iterator[str]:
    yield f"# Pack `{pack.name}`"
    yield pack.doc
    if pack.extensions:
        yield f"Needs the PostgreSQL extensions {', '.join(f'`{name}`' for name in pack.extensions)}."
    shown = [one for one in pack.metadata.sorted_tables if one.info != INTERNAL]
    yield "## How the tables refer to each other"
    yield _diagram(pack, shown)
    if pack.datasets:
        yield "## Datasets"
        yield _datasets(pack)
    if any(dataset.rollups for dataset in pack.datasets):
        yield "## Roll-ups"
        yield from _rollups(pack)
    yield "## Tables"
    for one in sorted(shown, key=lambda each: each.name):
        yield from _table(one)
    yield from _types(pack)
    yield from _objects(pack)
    yield from _definitions(pack)


# The diagram ----------------------------------------------------------------------------------------------------------


def _diagram(pack: Pack, tables: list[sa.Table]) -> str:
    """Return tables with their keys, what refers to what, and what is folded from what, as Mermaid draws it."""
    lines = ["```mermaid", "erDiagram"]
    for one in sorted(tables, key=lambda each: each.name):
        lines += [f"    {one.name} {{", *(f"        {row}" for row in _attributes(one)), "    }"]
    known = {one.fullname for one in tables}
    for one in sorted(tables, key=lambda each: each.name):
        for constraint in sorted(one.foreign_key_constraints, key=lambda each: str(each.name)):
            parent = constraint.referred_table
            if parent.fullname not in known:
                continue
            optional = any(column.nullable for column in constraint.columns)
            lines.append(f'    {parent.name} {"|o" if optional else "||"}--o{{ {one.name} : "{", ".join(constraint.column_keys)}"')
    for dataset in pack.datasets:
        for rollup in dataset.rollups:
            source = pack.rollup_table(dataset, dataset.rollup(rollup.source)) if rollup.source else dataset.table
            lines.append(f'    {source.name} ||..o{{ {pack.rollup_table(dataset, rollup).name} : "every {rollup.every.spoken}"')
    return "\n".join([*lines, "```"])


def _attributes(one: sa.Table) -> Iterator[str]:
    referring = {name for constraint in one.foreign_key_constraints for name in constraint.column_keys}
    for column in one.c:
        marks = [mark for mark, applies in (("PK", column.primary_key), ("FK", column.name in referring)) if applies]
        if marks:
            plain = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in type_text(column.type))
            yield f"{plain} {column.name} {', '.join(marks)}"


# Datasets and roll-ups ------------------------------------------------------------------------------------------------


def _datasets(pack: Pack) -> str:
    rows = (
        (
            f"`{dataset.full_name}`",
            f"[`{dataset.table.name}`](#{dataset.table.name})",
            ", ".join(f"`{name}`" for name in dataset.entity),
            f"`{dataset.time}`" if dataset.time else "",
            show_lifecycle(dataset.lifecycle) if dataset.time else "kept for ever",
            _second_row(dataset),
            _elsewhere(dataset),
        )
        for dataset in sorted(pack.datasets, key=lambda each: each.name)
    )
    return table(("dataset", "table", "about", "time", "life cycle", "a second row of a key", "also in"), rows)


def show_lifecycle(lifecycle: Lifecycle) -> str:
    """Return a life cycle in words."""
    parts = [f"partitions of a {lifecycle.partition.spoken}, {lifecycle.premake} made ahead" if lifecycle.partition else "one table"]
    if lifecycle.keep is None:
        return f"{parts[0]}; kept for ever"
    parts.append(f"kept {lifecycle.keep}{f' once `{lifecycle.terminal}`' if lifecycle.terminal else ''}")
    after = f", the archive kept {lifecycle.keep_archived}" if lifecycle.keep_archived else ""
    parts.append(f"archived, then dropped{after}" if lifecycle.archive else "dropped without an archive")
    return "; ".join(parts)


def _second_row(dataset: Dataset) -> str:
    conflict = dataset.conflict
    words = {
        "append": "is an error",
        "ignore": "is left out",
        "newest": f"wins if its `{conflict.version}` is not older",
        "merge": f"replaces {', '.join(f'`{name}`' for name in conflict.columns) or 'the other columns'} where it has a value",
    }
    text = words[conflict.policy.value]
    if dataset.change_only:
        text += f"; stored only when something changed, or {dataset.change_only.heartbeat} passed"
    return text


def _elsewhere(dataset: Dataset) -> str:
    parts = []
    if dataset.mirror:
        parts.append("columnar mirror" + (f", sorted by {', '.join(dataset.mirror.order_by)}" if dataset.mirror.order_by else ""))
    if dataset.cache:
        parts.append(f"cache for {dataset.cache.ttl}")
    if dataset.topic:
        parts.append(f"topic `{dataset.topic}`")
    return "; ".join(parts)


def _rollups(pack: Pack) -> Iterator[str]:
    for dataset in sorted(pack.datasets, key=lambda each: each.name):
        for rollup in dataset.rollups:
            yield f"### `{dataset.full_name}.{rollup.name}`"
            name = pack.rollup_table(dataset, rollup).name
            source = f"`{dataset.full_name}{'.' + rollup.source if rollup.source else ''}`"
            by = f" and {', '.join(f'`{key}`' for key in rollup.by)}" if rollup.by else ""
            only = ", only rows that meet a condition" if rollup.where is not None else ""
            late = "merged into its bucket" if rollup.late.value == "merge" else "kept in quarantine"
            yield (
                f"[`{name}`](#{name}): a row per {rollup.every.spoken}{by}, folded from {source}{only}. "
                f"{show_lifecycle(rollup.lifecycle).capitalize()}. A row that comes after its own have left is {late}."
            )
            yield table(("measure", "what is kept"), _measures(rollup))


def _measures(rollup: Rollup) -> Iterator[tuple[str, str]]:
    for measure in rollup.measures:
        columns = ", ".join(f"`{part.name}`" for part in measure.components)
        yield _measure(measure), columns
    for derived in rollup.derived:
        yield f"{derived.name} = `{derived.formula}`", f"`{derived.name}`, generated"


def _measure(measure: Measure) -> str:
    what = f" of `{measure.column}`" if measure.column else " of rows"
    weight = f", weighted by `{measure.weight}`" if measure.weight else ""
    if measure.kind is Kind.TIME_MEAN:
        return f"mean{what}, each value weighted with how long it held; read as {' and '.join(f'`{one}`' for one in mean_names(measure))}"
    only = ", of some rows" if measure.where is not None else ""
    kind = "open, high, low and close" if measure.kind.value == "ohlc" else measure.kind.value.replace("_", " ")
    quantiles = f" ({', '.join(f'{quantile:g}' for quantile in measure.quantiles)})" if measure.quantiles else ""
    return f"{kind}{quantiles}{what}{weight}{only}"


# Tables ---------------------------------------------------------------------------------------------------------------


def _table(one: sa.Table) -> Iterator[str]:
    yield f"### {one.name}"
    yield str(one.comment or "")
    yield table(("column", "type", "", "default", "meaning"), (_column(column) for column in one.c))
    constraints = list(_constraints(one))
    if constraints:
        yield table(("constraint", "holds"), constraints)
    if one.indexes:
        rows = (
            (f"`{index.name}`", f"`{_index(one, index)}`", index.info.get("why", ""))
            for index in sorted(one.indexes, key=lambda i: str(i.name))
        )
        yield table(("index", "on", "why"), rows)


def _column(column: sa.Column[Any]) -> tuple[str, str, str, str, str]:
    default = ""
    if column.computed is not None:
        default = f"always `{column.computed.sqltext}`"
    elif column.identity is not None:
        default = "counts by itself"
    elif isinstance(column.server_default, sa.DefaultClause):
        argument = column.server_default.arg
        default = f"`{argument if isinstance(argument, str) else argument.compile(dialect=DIALECT)}`"
    return f"`{column.name}`", f"`{type_text(column.type)}`", "" if not column.nullable else "may be NULL", default, column.comment or ""


def type_text(kind: Any) -> str:
    """Return a type as PostgreSQL users write it."""
    if isinstance(kind, pg.DOMAIN | pg.ENUM):
        return f"{kind.schema}.{kind.name}" if kind.schema else str(kind.name)
    if isinstance(kind, pg.ARRAY):
        return f"{type_text(kind.item_type)}[]"
    text = str(kind.compile(dialect=DIALECT))
    return SHORT.get(text, text.lower())


def _constraints(one: sa.Table) -> Iterator[tuple[str, str]]:
    key = one.primary_key
    if key.columns:
        yield f"`{key.name}`", f"primary key ({', '.join(key.columns.keys())})"
    for constraint in sorted(one.constraints, key=lambda each: str(each.name)):
        if isinstance(constraint, sa.UniqueConstraint):
            yield f"`{constraint.name}`", f"unique ({', '.join(constraint.columns.keys())})"
        elif isinstance(constraint, sa.ForeignKeyConstraint):
            target = ", ".join(element.target_fullname for element in constraint.elements)
            gone = f", on delete {constraint.ondelete.lower()}" if constraint.ondelete else ""
            yield f"`{constraint.name}`", f"({', '.join(constraint.column_keys)}) refers to {target}{gone}"
        elif isinstance(constraint, sa.CheckConstraint):
            yield f"`{constraint.name}`", f"`{constraint.sqltext}`"


def _index(one: sa.Table, index: sa.Index) -> str:
    """Return what an index is on: method, columns, condition."""
    text = " ".join(str(CreateIndex(index).compile(dialect=DIALECT)).split())
    definition = text.partition(f" ON {one.fullname} ")[2]
    return f"unique {definition}" if index.unique else definition


# Types, functions, definitions ----------------------------------------------------------------------------------------


def _types(pack: Pack) -> Iterator[str]:
    if pack.enums or pack.domains:
        yield "## Types"
        enums = ((f"`{type_text(kind)}`", ", ".join(f"`{value}`" for value in kind.enums)) for kind in pack.enums)
        domains = ((f"`{type_text(kind)}`", f"`{type_text(kind.data_type)}`, `{kind.check}`") for kind in pack.domains)
        yield table(("type", "values"), (*enums, *domains))


def _objects(pack: Pack) -> Iterator[str]:
    """Yield what is kept as SQL; what follows from a declaration is left out, it is named after its table and two underscores."""
    objects = [item for item in pack.sql_objects() if "__" not in item.name]
    if objects:
        yield "## Functions, triggers and views"
        yield table(("name", "kind", "what it does"), (_object(item) for item in sorted(objects, key=lambda each: each.name)))


def _object(item: SqlObject) -> tuple[str, str, str]:
    on = f" on `{item.table}`" if item.table else ""
    return f"`{item.full_name}`", f"{item.kind.value}{on}", item.doc


def _definitions(pack: Pack) -> Iterator[str]:
    """Yield the pack's own words, one level below this page's."""
    readme = files(pack.package) / "README.md"
    if not readme.is_file():
        return
    _, _, body = readme.read_text(encoding="utf-8").partition("\n")
    yield "## In the pack's own words"
    fenced = False
    lines = []
    for line in body.strip().splitlines():
        fenced = fenced != line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    yield "\n".join(lines)
