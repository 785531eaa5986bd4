"""Every finding has its line in the runbook, and every line its finding."""

import ast
import re
from collections.abc import Iterator

from chainstrata.migrate.verify import Deviation
from chainstrata.node.watch import INSPECTIONS
from chainstrata.partitions import ProblemCode
from tools.tree import ROOT

SOURCES = (
    "src/chainstrata/monitor/planner.py",
    "src/chainstrata/monitor/runner.py",
    "src/chainstrata/node/spool.py",
    "src/chainstrata/node/cdc.py",
)


def list_written() -> Iterator[str]:
    """Yield the codes that the source gives findings as they are."""
    for source in SOURCES:
        for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding" and isinstance(node.args[1], ast.Constant):
                yield str(node.args[1].value)


def test_the_runbook_has_every_finding_and_no_other() -> None:
    codes = {
        *list_written(),
        *(f"migration_{word}" for word in ("edited", "stopped", "failed", "missing")),
        *(f"schema_{deviation}" for deviation in Deviation),
        *(f"partitions_{code}" for code in ProblemCode),
        *(f"mirror_{word}" for word in ("paused", "stopped", "lost")),
        *(f"job_{code}" for code in ("failed", "overdue")),
        *(f"{inspection.name}_unknown" for inspection in INSPECTIONS),
    }
    section = (ROOT / "docs/runbook.md").read_text(encoding="utf-8").partition("## Findings")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    assert (sorted(codes - told), sorted(told - codes)) == ([], [])
