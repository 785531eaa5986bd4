"""The guide to reading data: every block of it runs, in its order, on the sample data."""

import ast
import re
from pathlib import Path

import pytest

from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, Target
from chainstrata.model import Catalog
from chainstrata.node import Platform
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import NewDatabase
from tests.fixtures.samples import Sampled
from tools.tree import ROOT

PAGE = ROOT / "docs/howto/read-data.md"


@pytest.mark.conforms("S0-58")
async def test_every_block_of_the_guide_runs(
    sampled: Sampled, new_database: NewDatabase, catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = re.search(r"dbname=(\S+)", sampled.conninfo)
    assert name is not None
    conninfo = await new_database(name[1])
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 6
    code = compile("\n".join(blocks), str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with Database(conninfo, options=OPTIONS) as database:
        config = load_config({"home": tmp_path}, environment={}, directory=tmp_path)
        platform = Platform(config, catalog, database, Target(conninfo, "url"))
        running = eval(code, {"platform": platform})
        await running
    said = capsys.readouterr().out
    assert "1 row: of two with one key the last counts" in said
    assert "validators_exit_order | What has to hold: withdrawable_epoch >= exit_epoch." in said
    assert ", renamed" in said
