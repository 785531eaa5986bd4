"""`chainstrata columnar`: what the columnar engine stores, and what would help it."""

from datetime import timedelta
from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_bytes

app = App("columnar", help="The columnar engine: what its columns take, and what would take less or run faster.")


@app.command("report")
async def report() -> None:
    """List columns with their bytes before and after compression, the largest first."""
    from chainstrata import columnar

    async with open_platform() as platform:
        found = await columnar.report(await platform.columnar())

    def render() -> None:
        rows = [
            [
                f"{one.table}.{one.column}",
                one.type,
                one.codec,
                show_bytes(one.plain_bytes),
                show_bytes(one.stored_bytes),
                f"{one.saved:.0%}",
            ]
            for one in found
        ]
        output().table(["column", "type", "codec", "before", "after", "saved"], rows, right=["before", "after", "saved"])

    output().show(found, render)


@app.command("advise")
async def advise(
    slow_ms: Annotated[int, typer.Option("--slow-ms", help="From how long on a query is worth a word.")] = 1000,
    columns: Annotated[int, typer.Option("--columns", help="How many of the largest columns to try other codecs on.")] = 20,
) -> None:
    """Say what would help: codecs that save more, tried on a sample first, and queries that cost much. Changes nothing."""
    from chainstrata import columnar

    async with open_platform() as platform:
        found = await columnar.advise(await platform.columnar(), columns=columns, slow=timedelta(milliseconds=slow_ms))

    def render() -> None:
        for one in found:
            output().line(f"{one.kind} {one.object}: {one.reason}")
            if one.statement:
                output().line(f"    {one.statement}")
        output().line(f"{len(found)} suggestions" if found else "nothing to suggest")

    output().show(found, render)
