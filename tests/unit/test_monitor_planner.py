"""What the server's figures mean: trees summed, small tables counted, large ones estimated, and what is wrong."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chainstrata.monitor import DatasetStatus, SchemaVersion, Severity, Sizes
from chainstrata.monitor.planner import (
    COUNTED_BYTES,
    COUNTED_LEAVES,
    Listed,
    Measure,
    Table,
    choose_counted,
    grow_trees,
    judge_objects,
    judge_schema,
    judge_wear,
    sum_up,
)

ANALYZED = datetime(2026, 3, 10, tzinfo=UTC)
ROOT = Table(1, None, "demo", "prices", False, 0, 0, -1, 0, 0, 0, 0, 0, None)
DECLARED = [Listed("demo.prices", "demo", "demo.prices")]


def leaf(
    oid: int, *, parent: int | None = 1, live: int = 0, planner: float = -1, analyzed: datetime | None = None, pages: int = 0
) -> Table:
    return Table(oid, parent, "demo", f"prices_{oid}", True, oid, pages, planner, live, 2, live, 1, 0, analyzed)


def measured(*tables: tuple[Table, Measure]) -> Sizes:
    sizes = Sizes()
    sizes.remember([table for table, _ in tables], {table.oid: measure for table, measure in tables})
    return sizes


def test_a_partition_tree_is_summed_whatever_its_depth() -> None:
    middle = replace(ROOT, oid=2, parent=1, name="prices_2026")
    leaves = [leaf(3, parent=2, live=10), leaf(4, parent=2, live=5), leaf(5, live=1)]
    sizes = measured(*((one, Measure(8192, 16384, 8192)) for one in leaves))
    [status] = sum_up(DECLARED, grow_trees([ROOT, middle, *leaves], sizes), {})
    assert (status.rows, status.rows_exact, status.partitions) == (16, False, 3)
    assert (status.size_bytes, status.index_bytes, status.size_exact) == (3 * 24576, 3 * 8192, True)
    assert (status.dead_rows, status.inserted, status.updated) == (6, 16, 3)


def test_a_dataset_without_its_table_says_so() -> None:
    [status] = sum_up(DECLARED, {}, {})
    assert not status.exists


@pytest.mark.parametrize(
    ("bytes_each", "leaves", "counted"),
    [(8192, 3, 3), (0, 300, 0), (8192, COUNTED_LEAVES + 1, 0), (COUNTED_BYTES + 1, 1, 0)],
    ids=["small", "empty ones cost nothing", "too many", "too large"],
)
def test_only_what_is_small_is_counted(bytes_each: int, leaves: int, counted: int) -> None:
    tables = [leaf(number + 2, live=7) for number in range(leaves)]
    sizes = measured(*((one, Measure(bytes_each, bytes_each, 0)) for one in tables))
    trees = grow_trees([ROOT, *tables], sizes)
    chosen = choose_counted(trees, DECLARED)
    assert len(chosen) == counted
    [status] = sum_up(DECLARED, trees, {one.key: 9 for one in chosen})
    assert status.rows == (9 * counted if counted else 7 * leaves if bytes_each else 0)
    assert status.rows_exact == (counted > 0 or bytes_each == 0)


@pytest.mark.parametrize(
    ("live", "planner", "analyzed", "rows"),
    [(10, -1, None, 10), (3, 1000, None, 1000), (3, 1000, ANALYZED, 3), (0, -1, None, 0)],
    ids=["never analyzed", "statistics lost in a crash", "analyzed since", "empty"],
)
def test_an_estimate_takes_the_better_of_two_figures(live: int, planner: float, analyzed: datetime | None, rows: int) -> None:
    assert leaf(2, live=live, planner=planner, analyzed=analyzed).estimate() == rows


def test_a_size_is_remembered_until_the_table_changes() -> None:
    table = leaf(2, live=1, pages=4)
    sizes = measured((table, Measure(1, 2, 3)))
    assert sizes.list_unknown([table], 10) == []
    assert sizes.find(table) == Measure(1, 2, 3)
    for changed in (replace(table, inserted=2), replace(table, file=9), replace(table, pages=5), replace(table, deleted=1)):
        assert sizes.list_unknown([changed], 10) == [2]
    sizes.remember([], {})
    assert sizes.find(table) is None


def test_what_is_not_measured_yet_is_estimated_and_says_so() -> None:
    tables = [leaf(2, pages=100), leaf(3, pages=1), leaf(4)]
    sizes = Sizes()
    assert sizes.list_unknown([ROOT, *tables], 2) == [4, 2]
    [status] = sum_up(DECLARED, grow_trees([ROOT, *tables], sizes), {})
    assert (status.size_bytes, status.size_exact, status.rows_exact) == (101 * 8192, False, False)


def test_findings_name_what_is_wrong_and_what_to_do() -> None:
    missing = DatasetStatus("demo.coins", "demo", "demo.coins", exists=False)
    behind = SchemaVersion("other", "other_0001", "other_0003", pending=2)
    findings = [
        *judge_schema([missing, DatasetStatus("other.x", "other", "other.x", exists=False)], {}, [behind]),
        *judge_objects([("demo", "idx_a", "prices")], [("demo", "check_b", "prices")]),
        *judge_wear([("demo", "seq", 9, 10)], 1_500_000_000),
    ]
    assert [(finding.severity, finding.code, finding.object) for finding in findings] == [
        (Severity.ERROR, "schema_behind", "other"),
        (Severity.ERROR, "table_missing", "demo.coins"),
        (Severity.WARNING, "index_invalid", "demo.idx_a"),
        (Severity.WARNING, "constraint_unproven", "demo.check_b"),
        (Severity.WARNING, "sequence_worn", "demo.seq"),
        (Severity.ERROR, "wraparound_near", "postgres"),
    ]
    assert all(finding.hint for finding in findings)
    assert list(judge_wear([], 200_000_000)) == []


def test_a_large_table_without_statistics_is_told() -> None:
    table = leaf(2, live=50_000, pages=0)
    trees = grow_trees([ROOT, table], measured((table, Measure(10**7, 10**7, 0))))
    [finding] = judge_schema(sum_up(DECLARED, trees, {}), trees, [])
    assert (finding.code, finding.object) == ("not_analyzed", "demo.prices")
