"""What verify, make and lint say: every sort of deviation by name, what cannot be written, what is risky."""

import re
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import conninfo as libpq

from chainstrata.errors import DeclarationError
from chainstrata.migrate import down, lint, make, status, up, verify
from chainstrata.migrate.errors import MigrationFailed, NotMigratable, NotMigrated, RevisionUnusable, ScratchDenied
from chainstrata.migrate.scratch import PREFIX
from chainstrata.model import Lifecycle, reference
from tests.fixtures.changing import NAME, Lab, base, col, idx

TAMPERED = {
    "DROP INDEX demo.idx_packets_seen": "missing index demo.idx_packets_seen",
    "CREATE INDEX more ON demo.packets (tries)": "extra index demo.more",
    "DROP INDEX demo.idx_packets_seen; CREATE INDEX idx_packets_seen ON demo.packets (seen_at)": "different index demo.idx_packets_seen",
    "ALTER TABLE demo.chains DROP COLUMN name": "missing column demo.chains.name",
    "ALTER TABLE demo.packets ADD COLUMN more int": "extra column demo.packets.more",
    "ALTER TABLE demo.packets ALTER COLUMN tries TYPE bigint": "different column demo.packets.tries",
    "ALTER TABLE demo.packets ALTER COLUMN tries SET DEFAULT 5": "different column demo.packets.tries",
    "ALTER TABLE demo.packets ALTER COLUMN tries DROP NOT NULL": "different column demo.packets.tries",
    "COMMENT ON COLUMN demo.packets.tries IS 'x'": "different column demo.packets.tries",
    "COMMENT ON TABLE demo.packets IS NULL": "different table demo.packets",
    "DROP TABLE demo.drafts": "missing table demo.drafts",
    "CREATE TABLE demo.more (id int)": "extra table demo.more",
    "ALTER TABLE demo.packets DROP CONSTRAINT packets_fee_sensible": "missing constraint demo.packets.packets_fee_sensible",
    "ALTER TABLE demo.packets ADD CHECK (id > 0)": "extra constraint demo.packets.packets_id_check",
    "ALTER TYPE demo.state ADD VALUE 'more'": "different enum demo.state",
    "ALTER DOMAIN demo.amount DROP CONSTRAINT amount_range": "different domain demo.amount",
    "CREATE OR REPLACE FUNCTION demo.twice(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE RETURN value * 2.0": (
        "different function demo.twice(value numeric)"
    ),
    "DROP FUNCTION demo.of_chain": "missing function demo.of_chain(wanted text)",
    "ALTER TABLE demo.packets DISABLE TRIGGER packets_noted": "different trigger demo.packets.packets_noted",
    "DROP TRIGGER packets_noted ON demo.packets": "missing trigger demo.packets.packets_noted",
    "DROP VIEW demo.open_fees": "missing view demo.open_fees",
    "CREATE OR REPLACE VIEW demo.open_packets AS SELECT id, chain_id, fee FROM demo.packets": "different view demo.open_packets",
    "UPDATE strata.dataset SET policy = '{\"a\": 1}' WHERE name = 'demo.events'": "different policy demo.events",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'demo.idx_packets_seen'::regclass": "invalid index demo.idx_packets_seen",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'demo.events_p1_kind_idx'::regclass": "invalid index of partition demo.events_p1",
    "ALTER TABLE demo.packets ADD CONSTRAINT late CHECK (id > 0) NOT VALID": "extra constraint demo.packets.late",
}


def batches() -> list[list[str]]:
    """Return the statements in batches of which none touches an object of another of its batch."""
    found: list[list[str]] = []
    for statement, deviation in TAMPERED.items():
        name = deviation.split()[-1]
        free = [batch for batch in found if name not in {TAMPERED[other].split()[-1] for other in batch}]
        if free:
            free[0].append(statement)
        else:
            found.append([statement])
    return found


@pytest.mark.conforms("S1-35", "S1-36")
@pytest.mark.parametrize("statements", batches(), ids=len)
async def test_verify_names_what_was_changed_behind_its_back(lab: Lab, statements: list[str]) -> None:
    for statement in statements:
        for part in statement.split("; "):
            await lab.query(part)
    found = {str(one): one for one in (await verify(lab.site())).differences}
    assert sorted(found) == sorted(TAMPERED[statement] for statement in statements)
    for one in found.values():
        assert bool(one.declared) is (one.deviation in ("missing", "different") or (one.deviation == "invalid" and one.kind == "index"))
        assert bool(one.live) is (one.deviation != "missing")


@pytest.mark.conforms("S1-26")
async def test_verify_is_content_with_partitions_and_finds_pending_edited_and_stopped(lab: Lab) -> None:
    assert (await verify(lab.site())).ok
    name = lab.revise('op.execute("SELECT 1")')
    verdict = await verify(lab.site())
    assert (verdict.ok, verdict.pending, verdict.differences) == (False, [name], [])
    await up(lab.site())
    lab.revise('op.execute("SELECT 2")')
    assert (await verify(lab.site())).edited == [name]


async def test_a_role_that_may_not_make_databases_is_told_so(lab: Lab) -> None:
    role = f"reader_{libpq.conninfo_to_dict(lab.conninfo)['dbname']}"
    await lab.query(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        await lab.query(f"GRANT USAGE ON SCHEMA strata, demo TO {role}")
        await lab.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA strata TO {role}")
        lab.conninfo, owner = libpq.make_conninfo(lab.conninfo, user=role, password="secret"), lab.conninfo
        with pytest.raises(ScratchDenied, match="permission denied to create database") as caught:
            await verify(lab.site())
        assert "CREATEDB" in caught.value.hint
        lab.conninfo = owner
    finally:
        await lab.query(f"DROP OWNED BY {role}")
        await lab.query(f"DROP ROLE {role}")


async def test_scratch_databases_go_also_those_of_killed_predecessors(lab: Lab) -> None:
    async with await psycopg.AsyncConnection.connect(lab.conninfo, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {PREFIX}1_stale TEMPLATE template0")
    await verify(lab.site())
    assert await lab.value("SELECT count(*) FROM pg_database WHERE starts_with(datname, %s)", f"{PREFIX}1_") == 0


# make -----------------------------------------------------------------------------------------------------------------


@pytest.mark.conforms("S0-35", "S4-79")
async def test_make_writes_a_named_revision_and_nothing_when_nothing_differs(lab: Lab) -> None:
    assert (await make(lab.site(), NAME)).files == ()
    changed = base()
    changed.columns["packets"]["memo"] = col("memo", sa.Text, nullable=True)
    made = await make(lab.site(changed), NAME, "a memo for every packet")
    assert [path.name for path in made.files] == ["0002_a_memo_for_every_packet.py"]
    assert made.changes == ["add column demo.packets.memo"]
    text = made.files[0].read_text()
    assert text.startswith('"""A memo for every packet."""\n')
    assert 'op.add_column("packets", sa.Column("memo", sa.Text(), nullable=True, comment="The memo."), schema="demo")' in text
    assert 'op.drop_column("packets", "memo", schema="demo")' in text


async def test_make_names_what_it_was_not_told(lab: Lab) -> None:
    changed = base()
    changed.rules["packets"]["more"] = idx("idx_more", "tries")
    made = await make(lab.site(changed), NAME)
    assert [path.name for path in made.files] == ["0002_add_index_idx_more.py"]
    assert "transactional = False" in made.files[0].read_text()


async def test_make_needs_every_revision_applied(lab: Lab) -> None:
    lab.revise('op.execute("SELECT 1")')
    with pytest.raises(NotMigrated, match="1 migrations are not applied: demo_0002"):
        await make(lab.site(), NAME)


async def test_make_writes_where_it_is_told_or_says_why_not(lab: Lab, tmp_path: Path) -> None:
    made = await make(lab.site(migrate__directory=tmp_path / "elsewhere"), NAME, "by hand", empty=True)
    assert [path.parent.name for path in made.files] == ["elsewhere"]
    (tmp_path / "file").touch()
    with pytest.raises(RevisionUnusable, match="cannot write to"):
        await make(lab.site(migrate__directory=tmp_path / "file" / "below"), NAME, empty=True)


async def test_what_cannot_be_changed_in_place_is_said(lab: Lab) -> None:
    changed = base()
    del changed.options["events"]
    changed.lifecycle = Lifecycle()
    with pytest.raises(NotMigratable, match=re.escape("table demo.events is partitioned by RANGE (ts) and cannot become plain in place")):
        await make(lab.site(changed), NAME)


@pytest.mark.conforms("S2-79", "S2-80", "S2-81")
async def test_a_column_that_must_be_filled_waits_for_its_rows(lab: Lab) -> None:
    changed = base()
    changed.columns["packets"]["memo"] = col("memo", sa.Text)
    made = await make(lab.site(changed), NAME)
    assert made.notes == ["Rows that are there have no memo yet: fill them here, as with op.backfill(…)."]
    last = made.files[-1]
    with pytest.raises(MigrationFailed, match="is violated by some row"):
        await up(lab.site(changed))
    text = last.read_text()
    filled = '    op.backfill("demo.packets", "memo = \'filled\'", "memo IS NULL")\n'
    last.write_text(text.replace("    op.set_not_null_concurrently", filled + "    op.set_not_null_concurrently", 1))
    await up(lab.site(changed))
    assert (await verify(lab.site(changed))).ok
    assert await lab.value("SELECT count(*) FROM demo.packets WHERE memo = 'filled'") == 500
    await down(lab.site(changed), "2", yes=True)
    assert (await status(lab.site(changed))).pending == ["demo_0002", "demo_0003"]


# lint -----------------------------------------------------------------------------------------------------------------

RISKY = {
    'op.create_index("idx_tries", "packets", ["tries"], schema="demo")': "require-concurrent-index-creation",
    'op.add_constraint("demo.packets", "few", "CHECK (tries < 9)")': "constraint-missing-not-valid",
    'op.alter_column("packets", "tries", type_=sa.BigInteger(), schema="demo")': "changing-column-type",
    'op.add_column("packets", sa.Column("at", sa.TIMESTAMP(), nullable=True), schema="demo")': "prefer-timestamp-tz",
    'op.execute("ALTER TABLE demo.packets RENAME COLUMN fee TO cost")': "renaming-column",
    'op.alter_column("packets", "tries", nullable=False, schema="demo")': "adding-not-nullable-field",
}


@pytest.mark.parametrize("operation", RISKY)
async def test_lint_names_the_operation_and_the_rule(lab: Lab, operation: str) -> None:
    name = lab.revise(f'op.execute("SELECT 1")\n{operation}')
    found = await lint(lab.site())
    assert [(one.place, one.rule) for one in found] == [(name, RISKY[operation])]
    assert found[0].operation
    assert found[0].message


async def test_lint_has_nothing_to_object_to_in_what_make_writes(lab: Lab) -> None:
    changed = base()
    changed.rules["events"]["few"] = idx("idx_events_chain", "chain_id")
    changed.rules["events"]["chain"] = lambda: reference("fk_events_chain", ["chain_id"], ["demo.chains.id"])
    changed.columns["packets"]["memo"] = col("memo", sa.Text)
    changed.states = ("open", "stuck", "held", "done")
    await make(lab.site(changed), NAME)
    assert list(map(str, await lint(lab.site(changed)))) == []


async def test_lint_looks_at_declarations_too(lab: Lab) -> None:
    changed = base()
    changed.rules["packets"] |= {
        "again": idx("idx_packets_again", "seen_at DESC"),
        "shorter": idx("idx_packets_id", "id"),
        "chain": lambda: reference("fk_packets_chain", ["chain_id"], ["demo.chains.id"], ondelete="CASCADE"),
    }
    changed.columns["drafts"]["chain_id"] = col("chain_id", sa.Text, nullable=True)
    changed.rules["drafts"] |= {
        "chain": lambda: reference("fk_drafts_chain", ["chain_id"], ["demo.chains.id"], ondelete="SET NULL"),
        "served": idx("idx_drafts_chain", "chain_id", postgresql_where=sa.text("chain_id IS NOT NULL")),
    }
    found = [(one.operation, one.rule) for one in await lint(lab.site(changed), ["demo_0001"])]
    assert found == [
        ("index idx_packets_id", "redundant-index"),
        ("index idx_packets_seen", "redundant-index"),
        ("foreign key fk_packets_chain", "foreign-key-without-index"),
    ]


async def test_a_declaration_that_is_no_sql_is_named(lab: Lab) -> None:
    changed = base()
    changed.files["views"]["open_fees"] = "CREATE VIEW demo.open_fees AS SELECT nothing FROM demo.open_packets"
    with pytest.raises(DeclarationError, match=r'CREATE VIEW demo\.open_fees AS SELECT nothing FROM .*: SQL: column "nothing"'):
        await verify(lab.site(changed))
