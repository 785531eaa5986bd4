"""What the pages tell a reader to do works, in their order, with the package installed as users install it."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.installed import Installed
from tests.fixtures.node import running_node
from tests.fixtures.walkthrough import Walkthrough
from tools.tree import ROOT


@pytest.fixture
def desk() -> Iterator[Path]:
    """Give a directory to work in, which a server without root's rights can reach."""
    with tempfile.TemporaryDirectory(prefix="chainstrata-desk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.timeout(600)
def test_the_tutorial(installed: Installed, desk: Path) -> None:
    try:
        said = "\n".join(Walkthrough(desk, installed.environment).follow(ROOT / "docs/tutorial.md", install=False))
    finally:
        # The pack goes with the desk, and the next page is followed in the same environment.
        command = [str(installed.directory / "bin/python"), "-m", "pip", "uninstall", "--quiet", "--yes", "chainstrata-tides"]
        subprocess.run(command, check=True, env=installed.environment)
    assert "every bucket is what its rows give" in said
    # What ingest took, by psql and from Python, and what it did not.
    assert re.search(r"^ 0xa1 .*\| 1000000000000000000001$", said, re.MULTILINE)
    assert re.search(r"^0xb2 7$", said, re.MULTILINE)
    assert re.search(r"^ tides\.balances +\| bad_value .*seven", said, re.MULTILINE)
    assert "the schema is what is declared" in said


@pytest.mark.timeout(600)
def test_the_page_on_streams(installed: Installed, desk: Path) -> None:
    environment = installed.environment | {"CHAINSTRATA_NODE_DEMO_RATE": "20"}
    said = Walkthrough(desk, environment).follow(ROOT / "docs/howto/simulate.md", install=False)
    for text, dataset in ((said[0], "prices.minute"), (said[1], "validators.snapshots")):
        [row] = [
            line.split() for line in text.replace("\u2009", "").splitlines() if line.startswith(f"{dataset} ") and len(line.split()) == 11
        ]
        sent, late, doubled, broken, *became = (int(cell) for cell in row[1:])
        assert sent == sum(became) > 0
        assert became[4] == broken
        assert (late > 0, doubled > 0) == (dataset != "prices.minute",) * 2
    assert "every bucket is what its rows give" in said[1]
    assert re.search(r"^ send_packet +\| +[1-9]", said[2], re.MULTILINE), said[2]


def test_what_is_installed_is_whole(installed: Installed, desk: Path) -> None:
    """The page, its files and the queries are part of the package, and its commands are there."""
    command = [str(installed.directory / "bin/chainstrata")]
    with running_node(desk / "home", "--packs", "relay", command=command, environment=installed.environment) as node:
        assert node.get("/health")[0] == 200
        script = "import chainstrata, json, urllib.request as u, sys; "
        script += "print(json.dumps([chainstrata.__file__, *(len(u.urlopen(sys.argv[1] + p).read()) for p in sys.argv[2:])]))"
        pages = ["/", "/static/page.css", "/static/page.js", "/static/icon.svg", "/api/v1/openapi.json"]
        python = [str(installed.directory / "bin/python"), "-c", script, node.address, *pages]
        done = subprocess.run(python, capture_output=True, text=True, check=True, env=installed.environment, cwd="/")
    place, *sizes = json.loads(done.stdout)
    assert place.startswith(str(installed.directory))
    assert all(size > 100 for size in sizes)
