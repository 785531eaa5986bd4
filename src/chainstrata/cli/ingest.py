"""`chainstrata ingest`: rows from files into a dataset."""

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.show import show_count
from chainstrata.errors import ChainStrataError, UnknownName, UsageError

if TYPE_CHECKING:
    from chainstrata.ingest import Answer
    from chainstrata.node import Platform


_MANY: Final = 1_000


class FileFormat(StrEnum):
    """What a file may hold."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"
    ARROW = "arrow"


@dataclass(frozen=True, slots=True)
class _Load:
    """How the files of one command are read."""

    dataset: str
    format: Any
    strict: bool
    batch: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a file: an answer, or the error that nothing, or no more, of it was taken for."""

    file: Path
    answer: "Answer"
    seconds: float
    error: ChainStrataError | None

    @property
    def name(self) -> str:
        return _called(self.file)

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"file": self.name, "answer": self.answer, "seconds": round(self.seconds, 3)}
        return shown if self.error is None else {**shown, "error": self.error.as_dict()}


async def ingest(
    dataset: Annotated[str, typer.Argument(help="Dataset, as prices.minute.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files of Parquet, CSV, NDJSON or Arrow, directories of them, or - for standard input.", metavar="FILE...", allow_dash=True
        ),
    ],
    format: Annotated[FileFormat | None, typer.Option("--format", help="What the files hold, where their names do not tell.")] = None,  # noqa: A002
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a batch if any of its rows does not fit.")] = False,
    batch: Annotated[
        str, typer.Option("--batch", help="Name of the load: files that were taken under it before change nothing when sent again.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of the rows; write nothing.")] = False,
) -> int:
    """Take rows into a dataset. Rows that do not fit go to quarantine with the reason; a file that cannot be read is left out.

    Interrupted, it can be run again: with --batch what is written already is passed over, without it the key of each row decides.
    Exit code 1 if a file could not be read, or was refused.
    """
    from chainstrata.ingest.files import find_files

    chosen: Any = format.value if format else None
    found = find_files(files, format=chosen, named=bool(batch))
    load = _Load(dataset, chosen, strict, batch, dry_run)
    async with open_platform() as platform:
        done = [await _ingest_file(platform, load, path) for path in found]
    output().show([one.as_dict() for one in done], lambda: _render(load, done))
    return int(any(one.error for one in done))


async def _ingest_file(platform: "Platform", load: _Load, path: Path) -> _Done:
    from chainstrata.ingest import Answer, IngestError
    from chainstrata.ingest.files import STDIN, until_left

    began = monotonic()
    taken = Answer(load.dataset)
    with output().progress(path.name) as bar:

        def show(answer: "Answer") -> None:
            nonlocal taken
            bar.advance(answer.rows - taken.rows)
            taken = answer
            rate = answer.rows / max(monotonic() - began, 1e-6)
            bar.describe(f"{path.name}: {show_count(rate)} rows/s, {show_count(answer.quarantined)} not taken")

        options: dict[str, Any] = {"format": load.format, "strict": load.strict, "progress": show}
        try:
            with nullcontext(path) if path != STDIN else until_left(sys.stdin.buffer) as source:
                if load.dry_run:
                    taken = await platform.rehearse(load.dataset, source, **options)
                else:
                    name = f"{load.batch}/{path.name}" if load.batch else ""
                    taken = await platform.ingest(load.dataset, source, batch=name, origin=_called(path), **options)
        except asyncio.CancelledError:
            output().note(f"{_called(path)}: interrupted, {_describe(taken)} so far. Run the same again: what is there changes nothing.")
            raise
        except UnknownName:
            raise
        except (IngestError, UsageError) as error:
            if error.retryable:
                raise
            return _Done(path, taken, monotonic() - began, error)
    return _Done(path, taken, monotonic() - began, None)


def _render(load: _Load, done: list[_Done]) -> None:
    from chainstrata.ingest import Answer

    for one in done:
        if one.error is None:
            output().line(f"{one.name}: {_describe(one.answer)}{_pace(one.answer.rows, one.seconds)}")
        else:
            before = f" ({_describe(one.answer)} before)" if one.answer.rows else ""
            output().note(f"error: {one.name}: {one.error.message}{before}\nhint:  {one.error.hint}")
    if len(done) > 1:
        rows, seconds = sum(one.answer.rows for one in done), sum(one.seconds for one in done)
        failed = sum(one.error is not None for one in done)
        trouble = f", {show_count(failed)} of them with an error" if failed else ""
        output().line(f"{show_count(len(done))} files{trouble}: {show_count(rows)} rows{_pace(rows, seconds)}")
    if load.dry_run:
        output().note("Nothing was written.")
    elif any(one.answer.quarantined for one in done):
        output().note(f"`chainstrata quarantine list {load.dataset}` says why rows were not taken.")
    whole = sum((one.answer for one in done), Answer(load.dataset))
    if load.dry_run and whole.outside:
        output().note(
            f"{show_count(whole.outside)} rows are of times that no partition holds:"
            f" `chainstrata partitions ensure {load.dataset} --from … --to …` makes partitions for them."
        )
    elif whole.hint:
        output().note(whole.hint)


def _called(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _pace(rows: int, seconds: float) -> str:
    return f" in {seconds:.1f} s, {show_count(rows / seconds)} rows/s" if rows >= _MANY and seconds >= 1 else ""


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
