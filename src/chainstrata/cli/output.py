"""What a command shows: the same value as text for people or as one JSON document for programs.

The answer goes to stdout; progress and notes go to stderr, so a pipe carries nothing but the answer.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def to_plain(value: Any) -> Any:
    """Return a value as JSON can carry it: instants in ISO 8601, durations in seconds, exact numbers as text."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Iterable):
        return [to_plain(item) for item in value]
    return str(value)


class Progress:
    """How far something long is. `advance` after each part, or `reach` with all done so far; `describe` says what it is at now."""

    def __init__(self, advance: Callable[[float], None], describe: Callable[[str], None], reach: Callable[[float, float], None]) -> None:
        self.advance = advance
        self.describe = describe
        self.reach = reach


class Output:
    """Where a command's answer goes, as text or, with `json`, as one document."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def show(self, value: Any, render: Callable[[], None]) -> None:
        """Show the answer: `value` as JSON, or whatever `render` prints for people."""
        if self.json:
            self.document(value)
        else:
            render()

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        sys.stdout.write(json.dumps(to_plain(value), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "") -> None:
        """Print a line of the answer; nothing in JSON mode."""
        if not self.json:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print a line beside the answer, to stderr."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def heading(self, text: str) -> None:
        """Print the title of what follows."""
        if not self.json and self.styled:
            self._console().print(text, style="bold", markup=False, highlight=False)
        else:
            self.line(text)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
        """Print a table; columns named in `right` are aligned right. Piped, it is plain text that is never cut."""
        if self.json:
            return
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if self.styled:
            self._rich_table(head, cells, right)
        else:
            self._plain_table(head, cells, right)

    @contextmanager
    def progress(self, title: str, total: float | None = None) -> Iterator[Progress]:
        """A progress bar on stderr when a person watches; silent otherwise."""
        if not sys.stderr.isatty():
            yield Progress(lambda _: None, lambda _: None, lambda *_: None)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(title, total=total)
            yield Progress(
                lambda amount: bars.advance(task, amount),
                lambda text: bars.update(task, description=text),
                lambda done, total: bars.update(task, completed=done, total=total),
            )

    @property
    def styled(self) -> bool:
        """Whether the answer goes to a person's terminal."""
        return sys.stdout.isatty()

    def _console(self) -> "Console":
        from rich.console import Console

        return Console()

    def _rich_table(self, head: Sequence[str], rows: list[list[str]], right: Sequence[str]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for title in head:
            table.add_column(title, justify="right" if title in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console().print(table)

    def _plain_table(self, head: Sequence[str], rows: list[list[str]], right: Sequence[str]) -> None:
        widths = [max(len(line[index]) for line in [list(head), *rows]) for index in range(len(head))]
        for row in [list(head), *rows]:
            padded = (
                cell.rjust(width) if title in right else cell.ljust(width) for title, cell, width in zip(head, row, widths, strict=True)
            )
            self.line("  ".join(padded).rstrip())
