"""How questions to the portfolio pack are answered: each by the index made for it, without a second one on the same columns."""

from collections.abc import AsyncIterator, Iterator
from typing import LiteralString

import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from tests.fixtures.packs import OPTIONS
from tests.fixtures.plans import explain, filled_copy
from tests.fixtures.postgres import Server

# User n holds one thing in 5 of 40,000 assets, in one wallet; every tenth movement goes through a protocol, every hundredth to a user.
FILL: tuple[LiteralString, ...] = (
    """
    INSERT INTO portfolio.users (user_id, handle, display_name)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'user' || n, initcap(substr(md5(n::text), 1, 8)) || ' ' || initcap(substr(md5(n::text), 9, 9))
    FROM generate_series(1, 20000) AS n
    """,
    "INSERT INTO portfolio.users (handle, display_name) VALUES ('ana.lopez', 'Ana Lopez')",
    """
    INSERT INTO portfolio.wallets (chain, address, user_id)
    SELECT 'ethereum', '0x' || lpad(to_hex(n), 40, '0'), lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO portfolio.assets (asset_id, symbol, name, decimals)
    SELECT 'ethereum:0x' || lpad(to_hex(n), 40, '0'), upper(substr(md5(n::text), 1, 4)), initcap(substr(md5(n::text), 5, 12)), 18
    FROM generate_series(1, 40000) AS n
    """,
    "INSERT INTO portfolio.assets (asset_id, symbol, name, decimals) VALUES ('base:native', 'USDC', 'USD Coin', 6)",
    """
    INSERT INTO portfolio.protocols (protocol_id, name, category, risk_level, chains)
    SELECT 'protocol-' || n, initcap(md5(n::text)), CASE WHEN n % 100 = 0 THEN 'lending' ELSE 'dex' END::portfolio.protocol_category,
        CASE WHEN n % 3 = 0 THEN 'low' ELSE 'high' END::portfolio.risk_level, ARRAY['chain' || n % 300]
    FROM generate_series(1, 20000) AS n
    """,
    "INSERT INTO portfolio.protocols (protocol_id, name) VALUES ('aave-v3', 'Aave V3')",
    """
    INSERT INTO portfolio.portfolio_holdings (user_id, chain, wallet_address, asset_id, protocol_id, position_type, amount, decimals,
        block_number, block_hash, observed_at, final)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'ethereum', '0x' || lpad(to_hex(n), 40, '0'),
        'ethereum:0x' || lpad(to_hex((n * 7 + place * 8000) % 40000 + 1), 40, '0'),
        CASE WHEN place = 4 THEN 'protocol-' || n % 2000 + 1 ELSE 'wallet' END,
        CASE WHEN place = 4 THEN 'supplied' ELSE 'wallet' END::portfolio.position_type, n, 18, 21000000 + n,
        '0x' || encode(sha256(n::text::bytea), 'hex'), now(), n % 100 <> 0
    FROM generate_series(1, 8000) AS n, generate_series(0, 4) AS place
    """,
    """
    INSERT INTO portfolio.transaction_history (chain, tx_hash, log_index, block_timestamp, block_number, block_hash, user_id,
        counterparty_user_id, wallet_address, transaction_type, asset_id, protocol_id, amount, decimals, final)
    SELECT 'ethereum', '0x' || encode(sha256(n::text::bytea), 'hex'), 0, date_trunc('month', now(), 'UTC') + n % 40000 * interval '1 minute',
        21000000 + n, '0x' || encode(sha256((-n)::text::bytea), 'hex'), lpad(to_hex(n % 400 + 1), 32, '0')::uuid,
        CASE WHEN n % 100 = 0 THEN lpad(to_hex(n % 399 + 1000), 32, '0')::uuid END, '0x' || repeat('a1', 20), 'transfer_in',
        'ethereum:0x' || lpad(to_hex(n / 400 % 5 + 1), 40, '0'), CASE WHEN n % 10 = 0 THEN 'protocol-' || n % 3000 + 1 END, n, 18, n % 200 <> 0
    FROM generate_series(1, 30000) AS n
    """,
)


@pytest.fixture(scope="module")
def conninfo(server: Server, pack_template: str) -> Iterator[str]:
    """Give a database with so many rows that reading everything costs more than looking something up."""
    with filled_copy(server, pack_template, FILL) as conninfo:
        yield conninfo


@pytest.fixture
async def filled(conninfo: str) -> AsyncIterator[Connection]:
    async with Database(conninfo, options=OPTIONS) as database, database.connection() as connection:
        yield connection


USER: LiteralString = "'00000000-0000-0000-0000-000000000007'"
HISTORY: LiteralString = "SELECT * FROM portfolio.transaction_history WHERE"
HOLDINGS: LiteralString = "FROM portfolio.portfolio_holdings WHERE"
ANSWERS: dict[LiteralString, str] = {
    f"{HISTORY} user_id = {USER} ORDER BY block_timestamp DESC LIMIT 20": "idx_transaction_history_user_time",
    f"SELECT transaction_type, sum(quantity), sum(value_usd) FROM portfolio.transaction_history WHERE user_id = {USER} "
    f"AND asset_id = 'ethereum:0x{'0' * 39}1' GROUP BY transaction_type": "idx_transaction_history_user_asset",
    f"{HISTORY} counterparty_user_id = '00000000-0000-0000-0000-0000000003f0'": "idx_transaction_history_counterparty",
    f"{HISTORY} protocol_id = 'protocol-11' ORDER BY block_timestamp DESC LIMIT 20": "idx_transaction_history_protocol",
    f"{HISTORY} chain = 'ethereum' AND block_number >= 21029000 AND NOT final": "idx_transaction_history_unfinal",
    f"{HISTORY} chain = 'ethereum' AND tx_hash = '0x{'0' * 64}'": "transaction_history_pkey",
    f"SELECT * {HOLDINGS} user_id = {USER}": "portfolio_holdings_pkey",
    f"SELECT user_id, quantity {HOLDINGS} asset_id = 'ethereum:0x{'0' * 39}8' AND amount > 0": "idx_portfolio_holdings_asset",
    f"SELECT position_type, user_id, value_usd {HOLDINGS} protocol_id = 'protocol-11' AND amount > 0": "idx_portfolio_holdings_protocol",
    f"SELECT * {HOLDINGS} chain = 'ethereum' AND block_number >= 21007000 AND NOT final": "idx_portfolio_holdings_unfinal",
    f"SELECT * FROM portfolio.wallets WHERE user_id = {USER}": "wallets_user_id_chain_address_key",
    f"SELECT user_id FROM portfolio.wallets WHERE chain = 'ethereum' AND address = '0x{'0' * 40}'": "wallets_pkey",
    "SELECT * FROM portfolio.assets WHERE symbol = 'USDC'": "idx_assets_symbol",
    "SELECT * FROM portfolio.protocols WHERE chains @> ARRAY['chain7']": "idx_protocols_chains",
    "SELECT * FROM portfolio.protocols WHERE category = 'lending' AND risk_level <= 'medium'": "idx_protocols_category",
}


@pytest.mark.conforms("S1-19")
async def test_each_question_is_answered_by_the_index_made_for_it(filled: Connection) -> None:
    answered = {query: (await explain(filled, query)).indexes for query in ANSWERS}
    assert answered == {query: {index} for query, index in ANSWERS.items()}


@pytest.mark.conforms("S1-19")
async def test_a_page_of_the_history_is_not_sorted_and_sums_do_not_read_the_table(filled: Connection) -> None:
    plans = {index: await explain(filled, query) for query, index in ANSWERS.items()}
    assert "Sort" not in plans["idx_transaction_history_user_time"].nodes
    for index in ("idx_transaction_history_user_asset", "idx_portfolio_holdings_asset", "idx_portfolio_holdings_protocol"):
        assert "Index Only Scan" in plans[index].nodes, index


SEARCHES: dict[str, tuple[LiteralString, LiteralString, LiteralString]] = {
    "idx_assets_name_trgm": ("SELECT name FROM portfolio.assets WHERE name {}", "sd coi", "usd con"),
    "idx_protocols_name_trgm": ("SELECT name FROM portfolio.protocols WHERE name {}", "ave v", "aave 3v"),
    "idx_users_name_trgm": ("SELECT display_name FROM portfolio.users WHERE display_name {}", "na lop", "ana lopes"),
}


@pytest.mark.conforms("S1-20")
@pytest.mark.parametrize("index", SEARCHES)
async def test_a_name_is_found_by_a_part_and_with_a_typing_error(filled: Connection, index: str) -> None:
    query, part, mistyped = SEARCHES[index]
    for condition in (f"ILIKE '%{part}%'", f"% '{mistyped}'"):
        asked = query.replace("{}", condition)
        [row] = await filled.fetch_all(sql.SQL(asked))
        assert row[0] in {"USD Coin", "Aave V3", "Ana Lopez"}
        assert (await explain(filled, asked)).indexes == {index}, condition


@pytest.mark.conforms("S1-20")
async def test_one_index_serves_both_ticker_and_name(filled: Connection) -> None:
    plan = await explain(filled, "SELECT * FROM portfolio.assets WHERE symbol ILIKE '%sdc%' OR name ILIKE '%sd coi%'")
    assert plan.indexes == {"idx_assets_name_trgm"}


async def test_no_index_repeats_another(filled: Connection) -> None:
    found = await filled.fetch_all(
        "SELECT index_name, reason FROM strata.check_index_effectiveness('portfolio') WHERE verdict IN ('duplicate', 'invalid')"
    )
    assert found == []
