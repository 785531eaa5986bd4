"""`chainstrata upkeep`: materialized views, statistics, bloated indexes."""

from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output, settings
from chainstrata.cli.show import show_bytes, show_count, show_duration
from chainstrata.cli.times import show_time

app = App("upkeep", help="Upkeep: materialized views, statistics, bloated indexes.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")]


@app.command("views")
async def refresh_views(
    names: Annotated[list[str] | None, typer.Argument(help="Views, as relay.mv_user_statistics. Default: all.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Refresh materialized views while they are read, each after those it is made of."""
    from chainstrata import upkeep

    async with open_platform() as platform:
        work = upkeep.plan_refresh if dry_run else upkeep.refresh
        views = await work(platform.database, platform.catalog, names or [])
    rows = [[view.qualified, view.verdict, "" if dry_run else show_duration(view.seconds)] for view in views]
    plain = [{"view": view.qualified, "how": view.verdict, "seconds": view.seconds} for view in views]
    output().show(plain, lambda: output().table(["view", "how", "took"], rows, right=["took"]))


@app.command("statistics")
async def analyze(dry_run: DryRun = False) -> None:
    """Make the planner's statistics where they are stale."""
    from chainstrata import upkeep

    async with open_platform() as platform:
        work = upkeep.plan_analyze if dry_run else upkeep.analyze
        tables = await work(platform.database, platform.catalog)
    rows = [[table.qualified, show_count(table.rows), show_count(table.changed), show_time(table.analyzed_at, "never")] for table in tables]
    head = ["table", "rows", "changed", "analyzed before (UTC)"]
    output().show(tables, lambda: output().table(head, rows, right=["rows", "changed"]))


@app.command("indexes")
async def reindex(dry_run: DryRun = False) -> None:
    """Build bloated indexes anew while they are used. How bloated is bloated: the setting upkeep.bloat."""
    from chainstrata import upkeep

    options = upkeep.Options.from_config(settings())
    async with open_platform() as platform:
        work = upkeep.plan_reindex if dry_run else upkeep.reindex
        indexes = await work(platform.database, platform.catalog, options=options)
    rows = [
        [
            index.qualified,
            show_bytes(index.size_bytes),
            f"{index.bloat:.0%}",
            "measured" if index.measured else "estimated",
            "" if index.size_after is None else show_bytes(index.size_after),
        ]
        for index in indexes
    ]
    output().show(
        indexes, lambda: output().table(["index", "size", "bloat", "by", "size after"], rows, right=["size", "bloat", "size after"])
    )
