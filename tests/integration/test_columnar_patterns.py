"""The guide to asking the columnar engine, on millions of rows: every example runs, reads little of them, and takes little time."""

import ast
import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from time import perf_counter

import pytest

from chainstrata.engines.clickhouse import Columnar, ColumnarOptions
from chainstrata.migrate.columnar import create_declared
from chainstrata.packs import load_catalog
from tests.fixtures.clickhouse import ColumnarServer
from tools.tree import ROOT

PAGE = (ROOT / "docs/howto/query-columnar.md").read_text(encoding="utf-8")
EVENTS, PRICES = 2_000_000, 1_000_000
EVENT = """
INSERT INTO portfolio__transaction_events__rows (chain, block_number, tx_index, log_index, ts, tx_hash, event_type, protocol_id, pool_id,
    sender, token_in, token_out, amount_in, amount_out, value_usd, _arrived)
SELECT if(n % 4 = 0, 'base', 'ethereum'), intDiv(n, 20), n % 20, n % 20, toDateTime64(1767225600 + intDiv(n, 20) * 50, 6, 'UTC'),
    concat('0x', leftPad(lower(hex(n)), 64, '0')), ['swap', 'transfer', 'mint'][n % 3 + 1], 'uniswap', concat('pool-', toString(n % 97)),
    concat('0x', leftPad(lower(hex(intHash32(n) % 50000)), 40, '0')), 'weth', 'usdc', toUInt256(n) * 1000000007, toUInt256(n) * 998244353,
    toDecimal128(n % 10000, 2), 1
FROM (SELECT number AS n FROM numbers({first}, 250000))
"""
PRICE = """
INSERT INTO portfolio__price_data_raw__rows (asset_id, source, ts, chain, price_usd, volume_24h_usd, market_cap_usd, _arrived)
SELECT concat('asset-', toString(n % 100)), 'one', toDateTime64(1767225600 + intDiv(n, 100) * 510, 6, 'UTC'), 'ethereum',
    toDecimal128(if(n = 77777, 2000000, 1000 + intHash32(n) % 100), 6), NULL, NULL, 1
FROM (SELECT number AS n FROM numbers({first}, 250000))
"""
LITTLE = {
    "Ask by what rows are sorted by": 0.05,
    "Say of which time": 0.4,
    "Look up what rows are not sorted by": 0.25,
    "The newest of each": 0.5,
}
"""By the heading of a pattern: the part of all granules that its questions may read."""


@pytest.fixture(scope="module")
def filled(columnar_server: ColumnarServer) -> Iterator[ColumnarOptions]:
    """Give a database with millions of rows."""
    options = ColumnarOptions(f"test_patterns_{os.getpid()}_{os.urandom(4).hex()}", timeout=timedelta(seconds=120))

    async def fill() -> None:
        async with Columnar(columnar_server.url, options) as columnar:
            await create_declared(columnar, load_catalog(["portfolio"]))
            for statement, rows in ((EVENT, EVENTS), (PRICE, PRICES)):
                for first in range(0, rows, 250_000):
                    await columnar.execute(statement.format(first=first))

    async def empty() -> None:
        async with Columnar(columnar_server.url, options) as columnar:
            await columnar.execute(f"DROP DATABASE `{options.database}` SYNC")

    asyncio.run(fill())
    yield options
    asyncio.run(empty())


@pytest.fixture
async def market(columnar_server: ColumnarServer, filled: ColumnarOptions) -> AsyncIterator[Columnar]:
    async with Columnar(columnar_server.url, filled) as columnar:
        yield columnar


def patterns() -> list[tuple[str, str]]:
    """Return the questions of the guide with their headings."""
    found, heading = [], ""
    for part in re.finditer(r"^## ([^\n]+)$|^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        heading = part[1] or heading
        if part[2]:
            found.append((heading, part[2]))
    return found


async def part_read(columnar: Columnar, question: str) -> float:
    """Return the part of all granules that is left for a question to read when every index has had its say."""
    rows = await columnar.query_rows(f"EXPLAIN indexes = 1 {question}")
    told = [re.search(r"Granules: (\d+)/(\d+)", row[0]) for row in rows]
    counts = [(int(one[1]), int(one[2])) for one in told if one]
    return counts[-1][0] / counts[0][1]


@pytest.mark.alone
@pytest.mark.conforms("S1-61", "S1-86", "S1-87")
async def test_every_question_of_the_guide_runs_and_reads_little(market: Columnar) -> None:
    asked = patterns()
    assert len(asked) > 7
    taken: dict[str, float] = {}
    for heading, question in asked:
        best = 1e9
        for _ in range(3):
            began = perf_counter()
            rows = await market.query_rows(question)
            best = min(best, perf_counter() - began)
        assert rows or "mv_price" in question, question
        taken[question] = best
        assert best < 1, f"{best:.3f} s: {question}"
        if heading in LITTLE and not question.startswith("EXPLAIN"):
            assert await part_read(market, question) <= LITTLE[heading], question
    # What an index serves takes milliseconds.
    served = [seconds for (heading, _), seconds in zip(asked, taken.values(), strict=True) if heading.startswith(("Ask by", "Look up"))]
    assert max(served) < 0.25
    assert sorted(served)[len(served) // 2] < 0.1


async def test_the_example_in_python_runs(market: Columnar, capsys: pytest.CaptureFixture[str]) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    code = compile(block, "the guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, {"columnar": market})
    assert capsys.readouterr().out.strip() == str(EVENTS // 4)
