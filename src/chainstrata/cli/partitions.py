"""`chainstrata partitions`: made ahead by declaration, listed, checked."""

from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output, settings
from chainstrata.cli.show import show_bytes, show_count
from chainstrata.cli.times import From, To, parse_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.partitions import Adopted, AdoptionPlan, Step

app = App("partitions", help="Partitions: made ahead by declaration, listed, checked.")

Names = Annotated[list[str] | None, typer.Argument(help="Datasets or roll-ups, as prices.minute. Default: all.")]
Sql = Annotated[bool, typer.Option("--sql", help="Print the SQL instead; each line is a transaction or stands outside of one.")]
_PROBLEMS = 1


@app.command("list")
async def list_partitions(names: Names = None) -> None:
    """List partitions with their bounds as the server has them, oldest first."""
    from chainstrata import partitions

    async with open_platform() as platform:
        listed = await partitions.list_all(platform.database, platform.catalog, names or [])

    def render() -> None:
        rows = [
            [table.name, one.name, str(one.span), one.state, show_count(one.rows_estimate, exact=False), show_bytes(one.size_bytes)]
            for table, found in listed
            for one in found
        ]
        output().table(["dataset", "partition", "from, to (UTC)", "state", "rows", "size"], rows, right=["rows", "size"])

    plain = [
        {"dataset": table.name, "partition": one.qualified, "from": one.span.start, "to": one.span.end, "state": one.state,
         "rows_estimate": one.rows_estimate, "size_bytes": one.size_bytes}
        for table, found in listed
        for one in found
    ]  # fmt: skip
    output().show(plain, render)


@app.command("plan")
async def plan(names: Names = None, sql: Sql = False) -> None:
    """Print what `apply` would do, and change nothing."""
    from chainstrata import partitions

    async with open_platform() as platform:
        steps = await partitions.plan(platform.database, platform.catalog, names or [])
    _show(steps, sql=sql, nothing="nothing to do")


@app.command("apply")
async def apply(
    names: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")] = False,
    sql: Sql = False,
) -> None:
    """Make the partitions that are declared and not there, and finish what was cut short. Blocks nobody; safe to run again."""
    from chainstrata import partitions

    if dry_run or sql:
        await plan(names, sql)
        return
    async with open_platform() as platform:
        options = partitions.Options.from_config(settings())
        steps = await partitions.apply(platform.database, platform.catalog, names or [], options=options)
    _show(steps, sql=False, nothing="nothing to do, all partitions are there")


@app.command("ensure")
async def ensure(
    name: Annotated[str, typer.Argument(help="Dataset, as prices.minute. Its roll-ups come along.")],
    from_: From = None,
    to: To = None,
) -> None:
    """Make partitions for a range of time, past or future, as a backfill needs them."""
    from chainstrata import partitions

    start, end = parse_time(from_), parse_time(to)
    if start is None or end is None or start >= end:
        raise UsageError("a range of time is needed", hint="Say --from 2025-01-01 --to 2025-02-01.")
    async with open_platform() as platform:
        options = partitions.Options.from_config(settings())
        steps = await partitions.ensure(platform.database, platform.catalog.dataset(name), start, end, options=options)
    _show(steps, sql=False, nothing="nothing to do, all partitions are there")


@app.command("adopt")
async def adopt(
    name: Annotated[str, typer.Argument(help="Dataset that is declared with partitions and whose table is plain, as prices.minute.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps, and change nothing.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up one that was cut short: remove the copy.")] = False,
    batch_rows: Annotated[int, typer.Option("--batch-rows", min=1, help="Rows copied in one transaction.")] = 10_000,
) -> int:
    """Give an existing plain table its partitions while it is read and written. Cut short, it goes on where it was."""
    from chainstrata import partitions

    async with open_platform() as platform:
        options = partitions.Options.from_config(settings())
        if dry_run:
            return _show_adoption(await partitions.plan_adoption(platform.database, platform.catalog, name))
        if cancel:
            cancelled = await partitions.cancel_adoption(platform.database, platform.catalog, name, options=options)
            text = "the copy is removed, the table is as it was" if cancelled else "nothing to give up"
            output().show({"cancelled": cancelled}, lambda: output().line(text))
            return 0
        with output().progress(f"adopting {name}", total=1) as progress:

            def show(step: str, done: int, total: int) -> None:
                progress.describe(step)
                progress.reach(done, total)

            done = await partitions.adopt(platform.database, platform.catalog, name, options=options, batch_rows=batch_rows, progress=show)
    output().show(done, lambda: output().line(_show_adopted(done)))
    return 0


def _show_adoption(plan: "AdoptionPlan") -> int:
    def render() -> None:
        for number, step in enumerate(plan.steps, 1):
            output().line(f"{number}. {step}")
        for reason in plan.refusals:
            output().line(f"refused: {reason}")
        if not plan.steps:
            output().line("nothing to do, it has partitions")

    output().show(plan, render)
    return _PROBLEMS if plan.refusals else 0


def _show_adopted(done: "Adopted") -> str:
    if not done.partitions:
        return "nothing to do, it has partitions"
    return (
        f"{done.table}: {show_count(done.copied)} rows copied and {show_count(done.followed)} changes followed"
        f" into {done.partitions} partitions in {done.seconds:.1f} s; readers and writers were kept out for {1000 * done.locked_seconds:.0f} ms"
        f" at the exchange; {show_bytes(done.size_bytes)} of the plain table are free again"
    )


@app.command("verify")
async def verify(names: Names = None) -> int:
    """Say what is wrong: too few future partitions, gaps, leftovers. Exit code 1 if rows have, or soon will have, no place."""
    from chainstrata import partitions

    async with open_platform() as platform:
        options = partitions.Options.from_config(settings())
        problems = await partitions.verify(platform.database, platform.catalog, names or [], options=options)

    def render() -> None:
        for problem in problems:
            output().line(f"{'urgent' if problem.urgent else 'note'}: {problem.table}: {problem.detail} ({problem.code})")
        if not problems:
            output().line("nothing is wrong")

    output().show(problems, render)
    return _PROBLEMS if any(problem.urgent for problem in problems) else 0


def _show(steps: "list[Step]", *, sql: bool, nothing: str) -> None:
    from chainstrata import partitions

    lines = partitions.render(steps) if sql else [str(step) for step in steps]
    plain = [
        {"action": step.action, "dataset": step.table.name, "partition": step.partition.qualified,
         "from": step.partition.span.start, "to": step.partition.span.end}
        for step in steps
    ]  # fmt: skip

    def render() -> None:
        for line in lines or ([] if sql else [nothing]):
            output().line(line)

    output().show({"sql": lines} if sql else plain, render)
