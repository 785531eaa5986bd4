"""`chainstrata spool`: batches on disk that wait for PostgreSQL."""

from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output, settings
from chainstrata.cli.show import show_bytes, show_count
from chainstrata.cli.times import show_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.ingest import Waiting

app = App("spool", help="Batches that were taken while PostgreSQL was away: look at them, write them, give them up.")

Datasets = Annotated[list[str] | None, typer.Argument(help="Datasets, as prices.minute. Default: all.")]


@app.command("list")
def list_waiting(datasets: Datasets = None) -> None:
    """List what waits, in the order in which it will be written, and files that were set aside. Works while PostgreSQL is away."""
    from chainstrata.ingest import open_spool

    spool = open_spool(settings())
    waiting = _choose(spool.list_waiting(), datasets)
    damaged = spool.list_damaged()

    def render() -> None:
        rows = [[one.dataset, one.path.name, show_bytes(one.size_bytes), show_time(one.since)] for one in waiting]
        output().table(["dataset", "file", "size", "since (UTC)"], rows, right=["size"])
        for path in damaged:
            output().note(f"{path} could not be read back and was set aside.")

    output().show({"waiting": waiting, "damaged": damaged}, render)


@app.command("replay")
async def replay(datasets: Datasets = None) -> None:
    """Write what waits now. A node does this by itself; both at once do no harm: each batch is written once."""
    async with open_platform() as platform:
        done = await platform.gate.replayer.replay(datasets or [])

    def render() -> None:
        output().line(f"{show_count(done.batches)} batches written, {show_count(done.rows)} rows")
        for dataset, reason in sorted(done.stuck.items()):
            output().line(f"{dataset} stays: {reason}")
        if done.damaged:
            output().note(f"{show_count(done.damaged)} files could not be read back and were set aside.")

    output().show(done, render)


@app.command("drop")
def drop(
    datasets: Annotated[list[str], typer.Argument(help="Datasets whose batches are given up, as prices.minute.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Give up batches that wait. Their senders were told that they are safe, so this loses rows."""
    from chainstrata.ingest import open_spool

    spool = open_spool(settings())
    chosen = _choose(spool.list_waiting(), datasets)
    if not (dry_run or yes or typer.confirm(f"Give up {len(chosen)} batches for good?", err=True)):
        raise UsageError("nothing was dropped")
    if not dry_run:
        for one in chosen:
            spool.remove(one.path)
    what = "would be dropped" if dry_run else "dropped"
    output().show({"dropped": len(chosen), "dry_run": dry_run}, lambda: output().line(f"{show_count(len(chosen))} batches {what}"))


def _choose(waiting: "list[Waiting]", datasets: list[str] | None) -> "list[Waiting]":
    return [one for one in waiting if not datasets or one.dataset in datasets]
