"""Rows in, every row accounted for: written, merged, or held with its reason."""

import asyncio
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from chainstrata.engines.postgres import Database
from chainstrata.ingest import BatchRefused, Ingest, UnfitColumn
from chainstrata.model import Catalog
from chainstrata.rollups import Rollups

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def rollups(packs: Database, catalog: Catalog) -> Rollups:
    return Rollups(packs, catalog)


@pytest.fixture
def ingest(packs: Database, catalog: Catalog, rollups: Rollups) -> Ingest:
    return Ingest(packs, catalog, rollups)


def minute(coin: str, at: datetime = NOW, price: Any = "1.5", **more: Any) -> dict[str, Any]:
    return {"coin_id": coin, "minute_ts": at, "price_usd": price, **more}


async def held(database: Database) -> list[Any]:
    return await database.fetch_all("SELECT reason, detail, content, original, times FROM strata.quarantine ORDER BY id")


async def test_rows_are_written_with_their_parents_and_marks(packs: Database, ingest: Ingest, rollups: Rollups) -> None:
    answer = await ingest.ingest("prices.minute", [minute("a"), minute("b", price="0.00000000000123"), minute("c", price=Decimal("1e-18"))])
    assert (answer.accepted, answer.updated, answer.unchanged, answer.quarantined) == (3, 0, 0, 0)
    assert answer.lsn
    rows = await packs.fetch_all("SELECT coin_id, price_usd FROM prices.minute_close ORDER BY coin_id")
    assert [tuple(row) for row in rows] == [("a", Decimal("1.5")), ("b", Decimal("0.00000000000123")), ("c", Decimal("1e-18"))]
    assert await packs.fetch_value("SELECT count(*) FROM prices.coin_priorities") == 3
    await rollups.refresh()
    assert await packs.fetch_value("SELECT count(*) FROM prices.hourly_close") == 3
    assert await rollups.verify() == []


async def test_the_same_batch_again_changes_nothing(packs: Database, ingest: Ingest) -> None:
    rows = [minute(f"coin-{n}", source_ts=NOW) for n in range(50)]
    await ingest.ingest("prices.minute", rows)
    before = await packs.fetch_all("SELECT *, xmin::text FROM prices.minute_close ORDER BY coin_id")
    again = await ingest.ingest("prices.minute", rows)
    assert (again.accepted, again.updated, again.unchanged) == (0, 0, 50)
    assert await packs.fetch_all("SELECT *, xmin::text FROM prices.minute_close ORDER BY coin_id") == before


async def test_a_named_batch_is_taken_once(packs: Database, ingest: Ingest) -> None:
    first = await ingest.ingest("prices.minute", [minute("a")], batch="b-1")
    again = await ingest.ingest("prices.minute", [minute("a"), minute("b")], batch="b-1")
    assert not first.repeated
    assert again.repeated
    assert again.accepted == 1
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 1


async def test_a_named_batch_sent_twice_at_once_is_taken_once(packs: Database, catalog: Catalog) -> None:
    answers = await asyncio.gather(*(Ingest(packs, catalog).ingest("prices.minute", [minute("a")], batch="b") for _ in range(4)))
    assert sorted(answer.repeated for answer in answers) == [False, True, True, True]


async def test_bad_rows_are_held_and_the_rest_goes_on(packs: Database, ingest: Ingest) -> None:
    answer = await ingest.ingest(
        "prices.minute",
        [
            minute("good"),
            minute("text", price="dear"),
            minute("negative", price="-1"),
            minute("nan", price="NaN"),
            minute("also good"),
            {"coin_id": "late"},
        ],
    )
    assert (answer.accepted, answer.quarantined) == (2, 4)
    reasons = {row.content["coin_id"]: (row.reason, row.detail) for row in await held(packs)}
    assert reasons["text"][0] == "bad_value"
    assert "price_usd" in reasons["text"][1]
    assert reasons["negative"] == ("constraint", "chk_price_positive")
    assert reasons["nan"][0] in {"constraint", "bad_value"}
    assert reasons["late"][0] == "constraint"


async def test_a_strict_batch_is_refused_whole(packs: Database, ingest: Ingest) -> None:
    with pytest.raises(BatchRefused, match="1 rows do not fit"):
        await ingest.ingest("prices.minute", [minute("good"), minute("text", price="dear")], strict=True)
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 0
    assert await held(packs) == []


async def test_a_strict_batch_the_server_refuses_is_refused_whole(packs: Database, ingest: Ingest) -> None:
    with pytest.raises(Exception, match="chk_price_positive"):
        await ingest.ingest("prices.minute", [minute("good"), minute("negative", price="-1")], strict=True)
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 0


async def test_a_column_nobody_declared_is_an_error_of_the_batch(ingest: Ingest) -> None:
    with pytest.raises(UnfitColumn, match="no such column"):
        await ingest.ingest("prices.minute", [minute("a", prize=1)])


async def test_rows_no_partition_takes_are_held(packs: Database, ingest: Ingest) -> None:
    answer = await ingest.ingest("prices.minute", [minute("a"), minute("b", NOW + timedelta(days=4000))])
    assert (answer.accepted, answer.quarantined) == (1, 1)
    assert [row.reason for row in await held(packs)] == ["no_partition"]


async def test_times_no_partition_holds_are_told_as_they_are(packs: Database, ingest: Ingest) -> None:
    far = [2**63 - 1, -(2**63), 253_402_300_800_000_000]
    rows = pa.table(
        {
            "coin_id": list("abcd"),
            "minute_ts": pa.array([*far, int(NOW.timestamp()) * 1_000_000], pa.timestamp("us", tz="UTC")),
            "price_usd": ["1"] * 4,
        }
    )
    answer = await ingest.ingest("prices.minute", rows)
    assert (answer.accepted, answer.quarantined) == (1, 3)
    held = await packs.fetch_all("SELECT detail, content FROM strata.quarantine ORDER BY id")
    assert held[0].detail == "no partition holds 9223372036854775807 µs from 1970"
    assert held[0].content["minute_ts"] == "9223372036854775807 as timestamp[us, tz=UTC]"
    for strange in (pa.array([1, 2]), pa.array([date(2026, 1, 1)] * 2), pa.array([1, 2], pa.timestamp("us"))):
        times = pa.table({"coin_id": ["a", "b"], "minute_ts": strange, "price_usd": ["1", "2"]})
        assert (await ingest.ingest("prices.minute", times)).quarantined == 2


async def test_rows_whose_partition_left_are_merged_into_roll_ups(packs: Database, ingest: Ingest, rollups: Rollups) -> None:
    old = NOW - timedelta(days=400)
    async with packs.transaction() as connection:
        await rollups.let_go(connection, "prices.minute", NOW - timedelta(days=300))
    await packs.execute("INSERT INTO prices.coin_priorities (coin_id) VALUES ('a')")
    answer = await ingest.ingest("prices.minute", [minute("a"), minute("a", old)])
    assert (answer.accepted, answer.merged, answer.quarantined) == (1, 1, 0)


async def test_of_two_versions_the_newer_stands_whatever_came_first(packs: Database, ingest: Ingest) -> None:
    later, earlier = NOW, NOW - timedelta(minutes=5)
    await ingest.ingest("prices.minute", [minute("a", price="2", source_ts=later)])
    answer = await ingest.ingest("prices.minute", [minute("a", price="1", source_ts=earlier)])
    assert answer.unchanged == 1
    both = await ingest.ingest("prices.minute", [minute("b", price="2", source_ts=later), minute("b", price="1", source_ts=earlier)])
    assert (both.accepted, both.unchanged) == (1, 1)
    assert [row.price_usd for row in await packs.fetch_all("SELECT price_usd FROM prices.minute_close ORDER BY coin_id")] == [2, 2]
    updated = await ingest.ingest("prices.minute", [minute("a", price="3", source_ts=later + timedelta(seconds=1))])
    assert updated.updated == 1


async def test_two_writers_of_the_same_rows_lose_and_double_nothing(packs: Database, catalog: Catalog, rollups: Rollups) -> None:
    rows = [[minute(f"coin-{n}", NOW - timedelta(minutes=m), source_ts=NOW) for n in range(40)] for m in range(10)]
    one, two = Ingest(packs, catalog, rollups), Ingest(packs, catalog, rollups)
    answers = await asyncio.gather(*(writer.ingest("prices.minute", batch) for writer in (one, two) for batch in rows))
    assert sum(answer.accepted for answer in answers) == 400
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 400
    assert await rollups.verify() == []


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson", "arrow", "table", "batch", "bytes"])
async def test_rows_come_in_every_form(kind: str, tmp_path: Path, packs: Database, ingest: Ingest) -> None:
    table = pa.table(
        {
            "coin_id": ["a", "b"],
            "minute_ts": pa.array([NOW, NOW], pa.timestamp("us", tz="UTC")),
            "price_usd": pa.array([Decimal("12345678901234567890.123456789"), Decimal("0.1")], pa.decimal128(38, 9)),
            "coin_rank": pa.array([1, None], pa.int32()),
        }
    )
    answer = await ingest.ingest("prices.minute", _written(kind, table, tmp_path), format="ndjson" if kind == "bytes" else None)
    assert (answer.accepted, answer.quarantined) == (2, 0)
    rows = await packs.fetch_all("SELECT coin_id, minute_ts, price_usd, coin_rank FROM prices.minute_close ORDER BY coin_id")
    assert [tuple(row) for row in rows] == [("a", NOW, Decimal("12345678901234567890.123456789"), 1), ("b", NOW, Decimal("0.1"), None)]


def _written(kind: str, table: Any, directory: Path) -> Any:
    path = directory / f"rows.{kind}"
    lines = [
        '{"coin_id": "a", "minute_ts": "%s", "price_usd": 12345678901234567890.123456789, "coin_rank": 1}' % NOW.isoformat(),  # noqa: UP031
        '{"coin_id": "b", "minute_ts": "%s", "price_usd": 0.1}' % NOW.isoformat(),  # noqa: UP031
    ]
    match kind:
        case "parquet":
            pyarrow.parquet.write_table(table, path)
        case "csv":
            path.write_text(
                f"coin_id,minute_ts,price_usd,coin_rank\na,{NOW.isoformat()},12345678901234567890.123456789,1\nb,{NOW.isoformat()},0.1,\n"
            )
        case "ndjson":
            path.write_text("\n".join(lines))
        case "arrow":
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        case "table":
            return table
        case "batch":
            return table.to_batches()[0]
        case _:
            return "\n".join(lines).encode()
    return path


async def test_lists_come_in_csv_as_json_has_them(packs: Database, ingest: Ingest) -> None:
    given = {
        "one": '["ethereum", "a, b", null]',
        "none": "[]",
        "years": "[2026, 1.50]",
        "word": "ethereum",
        "nested": "[[1]]",
    }
    sink = io.StringIO()
    csv.writer(sink).writerows([("protocol_id", "category", "chains"), *((name, "lending", chains) for name, chains in given.items())])
    answer = await ingest.ingest("portfolio.protocols", sink.getvalue().encode(), format="csv")
    assert (answer.accepted, answer.quarantined) == (3, 2)
    rows = await packs.fetch_all("SELECT protocol_id, chains FROM portfolio.protocols")
    assert {row.protocol_id: row.chains for row in rows} == {
        "one": ["ethereum", "a, b", None],
        "none": [],
        "years": ["2026", "1.50"],
    }
    assert [row.detail for row in await held(packs)] == [
        """chains: row 0 is not a list written as ["one", "two"]: 'ethereum'""",
        """chains: row 0 is not a list written as ["one", "two"]: '[[1]]'""",
    ]


async def test_lines_that_are_no_rows_are_held_as_they_came(packs: Database, ingest: Ingest) -> None:
    lines = [json.dumps({"coin_id": "a", "minute_ts": NOW.isoformat(), "price_usd": 1}), "{broken", "[1]", "NaN", "[" * 20000]
    answer = await ingest.ingest("prices.minute", "\n".join(lines).encode(), format="ndjson")
    assert (answer.accepted, answer.quarantined) == (1, 4)
    assert {row.reason for row in await held(packs)} == {"malformed"}


class Frame:
    """A frame of another library, as Arrow sees it: polars and pandas hand their columns over this way."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


async def test_frames_of_other_libraries_are_taken(ingest: Ingest) -> None:
    table = pa.table({"coin_id": ["a"], "minute_ts": pa.array([NOW], pa.timestamp("us", tz="UTC")), "price_usd": ["1.25"]})
    assert (await ingest.ingest("prices.minute", Frame(table))).accepted == 1
