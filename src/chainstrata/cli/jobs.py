"""`chainstrata jobs`: what comes round, when it is due, how it went, and what to do about it."""

from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli import backfill
from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_duration
from chainstrata.cli.times import show_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainstrata.jobs import JobStatus, Run

app = App("jobs", help="Jobs: what comes round, when it is due, how it went last; backfills.")
app.add_typer(backfill.app)

Name = Annotated[str, typer.Argument(help="Job, as retention.")]
Names = Annotated[list[str] | None, typer.Argument(help="Jobs, as retention. Default: all.")]
_FAILED = 1


@app.command("list")
async def list_jobs(names: Names = None) -> None:
    """List jobs with the time each is due next, and how its last run went."""
    async with open_platform() as platform:
        jobs = await platform.jobs.status(names or [])
    output().show(jobs, lambda: _render(jobs))


@app.command("show")
async def show_job(name: Name, limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs.")] = 20) -> None:
    """Show a job with its last runs, newest first."""
    async with open_platform() as platform:
        [job] = await platform.jobs.status([name])
        runs = await platform.jobs.runs(name, limit=limit)

    def render() -> None:
        output().line(f"{job.name}: {job.doc} Due {job.schedule}.")
        rows = [
            [show_time(run.started_at), run.state, show_duration(run.seconds), run.asked_by, run.worker, run.error or run.result]
            for run in runs
        ]
        output().table(["began (UTC)", "state", "took", "for", "worker", "what"], rows, right=["took"])

    output().show({"job": job, "runs": runs}, render)


@app.command("run")
async def run_job(
    name: Name,
    queue: Annotated[bool, typer.Option("--queue", help="Have a node run it, and do not wait.")] = False,
) -> int:
    """Run a job now, and wait until it is done. Exits with 1 if it failed."""
    from chainstrata.jobs import AskedBy

    async with open_platform() as platform:
        if queue:
            asked = await platform.jobs.ask(name, asked_by=AskedBy.COMMAND)
            output().show({"queued": asked}, lambda: output().line("it waits for a node" if asked else "it waits for a node already"))
            return 0
        run = await platform.jobs.run(name)
    return _show_run(run)


@app.command("retry")
async def retry_job(name: Name) -> int:
    """Run a job again whose last run failed, and wait until it is done. Exits with 1 if it failed again."""
    async with open_platform() as platform:
        run = await platform.jobs.retry(name)
    return _show_run(run)


@app.command("pause")
async def pause_jobs(names: Names = None) -> None:
    """Keep jobs from running by schedule until they are resumed, over restarts too. What runs goes on."""
    async with open_platform() as platform:
        jobs = await platform.jobs.pause(names or [])
    output().show(jobs, lambda: _render(jobs))


@app.command("resume")
async def resume_jobs(names: Names = None) -> None:
    """Let jobs run by schedule again, from their next time on."""
    async with open_platform() as platform:
        jobs = await platform.jobs.resume(names or [])
    output().show(jobs, lambda: _render(jobs))


def _show_run(run: "Run | None") -> int:
    from chainstrata.jobs import RunState

    if run is None:
        return 0
    output().show(run, lambda: output().line(f"{run.job} {run.state} after {show_duration(run.seconds)}: {run.error or run.result}"))
    return 0 if run.state is RunState.SUCCEEDED else _FAILED


def _render(jobs: "Sequence[JobStatus]") -> None:
    rows = []
    for job in jobs:
        last = job.last
        when = (
            [show_time(last.started_at), last.state, show_duration(last.seconds), last.error or last.result] if last else ["", "", "", ""]
        )
        rows.append([job.name, job.schedule, job.state, show_time(job.due_at), *when])
    output().table(["job", "schedule", "state", "due (UTC)", "last (UTC)", "ended", "took", "what"], rows, right=["took"])
