"""`chainstrata sample`: data to try things with."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count
from chainstrata.cli.times import parse_time

if TYPE_CHECKING:
    from chainstrata.ingest import Loaded
    from chainstrata.node import Platform

app = App("sample", help="Sample data: realistic in shape, the same for the same seed.")

Pack = Annotated[str, typer.Argument(help="A pack. Default: every pack that has a sample.")]


class Scale(StrEnum):
    """How much."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


@app.command("load")
async def load_sample(
    pack: Pack = "",
    scale: Annotated[Scale, typer.Option(help="How much: small is made in seconds, large has millions of rows.")] = Scale.SMALL,
    seed: Annotated[int, typer.Option(help="Another seed makes other data of the same kind.")] = 1,
    anchor: Annotated[
        str | None, typer.Option(metavar="TIME", help="Newest instant of the data, as 2026-03-01T12:00Z. Default: now.")
    ] = None,
) -> None:
    """Fill empty packs with sample data. The same again does nothing, or goes on where it was cut short."""
    from chainstrata.ingest import packs_with_samples

    until = parse_time(anchor)
    async with open_platform() as platform:
        names = [pack] if pack else packs_with_samples(platform.catalog)
        done = [await _load(platform, name, scale, seed, until) for name in names]

    def render() -> None:
        for item in done:
            what = f"{show_count(item.rows)} rows, {item.scale}, seed {item.seed}, up to {item.anchor:%Y-%m-%d %H:%M} UTC"
            output().line(f"{item.pack}: {what}{'' if item.now else ' (it was there already)'}")

    output().show(done, render)


async def _load(platform: "Platform", pack: str, scale: str, seed: int, until: datetime | None) -> "Loaded":
    with output().progress(f"sample of {pack}") as progress:

        def show(dataset: str, rows: int) -> None:
            progress.describe(dataset)
            progress.advance(rows)

        return await platform.samples.load(pack, scale, seed, until, progress=show)


@app.command("list")
async def list_samples() -> None:
    """Show which packs hold sample data, and which."""
    from chainstrata import ingest

    async with open_platform() as platform:
        found = await ingest.list_samples(platform.database)

    def render() -> None:
        rows = [
            [item.pack, item.scale, item.seed, f"{item.anchor:%Y-%m-%d %H:%M}", show_count(item.rows), "" if item.complete else "cut short"]
            for item in found
        ]
        output().table(["pack", "scale", "seed", "up to (UTC)", "rows", ""], rows, right=["rows"])

    output().show(found, render)


@app.command("clear")
async def clear_sample(
    pack: Annotated[str, typer.Argument(help="The pack to empty.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Empty every table of a pack that was filled by `sample load`, rows written since included."""
    if not yes:
        typer.confirm(f"Delete every row of {pack}?", abort=True, err=True)
    async with open_platform() as platform:
        await platform.samples.clear(pack)
    output().show({"cleared": pack}, lambda: output().line(f"{pack} is empty"))
