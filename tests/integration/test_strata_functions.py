"""Functions for those who look after a database: what indexes are worth, how full they are, what statements cost."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection


async def verdicts(connection: Connection) -> dict[str, Any]:
    rows = await connection.fetch_all("SELECT * FROM strata.check_index_effectiveness('relay')")
    return {row.index_name: row for row in rows if row.table_name == "worth"}


@pytest.fixture
async def worth(packs: Database) -> Database:
    """Give a partitioned table with indexes of every kind: read, never read, repeated, turned round, left over by a failed build."""
    for statement in (
        "CREATE TABLE relay.worth (id bigint, at timestamptz, chain text, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE relay.worth_1 PARTITION OF relay.worth FOR VALUES FROM ('2026-01-01+00') TO ('2026-02-01+00')",
        "CREATE TABLE relay.worth_2 PARTITION OF relay.worth FOR VALUES FROM ('2026-02-01+00') TO ('2026-03-01+00')",
        "CREATE INDEX worth_chain ON relay.worth (chain, at)",
        "CREATE INDEX worth_chain_short ON relay.worth (chain)",
        "CREATE INDEX worth_chain_round ON relay.worth (chain DESC, at DESC)",
        "CREATE INDEX worth_chain_mixed ON relay.worth (chain, at DESC)",
        "CREATE INDEX worth_chain_some ON relay.worth (chain) WHERE note IS NOT NULL",
        "CREATE INDEX worth_chain_more ON relay.worth (chain) INCLUDE (note)",
        "CREATE INDEX worth_text ON relay.worth (chain text_pattern_ops)",
        "CREATE INDEX worth_note ON relay.worth (note)",
        "CREATE INDEX worth_only ON ONLY relay.worth (note, chain)",
        """
        INSERT INTO relay.worth SELECT n, '2026-01-15+00'::timestamptz + n % 30 * interval '1 day', 'chain-' || n % 97, 'n' || n
        FROM generate_series(1, 20000) AS n
        """,
        "ANALYZE relay.worth",
    ):
        await packs.execute(statement)
    return packs


@pytest.mark.conforms("S2-35", "S2-57")
async def test_the_use_of_every_index_is_counted_partitions_summed(worth: Database) -> None:
    async with worth.connection() as connection:
        before = await verdicts(connection)
        await connection.execute("SET enable_seqscan = off")
        for number in range(30):
            await connection.fetch_all("SELECT * FROM relay.worth WHERE note = %(note)s", {"note": f"n{number + 1}"})
        await connection.execute("RESET enable_seqscan")
        # Counted at the end of a transaction, but sent on at most once a second unless asked.
        await connection.execute("SELECT pg_stat_force_next_flush()")
        after = await verdicts(connection)
    assert (before["worth_note"].scans, before["worth_note"].verdict) == (0, "unused")
    assert after["worth_note"].scans == 60, "both partitions, thirty times"
    assert (after["worth_note"].rows_read, after["worth_note"].table_writes) == (30, 20000)
    assert after["worth_note"].verdict == "seldom"
    sizes = await worth.fetch_value("SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('relay.worth_note')")
    assert after["worth_note"].size_bytes == sizes


@pytest.mark.conforms("S2-57")
async def test_what_an_index_is_worth_is_said(worth: Database) -> None:
    async with worth.connection() as connection:
        found = {name: row.verdict for name, row in (await verdicts(connection)).items()}
        reasons = {name: row.reason for name, row in (await verdicts(connection)).items()}
    assert found == {
        "worth_pkey": "constraint",
        "worth_chain": "unused",
        "worth_chain_short": "duplicate",
        "worth_chain_round": "duplicate",
        "worth_chain_mixed": "duplicate",
        "worth_chain_some": "unused",
        "worth_chain_more": "unused",
        "worth_text": "unused",
        "worth_note": "unused",
        "worth_only": "invalid",
    }
    assert reasons["worth_chain_round"] == "worth_chain begins with the same columns"
    assert reasons["worth_chain_mixed"].endswith("only ORDER BY over them in opposite directions needs this one")


@pytest.mark.conforms("S2-57")
async def test_an_index_that_is_read_is_useful(packs: Database) -> None:
    async with packs.connection() as connection:
        await connection.execute("CREATE TABLE relay.worth (id bigint PRIMARY KEY, note text)")
        await connection.execute("CREATE INDEX worth_note ON relay.worth (note)")
        await connection.execute("INSERT INTO relay.worth SELECT n, 'n' || n FROM generate_series(1, 300) AS n")
        await connection.execute("SET enable_seqscan = off")
        for number in range(20):
            await connection.fetch_all("SELECT * FROM relay.worth WHERE note = %(note)s", {"note": f"n{number}"})
        await connection.execute("SELECT pg_stat_force_next_flush()")
        assert (await verdicts(connection))["worth_note"].verdict == "useful"


@pytest.mark.conforms("S2-34")
async def test_bloat_is_measured_and_mended_while_writers_go_on(packs: Database) -> None:
    async with packs.connection() as connection:
        await connection.execute("CREATE EXTENSION pgstattuple")
        await connection.execute("CREATE TABLE relay.bloated (id bigint CONSTRAINT bloated_pkey PRIMARY KEY, note text)")
        await connection.execute("INSERT INTO relay.bloated SELECT n FROM generate_series(1, 200000) AS n")
        query = "SELECT * FROM strata.check_index_bloat() WHERE table_name = 'bloated'"
        fresh = await connection.fetch_one(query)
        assert (fresh.density_percent > 85, fresh.advice) == (True, "fine")
        assert fresh.reclaimable_bytes < 0.1 * fresh.size_bytes
        await connection.execute("DELETE FROM relay.bloated WHERE id % 10 <> 0")
        await connection.execute("VACUUM relay.bloated")
        bloated = await connection.fetch_one(query)
        assert bloated.density_percent < 20
        assert bloated.reclaimable_bytes > 0.7 * bloated.size_bytes
        assert bloated.advice == "REINDEX INDEX CONCURRENTLY relay.bloated_pkey"
        stop = asyncio.Event()
        writing = asyncio.create_task(_write(packs, stop))
        await connection.execute(bloated.advice)
        stop.set()
        assert await writing > 0
        assert await connection.fetch_value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'relay.bloated_pkey'::regclass")
        mended = await connection.fetch_one("SELECT * FROM strata.check_index_bloat(0) WHERE table_name = 'bloated'")
        assert mended.density_percent > 80
        assert mended.size_bytes < 0.3 * bloated.size_bytes


async def _write(database: Database, stop: asyncio.Event) -> int:
    """Insert rows until told to stop; no insert may wait for the rebuild."""
    written = 0
    async with database.connection() as connection:
        await connection.execute("SET lock_timeout = '1s'")
        while not stop.is_set() or not written:
            written += await connection.execute("INSERT INTO relay.bloated VALUES (%(id)s)", {"id": -written - 1})
    return written


@pytest.mark.conforms("S2-34")
async def test_bloat_says_when_it_cannot_be_measured(packs: Database) -> None:
    [row] = await packs.fetch_all("SELECT * FROM strata.check_index_bloat()")
    assert (row.index_name, row.advice) == (None, "density is not measured: CREATE EXTENSION pgstattuple in this database")


@pytest.mark.conforms("S2-58")
async def test_statements_are_looked_up_by_a_pattern(packs: Database) -> None:
    async with packs.connection() as connection:
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        for number in range(5):
            await connection.fetch_all("SELECT count(*) FROM relay.clearing_operations WHERE packets_targeted > %(n)s", {"n": number})
        await connection.fetch_all("SELECT count(*) FROM relay.chains")
        found = await connection.fetch_all("SELECT * FROM strata.analyze_query_performance('%clearing_operations WHERE%')")
        costs = await connection.fetch_all("SELECT total_ms FROM strata.analyze_query_performance()")
    [row] = [one for one in found if one.query.startswith("SELECT count(*)")]
    assert (row.calls, row.rows_returned) == (5, 5)
    assert row.mean_ms == pytest.approx(row.total_ms / 5, abs=Decimal("0.002"))
    assert 0 < row.mean_ms <= row.max_ms
    assert row.advice in {"fine", "uneven: look for locks and cold reads"}
    assert [one.total_ms for one in costs] == sorted((one.total_ms for one in costs), reverse=True)


@pytest.mark.conforms("S2-58")
async def test_it_says_so_when_statements_are_not_collected(packs: Database) -> None:
    [row] = await packs.fetch_all("SELECT * FROM strata.analyze_query_performance('%clearing%')")
    assert row.advice == "statistics are not collected: CREATE EXTENSION pg_stat_statements in this database"
    assert set(row[:-1]) == {None}
