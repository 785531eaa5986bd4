"""A result as a table, as JSON, and as a section of the recorded results."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from bench.harness import Result
from bench.machine import describe

RECORD = Path(__file__).resolve().parent.parent / "docs" / "reference" / "benchmarks.md"
_HEAD = """\
# Benchmarks

The last full results, written by `python -m bench NAME --record`. The cases of a benchmark run side by side, round by round, in one run; a ratio
is the median over the rounds of a case's figure by the reference's. Compare within a table, not between machines.
"""


def as_json(result: Result) -> str:
    """Return the whole result as one JSON object."""
    return json.dumps(
        {
            "name": result.name,
            "unit": result.benchmark.unit,
            "better": result.benchmark.better,
            "reference": result.benchmark.reference,
            "machine": describe(result.versions),
            "cases": {name: figures.summary() for name, figures in result.cases.items()},
            "ratios": result.ratios,
            "skipped": result.skipped,
            "faults": result.faults,
        },
        indent=2,
    )


def as_table(result: Result) -> Table:
    """Return a table for a terminal."""
    table = Table(title=f"{result.name}: {result.benchmark.unit}, {result.benchmark.better} is better", caption=_caption(result))
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in _rows(result):
        table.add_row(*row)
    return table


def as_markdown(result: Result) -> str:
    """Return a section for the recorded results."""
    lines = [
        f"## {result.name}",
        "",
        f"{result.benchmark.doc} In {result.benchmark.unit}; {result.benchmark.better} is better. {datetime.now(UTC):%Y-%m-%d}, {_caption(result)}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(f"| {' | '.join(row)} |" for row in _rows(result)),
        *([""] if result.skipped else []),
        *(f"Left out: {name}, {reason}." for name, reason in result.skipped.items()),
    ]
    return "\n".join(lines)


def record(result: Result, path: Path = RECORD) -> None:
    """Replace the benchmark's section in the recorded results, or add one; sections stay in order of name."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    sections[result.name] = as_markdown(result).partition("\n")[2]
    body = "\n".join(
        f"## {name}\n{'' if section.startswith(chr(10)) else chr(10)}{section.rstrip()}\n" for name, section in sorted(sections.items())
    )
    path.write_text(f"{_HEAD}\n{body}", encoding="utf-8")


_COLUMNS = ("case", "median", "min", "max", "runs", "times the reference")


def _rows(result: Result) -> list[list[str]]:
    ratios = result.ratios
    rows = []
    for name, figures in result.cases.items():
        summary = figures.summary()
        shown = [_show(summary[key]) for key in ("median", "min", "max")]
        ratio = "reference" if name == result.benchmark.reference else f"{ratios[name]:.3f}"
        rows.append([name, *shown, str(summary["runs"]), ratio])
    return rows


def _show(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"


def _caption(result: Result) -> str:
    machine = describe(result.versions)
    versions = ", ".join(
        [str(machine["kernel"]), str(machine["python"]), *(f"{name} {version}" for name, version in result.versions.items())]
    )
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, {versions}"
