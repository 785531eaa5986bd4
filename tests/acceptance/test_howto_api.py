"""The page on the HTTP API, followed to the letter."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.fixtures.node import clean_environment
from tests.fixtures.walkthrough import Walkthrough
from tools.tree import ROOT


@pytest.fixture
def desk() -> Iterator[Path]:
    """Give a directory to work in, which a server without root's rights can reach."""
    with tempfile.TemporaryDirectory(prefix="chainstrata-desk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.conforms("S0-58")
def test_the_page_works(desk: Path, absent: Callable[[str], NoReturn]) -> None:
    if shutil.which("curl") is None:
        absent("curl is not here")
    path = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"
    said = Walkthrough(desk, clean_environment(PATH=path)).follow(ROOT / "docs/howto/http-api.md", install=False)
    whole = "\n".join(said)
    assert '"rows":240' in whole, whole
    assert '"accepted":240' in whole, [one for one in said if "quarantined" in one]
    assert '"repeated":true' in whole
    assert '"price_usd":"4.000000000000000001"' in whole
    assert "\n240\n" in f"\n{whole}"
    assert whole.count(" 4.000000000000000001\n") == 120
    assert '"action":"ingest"' in whole
    assert "collector" in whole.splitlines()[-1]
