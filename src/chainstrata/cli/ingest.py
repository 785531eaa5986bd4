"""`chainstrata ingest`: rows from files into a dataset."""

from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count

if TYPE_CHECKING:
    from chainstrata.ingest import Answer
    from chainstrata.node import Platform


class FileFormat(StrEnum):
    """What a file may hold."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"
    ARROW = "arrow"


async def ingest(
    dataset: Annotated[str, typer.Argument(help="Dataset, as prices.minute.")],
    files: Annotated[list[Path], typer.Argument(help="Files of Parquet, CSV, NDJSON or Arrow.", metavar="FILE...")],
    format: Annotated[FileFormat | None, typer.Option("--format", help="What the files hold, where their names do not tell.")] = None,  # noqa: A002
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a batch if any of its rows does not fit.")] = False,
    batch: Annotated[
        str, typer.Option("--batch", help="Name of the load: one that was taken before changes nothing when sent again.")
    ] = "",
) -> None:
    """Take rows into a dataset. Rows that do not fit go to quarantine with the reason."""
    async with open_platform() as platform:
        answers = [
            (path, await _ingest_file(platform, dataset, path, format=format.value if format else None, strict=strict, batch=batch))
            for path in files
        ]

    def render() -> None:
        for path, answer in answers:
            output().line(f"{path}: {_describe(answer)}")
        if any(answer.quarantined for _, answer in answers):
            output().note(f"`chainstrata quarantine list {dataset}` says why rows were not taken.")

    output().show([{"file": path, "answer": answer} for path, answer in answers], render)


async def _ingest_file(platform: "Platform", dataset: str, path: Path, *, format: str | None, strict: bool, batch: str) -> "Answer":  # noqa: A002
    began = monotonic()
    with output().progress(f"{path.name}", None) as bar:
        seen = 0

        def show(answer: "Answer") -> None:
            nonlocal seen
            bar.advance(answer.rows - seen)
            seen = answer.rows
            rate = seen / max(monotonic() - began, 1e-6)
            bar.describe(f"{path.name}: {show_count(rate)} rows/s, {show_count(answer.quarantined)} not taken")

        name = f"{batch}/{path.name}" if batch else ""
        return await platform.ingest(dataset, path, format=format, strict=strict, batch=name, origin=str(path), progress=show)


def _describe(answer: "Answer") -> str:
    if answer.repeated:
        return f"taken before under this name, nothing changed ({show_count(answer.rows)} rows)"
    parts = {
        "written": answer.accepted,
        "updated": answer.updated,
        "unchanged": answer.unchanged,
        "merged into roll-ups": answer.merged,
        "not taken": answer.quarantined,
        "on disk until PostgreSQL is back": answer.spooled,
    }
    return ", ".join(f"{show_count(count)} {name}" for name, count in parts.items() if count) or "no rows"
