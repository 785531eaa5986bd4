"""`chainstrata quarantine`: rows that were not taken, and what becomes of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count
from chainstrata.cli.times import show_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.node import Platform

app = App("quarantine", help="Rows that were not taken: look at them, put them in, give them up.")

Dataset = Annotated[str, typer.Argument(help="Dataset, as prices.minute.")]
Datasets = Annotated[list[str] | None, typer.Argument(help="Datasets, as prices.minute. Default: all.")]
Ids = Annotated[list[int] | None, typer.Option("--id", help="Only the row of this number. May be given several times.")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only rows held for this reason. May be given several times.")]


@app.command("count")
async def count(datasets: Datasets = None) -> None:
    """Count rows that are held, by dataset and reason."""
    from chainstrata import partitions

    async with open_platform() as platform:
        counts = await partitions.count_held(platform.database, datasets=_known(platform, datasets))

    def render() -> None:
        head = ["dataset", "reason", "rows", "times refused", "first seen (UTC)", "last seen (UTC)", "rows from (UTC)", "to (UTC)"]
        rows = [
            [
                one.dataset,
                one.reason,
                show_count(one.rows),
                show_count(one.times),
                *map(show_time, (one.first_seen, one.last_seen, one.earliest, one.latest)),
            ]
            for one in counts
        ]
        output().table(head, rows, right=["rows", "times refused"])

    output().show(counts, render)


@app.command("list")
async def list_held(
    datasets: Datasets = None,
    reason: Reasons = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="held (default), replayed or dropped.")] = None,
    before: Annotated[int | None, typer.Option("--before", help="Go on from the row of this number.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Rows to list.")] = 20,
) -> None:
    """List rows with the reason they were not taken, newest first. `--json` has them whole."""
    from chainstrata import partitions

    async with open_platform() as platform:
        held = await partitions.list_held(
            platform.database, datasets=_known(platform, datasets), reasons=reason or [], states=state or ["held"], before=before, most=most
        )

    def render() -> None:
        rows = [
            [
                one.id,
                one.dataset,
                one.reason,
                show_count(one.times),
                show_time(one.row_time),
                one.detail,
                _short(one.content or one.original or ""),
            ]
            for one in held
        ]
        output().table(["id", "dataset", "reason", "times", "row time (UTC)", "detail", "row"], rows, right=["id", "times"])
        if len(held) == most:
            output().note(f"`--before {held[-1].id}` goes on from here.")

    output().show(held, render)


@app.command("replay")
async def replay(
    dataset: Dataset,
    ids: Ids = None,
    reason: Reasons = None,
    make_partitions: Annotated[bool, typer.Option("--make-partitions", help="Make the partitions the rows need first.")] = False,
) -> None:
    """Put held rows in, as far as they fit now. Safe to interrupt and to run again: each row goes in once."""
    from chainstrata import partitions

    async with open_platform() as platform:
        done = await partitions.replay(
            platform.database, platform.catalog, dataset, ids=ids or [], reasons=reason or [], make_partitions=make_partitions
        )

    def render() -> None:
        output().line(f"{show_count(done.replayed)} rows put in")
        for why, rows in sorted(done.held.items()):
            output().line(f"{show_count(rows)} stay: {why}")

    output().show(done, render)


@app.command("drop")
async def drop(
    datasets: Datasets = None,
    ids: Ids = None,
    reason: Reasons = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give held rows up. They stay on record as dropped."""
    from chainstrata import partitions

    if not yes and not typer.confirm("Give these rows up?", err=True):
        raise UsageError("nothing was dropped")
    async with open_platform() as platform:
        dropped = await partitions.drop_held(platform.database, ids=ids or [], datasets=_known(platform, datasets), reasons=reason or [])
    output().show({"dropped": dropped}, lambda: output().line(f"{show_count(dropped)} rows dropped"))


def _known(platform: "Platform", names: list[str] | None) -> list[str]:
    return [platform.catalog.dataset(name).full_name for name in names or []]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
