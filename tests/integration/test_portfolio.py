"""The portfolio pack on a real server: what its tables hold, exactly; what they refuse, by which constraint; what deleting does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import (
    BadValue,
    CheckViolation,
    ConstraintViolation,
    ForeignKeyViolation,
    NotNullViolation,
    StatementFailed,
    UniqueViolation,
)
from chainstrata.packs.portfolio.model import AssetType, PositionType, ProtocolCategory, RiskLevel, TransactionType
from tests.fixtures.portfolio_pack import ADDRESS, ANA, BO, NOW, USDC, add, add_people, hex_hash, holding, movement, valuation

EXACT = Context(prec=500)
LARGEST = 2**256 - 1


@pytest.fixture
async def people(rows: Connection) -> Connection:
    await add_people(rows)
    return rows


# What there is -------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S1-02", "S1-03", "S1-04", "S1-05", "S1-06", "S1-07", "S1-08", "S1-09", "S1-10")
async def test_a_portfolio_is_written_and_read(people: Connection) -> None:
    await add(people, "portfolio_holdings", holding(price_usd=Decimal("3400.5")))
    await add(
        people, "portfolio_holdings", holding(asset_id=USDC, decimals=6, amount=5_000_000, protocol_id="aave-v3", position_type="supplied")
    )
    await add(people, "transaction_history", movement(counterparty_user_id=BO, counterparty_address=ADDRESS[BO]))
    await add(people, "portfolio_snapshots", valuation(debts_usd=Decimal("30.25")))
    held = await people.fetch_all(
        "SELECT u.handle, a.symbol, p.category::text, h.quantity, h.value_usd FROM portfolio.portfolio_holdings AS h "
        "JOIN portfolio.users AS u USING (user_id) JOIN portfolio.assets AS a USING (asset_id) "
        "JOIN portfolio.protocols AS p USING (protocol_id) ORDER BY a.symbol"
    )
    assert [tuple(row) for row in held] == [
        ("ana.lopez", "ETH", "wallet", 1, Decimal("3400.5")),
        ("ana.lopez", "USDC", "lending", 5, None),
    ]
    moved = await people.fetch_one("SELECT direction, quantity, final, updated_at - created_at AS age FROM portfolio.transaction_history")
    assert tuple(moved) == (1, 1, False, timedelta(0))
    assert await people.fetch_value("SELECT net_usd FROM portfolio.portfolio_snapshots") == Decimal("69.75")


async def test_an_asset_says_its_chain_and_address(people: Connection) -> None:
    found = await people.fetch_all("SELECT chain, address FROM portfolio.assets ORDER BY asset_id")
    assert [tuple(row) for row in found] == [("ethereum", USDC.partition(":")[2]), ("ethereum", "native")]


async def test_a_holding_in_no_protocol_needs_none_to_be_there(people: Connection) -> None:
    assert await people.fetch_value("SELECT count(*) FROM portfolio.protocols WHERE protocol_id = 'wallet'") == 0
    await add(people, "portfolio_holdings", holding())
    assert await people.fetch_value("SELECT protocol_id FROM portfolio.portfolio_holdings") == "wallet"


# Closed lists --------------------------------------------------------------------------------------------------------
LISTS: list[tuple[LiteralString, type[StrEnum]]] = [
    ("asset_type", AssetType),
    ("transaction_type", TransactionType),
    ("protocol_category", ProtocolCategory),
    ("risk_level", RiskLevel),
    ("position_type", PositionType),
]


@pytest.mark.conforms("S1-11", "S1-12", "S1-13", "S1-14")
@pytest.mark.parametrize(("name", "values"), LISTS)
async def test_a_closed_list_is_the_one_of_the_code_and_takes_nothing_else(
    rows: Connection, name: LiteralString, values: type[StrEnum]
) -> None:
    kind = sql.Identifier("portfolio", name)
    found = await rows.fetch_value(sql.SQL("SELECT enum_range(NULL::{})::text[]").format(kind))
    assert found == [member.value for member in values]
    with pytest.raises(BadValue):
        await rows.execute(sql.SQL("SELECT 'moon'::text::{}").format(kind))


@pytest.mark.conforms("S1-11", "S1-12", "S1-13", "S1-14")
@pytest.mark.parametrize("name", [name for name, _ in LISTS])
async def test_a_closed_list_grows_in_a_step_of_its_own(packs: Database, name: LiteralString) -> None:
    """A value added is of no use before it is committed, so a migration commits it first."""
    kind = sql.Identifier("portfolio", name)
    grow = sql.SQL("ALTER TYPE {} ADD VALUE IF NOT EXISTS 'later'").format(kind)
    use = sql.SQL("SELECT count(*) FROM (SELECT 'later'::{} AS it) AS used").format(kind)
    async with packs.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute(grow)
        with pytest.raises(StatementFailed, match="unsafe use of new value"):
            await connection.fetch_value(use)
        await connection.execute("ROLLBACK")
    await packs.execute(grow)
    assert await packs.fetch_value(use) == 1


@pytest.mark.conforms("S1-14")
async def test_levels_of_risk_have_an_order(rows: Connection) -> None:
    assert await rows.fetch_value("SELECT 'low'::portfolio.risk_level < 'high' AND 'extreme'::portfolio.risk_level > 'medium'")


def test_which_way_an_asset_went_is_the_same_in_code_and_database() -> None:
    assert {kind.direction for kind in TransactionType} == {1, 0, -1}


async def test_direction_is_that_of_the_code(people: Connection) -> None:
    for place, kind in enumerate(TransactionType):
        await add(people, "transaction_history", movement(log_index=place, transaction_type=kind.value))
    found = await people.fetch_all("SELECT transaction_type::text AS kind, direction FROM portfolio.transaction_history")
    assert {row.kind: row.direction for row in found} == {kind.value: kind.direction for kind in TransactionType}


# Amounts -------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S1-17")
@pytest.mark.parametrize("make", [pytest.param(holding, id="portfolio_holdings"), pytest.param(movement, id="transaction_history")])
async def test_an_amount_goes_to_the_last_unit_of_256_bits_and_no_further(people: Connection, make: Callable[..., dict[str, Any]]) -> None:
    table: LiteralString = "portfolio_holdings" if make is holding else "transaction_history"
    for wrong, error in ((LARGEST + 1, CheckViolation), (-1, CheckViolation), (10**78, BadValue), (Decimal("NaN"), CheckViolation)):
        with pytest.raises(error) as caught:
            async with people.savepoint():
                await add(people, table, make(amount=wrong))
        assert caught.value.constraint in {"uint256_range", ""}
        assert (caught.value.constraint == "uint256_range") == (error is CheckViolation)
    await add(people, table, make(amount=LARGEST, price_usd=Decimal("1.5")))
    row = await people.fetch_one(sql.SQL("SELECT amount, quantity, value_usd FROM portfolio.{}").format(sql.Identifier(table)))
    assert row.amount == LARGEST
    assert row.quantity == EXACT.scaleb(Decimal(LARGEST), -18)
    assert row.value_usd == EXACT.multiply(EXACT.scaleb(Decimal(LARGEST), -18), Decimal("1.5"))


@pytest.mark.conforms("S1-17")
async def test_one_unit_is_exact_for_every_number_of_decimals(people: Connection) -> None:
    for places in range(256):
        await add(people, "transaction_history", movement(log_index=places, amount=1, decimals=places))
    found = await people.fetch_all("SELECT decimals, quantity FROM portfolio.transaction_history")
    assert {row.decimals: row.quantity for row in found} == {places: EXACT.scaleb(Decimal(1), -places) for places in range(256)}


@pytest.mark.conforms("S1-17")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amount=st.integers(0, LARGEST),
    decimals=st.integers(0, 255),
    price=st.none() | st.decimals(0, 10**9, allow_nan=False, places=18),
)
async def test_quantity_and_value_are_exact(people: Connection, amount: int, decimals: int, price: Decimal | None) -> None:
    async with people.savepoint():
        await add(people, "transaction_history", movement(amount=amount, decimals=decimals, price_usd=price))
        row = await people.fetch_one("SELECT quantity, value_usd FROM portfolio.transaction_history")
        await people.execute("DELETE FROM portfolio.transaction_history")
    quantity = EXACT.scaleb(Decimal(amount), -decimals)
    assert row.quantity == quantity
    assert row.value_usd == (None if price is None else EXACT.multiply(quantity, price))


@pytest.mark.conforms("S1-18")
@pytest.mark.parametrize("table", ["users", "protocols", "assets", "portfolio_holdings", "transaction_history", "portfolio_snapshots"])
async def test_the_rest_goes_to_a_json_object(people: Connection, table: LiteralString) -> None:
    rows = {"portfolio_holdings": holding(), "transaction_history": movement(), "portfolio_snapshots": valuation()}
    if table in rows:
        await add(people, table, rows[table])
    change = sql.SQL("UPDATE portfolio.{} SET metadata = %(value)s::jsonb").format(sql.Identifier(table))
    assert await people.execute(change, {"value": '{"tags": ["a", {"b": 1}]}'}) >= 1
    found = await people.fetch_value(sql.SQL("SELECT metadata #>> '{{tags,1,b}}' FROM portfolio.{} LIMIT 1").format(sql.Identifier(table)))
    assert found == "1"
    with pytest.raises(CheckViolation) as caught:
        await people.execute(change, {"value": "[1]"})
    assert caught.value.constraint.removesuffix("_metadata_object") == table


# What is refused -----------------------------------------------------------------------------------------------------
COIN: dict[str, Any] = {"asset_id": "base:native", "decimals": 1}
MIXED_CASE = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
REFUSED: dict[str, tuple[LiteralString, dict[str, Any], str]] = {
    "a handle in capitals": ("users", {"handle": "Ana"}, "users_handle_form"),
    "a handle with spaces": ("users", {"handle": "a na"}, "users_handle_form"),
    "no mail address": ("users", {"handle": "cy", "email": "nowhere"}, "users_email_form"),
    "a mail address in capitals": ("users", {"handle": "cy", "email": "Cy@example.org"}, "users_email_form"),
    "no currency": ("users", {"handle": "cy", "base_currency": "usd"}, "users_base_currency_form"),
    "a checksummed address": ("wallets", {"chain": "base", "address": MIXED_CASE, "user_id": ANA}, "wallets_address_form"),
    "a short address": ("wallets", {"chain": "base", "address": "0x12", "user_id": ANA}, "wallets_address_form"),
    "a chain in capitals": ("wallets", {"chain": "Base", "address": ADDRESS[BO], "user_id": ANA}, "wallets_chain_form"),
    "a slug in capitals": ("protocols", {"protocol_id": "Aave V3"}, "protocols_protocol_id_form"),
    "a value locked below zero": ("protocols", {"protocol_id": "x", "tvl_usd": -1}, "protocols_tvl_usd_finite"),
    "an endless value locked": ("protocols", {"protocol_id": "x", "tvl_usd": Decimal("Infinity")}, "protocols_tvl_usd_finite"),
    "an asset without chain": ("assets", {"asset_id": "usdc", "decimals": 6}, "assets_asset_id_form"),
    "a checksummed asset": ("assets", {"asset_id": f"ethereum:{MIXED_CASE}", "decimals": 6}, "assets_asset_id_form"),
    "decimals below zero": ("assets", {"asset_id": "base:native", "decimals": -1}, "assets_decimals_range"),
    "a price that is no number": ("assets", COIN | {"price_usd": Decimal("NaN"), "price_at": NOW}, "assets_price_usd_finite"),
    "a price without a time": ("assets", COIN | {"price_usd": 1}, "assets_price_at_given"),
    "more than full confidence": ("assets", COIN | {"price_confidence": Decimal("1.01")}, "assets_price_confidence_range"),
    "a wallet holding in a protocol": ("portfolio_holdings", holding(protocol_id="aave-v3"), "portfolio_holdings_place"),
    "a supplied holding in no protocol": ("portfolio_holdings", holding(position_type="supplied"), "portfolio_holdings_place"),
    "an asset of another chain": ("portfolio_holdings", holding(chain="base"), "portfolio_holdings_asset_on_chain"),
    "a block below zero": ("portfolio_holdings", holding(block_number=-1), "portfolio_holdings_block_number_range"),
    "no block hash": ("portfolio_holdings", holding(block_hash="0x12"), "portfolio_holdings_block_hash_form"),
    "a cost below zero": ("portfolio_holdings", holding(cost_basis_usd=-1), "portfolio_holdings_cost_basis_usd_finite"),
    "a price below zero": ("transaction_history", movement(price_usd=-1), "transaction_history_price_usd_finite"),
    "a hash in capitals": ("transaction_history", movement(tx_hash=hex_hash(0xABC).upper()), "transaction_history_tx_hash_form"),
    "a short hash": ("transaction_history", movement(tx_hash="0xabc"), "transaction_history_tx_hash_form"),
    "a wrong address": ("transaction_history", movement(wallet_address="me!"), "transaction_history_wallet_address_form"),
    "a wrong other address": ("transaction_history", movement(counterparty_address=MIXED_CASE), "transaction_history_counterparty_address_form"),
    "a position that is none": ("transaction_history", movement(log_index=-3), "transaction_history_log_index_range"),
    "a movement to oneself": ("transaction_history", movement(counterparty_user_id=ANA), "transaction_history_two_sides"),
    "an asset that is elsewhere": ("transaction_history", movement(asset_id="base:native"), "transaction_history_asset_on_chain"),
    "debts below zero": ("portfolio_snapshots", valuation(debts_usd=-1), "portfolio_snapshots_debts_usd_finite"),
    "holdings below zero": ("portfolio_snapshots", valuation(holdings=-1), "portfolio_snapshots_counts"),
    "chains in a list": ("portfolio_snapshots", valuation(by_chain="[]"), "portfolio_snapshots_objects"),
}  # fmt: skip


@pytest.mark.conforms("S1-16")
@pytest.mark.parametrize(("table", "values", "constraint"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_makes_no_sense_is_refused(people: Connection, table: LiteralString, values: dict[str, Any], constraint: str) -> None:
    with pytest.raises(CheckViolation) as caught:
        await add(people, table, values)
    assert caught.value.constraint == constraint


@pytest.mark.conforms("S1-16")
async def test_a_time_before_the_first_chain_is_refused_though_there_be_a_partition(packs: Database) -> None:
    """A time in seconds read as milliseconds lands in 1970."""
    await packs.execute(
        "CREATE TABLE portfolio.long_ago PARTITION OF portfolio.transaction_history FOR VALUES FROM ('1970-01-01+00') TO ('1970-02-01+00')"
    )
    async with packs.transaction() as connection:
        await add_people(connection)
        with pytest.raises(CheckViolation) as caught:
            async with connection.savepoint():
                await add(connection, "transaction_history", movement(block_timestamp=datetime(1970, 1, 21, tzinfo=UTC)))
    assert caught.value.constraint == "transaction_history_block_timestamp_range"


ACCEPTED: dict[str, tuple[LiteralString, dict[str, Any]]] = {
    "bitcoin": ("wallets", {"chain": "bitcoin", "address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "user_id": ANA}),
    "old bitcoin": ("wallets", {"chain": "bitcoin", "address": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "user_id": ANA}),
    "solana": ("wallets", {"chain": "solana", "address": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "user_id": ANA}),
    "starknet": ("wallets", {"chain": "starknet", "address": "0x" + "0" * 3 + "7" * 61, "user_id": ANA}),
    "cosmos": ("wallets", {"chain": "osmosis", "address": "osmo1fl48vsnmsdzcv85q5d2q4z5ajdha8yu3aq6l09", "user_id": ANA}),
    "near": ("wallets", {"chain": "near", "address": "alice.near", "user_id": ANA}),
    "a voucher": ("assets", {"asset_id": "osmosis:ibc/27394FB092D2ECCD56123C74F36E4C1F926001CEADA9CA97EA622B25F41E5EB2", "decimals": 6}),
    "a type as token": ("assets", {"asset_id": "sui:0x2::sui::SUI", "decimals": 9}),
    "a mint": ("assets", {"asset_id": "solana:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "decimals": 6}),
    "a value of a transaction itself": ("transaction_history", movement(log_index=-1)),
    "a fee": ("transaction_history", movement(log_index=-2, transaction_type="fee", counterparty_address=None)),
    "a dying token": ("transaction_history", movement(price_usd=Decimal("0.00000000000000000000000000000000000001"))),
}  # fmt: skip


@pytest.mark.conforms("S1-16")
@pytest.mark.parametrize(("table", "values"), ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_what_is_unusual_and_true_is_taken(people: Connection, table: LiteralString, values: dict[str, Any]) -> None:
    await add(people, table, values)


async def test_an_address_has_one_owner(people: Connection) -> None:
    with pytest.raises(UniqueViolation) as caught:
        await add(people, "wallets", {"chain": "ethereum", "address": ADDRESS[ANA], "user_id": BO})
    assert caught.value.constraint == "wallets_pkey"


async def test_amounts_and_users_have_to_be_given(people: Connection) -> None:
    for name in ("amount", "user_id", "decimals", "block_hash"):
        with pytest.raises(NotNullViolation):
            async with people.savepoint():
                await add(people, "transaction_history", movement(**{name: None}))


# References ----------------------------------------------------------------------------------------------------------
NOBODY = "00000000-0000-0000-0000-00000000dead"
BROKEN: dict[str, tuple[LiteralString, dict[str, Any]]] = {
    "fk_wallets_user": ("wallets", {"chain": "base", "address": ADDRESS[ANA], "user_id": NOBODY}),
    "fk_portfolio_holdings_asset": ("portfolio_holdings", holding(asset_id="ethereum:0x" + "99" * 20)),
    "fk_portfolio_holdings_protocol": ("portfolio_holdings", holding(protocol_id="nowhere", position_type="supplied")),
    "fk_portfolio_holdings_wallet": ("portfolio_holdings", holding(wallet_address=ADDRESS[BO])),
    "fk_transaction_history_user": ("transaction_history", movement(user_id=NOBODY)),
    "fk_transaction_history_counterparty": ("transaction_history", movement(counterparty_user_id=NOBODY)),
    "fk_transaction_history_asset": ("transaction_history", movement(asset_id="ethereum:0x" + "99" * 20)),
    "fk_transaction_history_protocol": ("transaction_history", movement(protocol_id="nowhere")),
    "fk_portfolio_snapshots_user": ("portfolio_snapshots", valuation(user_id=NOBODY)),
}


@pytest.mark.conforms("S1-15")
@pytest.mark.parametrize("constraint", BROKEN)
async def test_a_reference_to_nothing_is_refused(people: Connection, constraint: str) -> None:
    table, values = BROKEN[constraint]
    with pytest.raises(ForeignKeyViolation) as caught:
        await add(people, table, values)
    assert caught.value.constraint == constraint


@pytest.mark.conforms("S1-15")
async def test_a_holding_is_in_a_wallet_of_its_user(people: Connection) -> None:
    """Both exist, but not together."""
    with pytest.raises(ForeignKeyViolation) as caught:
        await add(people, "portfolio_holdings", holding(user_id=BO, wallet_address=ADDRESS[ANA]))
    assert caught.value.constraint == "fk_portfolio_holdings_wallet"


async def _counts(connection: Connection) -> dict[str, int]:
    tables: list[LiteralString] = ["users", "wallets", "portfolio_holdings", "transaction_history", "portfolio_snapshots"]
    return {
        name: await connection.fetch_value(sql.SQL("SELECT count(*) FROM portfolio.{}").format(sql.Identifier(name))) for name in tables
    }


@pytest.mark.conforms("S1-15")
async def test_what_deleting_a_user_does(people: Connection) -> None:
    await add(people, "portfolio_holdings", holding())
    await add(people, "portfolio_snapshots", valuation())
    await add(people, "transaction_history", movement(counterparty_user_id=BO))
    await people.execute("DELETE FROM portfolio.users WHERE handle = 'bo.berg'")
    assert await people.fetch_value("SELECT counterparty_user_id FROM portfolio.transaction_history") is None
    with pytest.raises(ConstraintViolation) as caught:
        async with people.savepoint():
            await people.execute("DELETE FROM portfolio.users")
    assert caught.value.constraint == "fk_transaction_history_user"
    await people.execute("DELETE FROM portfolio.transaction_history")
    await people.execute("DELETE FROM portfolio.users")
    assert set((await _counts(people)).values()) == {0}


@pytest.mark.conforms("S1-15")
async def test_a_removed_wallet_takes_its_holdings_and_leaves_the_history(people: Connection) -> None:
    await add(people, "portfolio_holdings", holding())
    await add(people, "transaction_history", movement())
    await people.execute("DELETE FROM portfolio.wallets WHERE address = %(address)s", {"address": ADDRESS[ANA]})
    assert await _counts(people) == {
        "users": 2, "wallets": 1, "portfolio_holdings": 0, "transaction_history": 1, "portfolio_snapshots": 0,
    }  # fmt: skip


@pytest.mark.conforms("S1-15")
@pytest.mark.parametrize(
    ("table", "constraint"), [("assets", "fk_portfolio_holdings_asset"), ("protocols", "fk_portfolio_holdings_protocol")]
)
async def test_what_is_held_and_where_cannot_be_deleted(people: Connection, table: LiteralString, constraint: str) -> None:
    await add(people, "portfolio_holdings", holding(protocol_id="aave-v3", position_type="supplied"))
    with pytest.raises(ConstraintViolation) as caught:
        await people.execute(sql.SQL("DELETE FROM portfolio.{}").format(sql.Identifier(table)))
    assert caught.value.constraint == constraint
