"""Changes to tables in use: what an interrupted try left behind, partitions of any depth, rows that break the rule."""

import asyncio

import psycopg
import pytest

from chainstrata.migrate import up, verify
from chainstrata.migrate.errors import MigrationFailed
from tests.fixtures.changing import Lab

INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready"


@pytest.mark.conforms("S2-33", "S2-78", "S4-74")
async def test_an_invalid_leftover_is_found_dropped_and_rebuilt(lab: Lab) -> None:
    await lab.query("UPDATE demo.packets SET tries = id")
    await lab.query("UPDATE demo.packets SET tries = 1 WHERE id = 2")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await lab.query("CREATE UNIQUE INDEX CONCURRENTLY idx_tries ON demo.packets (tries)")
    assert await lab.value(INVALID) == 1
    await lab.query("UPDATE demo.packets SET tries = id")
    lab.revise('op.create_index_concurrently("idx_tries", "packets", ["tries"], schema="demo", unique=True)', transactional=False)
    await up(lab.site())
    assert await lab.value(INVALID) == 0
    with pytest.raises(psycopg.errors.UniqueViolation):
        await lab.query("INSERT INTO demo.packets (id, chain_id, tries) VALUES (9999, 'chain-1', 1)")


async def test_a_build_that_rows_forbid_leaves_nothing_behind(lab: Lab) -> None:
    lab.revise('op.create_index_concurrently("idx_tries", "packets", ["tries"], schema="demo", unique=True)', transactional=False)
    with pytest.raises(MigrationFailed, match='could not create unique index "idx_tries"'):
        await up(lab.site())
    assert await lab.value(INVALID) == 0
    assert await lab.value("SELECT to_regclass('demo.idx_tries')") is None
    await lab.query("UPDATE demo.packets SET tries = id")
    await up(lab.site())
    assert await lab.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'demo.idx_tries'::regclass")


async def test_a_name_that_another_table_has(lab: Lab) -> None:
    await lab.query("CREATE INDEX idx_taken ON demo.chains (name)")
    lab.revise('op.create_index_concurrently("idx_taken", "packets", ["tries"], schema="demo")', transactional=False)
    with pytest.raises(MigrationFailed, match=r"index demo.idx_taken is there already and belongs to demo.chains"):
        await up(lab.site())


async def test_partitions_of_partitions(lab: Lab) -> None:
    await lab.query(
        "CREATE TABLE demo.events_p4 PARTITION OF demo.events FOR VALUES FROM ('2026-02-01+00') TO ('2026-03-01+00') PARTITION BY HASH (id)"
    )
    for remainder in range(2):
        await lab.query(
            f"CREATE TABLE demo.events_p4_{remainder} PARTITION OF demo.events_p4 FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})"
        )
    long = "idx_events_with_a_name_that_is_nearly_as_long_as_names_can_be_63"
    lab.revise(f'op.create_index_concurrently("{long[:63]}", "events", ["chain_id", "kind"], schema="demo")', transactional=False)
    await up(lab.site())
    assert await lab.value(INVALID) == 0
    assert await lab.value(f"SELECT count(*) FROM pg_partition_tree('demo.{long[:63]}')") == 6


@pytest.mark.parametrize("parent_only", [True, False])
async def test_a_foreign_key_on_partitions_with_rows(lab: Lab, parent_only: bool) -> None:
    rule = "FOREIGN KEY (chain_id) REFERENCES demo.chains (id)"
    lab.revise(f'op.add_constraint_concurrently("demo.events", "fk_events_chain", "{rule}")', transactional=False)
    if not parent_only:
        # What an interrupted try may have left: one partition proved, one only begun.
        await lab.query(f"ALTER TABLE demo.events_p1 ADD CONSTRAINT fk_events_chain {rule} NOT VALID")
        await lab.query("ALTER TABLE demo.events_p1 VALIDATE CONSTRAINT fk_events_chain")
        await lab.query(f"ALTER TABLE demo.events_p2 ADD CONSTRAINT fk_events_chain {rule} NOT VALID")
    await up(lab.site())
    found = (
        "SELECT conrelid::regclass::text, convalidated, conparentid <> 0 FROM pg_constraint WHERE conname = 'fk_events_chain' ORDER BY 1"
    )
    assert await lab.query(found) == [("demo.events", True, False), ("demo.events_p1", True, True), ("demo.events_p2", True, True)]


async def test_rows_that_break_a_new_rule_are_refused_and_can_be_mended(lab: Lab) -> None:
    await lab.query("ALTER TABLE demo.packets DROP CONSTRAINT fk_packets_chain")
    await lab.query("UPDATE demo.packets SET chain_id = 'nowhere' WHERE id = 7")
    rule = "FOREIGN KEY (chain_id) REFERENCES demo.chains (id)"
    lab.revise(f'op.add_constraint_concurrently("demo.packets", "fk_packets_chain", "{rule}")', transactional=False)
    with pytest.raises(MigrationFailed, match="violates foreign key constraint"):
        await up(lab.site())
    # New rows are bound already, so that mending the old ones comes to an end.
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await lab.query("INSERT INTO demo.packets (id, chain_id) VALUES (9999, 'nowhere')")
    await lab.query("UPDATE demo.packets SET chain_id = 'chain-1' WHERE id = 7")
    await up(lab.site())
    assert (await verify(lab.site())).differences == []


async def test_replacing_an_index_of_partitions_twice(lab: Lab) -> None:
    for number, columns in ((2, '["kind", "ts"]'), (3, '["kind", "id"]')):
        body = f'op.create_index_concurrently("idx_events_kind__new", "events", {columns}, schema="demo")\n'
        lab.revise(f'{body}op.swap_index("idx_events_kind__new", "idx_events_kind", "demo.events")', transactional=False, number=number)
    await up(lab.site())
    query = (
        "SELECT i.relname, pg_get_indexdef(i.oid) LIKE '%%(kind, id)'"
        " FROM pg_partition_tree('demo.idx_events_kind') AS t JOIN pg_class AS i ON i.oid = t.relid"
    )
    assert sorted(await lab.query(query)) == [
        ("events_p1_idx_events_kind", True),
        ("events_p2_idx_events_kind", True),
        ("idx_events_kind", True),
    ]


async def test_writers_go_on_while_a_column_is_filled_and_bound(lab: Lab) -> None:
    lab.revise(
        'op.backfill("demo.events", "kind = \'filled\'", "kind = \'kind 3\'", pages=2)\nop.set_not_null_concurrently("demo.events", "kind")',
        transactional=False,
    )
    stop = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        async with await psycopg.AsyncConnection.connect(lab.conninfo, autocommit=True) as writer:
            while not stop.is_set():
                await writer.execute("INSERT INTO demo.events VALUES (%s, '2026-01-02 12:00+00', 'chain-1', 'new')", [100_000 + written])
                written += 1

    writing = asyncio.create_task(write())
    await up(lab.site())
    stop.set()
    await writing
    assert written > 0
    assert await lab.value("SELECT count(*) FROM demo.events WHERE kind = 'kind 3' OR kind IS NULL") == 0
    assert await lab.value("SELECT count(*) FROM demo.events WHERE kind = 'filled'") == 286
    assert await lab.value("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%not_null%%' AND contype = 'c'") == 0


async def test_a_partition_that_is_dropped_while_its_part_is_missing(lab: Lab) -> None:
    lab.revise('op.create_index_concurrently("idx_late", "events", ["chain_id", "kind"], schema="demo")', transactional=False)
    await lab.query("CREATE INDEX idx_late ON ONLY demo.events USING btree (chain_id, kind)")
    await lab.query("CREATE INDEX events_p1_idx_late ON demo.events_p1 USING btree (chain_id, kind)")
    await lab.query("ALTER INDEX demo.idx_late ATTACH PARTITION demo.events_p1_idx_late")
    await lab.query("DROP TABLE demo.events_p2")
    assert await lab.value(INVALID) == 1
    await up(lab.site())
    assert await lab.value(INVALID) == 0
