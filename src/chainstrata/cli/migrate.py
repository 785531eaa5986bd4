"""`chainstrata migrate`: the schema and its history."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import output, settings
from chainstrata.cli.migrate_columnar import columnar_down, columnar_make, columnar_status, columnar_up, columnar_verify
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.migrate import Outcome, Progress, RevisionStatus

app = App("migrate", help="Migrations: bring the schema to what the packs declare, and back.")

Packs = Annotated[list[str] | None, typer.Option("--pack", help="Only this pack, and what it needs; may be given several times.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the steps.")]
Sql = Annotated[bool, typer.Option("--sql", help="Print the SQL for psql instead of running it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to what is lost.")]
OnColumnar = Annotated[bool, typer.Option("--columnar", help="The schema of the columnar engine instead.")]
_NOT_AS_DECLARED = 1
_WORTH_TELLING = 0.5


@app.command("up")
async def migrate_up(
    target: Annotated[str, typer.Argument(help="heads, a pack, how many revisions, or the revision to stop at.")] = "heads",
    packs: Packs = None,
    dry_run: DryRun = False,
    sql: Sql = False,
    from_base: Annotated[
        bool, typer.Option("--from-base", help="Plan for an empty database; needs none. With --sql or --dry-run.")
    ] = False,
    columnar: OnColumnar = False,
) -> None:
    """Apply revisions. What was interrupted goes on where it stopped."""
    from chainstrata import migrate

    if columnar:
        await columnar_up(packs or [], dry_run=dry_run, sql=sql, watch=_watch())
        return
    if from_base and not (dry_run or sql):
        raise UsageError("--from-base only plans", hint="Give --sql or --dry-run with it.")
    if from_base:
        done = await migrate.up(migrate.offline_site(settings()), target, packs=packs or [], dry_run=True, from_base=True)
    else:
        async with migrate.open_site(settings()) as site:
            done = await migrate.up(site, target, packs=packs or [], dry_run=dry_run or sql, watch=_watch())
    _show(done, planned=dry_run, sql=sql, nothing="nothing to apply: every revision is there")


@app.command("down")
async def migrate_down(
    target: Annotated[str, typer.Argument(help="How many revisions, base, or the revision to stop at.")] = "1",
    packs: Packs = None,
    dry_run: DryRun = False,
    sql: Sql = False,
    yes: Yes = False,
    columnar: OnColumnar = False,
) -> None:
    """Undo revisions, the latest first, with whatever needs them. What would lose data needs --yes."""
    from chainstrata import migrate

    if columnar:
        await columnar_down(target, packs or [], yes=yes, watch=_watch())
        return
    async with migrate.open_site(settings()) as site:
        done = await migrate.down(site, target, packs=packs or [], dry_run=dry_run or sql, yes=yes, watch=_watch())
    _show(done, planned=dry_run, sql=sql, nothing="nothing to undo")


@app.command("goto")
async def migrate_goto(
    revision: Annotated[str, typer.Argument(help="A revision, as relay_0003, or the unmistakable start of it.")],
    dry_run: DryRun = False,
    sql: Sql = False,
    yes: Yes = False,
) -> None:
    """Bring the pack of a revision to exactly that revision, up or down."""
    from chainstrata import migrate

    async with migrate.open_site(settings()) as site:
        done = await migrate.goto(site, revision, dry_run=dry_run or sql, yes=yes, watch=_watch())
    _show(done, planned=dry_run, sql=sql, nothing=f"nothing to do: {revision} it is")


@app.command("status")
async def show_status(columnar: OnColumnar = False) -> None:
    """Show where the database stands: by pack, and what is pending, stopped or edited."""
    from chainstrata import migrate

    if columnar:
        await columnar_status()
        return
    async with migrate.open_site(settings()) as site:
        found = await migrate.status(site)

    def render() -> None:
        rows = [[one.pack, one.current or "none", one.head or "none", one.pending or ""] for one in found.packs]
        output().table(["pack", "at", "newest", "pending"], rows, right=["pending"])
        noteworthy = [one for one in found.revisions if one.described != "applied"]
        if noteworthy:
            output().line()
            output().table(["revision", "status", "what"], [[one.revision, one.described, one.error or one.message] for one in noteworthy])

    output().show(found, render)


@app.command("history")
async def show_history(packs: Packs = None) -> None:
    """List revisions: those applied, the latest first, then those to come."""
    from chainstrata import migrate

    async with migrate.open_site(settings()) as site:
        listed = await migrate.list_history(site, packs or [])
    output().show(listed, lambda: _show_history(listed))


def _show_history(listed: "list[RevisionStatus]") -> None:
    rows = [
        [
            one.revision,
            one.described,
            f"{one.finished_at:%Y-%m-%d %H:%M:%S}" if one.finished_at else "",
            f"{one.seconds:.2f} s" if one.seconds is not None else "",
            one.message,
        ]
        for one in listed
    ]
    output().table(["revision", "status", "at (UTC)", "took", "what"], rows, right=["took"])


@app.command("make")
async def make_revision(
    pack: Annotated[str, typer.Argument(help="The pack whose declarations changed.")],
    message: Annotated[str, typer.Option("--message", "-m", help="What the revision does. Default: named after the changes.")] = "",
    empty: Annotated[bool, typer.Option("--empty", help="A revision without operations, to be filled by hand.")] = False,
    columnar: OnColumnar = False,
) -> None:
    """Write the revisions that lead from the database as it is to what the pack declares, and back."""
    from chainstrata import migrate

    if columnar:
        columnar_make(pack, message)
        return
    async with migrate.open_site(settings()) as site:
        made = await migrate.make(site, pack, message, empty=empty)

    def render() -> None:
        for path in made.files:
            output().line(f"wrote {path}")
        for note in made.notes:
            output().note(note)
        if not made.files:
            output().line(f"nothing to do: the database has what {pack} declares")

    output().show(made.as_dict(), render)


@app.command("verify")
async def verify_schema(packs: Packs = None, columnar: OnColumnar = False) -> int:
    """Compare the database with its history and the declarations, object by object. Exit code 1 if anything is not as it should be."""
    from chainstrata import migrate

    if columnar:
        return await columnar_verify(packs or [])
    async with migrate.open_site(settings()) as site:
        verdict = await migrate.verify(site, packs or [])

    def render() -> None:
        for word in ("edited", "missing", "stopped", "pending"):
            for revision in getattr(verdict, word):
                output().line(f"{word} revision {revision}")
        for one in verdict.differences:
            output().line(str(one))
            output().line(f"    declared: {one.declared or 'nothing'}")
            output().line(f"    live:     {one.live or 'nothing'}")
        output().line("the schema is what is declared" if verdict.ok else f"{len(verdict.differences)} objects are not as declared")

    output().show(verdict, render)
    return 0 if verdict.ok else _NOT_AS_DECLARED


@app.command("lint")
async def lint_revisions(
    revisions: Annotated[list[str] | None, typer.Argument(help="Revisions to look at. Default: those the database does not have.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Look at every revision; needs no database.")] = False,
) -> int:
    """Look for what is risky in revisions and declarations. Exit code 1 if there is anything."""
    from chainstrata import migrate

    if every or revisions:
        found = await migrate.lint(migrate.offline_site(settings()), revisions or [], every=every)
    else:
        async with migrate.open_site(settings()) as site:
            found = await migrate.lint(site)

    def render() -> None:
        for one in found:
            output().line(str(one))
            if one.help:
                output().line(f"    {one.help}")
        output().line(f"{len(found)} findings" if found else "nothing to object to")

    output().show(found, render)
    return _NOT_AS_DECLARED if found else 0


def _watch() -> "Callable[[Progress], None]":
    """Return what tells a person of waits, and of steps that took a while."""

    def show(progress: "Progress") -> None:
        if progress.kind in ("wait", "retry"):
            output().note(progress.text)
        elif progress.kind == "step" and progress.seconds is not None and progress.seconds >= _WORTH_TELLING:
            output().note(f"{progress.text}: {progress.seconds:.1f} s")

    return show


def _show(done: "Outcome", *, planned: bool, sql: bool, nothing: str) -> None:
    def render() -> None:
        if sql:
            output().line(done.sql.rstrip() or f"-- {nothing}")
        elif planned:
            _show_plan(done)
        else:
            for one in done.finished:
                output().line(f"{one.direction} {one.revision}: {one.message} ({one.seconds:.2f} s)")
        if not done.runs and not sql:
            output().line(nothing)

    output().show({**done.as_dict(), "sql": done.sql} if sql else done.as_dict(), render)


def _show_plan(done: "Outcome") -> None:
    for run in done.runs:
        output().heading(f"{run.direction} {run.revision.name}: {run.revision.message}")
        if run.done:
            output().line(f"  {run.done} of {len(run.steps)} steps are done")
        for step in run.steps[run.done :]:
            for title in step.titles:
                output().line(f"  {step.number}. {title}" if not run.revision.transactional else f"  {title}")
        for lost in run.losses if run.direction == "down" else []:
            output().line(f"  loses {lost}")
