"""What the API is held against: the same reads, by the framework and the driver alone, as one writes them by hand.

`python -m bench.http_bare CONNINFO` prints the port it listens on. The statements are those of the packs where they have one, and as short
as they can be where not. Rows go out as the framework makes JSON of them: without keys and limits, freshness, cursors and validators,
exact numbers, errors in one shape, and what is not folded into roll-ups yet.
"""

import asyncio
import json
import socket
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI, Query, Request
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from chainstrata.packs.portfolio.repository import QUERIES as PORTFOLIO
from chainstrata.packs.prices.repository import QUERIES as PRICES
from chainstrata.packs.validators.repository import QUERIES as VALIDATORS

LATEST = "SELECT * FROM validators.validator_snapshots__latest_of(%(validators)s::bigint[])"
ROWS = (
    "SELECT * FROM validators.validator_snapshots WHERE validator_index = %(validator)s AND ts >= %(since)s"
    " ORDER BY validator_index DESC, ts DESC LIMIT %(limit)s"
)
HOURS = (
    "SELECT * FROM validators.validator_snapshots_hourly WHERE validator_index = %(validator)s AND bucket >= %(since)s"
    " ORDER BY validator_index, bucket LIMIT 1000"
)
PRICE_HOURS = "SELECT * FROM prices.hourly_close WHERE coin_id = %(coin_id)s AND hour_ts >= %(since)s ORDER BY hour_ts"


app = FastAPI()
Rows = list[dict[str, Any]]


async def fetch(request: Request, statement: Any, **values: Any) -> Rows:
    """Return all rows of a statement."""
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.cursor(row_factory=dict_row).execute(statement, values)
        rows: Rows = await cursor.fetchall()
        return rows


@app.get("/latest")
async def get_latest(request: Request, validators: Annotated[list[int], Query()]) -> Rows:
    return await fetch(request, LATEST, validators=validators)


@app.get("/rows")
async def get_rows(request: Request, validator: int, since: datetime, limit: int = 50) -> Rows:
    return await fetch(request, ROWS, validator=validator, since=since, limit=limit)


@app.get("/hours")
async def get_hours(request: Request, validator: int, since: datetime) -> Rows:
    return await fetch(request, HOURS, validator=validator, since=since)


@app.get("/validator")
async def get_validator(request: Request, validator_index: int) -> Rows:
    return await fetch(request, VALIDATORS.get_validator.sql, validator_index=validator_index)


@app.get("/alerts")
async def get_alerts(request: Request, severity: str, limit: int = 20) -> Rows:
    return await fetch(request, VALIDATORS.list_unresolved_alerts.sql, severity=severity, limit=limit)


@app.get("/prices")
async def get_prices(request: Request, coins: Annotated[list[str], Query()]) -> Rows:
    return await fetch(request, PRICES.list_latest_minutes.sql, coins=coins, until=datetime.max.replace(tzinfo=UTC))


@app.get("/price_hours")
async def get_price_hours(request: Request, coin_id: str, since: datetime) -> Rows:
    return await fetch(request, PRICE_HOURS, coin_id=coin_id, since=since)


@app.get("/top_coins")
async def get_top_coins(request: Request, limit: int = 50) -> Rows:
    return await fetch(request, PRICES.list_top_coins.sql, limit=limit, after_rank=0)


@app.get("/holdings")
async def get_holdings(request: Request, user_id: UUID, limit: int = 50) -> Rows:
    return await fetch(request, PORTFOLIO.list_holdings.sql, user_id=user_id, limit=limit)


async def serve(conninfo: str) -> None:
    """Serve until killed."""
    options = {"autocommit": True, "prepare_threshold": 0}
    async with AsyncConnectionPool(conninfo, min_size=5, max_size=25, kwargs=options, open=False) as pool:
        app.state.pool = pool
        # The protocol is named, so that asyncio sends at once.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        print(json.dumps({"event": "ready", "address": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
