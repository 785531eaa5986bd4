"""What the columnar engine stores, and advice that was measured."""

from datetime import timedelta

import pytest

from chainstrata.columnar import advise, report
from chainstrata.engines.clickhouse import Columnar

TABLE = """
CREATE TABLE seen (at DateTime64(6, 'UTC') CODEC(NONE), level Int64 CODEC(T64, ZSTD(1)), word LowCardinality(String))
ENGINE = MergeTree ORDER BY at SETTINGS min_bytes_for_wide_part = 0
"""
ROWS = "INSERT INTO seen SELECT toDateTime64(1767225600 + number * 12, 6, 'UTC'), number % 100, toString(number % 7) FROM numbers(300000)"


@pytest.mark.conforms("S1-56", "S1-81")
async def test_a_better_codec_is_found_measured_and_saves_what_was_said(columnar: Columnar) -> None:
    await columnar.execute(TABLE)
    await columnar.execute(ROWS)
    before = {one.column: one for one in await report(columnar)}
    assert before["at"].plain_bytes == 300_000 * 8
    assert before["at"].saved < 0.01
    assert before["level"].saved > 0.8
    advice = {one.object: one for one in await advise(columnar) if one.kind == "codec"}
    assert "Delta" in advice["seen.at"].statement
    for one in advice.values():
        await columnar.execute(one.statement)
    await columnar.execute("OPTIMIZE TABLE seen FINAL")
    after = {one.column: one for one in await report(columnar)}
    assert after["at"].saved > 0.99
    assert all(after[name].stored_bytes <= before[name].stored_bytes for name in after)
    assert [one for one in await advise(columnar) if one.kind == "codec"] == []
    assert await columnar.fetch_value("SELECT count() FROM system.tables WHERE database = currentDatabase()") == 1


@pytest.mark.conforms("S1-81")
async def test_queries_that_cost_much_are_named_without_their_values(columnar: Columnar) -> None:
    await columnar.execute(TABLE)
    await columnar.execute(ROWS)
    for number in (3, 4):
        await columnar.query_rows(f"SELECT sum(level) FROM seen WHERE level != {number}")
    found = [one for one in await advise(columnar, slow=timedelta(0)) if "level" in one.object and "sum" in one.object]
    assert len(found) == 1
    assert found[0].reason.startswith("2 times")
    assert "600,000 rows read" in found[0].reason
    assert await advise(columnar, slow=timedelta(hours=1), columns=0) == []
