"""The page on retention and archive, followed to the letter on prices of a day long past."""

import asyncio
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from chainstrata import partitions
from chainstrata.cli.tree import run
from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog
from tools.tree import ROOT

PAGE = (ROOT / "docs/howto/retention-and-archive.md").read_text(encoding="utf-8")
START = datetime(2025, 3, 1, 10, tzinfo=UTC)
ROWS = 2 * 3 * 60


@pytest.fixture
async def minutes(packs: Database, catalog: Catalog) -> Database:
    """Give three hours of minutes of two coins that are long due."""
    await partitions.ensure(packs, catalog.dataset("prices.minute"), START, START + timedelta(hours=3))
    await packs.execute(
        "INSERT INTO prices.coin_priorities (coin_id, symbol, name) VALUES ('bitcoin', 'btc', 'Bitcoin'), ('ether', 'eth', 'Ether')"
    )
    await packs.execute(
        "INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd) SELECT coin_id, ts, 1 + extract(minute FROM ts)"
        " FROM prices.coin_priorities, generate_series(%(start)s, %(end)s, interval '1 minute') ts",
        {"start": START, "end": START + timedelta(hours=3, minutes=-1)},
    )
    return packs


@pytest.mark.conforms("S1-32")
async def test_the_page_works(
    minutes: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: dict[str, str] = {}
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = [*shlex.split(line)[1:], "--set", f"postgres.url={minutes.conninfo}", "--home", str(tmp_path / "home")]
            code = await asyncio.to_thread(run, words)
            printed = capsys.readouterr()
            assert code == 0, f"{line}\n{printed.out}{printed.err}"
            said[line.removeprefix("chainstrata ")] = printed.out
    assert "changes are not folded yet" in said["retention plan prices.minute"]
    assert "asked for by the auditor" in said["retention holds"]
    assert said["retention run prices.minute"].count("120 rows left, archived in") == 3
    assert re.fullmatch(r"\d+ archives read back, 0 not whole\n", said["archive verify prices.minute"])
    assert pq.read_table(tmp_path / "march.parquet").num_rows == ROWS
    [restored] = [text for line, text in said.items() if line.startswith("archive restore")]
    assert "is back in prices.minute_close_y2025m03d01h10" in restored
    assert await minutes.fetch_value("SELECT count(*) FROM prices.minute_close") == ROWS // 3
    assert "nothing to do, it has partitions" in said["partitions adopt prices.minute"]
