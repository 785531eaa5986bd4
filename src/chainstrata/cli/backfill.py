"""`chainstrata jobs backfill`: past blocks or past time, fetched in chunks; how far, what failed, and what to do about it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count, show_duration
from chainstrata.cli.times import parse_time, show_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainstrata.backfill import Progress
    from chainstrata.node import Platform

app = App("backfill", help="Backfills: past blocks or past time, fetched in chunks.")

Job = Annotated[UUID, typer.Argument(help="The backfill, as `list` shows it.", metavar="ID")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Chunks at once. Default: the setting backfill.workers.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave the work to nodes, and do not wait.")]
_FAILED = 1


@app.command("kinds")
async def list_kinds() -> None:
    """List the kinds of backfill that the packs in use declare."""
    async with open_platform() as platform:
        kinds = list(platform.backfills.kinds.values())
    plain = [{"kind": kind.name, "doc": kind.doc, "span": kind.span, "chunk": kind.chunk, "attempts": kind.attempts} for kind in kinds]
    rows = [[kind.name, kind.span, kind.chunk, kind.attempts, kind.doc] for kind in kinds]
    output().show(plain, lambda: output().table(["kind", "of", "chunk", "attempts", "what"], rows, right=["chunk", "attempts"]))


@app.command("start")
async def start(
    kind: Annotated[str, typer.Argument(help="Kind of backfill, as `kinds` lists them.")],
    from_: Annotated[str, typer.Option("--from", help="First block, or where it is of time, a time as 2026-01-31.")],
    to: Annotated[str, typer.Option("--to", help="Block or time to stop before.")],
    chunk: Annotated[int | None, typer.Option("--chunk", min=1, help="Blocks or seconds of a chunk. Default: as the kind says.")] = None,
    workers: Workers = None,
    detach: Detach = False,
) -> int:
    """Start a backfill and work on it until it has ended. Ctrl-C leaves the rest to nodes, or to `work`."""
    async with open_platform() as platform:
        backfills = platform.backfills
        span = backfills.find_kind(kind).span
        lower, upper = _position(from_, "--from", span), _position(to, "--to", span)
        job = await backfills.start(kind, lower, upper, chunk=chunk, created_by="command line")
        output().note(f"backfill {job}")
        return await _follow(platform, job, workers, detach=detach)


@app.command("work")
async def work(job: Job, workers: Workers = None) -> int:
    """Be a worker of a backfill until it has ended or is paused. Several may be at it."""
    async with open_platform() as platform:
        return await _follow(platform, job, workers, detach=False)


@app.command("list")
async def list_backfills(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only those that are pending, running, paused, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50,
) -> None:
    """List backfills with how far they are, newest first."""
    from chainstrata.packs.insights.model import JobStatus

    if status is not None and status not in {one.value for one in JobStatus}:
        raise UsageError(f"--status {status!r} is none", hint=f"One of {', '.join(JobStatus)}.")
    async with open_platform() as platform:
        found = await platform.backfills.list(kind=kind, status=JobStatus(status) if status else None, limit=limit)
    output().show(found, lambda: _render(found))


@app.command("show")
async def show(job: Job) -> None:
    """Show how far a backfill is, and why chunks failed."""
    async with open_platform() as platform:
        progress = await platform.backfills.show(job)
        failures = await platform.backfills.failures(job)

    def render() -> None:
        _render([progress])
        rows = [[row.start, row.end, row.status, row.attempts, row.error] for row in failures]
        if rows:
            output().line()
            output().table(["from", "to", "chunk is", "attempts", "last error"], rows, right=["from", "to", "attempts"])

    output().show({"backfill": progress, "failures": [row._asdict() for row in failures]}, render)


@app.command("pause")
async def pause(job: Job) -> None:
    """Take no further chunks of a backfill. Those in hand are finished."""
    async with open_platform() as platform:
        progress = await platform.backfills.pause(job)
    output().show(progress, lambda: _render([progress]))


@app.command("resume")
async def resume(job: Job, workers: Workers = None, detach: Detach = False) -> int:
    """Go on with a backfill that is paused or was cancelled, and work on it until it has ended."""
    async with open_platform() as platform:
        await platform.backfills.resume(job)
        return await _follow(platform, job, workers, detach=detach)


@app.command("cancel")
async def cancel(job: Job) -> None:
    """End a backfill. Workers stop in the middle of their chunks; what is written stays."""
    async with open_platform() as platform:
        progress = await platform.backfills.cancel(job)
    output().show(progress, lambda: _render([progress]))


@app.command("retry")
async def retry(job: Job, workers: Workers = None, detach: Detach = False) -> int:
    """Try what failed of a backfill again, and nothing else, and work on it until it has ended."""
    async with open_platform() as platform:
        await platform.backfills.retry(job)
        return await _follow(platform, job, workers, detach=detach)


async def _follow(platform: "Platform", job: UUID, workers: int | None, *, detach: bool) -> int:
    """Work on a backfill with a progress bar, unless detached; return the exit code."""
    from chainstrata.packs.insights.model import JobStatus

    progress = await platform.backfills.show(job)
    if not detach:
        progress = await _work(platform, progress, workers)
    output().show(progress, lambda: _render([progress]))
    return _FAILED if progress.status is JobStatus.FAILED else 0


async def _work(platform: "Platform", first: "Progress", workers: int | None) -> "Progress":
    """Work on a backfill, showing how far it is. An interrupt gives back what is in hand."""
    done = 0
    with output().progress(f"{first.kind} {first.start} to {first.end}", first.end - first.start) as bar:

        def watch(progress: "Progress") -> None:
            nonlocal done
            bar.advance(progress.positions_done - done)
            done = progress.positions_done
            rate = f", {show_count(progress.rate, exact=False)}/s" if progress.rate else ""
            failed = f", {progress.chunks.failed} chunks failed" if progress.chunks.failed else ""
            bar.describe(f"{progress.kind}: {progress.status}{rate}{failed}")

        watch(first)
        return await platform.backfill_workers(workers).work(first.job, watch=watch)


def _position(text: str, flag: str, span: str) -> int:
    from chainstrata.backfill.model import to_position
    from chainstrata.model import Span

    if span == Span.TIME:
        instant: datetime | None = parse_time(text)
        if instant is None:
            raise UsageError(f"{flag} is no time", hint="Write it as 2026-01-31 or 2026-01-31T12:00.")
        return to_position(instant)
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{flag} {text!r} is no block", hint="Write the number of a block, as 840000.") from None


def _render(found: "Sequence[Progress]") -> None:
    rows = [
        [
            one.job,
            one.kind,
            one.status,
            f"{one.start} to {one.end}",
            f"{int(one.share * 1000) / 10:.1f} %",
            f"{one.chunks.done} of {one.chunks.total}" + (f", {one.chunks.failed} failed" if one.chunks.failed else ""),
            show_count(one.rows),
            show_time(one.completed_at) or (f"expected {show_time(one.expected_at)}" if one.expected_at else ""),
            show_duration((one.completed_at - one.started_at).total_seconds()) if one.completed_at else "",
        ]
        for one in found
    ]
    output().table(["id", "kind", "status", "positions", "done", "chunks", "rows", "ended (UTC)", "took"], rows, right=["done", "rows"])
