"""`chainstrata simulate`: rows as the sources of a pack would send them."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count
from chainstrata.cli.times import parse_age, parse_time

if TYPE_CHECKING:
    from chainstrata.simulate import Counts, Report

COLUMNS = ("sent", "late", "duplicates", "malformed", "accepted", "updated", "unchanged", "merged", "quarantined", "spooled")


async def simulate(
    pack: Annotated[str, typer.Argument(help="A pack that brings a stream, as prices.")],
    rate: Annotated[float, typer.Option(help="Rows a second.")] = 1_000.0,
    span: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long to go on, as 30s or 5m. Default: until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes other rows of the same kind.")] = 1,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Where the stream's clock begins, as 2026-03-01T12:00Z. Default: now.")
    ] = None,
    speed: Annotated[float, typer.Option(help="How fast that clock goes: at 60 an hour takes a minute, and the world is smaller.")] = 1.0,
    late: Annotated[float, typer.Option(metavar="SHARE", help="Share of the rows that come late, as 0.01.")] = 0.0,
    duplicates: Annotated[float, typer.Option(metavar="SHARE", help="Share of the rows that come twice.")] = 0.0,
    malformed: Annotated[float, typer.Option(metavar="SHARE", help="Broken rows for each good one; they go to quarantine.")] = 0.0,
) -> None:
    """Send rows as the sources of a pack would, at a rate that is held; the same for the same seed, start and rate."""
    from chainstrata.simulate import Options

    options = Options(
        rate=rate,
        span=parse_age(span, "--for") if span is not None else None,
        seed=seed,
        start=parse_time(start),
        speed=speed,
        late=late,
        duplicates=duplicates,
        malformed=malformed,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with open_platform() as platform:
        with output().progress(f"simulate {pack}", options.span.total_seconds() if options.span else None) as bar:

            def show(report: "Report") -> None:
                bar.reach(report.seconds, options.span.total_seconds() if options.span else report.seconds)
                lag = f", {report.behind_seconds:.1f} s behind" if report.behind_seconds >= 1 else ""
                bar.describe(f"{show_count(report.total.sent)} rows, {show_count(report.rate)}/s{lag}")

            report = await platform.simulation.run(pack, options, stop=stop, progress=show)
    output().show(report.as_document(), lambda: _render(report))


def _render(report: "Report") -> None:
    def cells(name: str, counts: "Counts") -> list[str]:
        return [name, *(show_count(getattr(counts, column)) for column in COLUMNS)]

    rows = [cells(name, counts) for name, counts in report.datasets.items()]
    output().table(["dataset", *COLUMNS], [*rows, cells("together", report.total)], right=COLUMNS)
    output().line(
        f"{show_count(report.rate)} rows/s for {report.seconds:.1f} s, at most {report.behind_seconds:.1f} s behind;"
        f" seed {report.seed}, {report.start:%Y-%m-%d %H:%M:%S} to {report.until:%Y-%m-%d %H:%M:%S} UTC"
    )
