"""`chainstrata cdc` and `chainstrata reconcile`: mirrors, how far they are, and the proof that they are right."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_bytes, show_count
from chainstrata.cli.times import show_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.cdc.reconcile import Reconciled

app = App("cdc", help="Mirrors in the columnar engine: how far they are, and what keeps them.")
dead = App("dead-letters", help="Changes that a mirror could not take: look at them, try them again, give them up.")
app.add_typer(dead)

Names = Annotated[list[str] | None, typer.Argument(help="Mirrored datasets, as prices.minute. Default: all.")]
Chosen = Annotated[list[str], typer.Argument(help="Mirrored datasets, as prices.minute.")]
Ids = Annotated[list[int] | None, typer.Option("--id", help="Only the event of this number. May be given several times.")]
_DIFFERENT = 1


@app.command("status")
async def show_status(names: Names = None) -> None:
    """Show how far each mirror is, its lag, what was put aside, and what stopped it."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        status = await mirrors.status(names or [])

    def render() -> None:
        head = ["dataset", "state", "applied", "behind", "copied", "changes", "put aside", "lag p50", "p95", "p99"]
        rows = [
            [
                one.dataset,
                one.state,
                one.applied_lsn,
                show_bytes(one.lag_bytes) if one.lag_bytes is not None else "",
                show_count(one.copied_rows),
                show_count(one.rows),
                show_count(one.dead_letters),
                *(f"{lag:.3f} s" if lag is not None else "" for lag in (one.lag_p50, one.lag_p95, one.lag_p99)),
            ]
            for one in status.mirrors
        ]
        output().table(head, rows)
        who = "followed" if status.running else "not followed by anybody now"
        output().line(f"slot {status.slot}: {status.slot_status}, {who}; the server keeps {show_bytes(status.kept_bytes)} of log for it")
        # What befalls all of them alike is told once.
        for told in dict.fromkeys(f"{one.error}. {one.hint}" for one in status.mirrors if one.error):
            output().note(told)

    output().show(status, render)


@app.command("pause")
async def pause(names: Names = None) -> None:
    """Let mirrors wait where they are; the server keeps what they miss."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        done = await mirrors.pause(names or [])
    output().show(done, lambda: output().line(f"{len(done)} mirrors wait: {', '.join(done)}" if done else "none was followed"))


@app.command("resume")
async def resume(names: Names = None) -> None:
    """Let mirrors go on that were paused, or that a problem stopped."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        done = await mirrors.resume(names or [])
    output().show(done, lambda: output().line(f"{len(done)} mirrors go on: {', '.join(done)}" if done else "none was waiting"))


@app.command("resync")
async def resync(names: Chosen) -> None:
    """Copy mirrors anew, those that were ended too. Rows whose partitions have left the source stay in them.

    Until a mirror is copied, reading it gives what is there by then.
    """
    async with open_platform() as platform, platform.mirrors() as mirrors:
        done = await mirrors.resync(names)
    output().show(done, lambda: output().line(f"{', '.join(done) or 'none'}: copied anew, as soon as somebody follows the log"))


@app.command("end")
async def end(
    names: Chosen,
    drop_table: Annotated[bool, typer.Option("--drop-table", help="Drop their tables too. Else they stay as they are.")] = False,
    lose_history: Annotated[
        bool, typer.Option("--lose-history", help="Drop tables also where rows are in them that nobody else has.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End mirrors for good. With the last one the server stops to keep log. `resync` begins one anew."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        planned = await mirrors.end(names, drop_table=drop_table, dry_run=True)
        if not (dry_run or yes) and not typer.confirm(f"End {', '.join(one.dataset for one in planned.mirrors)}?", err=True):
            raise UsageError("nothing was ended")
        done = planned if dry_run else await mirrors.end(names, drop_table=drop_table, lose_history=lose_history)

    def render() -> None:
        head = ["dataset", "was", "applied", "rows", "only there", "put aside", "table"]
        rows = [
            [one.dataset, one.state, one.applied_lsn, *map(show_count, (one.rows, one.only_there, one.put_aside)), one.table]
            for one in done.mirrors
        ]
        output().table(head, rows, right=head[3:6])
        output().line(f"slot {done.slot}: {'dropped, nothing is captured any more' if done.slot_dropped else 'stays, for the others'}")
        if dry_run:
            output().line("Nothing was done.")

    output().show(done, render)


@app.command("run")
async def run() -> None:
    """Follow the log in this process until it is interrupted, as the node does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_platform() as platform, platform.mirrors() as mirrors:
        await mirrors.capture().run(stop)


@app.command("wait")
async def wait(
    names: Names = None, within: Annotated[float, typer.Option("--within", min=0.0, help="Seconds to wait at most.")] = 30.0
) -> None:
    """Wait until mirrors have everything that is committed now."""
    from chainstrata.cdc.model import show_lsn

    async with open_platform() as platform, platform.mirrors() as mirrors:
        lsn = await mirrors.wait(names or [], within=within)
    output().show({"lsn": show_lsn(lsn)}, lambda: output().line(f"everything before {show_lsn(lsn)} is there"))


@dead.command("list")
async def list_dead(
    names: Names = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="held (default), replayed or dropped.")] = None,
    before: Annotated[int | None, typer.Option("--before", help="Go on from the event of this number.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Events to list.")] = 20,
) -> None:
    """List events with the reason they were not taken, newest first. `--json` has them whole."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        letters = await mirrors.list_dead(names or [], states=state or ["held"], before=before, most=most)

    def render() -> None:
        rows = [
            [
                str(one.id),
                one.dataset,
                one.reason,
                " ".join(map(str, one.row_key.values())),
                show_count(one.tries),
                show_time(one.first_seen),
                one.detail,
            ]
            for one in letters
        ]
        output().table(["id", "dataset", "reason", "row", "tries", "first seen (UTC)", "detail"], rows, right=["id", "tries"])

    output().show(letters, render)


@dead.command("replay")
async def replay(names: Names = None, ids: Ids = None) -> None:
    """Try events again, with the rows as they are now. Safe to run again: what came since stands above them."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        done = await mirrors.replay(names or [], ids=ids or [])
    output().show(done, lambda: output().line(f"{show_count(done.replayed)} taken, {show_count(done.held)} stay"))


@dead.command("drop")
async def drop(names: Names = None, ids: Ids = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Give events up. They stay on record as dropped."""
    if not yes and not typer.confirm("Give these events up?", err=True):
        raise UsageError("nothing was dropped")
    async with open_platform() as platform, platform.mirrors() as mirrors:
        dropped = await mirrors.drop_dead(names or [], ids=ids or [])
    output().show({"dropped": dropped}, lambda: output().line(f"{show_count(dropped)} events dropped"))


def register(group: App) -> None:
    """Add the commands that stand alone."""
    group.command("reconcile")(reconcile)


async def reconcile(
    names: Names = None, repair: Annotated[bool, typer.Option("--repair", help="Mend what differs in the mirrors.")] = False
) -> int:
    """Compare mirrors with their sources at one position of the log, down to the row. Exit code 1 if any differs."""
    async with open_platform() as platform, platform.mirrors() as mirrors:
        with output().progress("comparing", total=len(names or mirrors.names)) as progress:

            def watch(one: "Reconciled") -> None:
                progress.describe(one.dataset)
                progress.advance(1)

            found = await mirrors.reconcile(names or [], repair=repair, watch=watch)

    def render() -> None:
        head = ["dataset", "rows", "in mirror", "missing", "extra", "different", "orphaned", "departed", "repaired"]
        rows = [
            [
                one.dataset,
                *map(
                    show_count,
                    (one.source_rows, one.mirror_rows, one.missing, one.extra, one.different, one.orphaned, one.departed, one.repaired),
                ),
            ]
            for one in found
            if not one.problem
        ]
        output().table(head, rows, right=head[1:])
        for one in found:
            for what in ("missing", "extra", "different", "orphaned"):
                for key in getattr(one, f"{what}_keys"):
                    output().line(f"{one.dataset} {what}: {key}")
            if one.problem:
                output().note(f"{one.dataset} was not compared: {one.problem}")

    output().show(found, render)
    return 0 if all(one.agrees or (repair and not one.problem) for one in found) else _DIFFERENT
