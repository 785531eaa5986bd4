"""`chainstrata rollups`: how far roll-ups are, and keeping them true to their rows."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count, show_duration
from chainstrata.cli.times import From, To, parse_time
from chainstrata.errors import UsageError

app = App("rollups", help="Roll-ups: how far they are, and whether they are what their rows give.")

Names = Annotated[list[str] | None, typer.Argument(help="Datasets or roll-ups, as prices.minute or prices.minute.hourly. Default: all.")]
_DIFFERENT = 1


@app.command("status")
async def show_status(names: Names = None) -> None:
    """Show how many changes each roll-up is behind by, and when it was last refreshed."""
    async with open_platform() as platform:
        listed = await platform.rollups.status(names or [])
    now = datetime.now(UTC)

    def render() -> None:
        rows = [
            [
                item.rollup,
                item.every,
                show_count(item.marks),
                show_duration((now - item.oldest_mark).total_seconds()) if item.oldest_mark else "",
                f"{item.refreshed_at:%Y-%m-%d %H:%M:%S}" if item.refreshed_at else "never",
                f"{item.gone_before:%Y-%m-%d %H:%M}" if item.gone_before else "",
            ]
            for item in listed
        ]
        output().table(["roll-up", "every", "changes waiting", "for", "refreshed (UTC)", "rows gone before"], rows)

    output().show(listed, render)


@app.command("refresh")
async def refresh(names: Names = None) -> None:
    """Fold everything that is waiting now."""
    async with open_platform() as platform:
        done = await platform.rollups.refresh(names or [])
    output().show(
        done,
        lambda: output().line(
            f"{show_count(done.marks)} changes folded, {show_count(done.written)} buckets written, {show_count(done.removed)} removed,"
            f" {done.seconds:.2f} s"
        ),
    )


@app.command("verify")
async def verify(
    names: Names = None,
    from_: From = None,
    to: To = None,
    most: Annotated[int, typer.Option("--most", help="Differences to list of each roll-up.")] = 100,
) -> int:
    """Fold the rows again, where they are still there, and list every bucket that differs. Exit code 1 if any does."""
    async with open_platform() as platform:
        found = await platform.rollups.verify(names or [], lo=parse_time(from_), hi=parse_time(to), most=most)

    def render() -> None:
        for item in found:
            key = " ".join(map(str, item.key))
            output().line(f"{item.rollup} {key} {item.bucket:%Y-%m-%d %H:%M}: kept {item.kept}, its rows give {item.expected}")
        output().line(f"{len(found)} buckets differ" if found else "every bucket is what its rows give")
        if found:
            output().note("`chainstrata rollups rebuild NAME` makes them again.")

    output().show(found, render)
    return _DIFFERENT if found else 0


@app.command("rebuild")
async def rebuild(
    name: Annotated[str, typer.Argument(help="A dataset or a roll-up.")],
    from_: From = None,
    to: To = None,
) -> None:
    """Make the buckets again from the rows that are there, a slice at a time. Safe to interrupt and to run again."""
    async with open_platform() as platform:
        with output().progress(f"rebuild {name}", 1.0) as bar:
            reached = 0.0

            def show(share: float) -> None:
                nonlocal reached
                bar.advance(share - reached)
                reached = share

            done = await platform.rollups.rebuild(name, lo=parse_time(from_), hi=parse_time(to), progress=show)
    output().show(
        done,
        lambda: output().line(f"{show_count(done.written)} buckets written, {show_count(done.removed)} removed, {done.seconds:.2f} s"),
    )


@app.command("read")
async def read(
    name: Annotated[str, typer.Argument(help="A roll-up, as prices.minute.hourly.")],
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Start.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="End, exclusive.")],
    kept: Annotated[bool, typer.Option("--kept", help="Only what is folded already, without what is waiting.")] = False,
) -> None:
    """Print buckets, with everything that is not folded yet unless told otherwise."""
    async with open_platform() as platform:
        start, end = parse_time(from_), parse_time(to)
        if start is None or end is None:
            raise UsageError("--from and --to are needed")
        rows = await platform.rollups.read(name, start, end, live=not kept)
    listed = [row._asdict() for row in rows]
    output().show(listed, lambda: output().table(list(listed[0]) if listed else [], [list(map(str, row)) for row in rows]))
