"""`chainstrata migrate … --columnar`: the same commands on the schema of the columnar engine."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chainstrata.cli.invocation import output, settings

if TYPE_CHECKING:
    from chainstrata.engines.clickhouse import Columnar
    from chainstrata.migrate import Progress, Site
    from chainstrata.migrate.model import Finished

Watch = Callable[["Progress"], None]


@asynccontextmanager
async def _both() -> "AsyncIterator[tuple[Site, Columnar]]":
    from chainstrata import migrate
    from chainstrata.engines.clickhouse import Columnar, ColumnarOptions, open_columnar_target

    config = settings()
    async with (
        migrate.open_site(config) as site,
        open_columnar_target(config) as target,
        Columnar(target.url, ColumnarOptions.from_config(config)) as columnar,
    ):
        yield site, columnar


async def columnar_up(packs: Collection[str], *, dry_run: bool, sql: bool, watch: Watch) -> None:
    """Apply columnar revisions, or show what they would do."""
    from chainstrata.migrate import columnar as steps

    async with _both() as (site, columnar):
        if dry_run or sql:
            pending = await steps.plan_up(columnar, site.catalog, packs=packs)
            statements = [
                text for one in pending for change in one.changes for text in change.statements(columnar.database, columnar.cluster)
            ]
            _show_plan([f"{one.name}: {one.message}" for one in pending], statements if sql else [])
            return
        async with steps.locked(site, watch):
            done = await steps.up(columnar, site.catalog, packs=packs, watch=watch)
    _show(done, "nothing to apply: every columnar revision is there")


async def columnar_down(target: str, packs: Collection[str], *, yes: bool, watch: Watch) -> None:
    """Undo columnar revisions."""
    from chainstrata.migrate import columnar as steps

    async with _both() as (site, columnar), steps.locked(site, watch):
        done = await steps.down(columnar, site.catalog, target, packs=packs, yes=yes, watch=watch)
    _show(done, "nothing to undo")


async def columnar_status() -> None:
    """Show how every columnar revision stands."""
    from chainstrata.migrate import columnar as steps

    async with _both() as (site, columnar):
        found = await steps.status(columnar, site.catalog)
    rows = [
        [one.revision, one.described, f"{one.finished_at:%Y-%m-%d %H:%M:%S}" if one.finished_at else "", one.error or one.message]
        for one in found
    ]
    output().show(found, lambda: output().table(["revision", "status", "at (UTC)", "what"], rows))


async def columnar_verify(packs: Collection[str]) -> int:
    """Compare the columnar engine with the declarations."""
    from chainstrata.migrate import columnar as steps

    async with _both() as (site, columnar):
        found = await steps.verify(columnar, site.catalog, packs)

    def render() -> None:
        for one in found:
            output().line(str(one))
            output().line(f"    declared: {one.declared or 'nothing'}")
            output().line(f"    live:     {one.live or 'nothing'}")
        output().line(f"{len(found)} columnar objects are not as declared" if found else "the columnar schema is what is declared")

    output().show({"differences": found}, render)
    return 1 if found else 0


def columnar_make(pack: str, message: str) -> None:
    """Write the columnar revision that leads to what a pack declares. Needs no engine."""
    from chainstrata import migrate
    from chainstrata.migrate import columnar as steps

    path, changes = steps.make(migrate.offline_site(settings()).catalog, pack, message)

    def render() -> None:
        for change in changes:
            output().line(f"  {change.title}")
        output().line(f"wrote {path}" if path else f"nothing to do: the revisions make what {pack} declares")

    output().show({"pack": pack, "file": str(path) if path else None, "changes": [change.title for change in changes]}, render)


def _show(done: "list[Finished]", nothing: str) -> None:
    def render() -> None:
        for one in done:
            output().line(f"{one.direction} {one.revision}: {one.message} ({one.seconds:.2f} s)")
        if not done:
            output().line(nothing)

    output().show({"done": [one.as_dict() for one in done]}, render)


def _show_plan(planned: list[str], statements: list[str]) -> None:
    def render() -> None:
        for line in statements or planned:
            output().line(f"{line};" if statements else line)

    output().show({"planned": planned, "sql": statements}, render)
