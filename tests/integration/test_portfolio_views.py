"""The materialized views of the portfolio pack: what they add up, and that readers do not wait for their refresh."""

from decimal import Decimal
from typing import LiteralString

import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import LockNotAvailable
from chainstrata.packs.portfolio.model import RiskLevel

VIEWS: list[LiteralString] = ["mv_portfolio_summary", "mv_protocol_exposure"]


@pytest.mark.conforms("S1-21")
@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_is_refreshed_while_it_is_read(packs: Database, view: LiteralString) -> None:
    name = sql.Identifier("portfolio", view)
    impatient = PoolOptions(min_size=1, max_size=1)
    async with packs.transaction() as reader, Database(packs.conninfo, options=impatient) as other, other.connection() as writer:
        await reader.fetch_all(sql.SQL("SELECT * FROM {}").format(name))
        await writer.execute("SET lock_timeout = '200ms'")
        await writer.execute(sql.SQL("REFRESH MATERIALIZED VIEW CONCURRENTLY {}").format(name))
        with pytest.raises(LockNotAvailable):
            await writer.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(name))


@pytest.mark.conforms("S1-21")
async def test_views_add_up_what_is_held(samples: Connection) -> None:
    for view in VIEWS:
        await samples.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier("portfolio", view)))
    held = await samples.fetch_all(
        "SELECT h.*, h.position_type::text AS position, greatest(a.risk_level, p.risk_level)::text AS risk, u.risk_tolerance::text AS tolerance "
        "FROM portfolio.portfolio_holdings AS h JOIN portfolio.assets AS a USING (asset_id) JOIN portfolio.protocols AS p USING (protocol_id) "
        "JOIN portfolio.users AS u USING (user_id) WHERE h.amount > 0"
    )
    levels = [level.value for level in RiskLevel]
    summary = {row.user_id: row for row in await samples.fetch_all("SELECT *, riskiest::text AS risk FROM portfolio.mv_portfolio_summary")}
    users = {row.user_id for row in await samples.fetch_all("SELECT user_id FROM portfolio.users")}
    assert set(summary) == users
    for user in users:
        own = [row for row in held if row.user_id == user]
        worth = [(row, row.value_usd or Decimal(0)) for row in own]
        assets = sum((value for row, value in worth if row.position != "borrowed"), Decimal(0))
        debts = sum((value for row, value in worth if row.position == "borrowed"), Decimal(0))
        risky = sum(
            (v for row, v in worth if row.position != "borrowed" and row.risk and levels.index(row.risk) > levels.index(row.tolerance)),
            Decimal(0),
        )
        by_asset: dict[str, Decimal] = {}
        for row, value in worth:
            if row.position != "borrowed" and row.value_usd is not None:
                by_asset[row.asset_id] = by_asset.get(row.asset_id, Decimal(0)) + value
        row = summary[user]
        assert (row.assets_usd, row.debts_usd, row.net_usd, row.risky_usd) == (assets, debts, assets - debts, risky)
        assert (row.holdings, row.unpriced) == (len(own), sum(one.value_usd is None for one in own))
        assert row.chains == len({one.chain for one in own})
        assert row.protocols == len({one.protocol_id for one in own} - {"wallet"})
        assert row.largest_asset == (min(by_asset, key=lambda asset: (-by_asset[asset], asset)) if by_asset else None)
        assert row.risk == max((one.risk for one in own if one.risk), key=levels.index, default=None)
    exposure = await samples.fetch_all("SELECT * FROM portfolio.mv_protocol_exposure")
    for row in exposure:
        own = [one for one in held if one.protocol_id == row.protocol_id]
        assert (row.users, row.holdings) == (len({one.user_id for one in own}), len(own))
        assert row.assets_usd == sum((one.value_usd or Decimal(0) for one in own if one.position != "borrowed"), Decimal(0))
    assert sum(row.share for row in exposure) == pytest.approx(Decimal(1))
