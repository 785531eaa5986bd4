"""Every kind of change of a declaration: make writes it, up makes it, verify finds nothing, down takes it back whole."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.migrate import Snapshot, down, make, up, verify
from chainstrata.migrate.compare import compare
from chainstrata.migrate.schema import Kind
from chainstrata.model import Lifecycle, check, days, months, reference, unique
from tests.fixtures.changing import NAME, Lab, Spec, base, col, computed, idx

Alter = Callable[[Spec], object]
CASES: dict[str, Alter] = {}


def case(name: str) -> Callable[[Alter], Alter]:
    def register(alter: Alter) -> Alter:
        CASES[name] = alter
        return alter

    return register


@case("a column that may be empty")
def _(spec: Spec) -> None:
    spec.columns["packets"]["memo"] = col("memo", sa.Text, nullable=True)


@case("a column with a default")
def _(spec: Spec) -> None:
    spec.columns["packets"]["weight"] = col("weight", sa.Double, server_default=sa.text("1.5"))


@case("a column that must be filled, in an empty table")
def _(spec: Spec) -> None:
    spec.columns["drafts"]["title"] = col("title", sa.Text)


@case("columns of many types")
def _(spec: Spec) -> None:
    kinds = {
        "a_flag": sa.Boolean,
        "a_day": sa.Date,
        "a_small": sa.SmallInteger,
        "an_uuid": sa.Uuid,
        "some_bytes": sa.LargeBinary,
        "a_text": lambda: sa.String(20),
        "a_list": lambda: pg.ARRAY(sa.Text()),
        "a_span": pg.TSTZRANGE,
        "a_document": pg.JSONB,
        "an_address": pg.INET,
        "an_interval": sa.Interval,
        "a_price": lambda: sa.Numeric(12, 4),
        "a_state": spec.state_type,
    }
    spec.columns["packets"] |= {name: col(name, kind, nullable=True) for name, kind in kinds.items()}


@case("a column gone, with the index, check and views on it")
def _(spec: Spec) -> None:
    del spec.columns["packets"]["seen_at"], spec.rules["packets"]["seen"]
    del spec.columns["packets"]["tries"]
    spec.rules["packets"]["fee"] = lambda: check("packets_fee_sensible", "fee >= 0")
    spec.files["views"]["open_packets"] = "CREATE VIEW demo.open_packets AS SELECT id, chain_id, fee FROM demo.packets WHERE note IS NULL"


@case("a column of another type")
def _(spec: Spec) -> None:
    spec.columns["packets"]["tries"] = col("tries", sa.BigInteger, server_default=sa.text("0"))
    spec.columns["chains"]["rank"] = col("rank", sa.Text, nullable=True)


@case("a column of another type that others are computed from and views show")
def _(spec: Spec) -> None:
    spec.columns["packets"]["fee"] = col("fee", lambda: sa.Numeric(30, 6), nullable=True)


@case("a column that no longer may be empty, and one that now may")
def _(spec: Spec) -> None:
    spec.columns["packets"]["fee"] = col("fee", sa.Numeric)
    spec.columns["packets"]["tries"] = col("tries", sa.Integer, server_default=sa.text("0"), nullable=True)
    spec.columns["events"]["kind"] = col("kind", sa.Text)


@case("defaults: another, none, a first one")
def _(spec: Spec) -> None:
    spec.columns["packets"]["tries"] = col("tries", sa.Integer, server_default=sa.text("7"))
    spec.columns["packets"]["seen_at"] = col("seen_at", lambda: sa.TIMESTAMP(timezone=True))
    spec.columns["packets"]["note"] = col("note", sa.Text, nullable=True, server_default=sa.text("'see ' || current_user"))
    spec.columns["packets"]["status"] = col("status", spec.state_type, server_default="held")


@case("comments of everything")
def _(spec: Spec) -> None:
    spec.doc = "Another word for it."
    spec.comments["packets"] = "It's one row per packet."
    spec.columns["packets"]["fee"] = col("fee", sa.Numeric, nullable=True, doc="What 'relaying' costs, 100 % of it: a\\b.")
    spec.rules["packets"]["seen"] = idx("idx_packets_seen", "seen_at DESC", why="Another reason.")


@case("a computed column")
def _(spec: Spec) -> None:
    spec.columns["packets"]["share"] = col("share", sa.Numeric, computed("fee / 2"), nullable=True)


@case("a computed column computed in another way")
def _(spec: Spec) -> None:
    spec.columns["packets"]["total"] = col("total", sa.Numeric, computed("demo.twice(fee) + tries"), nullable=True)


@case("a computed column with an index on it, computed in another way")
def _(spec: Spec) -> None:
    spec.columns["packets"]["total"] = col("total", sa.Numeric, computed("fee * 3"), nullable=True)
    spec.rules["packets"]["by_total"] = idx("idx_packets_total", "total")
    spec.rules["packets"]["total"] = lambda: check("packets_total_positive", "total >= 0")


@case("a check, and a changed one")
def _(spec: Spec) -> None:
    spec.rules["packets"]["tries"] = lambda: check("packets_tries_few", "tries < 100 AND note NOT LIKE '%:%'")
    spec.rules["packets"]["fee"] = lambda: check("packets_fee_sensible", "fee >= 0 OR fee IS NULL AND tries = 0")


@case("a check on a partitioned table")
def _(spec: Spec) -> None:
    spec.rules["events"]["few"] = lambda: check("events_kind_form", "kind ~ '^kind [0-9:]+$'")


@case("unique, on a plain and a partitioned table")
def _(spec: Spec) -> None:
    spec.rules["packets"]["pair"] = lambda: unique("packets_pair_key", "chain_id", "note")
    spec.rules["events"]["pair"] = lambda: unique("events_pair_key", "chain_id", "id", "ts")


@case("unique no longer")
def _(spec: Spec) -> None:
    del spec.rules["packets"]["note"]


@case("a foreign key, on a plain and a partitioned table")
def _(spec: Spec) -> None:
    spec.columns["drafts"]["chain_id"] = col("chain_id", sa.Text, nullable=True)
    spec.rules["drafts"]["chain"] = lambda: reference("fk_drafts_chain", ["chain_id"], ["demo.chains.id"], ondelete="SET NULL")
    spec.rules["events"]["chain"] = lambda: reference("fk_events_chain", ["chain_id"], ["demo.chains.id"])


@case("a foreign key that follows its target, and one gone")
def _(spec: Spec) -> None:
    spec.rules["packets"]["chain"] = lambda: reference("fk_packets_chain", ["chain_id"], ["demo.chains.id"], ondelete="CASCADE")


@case("another primary key")
def _(spec: Spec) -> None:
    spec.rules["packets"]["pk"] = lambda: sa.PrimaryKeyConstraint("id", "chain_id", name="packets_pkey")


@case("an index of each sort")
def _(spec: Spec) -> None:
    spec.extensions.append("pg_trgm")
    spec.rules["packets"] |= {
        "i1": idx("idx_packets_fee", "fee", postgresql_include=["note"]),
        "i2": idx("idx_packets_held", "seen_at", postgresql_where=sa.text("status = 'held' AND note <> 'a:b'")),
        "i3": idx("idx_packets_lower", "lower(note)", unique=True),
        "i4": idx("idx_packets_trgm", "note gin_trgm_ops", postgresql_using="gin"),
        "i5": idx("idx_packets_brin", "seen_at", postgresql_using="brin", postgresql_with={"pages_per_range": 8}),
        "i6": idx("idx_packets_order", "chain_id", "fee DESC NULLS LAST"),
    }


@case("an index of a partitioned table")
def _(spec: Spec) -> None:
    spec.rules["events"]["chain"] = idx("idx_events_chain", "chain_id", "ts DESC")


@case("an index on another column, and one on fewer rows")
def _(spec: Spec) -> None:
    spec.rules["packets"]["seen"] = idx("idx_packets_seen", "seen_at", "chain_id")
    spec.rules["packets"]["open"] = idx("idx_packets_open", "chain_id", postgresql_where=sa.text("status <> 'done'"))
    spec.rules["events"]["kind"] = idx("idx_events_kind", "kind", "ts")


@case("no index any more")
def _(spec: Spec) -> None:
    del spec.rules["packets"]["seen"], spec.rules["events"]["kind"]


@case("an index on a column that comes with it")
def _(spec: Spec) -> None:
    spec.columns["events"]["height"] = col("height", sa.BigInteger, nullable=True)
    spec.rules["events"]["height"] = idx("idx_events_height", "height")


@case("tables that need each other")
def _(spec: Spec) -> None:
    spec.columns["left"] = {"id": col("id", sa.BigInteger, autoincrement=False), "other": col("other", sa.BigInteger, nullable=True)}
    spec.columns["right"] = {"id": col("id", sa.BigInteger, autoincrement=False), "other": col("other", sa.BigInteger, nullable=True)}
    for own, other in (("left", "right"), ("right", "left")):
        spec.rules[own] = {
            "pk": lambda own=own: sa.PrimaryKeyConstraint("id", name=f"{own}_pkey"),
            "fk": lambda own=own, other=other: reference(f"fk_{own}", ["other"], [f"demo.{other}.id"], use_alter=own == "left"),
            "ix": idx(f"idx_{own}", "other"),
        }


@case("a partitioned table")
def _(spec: Spec) -> None:
    spec.columns["ticks"] = {"ts": col("ts", lambda: sa.TIMESTAMP(timezone=True)), "chain_id": col("chain_id", sa.Text)}
    spec.rules["ticks"] = {
        "pk": lambda: sa.PrimaryKeyConstraint("chain_id", "ts", name="ticks_pkey"),
        "chain": lambda: reference("fk_ticks_chain", ["chain_id"], ["demo.chains.id"]),
        "ts": idx("idx_ticks_ts", "ts"),
    }
    spec.options["ticks"] = {"postgresql_partition_by": "RANGE (ts)"}


@case("a table gone")
def _(spec: Spec) -> None:
    del spec.columns["drafts"], spec.rules["drafts"]


@case("storage options")
def _(spec: Spec) -> None:
    spec.options["packets"] = {"postgresql_with": {"fillfactor": 70, "autovacuum_enabled": "false"}}


@case("an enum, and a column of it")
def _(spec: Spec) -> None:
    spec.more_enums["mood"] = ["calm", "wild"]
    from chainstrata.model import enum
    from tests.fixtures.changing import state

    spec.columns["chains"]["mood"] = col("mood", lambda: enum("mood", state("calm", "wild"), schema=NAME), server_default="calm")


@case("enum values at the start, in the middle and at the end, used at once")
def _(spec: Spec) -> None:
    spec.states = ("new", "open", "stuck", "held", "done", "gone")
    spec.rules["packets"]["stuck"] = idx("idx_packets_stuck", "seen_at", postgresql_where=sa.text("status = 'stuck'"))
    spec.columns["packets"]["status"] = col("status", spec.state_type, server_default="new")


@case("an enum value no longer")
def _(spec: Spec) -> None:
    spec.states = ("open", "done")
    spec.files["functions"]["of_chain"] = spec.files["functions"]["of_chain"].replace("held", "done")
    spec.columns["packets"]["late"] = col("late", sa.Boolean, computed("status = 'done'"), nullable=True)


@case("a domain, and another limit of one")
def _(spec: Spec) -> None:
    spec.domains["amount"] = (sa.Numeric(20, 0), "VALUE >= 0 AND VALUE < 1000000")
    spec.domains["height"] = (sa.BigInteger(), "VALUE >= 0")
    spec.columns["packets"]["height"] = col("height", lambda: spec.domain_type("height"), nullable=True)


@case("a function, and another body of one")
def _(spec: Spec) -> None:
    spec.files["functions"]["thrice"] = "CREATE FUNCTION demo.thrice(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE RETURN value * 3"
    spec.files["functions"]["note_change"] = (
        "CREATE FUNCTION demo.note_change() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n    NEW.note := 'it''s \\1';\n    RETURN NEW;\nEND\n$$;"
    )


@case("a function that returns something else, with a view on it")
def _(spec: Spec) -> None:
    spec.files["functions"]["of_chain"] = (
        "CREATE FUNCTION demo.of_chain(wanted text) RETURNS bigint LANGUAGE sql STABLE\n"
        "BEGIN ATOMIC SELECT count(*) FROM demo.packets WHERE chain_id = wanted; END"
    )


@case("a function gone")
def _(spec: Spec) -> None:
    del spec.files["functions"]["of_chain"]


@case("a view, and others on another query")
def _(spec: Spec) -> None:
    spec.files["views"] |= {
        "held": "CREATE VIEW demo.held AS SELECT id FROM demo.packets WHERE status = 'held'",
        "open_packets": "CREATE VIEW demo.open_packets AS SELECT chain_id, fee, id::text AS id FROM demo.packets WHERE status <> 'done'",
        "by_state": "CREATE MATERIALIZED VIEW demo.by_state AS SELECT status, sum(fee) AS fees FROM demo.packets GROUP BY status",
    }


@case("an index of a materialized view")
def _(spec: Spec) -> None:
    spec.files["views"]["by_state_packets"] = "CREATE INDEX by_state_packets ON demo.by_state (packets DESC)"


@case("views gone")
def _(spec: Spec) -> None:
    spec.files["views"] = {}


@case("triggers: another, a changed one")
def _(spec: Spec) -> None:
    spec.files["triggers"] = {
        "packets_noted": "CREATE TRIGGER packets_noted BEFORE INSERT OR UPDATE ON demo.packets FOR EACH ROW EXECUTE FUNCTION demo.note_change()",
        "events_noted": "CREATE TRIGGER events_noted BEFORE UPDATE ON demo.events FOR EACH ROW EXECUTE FUNCTION demo.note_change()",
    }


@case("no trigger any more, nor its function")
def _(spec: Spec) -> None:
    spec.files["triggers"] = {}
    del spec.files["functions"]["note_change"]


@case("the life cycle")
def _(spec: Spec) -> None:
    spec.lifecycle = Lifecycle(partition=days(1), premake=9, keep=months(2), archive=False)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    # An extension stays when it is no longer asked for: others may use it.
    changes = [change for change in compare(one, other) if change.key.kind is not Kind.EXTENSION]
    assert [f"{c}: {c.before and c.before.definition} / {c.after and c.after.definition}" for c in changes] == []


@pytest.mark.parametrize("name", CASES)
async def test_change_there_and_back(name: str, lab: Lab) -> None:
    first = await lab.snapshot()
    changed = base()
    CASES[name](changed)
    site = lab.site(changed)

    made = await make(site, NAME)
    assert made.files
    await up(site)
    verdict = await verify(site)
    assert (verdict.ok, list(map(str, verdict.differences))) == (True, [])
    second = await lab.snapshot()

    await down(site, str(len(made.files)), yes=True)
    assert_same(await lab.snapshot(), first)
    await up(site)
    assert_same(await lab.snapshot(), second)
