"""The page on migrations, followed to the letter: every command run, every change made, in the order of the page."""

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from chainstrata.packs.new import write_pack
from tests.fixtures.postgres import NewDatabase
from tools.template import Installed, install
from tools.tree import ROOT

PAGE = (ROOT / "docs" / "howto" / "migrations.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>sh|diff)\n(?P<body>.*?)^ *```$", re.DOTALL | re.MULTILINE)
NAME = "cosmos"


@pytest.fixture
def project() -> Iterator[Installed]:
    """Give the pack, installed so that a change of its files counts at once, as `pip install -e` does."""
    place = Path(tempfile.mkdtemp(prefix="chainstrata-test-"))
    place.chmod(0o755)
    write_pack(NAME, place / NAME)
    installed = install(place / NAME, place / "site")
    shutil.rmtree(place / "site" / f"chainstrata_{NAME}")
    (place / "site" / f"chainstrata_{NAME}").symlink_to(place / NAME / "src" / f"chainstrata_{NAME}")
    yield installed
    shutil.rmtree(place, ignore_errors=True)


def change(project: Path, diff: str) -> None:
    """Make a change as the page shows it: lines to keep and to remove must be there, once."""
    first, *lines = diff.splitlines()
    path = project / first.removeprefix("--- ")
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name}: {before!r} is there {text.count(before)} times"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.conforms("S0-36", "S0-37", "S2-79", "S2-80", "S2-81", "S2-82", "S2-83")
async def test_the_page_works(project: Installed, new_database: NewDatabase) -> None:
    url = await new_database()
    done: list[str] = []
    for block in BLOCK.finditer(PAGE):
        body = dedent("\n".join(line.removeprefix(block["indent"]) for line in block["body"].splitlines()))
        if block["kind"] == "diff":
            change(project.project, body)
            continue
        for line in body.splitlines():
            command, _, remark = line.partition("#")
            expected = int(found[1]) if (found := re.search(r"exits with (\d)", remark)) else 0
            run = project.run(*shlex.split(command), url=url)
            assert run.returncode == expected, f"{command}\n{run.stdout}{run.stderr}"
            assert not command.startswith("chainstrata migrate make") or "wrote " in run.stdout, f"{command}\n{run.stdout}"
            done.append(run.stdout)
    assert "nothing to apply: every revision is there\n" in done
    assert done[-1].count("applied") >= 9
