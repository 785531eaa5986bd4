"""`chainstrata retention`: what leaves, what stays though it is due, and who keeps it."""

from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count
from chainstrata.cli.times import From, To, parse_span, parse_time, show_time

if TYPE_CHECKING:
    from chainstrata.retention import Outcome, Plan

app = App("retention", help="Retention: what leaves, what stays though it is due, and who keeps it.")

Names = Annotated[list[str] | None, typer.Argument(help="Datasets or roll-ups, as prices.minute. Default: all.")]


@app.command("plan")
async def plan(
    names: Names = None, kept: Annotated[bool, typer.Option("--kept", help="List partitions that are young enough, too.")] = False
) -> None:
    """Print what would leave now, and why the rest stays. Changes nothing."""
    async with open_platform() as platform:
        planned = await platform.retention.plan(names or [])
    output().show(planned.as_dict(), lambda: _render_plan(planned, kept=kept))


@app.command("run")
async def run(
    names: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would leave, and change nothing.")] = False,
) -> None:
    """Archive what is due, read it back, compare, and let it go unless it is needed. Safe to interrupt and to run again."""
    if dry_run:
        await plan(names, False)
        return
    async with open_platform() as platform:
        outcome = await platform.retain(names or [])
    output().show(outcome.as_dict(), lambda: _render_outcome(outcome))


@app.command("holds")
async def list_holds(names: Names = None) -> None:
    """List spans of time whose rows are kept, whatever their age."""
    async with open_platform() as platform:
        holds = await platform.archives.holds(names or [])

    def render() -> None:
        rows = [[one.id, one.dataset, str(one.span), one.reason, show_time(one.until, "lifted")] for one in holds]
        output().table(["id", "dataset", "from, to (UTC)", "reason", "until (UTC)"], rows, right=["id"])

    output().show(holds, render)


@app.command("hold")
async def hold(
    name: Annotated[str, typer.Argument(help="Dataset or roll-up, as prices.minute.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever wonders that the rows do not leave.")],
    from_: From = None,
    to: To = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="When it ends by itself. Default: when it is lifted.")
    ] = None,
) -> None:
    """Keep rows of a span of time, whatever their age."""
    async with open_platform() as platform:
        number = await platform.archives.hold(name, parse_span(from_, to), reason, until=parse_time(until))
    output().show({"id": number}, lambda: output().line(f"hold {number} is in force"))


@app.command("lift")
async def lift(number: Annotated[int, typer.Argument(help="Number of the hold.", metavar="ID")]) -> None:
    """End a hold."""
    async with open_platform() as platform:
        await platform.archives.lift(number)
    output().show({"id": number}, lambda: output().line(f"hold {number} is lifted"))


def _render_plan(planned: "Plan", *, kept: bool) -> None:
    from chainstrata.retention import Verdict

    shown = [str(one) for one in planned.partitions if kept or one.verdict is not Verdict.KEPT]
    shown += [str(one) for one in planned.aged if kept or one.verdict is not Verdict.KEPT]
    shown += [f"archive {one.id} of {one.dataset} ({one.span}) is deleted" for one in planned.expired_archives]
    for line in shown or ["nothing is due"]:
        output().line(line)


def _render_outcome(outcome: "Outcome") -> None:
    for one in outcome.departed:
        output().line(f"{one.name}: {show_count(one.rows)} rows left" + (f", archived in {one.archive}" if one.archive else ""))
    if outcome.archives_deleted:
        output().line(f"{outcome.archives_deleted} archives deleted")
    for blocked in outcome.blocked:
        output().line(str(blocked))
    if not (outcome.departed or outcome.blocked or outcome.archives_deleted):
        output().line("nothing was due")
