"""Examples that the description of the API shows; a test holds them against what the routes answer."""

from typing import Any, Final


def shown(example: Any, **others: Any) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of an answer in JSON; `others` are further examples, by name."""
    content = (
        {"examples": {name: {"value": value} for name, value in {"answer": example, **others}.items()}} if others else {"example": example}
    )
    return {200: {"content": {"application/json": content}}}


STATUS: Final[dict[str, Any]] = {
    "healthy": True,
    "at": "2026-01-02T03:04:05.678901Z",
    "took_seconds": 0.018,
    "engines": [
        {
            "name": "postgres",
            "kind": "embedded",
            "state": "running",
            "version": "18.6",
            "started": "2026-01-01T00:00:00Z",
            "size_bytes": None,
            "connections": 9,
            "max_connections": 100,
            "detail": "database chainstrata",
        }
    ],
    "packs": [
        {
            "name": "validators",
            "doc": "Validators of a proof-of-stake chain.",
            "datasets": 9,
            "rows": 1200000,
            "rows_exact": False,
            "size_bytes": 183500800,
            "schema": {"pack": "validators", "applied": "validators_0001", "newest": "validators_0001", "pending": 0},
        }
    ],
    "datasets": [
        {
            "name": "validators.snapshots",
            "pack": "validators",
            "table": "validators.validator_snapshots",
            "exists": True,
            "rollup_of": "",
            "rows": 1200000,
            "rows_exact": False,
            "partitions": 38,
            "size_bytes": 183500800,
            "size_exact": True,
            "index_bytes": 52428800,
            "dead_rows": 0,
            "inserted": 1200000,
            "updated": 0,
            "deleted": 0,
            "analyzed": "2026-01-02T03:00:00Z",
        }
    ],
    "findings": [
        {
            "severity": "warning",
            "code": "index_invalid",
            "object": "validators.validator_snapshots_index_ts",
            "message": "index of validator_snapshots is not usable: its build was cut short",
            "hint": "Run `chainstrata migrate up`: it builds it anew.",
        }
    ],
    "node": {
        "pid": 4711,
        "version": "0.1.0",
        "python": "3.11.7",
        "mode": "development",
        "home": "/srv/chainstrata/.chainstrata",
        "address": "http://127.0.0.1:8640",
        "started": "2026-01-01T00:00:00Z",
        "uptime_seconds": 97445.6,
        "services": [{"name": "http", "state": "running", "since": "2026-01-01T00:00:00Z", "restarts": 0, "error": ""}],
        "pool": {
            "size": 5,
            "used": 1,
            "waiting": 0,
            "min_size": 5,
            "max_size": 25,
            "wait_p50": 0.00001,
            "wait_p95": 0.00004,
            "wait_max": 0.002,
            "acquire_timeouts": 0,
            "connections_lost": 0,
            "queries": 5120,
            "slow_queries": 0,
            "errors": 0,
        },
    },
}

KEY: Final[dict[str, Any]] = {
    "id": 2,
    "name": "collector",
    "prefix": "cs_5f0c9a1b2d3e",
    "role": "write",
    "state": "active",
    "created_at": "2026-01-02T03:04:05.678901Z",
    "expires_at": "2026-04-02T03:04:05.678901Z",
    "revoked_at": None,
}

AUDIT: Final[dict[str, Any]] = {
    "id": "0b8e0f3e-5a64-4b7e-9d40-0a4f3c1c9a57",
    "at": "2026-01-02T03:04:05.678901Z",
    "actor": "collector",
    "key_id": 2,
    "request": "9f86d081884c7d65",
    "action": "ingest",
    "object": "validators.snapshots",
    "outcome": "done",
    "detail": {"accepted": 10000, "updated": 0, "unchanged": 0, "merged": 0, "quarantined": 0},
    "settled_at": "2026-01-02T03:04:05.712345Z",
}

INGEST: Final[dict[str, Any]] = {
    "dataset": "validators.snapshots",
    "rows": 10000,
    "accepted": 9990,
    "updated": 0,
    "unchanged": 8,
    "merged": 0,
    "quarantined": 2,
    "lsn": "0/1A2B3C8",
    "repeated": False,
    "spooled": 0,
    "hint": "",
}

FRESHNESS: Final[dict[str, Any]] = {
    "lsn": "0/1A2B3C8",
    "read_at": "2026-01-02T03:04:05.678901Z",
    "latest": "2026-01-02T03:04:00Z",
    "as_of": None,
    "open": None,
    "final": False,
}

ROWS: Final[dict[str, Any]] = {
    "data": [{"validator_index": 42, "ts": "2026-01-02T03:04:00+00:00", "balance": "32001234567", "finalized": False}],
    "page": {"next": "WyJ2YWxpZGF0b3JzLnNuYXBzaG90cyIsImFzYyIsWyI0MiJdXQ", "limit": 1},
    "freshness": FRESHNESS,
}

BUCKETS: Final[dict[str, Any]] = {
    "data": [{"coin_id": "bitcoin", "hour_ts": "2026-01-02T03:00:00+00:00", "samples": 5, "price_usd_close": "64000.5", "is_open": True}],
    "page": {"next": None, "limit": 1000},
    "freshness": {**FRESHNESS, "open": True},
}

FILLED: Final[dict[str, Any]] = {
    "data": [
        {
            "bucket": "2026-01-02T03:00:00+00:00",
            "filled": True,
            "validator_index": 42,
            "ts": "2026-01-02T02:48:11+00:00",
            "balance": 32001234567,
            "balance_mean": "32001234567.000000000000",
        }
    ],
    "page": {"next": None, "limit": 10000},
    "freshness": FRESHNESS,
}

DATASET: Final[dict[str, Any]] = {
    "name": "validators.snapshots",
    "pack": "validators",
    "doc": "One row per validator and time.",
    "key": ["validator_index", "ts"],
    "entity": ["validator_index"],
    "time": "ts",
    "series": True,
    "as_of": True,
    "filters": ["ts", "validator_index"],
    "final": "finalized",
    "keep": "90 days",
    "columns": [{"name": "balance", "type": "strata.uint64", "json": "text", "nullable": False, "doc": "Balance in gwei."}],
    "rollups": [{"name": "validators.snapshots.hourly", "every": "1 hour", "by": ["validator_index"], "bucket": "bucket"}],
}

RUN: Final[dict[str, Any]] = {
    "id": 4711,
    "job": "retention",
    "asked_by": "schedule",
    "worker": "node-17",
    "state": "succeeded",
    "started_at": "2026-01-02T02:00:00.123456Z",
    "finished_at": "2026-01-02T02:00:07.654321Z",
    "seconds": 7.530865,
    "result": "720000 rows left in 1 parts",
    "error": "",
    "error_code": "",
    "retryable": False,
}

JOB: Final[dict[str, Any]] = {
    "name": "retention",
    "doc": "Lets rows go that are older than they are kept, once nobody needs them.",
    "schedule": "daily at 02:00 UTC",
    "state": "waiting",
    "due_at": "2026-01-03T02:00:00Z",
    "paused_at": None,
    "queued_at": None,
    "last": RUN,
    "failures": 0,
}

RETENTION: Final[dict[str, Any]] = {
    "dry_run": False,
    "departed": [
        {
            "table": "validators.snapshots",
            "name": "validators.validator_snapshots_20251003",
            "rows": 720000,
            "archive": "validators/snapshots/20251003",
        }
    ],
    "archives_deleted": 0,
    "blocked": [],
}

RETENTION_PLAN: Final[dict[str, Any]] = {
    "dry_run": True,
    "partitions": [
        {
            "dataset": "prices.minute",
            "partition": "prices.prices_minute_20251003",
            "from": "2025-10-03T00:00:00Z",
            "to": "2025-10-04T00:00:00Z",
            "verdict": "blocked",
            "steps": [],
            "blockers": [{"who": "roll-up prices.minute.hourly", "reason": "two marks are not worked off"}],
            "overdue_seconds": 3600.0,
        }
    ],
    "rows": [],
    "archives": [],
}

BACKFILL: Final[dict[str, Any]] = {
    "job": "9b2c1a4e-6a55-4f0b-9d8e-2f1f4c7d5a11",
    "kind": "blocks",
    "status": "running",
    "start": 840000,
    "end": 850000,
    "current": 843000,
    "positions_done": 3500,
    "chunks": {"pending": 12, "running": 2, "done": 6, "failed": 0},
    "rows": 412345,
    "started_at": "2026-01-02T03:04:05.678901Z",
    "completed_at": None,
    "created_by": "collector",
    "error": "",
    "rate": 41.5,
    "expected_at": "2026-01-02T05:42:11.345678Z",
}

FAILURE: Final[dict[str, Any]] = {
    "start": 843500,
    "end": 844000,
    "status": "pending",
    "attempts": 1,
    "error": "the source answered 429",
}

CAPTURE: Final[dict[str, Any]] = {
    "running": True,
    "slot": "chainstrata_16384",
    "slot_status": "reserved",
    "kept_bytes": 16777216,
    "behind_bytes": 56,
    "mirrors": [
        {
            "dataset": "prices.minute",
            "state": "streaming",
            "since": "2026-01-02T03:04:05Z",
            "applied_lsn": "0/1A2B3C8",
            "lag_bytes": 56,
            "copied_rows": 120000,
            "rows": 5000,
            "dead_letters": 0,
            "lag_p50": 0.11,
            "lag_p95": 0.21,
            "lag_p99": 0.24,
            "error": "",
            "hint": "",
        }
    ],
}

METRICS: Final = """# HELP chainstrata_mirror_lag_seconds From commit to visible: what half, 95 and 99 of 100 transactions do not exceed.
# TYPE chainstrata_mirror_lag_seconds gauge
chainstrata_mirror_lag_seconds{dataset="prices.minute",quantile="0.95"} 0.21
"""

ENDED: Final[dict[str, Any]] = {
    "mirrors": [
        {
            "dataset": "prices.minute",
            "state": "streaming",
            "applied_lsn": "0/1A2B3C8",
            "rows": 5000,
            "only_there": 1200,
            "put_aside": 0,
            "table": "kept",
        }
    ],
    "slot": "chainstrata_16384",
    "slot_dropped": False,
    "done": False,
}

DEAD_LETTER: Final[dict[str, Any]] = {
    "id": 17,
    "dataset": "prices.minute",
    "sink": "mirror",
    "lsn": "0/1A2B3C8",
    "row_key": {"coin_id": "bitcoin", "minute_ts": "2026-01-02 03:04:00+00:00"},
    "reason": "bad_value",
    "detail": "price_usd: no number, too large, or finer than the column",
    "content": {"coin_id": "bitcoin", "minute_ts": "2026-01-02 03:04:00+00:00", "price_usd": "NaN"},
    "first_seen": "2026-01-02T03:04:05Z",
    "tries": 1,
    "state": "held",
}

RECONCILED: Final[dict[str, Any]] = {
    "dataset": "prices.minute",
    "lsn": "0/1A2B3C8",
    "source_rows": 5000,
    "mirror_rows": 5000,
    "missing": 0,
    "extra": 0,
    "different": 0,
    "orphaned": 0,
    "departed": 0,
    "unsettled": 0,
    "repaired": 0,
    "missing_keys": [],
    "extra_keys": [],
    "different_keys": [],
    "orphaned_keys": [],
    "problem": "",
}
