"""The log of slow statements: what ran and how long, never with which values."""

import logging
from typing import Any, Final

from psycopg import sql

from chainstrata.engines.postgres.fingerprint import fingerprint, normalise
from chainstrata.engines.postgres.queries import Query
from chainstrata.engines.postgres.statements import Statement

LOGGER: Final = logging.getLogger("chainstrata.postgres.slow")
_SHOWN: Final = 2000


def log_slow(statement: Statement, text: Any, seconds: float, *, pool: str, failed: str = "") -> None:
    """Log a slow statement. The record carries the same facts as attributes, for structured logs."""
    sent = text if isinstance(text, str) else text.as_string(None) if isinstance(text, sql.Composable) else str(text)
    shown = normalise(sent)[:_SHOWN]
    facts: dict[str, Any] = {
        "event": "slow_query",
        "fingerprint": fingerprint(sent),
        "statement": shown,
        "query": statement.name if isinstance(statement, Query) else "",
        "seconds": round(seconds, 6),
        "pool": pool,
        "error": failed,
    }
    named = f" {facts['query']}" if facts["query"] else ""
    LOGGER.warning("slow query%s [%s] took %.0f ms: %s", named, facts["fingerprint"], seconds * 1000, shown, extra=facts)
