"""Queries, functions and views of the validators pack answer what plain Python answers, and the indexes there are serve them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import groupby
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from chainstrata.engines.postgres import Connection, Database, Query, load_queries
from chainstrata.model import Catalog
from chainstrata.packs.validators.model import AlertSeverity
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import Server
from tests.fixtures.rows import find_indexes
from tests.fixtures.samples import ANCHOR, Sampled

QUERIES = load_queries("chainstrata.packs.validators")
SINCE, UNTIL = ANCHOR - timedelta(hours=30), ANCHOR - timedelta(hours=3)


@pytest.fixture
def snapshots(sampled: Sampled) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sampled.tables["validators.snapshots"].to_pylist()
    return rows


@pytest.fixture
def duties(sampled: Sampled) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sampled.tables["validators.duties"].to_pylist()
    return [row for row in rows if SINCE <= row["ts"] < UNTIL]


# Indexes -------------------------------------------------------------------------------------------------------------
HOUR = {"since": ANCHOR - timedelta(hours=20), "until": ANCHOR - timedelta(hours=19)}
ANY_ALERT = {
    "resolution_status": None,
    "severity": None,
    "alert_type": None,
    "validator_index": None,
    "since": ANCHOR - timedelta(days=900),
    "until": ANCHOR,
    "limit": 20,
}
SPAN_OF_ALERTS = {"since": ANCHOR - timedelta(days=2), "until": ANCHOR - timedelta(days=1), "limit": 20}
PATTERNS = [
    pytest.param("list_snapshots_between", HOUR, "idx_validator_snapshots_ts", id="all over an hour"),
    pytest.param("list_missed_duties", HOUR, "idx_attestation_duties_ts", id="misses of an hour"),
    pytest.param(
        "list_snapshots_of_validator",
        {"validator_index": 100_007, **HOUR, "limit": 100},
        "validator_snapshots_pkey",
        id="one over an hour",
    ),
    pytest.param("list_alerts", ANY_ALERT | SPAN_OF_ALERTS, "idx_alerts_raised", id="alerts of a day"),
    pytest.param(
        "get_validator_by_pubkey",
        {"pubkey": "0x" + "00" * 48},
        "validators_pubkey_key",
        id="by public key",
    ),
    pytest.param("get_validator", {"validator_index": 1}, "validators_pkey", id="by index"),
    pytest.param(
        "list_validators_of_operator",
        {"operator": "operator 7", "label": None, "after": -1, "limit": 50},
        "idx_validators_operator",
        id="of an operator",
    ),
    pytest.param(
        "list_validators_in_status",
        {"status": "pending_queued", "after": -1, "limit": 50},
        "idx_validators_status",
        id="in a status",
    ),
    pytest.param(
        "list_alerts",
        ANY_ALERT | {"validator_index": 500_123},
        "idx_alerts_validator",
        id="alerts of one",
    ),
    pytest.param(
        "list_unresolved_alerts",
        {"severity": "critical", "limit": 20},
        "idx_alerts_unresolved",
        id="unresolved by gravity",
    ),
    pytest.param("list_alerts", ANY_ALERT | {"alert_type": "slashed"}, "idx_alerts_type", id="of a type"),
    pytest.param("count_unresolved_alerts", {}, "idx_alerts_unresolved", id="count by gravity"),
]
MANY_VALIDATORS = """
    INSERT INTO validators.validators (validator_index, pubkey, status, withdrawal_credentials, effective_balance, operator)
    SELECT n, '0x' || lpad(to_hex(n), 96, 'e'),
        CASE WHEN mod(n, 500) = 0 THEN 'pending_queued' ELSE 'active_ongoing' END::validators.validator_status,
        '0x01' || repeat('0', 62), 32000000000, 'operator ' || mod(n, 400)
    FROM generate_series(500000, 520000) AS n
"""
MANY_ALERTS = """
    INSERT INTO validators.alerts (alert_type, severity, validator_index, raised_at, last_seen_at, message, dedupe_key, resolution_status,
        resolved_at, resolved_by)
    SELECT (CASE WHEN mod(n, 500) = 0 THEN 'slashed' ELSE 'missed_attestation' END)::validators.alert_type,
        (CASE WHEN mod(n, 50) = 0 THEN 'critical' ELSE 'warning' END)::validators.alert_severity,
        500000 + mod(n, 20000), at, at, 'missed', 'many:' || n,
        CASE WHEN mod(n, 40) = 0 THEN 'open' ELSE 'resolved' END::validators.alert_resolution,
        CASE WHEN mod(n, 40) <> 0 THEN at END, CASE WHEN mod(n, 40) <> 0 THEN 'rule' END
    FROM (SELECT n, %(anchor)s::timestamptz - make_interval(mins => n * 20) AS at FROM generate_series(1, 40000) AS n) AS made
"""
# Few validators could be skipped through one by one, in the primary key, instead.
MANY_SNAPSHOTS = """
    INSERT INTO validators.validator_snapshots (validator_index, ts, slot, epoch, balance)
    SELECT 500000 + n, date_trunc('day', %(anchor)s::timestamptz, 'UTC') - interval '1 day' + h * interval '2 hours', h, h, 32000000000
    FROM generate_series(0, 11) AS h, generate_series(1, 10000) AS n
"""


@pytest.fixture(scope="module")
def crowded(server: Server, sampled: Sampled) -> Iterator[str]:
    """Give the samples with twenty thousand more validators, a day of some of them, and two years of alerts."""
    name = f"chainstrata_crowded_{os.getpid()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as admin:
        template = conninfo_to_dict(sampled.conninfo)["dbname"]
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(str(template))))
        with psycopg.connect(server.connect_to(name), autocommit=True) as connection:
            connection.execute(MANY_VALIDATORS)
            connection.execute(MANY_ALERTS, {"anchor": ANCHOR})
            connection.execute(MANY_SNAPSHOTS, {"anchor": ANCHOR})
            connection.execute("VACUUM ANALYZE validators.validators, validators.alerts, validators.validator_snapshots")
        yield server.connect_to(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.conforms("S0-27", "S0-28", "S0-29")
@pytest.mark.parametrize(("name", "params", "index"), PATTERNS)
async def test_the_index_declared_for_a_query_serves_it(crowded: str, name: str, params: dict[str, Any], index: str) -> None:
    async with Database(crowded, options=OPTIONS) as database, database.connection() as connection:
        used = await find_indexes(connection, QUERIES[name], params)
    assert index in used
    assert not any(name.startswith("scan") for name in used)


@pytest.mark.conforms("S0-28")
async def test_the_latest_snapshots_are_probed_for_one_by_one(samples: Connection) -> None:
    body = await samples.fetch_value(
        "SELECT prosrc FROM pg_proc WHERE oid = 'validators.latest_snapshots(bigint[],timestamptz)'::regprocedure"
    )
    text = body.replace("p_validators", "%(wanted)s::bigint[]").replace("p_as_of", "%(at)s::timestamptz")
    assert await find_indexes(samples, text, {"wanted": [100_001, 100_002], "at": ANCHOR}) == {"validator_snapshots_pkey"}


@pytest.mark.conforms("S0-26", "S0-30")
async def test_every_index_says_in_the_database_which_query_it_is_there_for(samples: Connection, catalog: Catalog) -> None:
    declared = {index.name: index.info["why"] for table in catalog.pack("validators").metadata.tables.values() for index in table.indexes}
    found = await samples.fetch_all(
        "SELECT c.relname, obj_description(i.indexrelid, 'pg_class') AS why FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'validators'::regnamespace AND NOT t.relispartition"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)"
    )
    assert {row.relname: row.why for row in found} == declared
    assert all(why.endswith(".") and len(why) > 15 for why in declared.values())


@pytest.mark.conforms("S0-26")
async def test_no_index_is_the_beginning_of_another(samples: Connection) -> None:
    found = await samples.fetch_all(
        "SELECT c.relname AS name, i.indrelid::regclass::text AS relation, string_to_array(i.indkey::text, ' ')::int[] AS columns, m.amname,"
        " pg_get_expr(i.indpred, i.indrelid) AS condition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_am m ON m.oid = c.relam JOIN pg_class t ON t.oid = i.indrelid"
        " WHERE t.relnamespace = ANY ('{validators,insights}'::regnamespace[]) AND NOT t.relispartition"
    )
    assert len(found) > 30
    repeated = [
        (one.name, other.name)
        for one in found
        for other in found
        if (one.relation, one.amname, one.condition) == (other.relation, other.amname, other.condition)
        and one.name != other.name
        and one.columns == other.columns[: len(one.columns)]
    ]
    assert repeated == []


@pytest.mark.conforms("S0-26")
async def test_every_foreign_key_has_an_index(samples: Connection) -> None:
    bare = await samples.fetch_all(
        "SELECT conname FROM pg_constraint k WHERE contype = 'f' AND connamespace = ANY ('{validators,insights}'::regnamespace[])"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indpred IS NULL"
        " AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)] = k.conkey)"
    )
    assert bare == []


# Answers -------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S0-28")
async def test_latest_snapshots(samples: Connection, snapshots: list[dict[str, Any]]) -> None:
    at = ANCHOR - timedelta(hours=7)
    wanted = [100_003, 100_119, 100_003, 100_050, 7]
    oracle: dict[int, dict[str, Any]] = {}
    for row in snapshots:
        if row["validator_index"] in wanted and row["ts"] <= at:
            newest = oracle.setdefault(row["validator_index"], row)
            if newest["ts"] < row["ts"]:
                oracle[row["validator_index"]] = row
    found = await samples.fetch_all("SELECT * FROM validators.latest_snapshots(%(wanted)s, %(at)s)", {"wanted": wanted, "at": at})
    assert [(row.validator_index, row.ts, row.balance) for row in found] == [
        (index, row["ts"], row["balance"]) for index, row in sorted(oracle.items())
    ]
    newest = await samples.fetch_all("SELECT * FROM validators.latest_snapshots(%(wanted)s)", {"wanted": [100_003]})
    assert newest[0].ts == max(row["ts"] for row in snapshots if row["validator_index"] == 100_003)


def earned(row: dict[str, Any]) -> int:
    return int(row["reward_head"] + row["reward_target"] + row["reward_source"] + row["reward_inactivity"])


def ideal(row: dict[str, Any]) -> int:
    return int(row["ideal_head"] + row["ideal_target"] + row["ideal_source"])


@pytest.mark.conforms("S0-13", "S0-27")
@pytest.mark.parametrize("wanted", [None, [100_002, 100_017]])
async def test_effectiveness_over_a_span_is_a_quotient_of_sums(
    samples: Connection, snapshots: list[dict[str, Any]], wanted: list[int] | None
) -> None:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for row in snapshots:
        if SINCE <= row["ts"] < UNTIL and (wanted is None or row["validator_index"] in wanted):
            own = sums[row["validator_index"]]
            if row["rewards_epoch"] is not None:
                for place, value in enumerate((1, earned(row), ideal(row), row["due_attestations"], row["missed_attestations"])):
                    own[place] += value
    found = await samples.fetch_all(
        "SELECT * FROM validators.effectiveness_between(%(since)s, %(until)s, %(wanted)s)",
        {"since": SINCE, "until": UNTIL, "wanted": wanted},
    )
    assert [row.validator_index for row in found] == sorted(sums)
    for row in found:
        epochs, own_earned, own_ideal, due, missed = sums[row.validator_index]
        assert (row.epochs, row.due_attestations, row.missed_attestations) == (epochs, due, missed)
        if own_ideal:
            assert (row.earned_reward, row.ideal_reward) == (own_earned, own_ideal)
            assert abs(Fraction(row.effectiveness) - Fraction(own_earned, own_ideal)) < Fraction(1, 10**15)
        else:
            assert row.effectiveness is None
    assert {row.effectiveness > 1 for row in found if row.effectiveness is not None} == {False}


def runs(duties: list[dict[str, Any]], at_least: int) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (validator, first, last, length, ongoing) of every run of misses, in plain Python."""
    ordered = sorted(duties, key=lambda row: (row["validator_index"], row["epoch"]))
    for validator, own in groupby(ordered, key=lambda row: row["validator_index"]):
        rows = list(own)
        for included, group in groupby(rows, key=lambda row: row["included"]):
            run = list(group)
            if not included and len(run) >= at_least:
                yield validator, run[0]["epoch"], run[-1]["epoch"], len(run), run[-1] is rows[-1]


@pytest.mark.conforms("S0-14")
@pytest.mark.parametrize("at_least", [1, 3, 8])
async def test_missed_in_a_row(samples: Connection, duties: list[dict[str, Any]], at_least: int) -> None:
    found = await samples.fetch_all(
        "SELECT * FROM validators.missed_streaks(%(since)s, %(until)s, %(at_least)s)",
        {"since": SINCE, "until": UNTIL, "at_least": at_least},
    )
    told = {(row.validator_index, row.first_epoch, row.last_epoch, row.missed, row.ongoing) for row in found}
    assert told == set(runs(duties, at_least))
    assert len(found) == len(told) > 0
    assert [row.missed for row in found] == sorted((row.missed for row in found), reverse=True)


@pytest.mark.conforms("S0-14")
async def test_missed_so_many_of_so_many(samples: Connection, duties: list[dict[str, Any]]) -> None:
    missed: dict[int, int] = defaultdict(int)
    for row in duties:
        missed[row["validator_index"]] += not row["included"]
    found = await samples.fetch_all(QUERIES.list_missing_often, {"since": SINCE, "until": UNTIL, "at_least": 5})
    assert {row.validator_index: row.missed for row in found} == {index: times for index, times in missed.items() if times >= 5}


@pytest.mark.conforms("S0-14")
async def test_misses_say_why_and_whose_they_are(samples: Connection, duties: list[dict[str, Any]]) -> None:
    found = await samples.fetch_all(QUERIES.list_missed_duties, {"since": SINCE, "until": UNTIL})
    oracle = {
        (row["validator_index"], row["epoch"], "not_included" if row["seen"] else "not_seen") for row in duties if not row["included"]
    }
    assert {(row.validator_index, row.epoch, row.miss_reason) for row in found} == oracle
    assert all(row.operator for row in found)


async def test_validators_by_operator_come_in_pages(samples: Connection, sampled: Sampled) -> None:
    wanted = [row["validator_index"] for row in sampled.tables["validators.validators"].to_pylist() if row["operator"] == "lagoon"]
    page = {"operator": "lagoon", "label": None, "limit": 7}
    found: list[int] = []
    while rows := await samples.fetch_all(QUERIES.list_validators_of_operator, page | {"after": found[-1] if found else -1}):
        found += [row.validator_index for row in rows]
    assert found == sorted(wanted)


@pytest.mark.conforms("S0-29")
@pytest.mark.parametrize(
    "filters",
    [
        {"resolution_status": "open"},
        {"severity": "warning"},
        {"alert_type": "reorg"},
        {"validator_index": 100_020},
        {"resolution_status": "resolved", "severity": "info", "alert_type": "missed_attestation"},
        {"since": ANCHOR - timedelta(hours=9), "until": ANCHOR - timedelta(hours=2)},
    ],
)
async def test_alerts_are_filtered_by_any_of_their_columns(samples: Connection, sampled: Sampled, filters: dict[str, Any]) -> None:
    rank = {severity.value: place for place, severity in enumerate(AlertSeverity)}
    params = ANY_ALERT | {"limit": 1000} | filters

    def fits(row: dict[str, Any]) -> bool:
        same = all(params[name] in (None, row[name]) for name in ("resolution_status", "alert_type", "validator_index"))
        grave = params["severity"] is None or rank[row["severity"]] >= rank[params["severity"]]
        return bool(same and grave and params["since"] <= row["raised_at"] < params["until"])

    wanted = [row["id"] for row in sampled.tables["validators.alerts"].to_pylist() if fits(row)]
    found = await samples.fetch_all(QUERIES.list_alerts, params)
    assert sorted(str(row.id) for row in found) == sorted(wanted)
    assert [row.raised_at for row in found] == sorted((row.raised_at for row in found), reverse=True)


async def test_what_is_unresolved_comes_gravest_and_newest_first(samples: Connection, sampled: Sampled) -> None:
    unresolved = [row for row in sampled.tables["validators.alerts"].to_pylist() if row["resolution_status"] in ("open", "acknowledged")]
    found = await samples.fetch_all(QUERIES.list_unresolved_alerts, {"severity": "info", "limit": 1000})
    assert {str(row.id) for row in found} == {row["id"] for row in unresolved}
    order = [(list(AlertSeverity).index(AlertSeverity(row.severity)), row.raised_at) for row in found]
    assert order == sorted(order, reverse=True)
    counts = await samples.fetch_all(QUERIES.count_unresolved_alerts)
    assert sum(row.alerts for row in counts) == len(unresolved)


@pytest.mark.conforms("S0-22")
async def test_an_alert_from_being_raised_to_being_resolved(rows: Connection) -> None:
    at = datetime.now(UTC)
    seen = {
        "alert_type": "missed_attestation",
        "severity": "warning",
        "validator_index": None,
        "slot": None,
        "epoch": 240_249,
        "message": "3 in a row",
        "details": None,
        "dedupe_key": "missed:7",
        "at": at,
    }
    first = await rows.fetch_one(QUERIES.raise_alert, seen)
    again = await rows.fetch_one(
        QUERIES.raise_alert, seen | {"severity": "critical", "at": at + timedelta(minutes=7), "message": "4 in a row"}
    )
    milder = await rows.fetch_one(QUERIES.raise_alert, seen | {"severity": "info", "at": at})
    assert (first.occurrences, again, milder) == (1, (first.id, 2), (first.id, 3))
    state = Query("state", "", "SELECT *, updated_at > created_at AS moved FROM validators.alerts WHERE id = %(id)s")
    alert = await rows.fetch_one(state, {"id": first.id})
    assert (alert.severity, alert.last_seen_at - at, alert.raised_at, alert.moved) == ("critical", timedelta(minutes=7), at, True)
    assert await rows.fetch_value(QUERIES.acknowledge_alert, {"id": first.id, "at": at + timedelta(minutes=8), "by": "dana"}) == first.id
    assert await rows.fetch_value(QUERIES.acknowledge_alert, {"id": first.id, "at": at, "by": "eve"}) is None
    end = {"id": first.id, "resolution_status": "resolved", "at": at + timedelta(hours=1), "by": "dana", "note": "disk full"}
    assert await rows.fetch_value(QUERIES.resolve_alert, end) == first.id
    assert await rows.fetch_value(QUERIES.resolve_alert, end | {"id": uuid4()}) is None
    alert = await rows.fetch_one(state, {"id": first.id})
    assert (alert.resolution_status, alert.acknowledged_by, alert.resolved_by, alert.resolution_note) == (
        "resolved",
        "dana",
        "dana",
        "disk full",
    )
    assert (await rows.fetch_one(QUERIES.raise_alert, seen | {"at": at + timedelta(hours=2)})).id != first.id


async def test_operators_at_a_glance(samples: Connection, sampled: Sampled) -> None:
    oracle: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    unresolved: dict[int, int] = defaultdict(int)
    for alert in sampled.tables["validators.alerts"].to_pylist():
        unresolved[alert["validator_index"]] += alert["resolution_status"] in ("open", "acknowledged")
    for row in sampled.tables["validators.validators"].to_pylist():
        own = oracle[row["operator"], row["label"], row["status"]]
        for place, value in enumerate((1, row["effective_balance"], unresolved[row["validator_index"]])):
            own[place] += value
    found = await samples.fetch_all("SELECT * FROM validators.operator_summary")
    assert {
        (row.operator, row.label, row.status): [row.validators, row.effective_balance, row.unresolved_alerts] for row in found
    } == oracle


async def test_where_the_chain_is(samples: Connection, sampled: Sampled) -> None:
    chain = [row for row in sampled.tables["validators.blocks"].to_pylist() if row["canonical"]]
    head = max(chain, key=lambda row: row["slot"])
    final = max((row for row in chain if row["finalized"]), key=lambda row: row["slot"])
    status = await samples.fetch_one("SELECT * FROM validators.chain_status")
    assert (status.head_root, status.finalized_root, status.slots_to_finality) == (
        head["root"],
        final["root"],
        head["slot"] - final["slot"],
    )
