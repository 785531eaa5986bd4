"""Generated pages are up to date, and every requirement in scope has a test."""

import re

import pytest

from chainstrata.config import REGISTRY
from chainstrata.errors import ChainStrataError
from chainstrata.model.marking import INTERNAL
from chainstrata.packs import load_catalog
from tools.docs import DOCS, build_pages, find_orphans, find_stale
from tools.docs.conformance import Conformance, read_conformance
from tools.rows import build_rows


@pytest.fixture(scope="module")
def built() -> dict[str, str]:
    return build_pages()


def test_no_generated_page_is_stale(built: dict[str, str]) -> None:
    assert find_stale(built) == [], "run `make docs`"
    assert find_orphans(built) == [], "run `make docs`"


def test_rows_of_packs_are_what_is_declared() -> None:
    stale = [str(path) for path, text in build_rows().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_every_requirement_in_scope_has_a_test() -> None:
    assert read_conformance().problems() == []


@pytest.mark.parametrize(
    ("asked", "pending", "proofs", "problem"),
    [
        pytest.param({"X-1": "a"}, (), {}, "X-1: no test", id="nothing proves it"),
        pytest.param({}, (), {"X-2": ["t::a"]}, "X-2: marked on t::a", id="nobody asked for it"),
        pytest.param({"X-1": "a"}, ("X-1",), {"X-1": ["t::a"]}, "X-1: pending, but a test", id="pending and proved"),
        pytest.param({}, ("X-3",), {}, "X-3: pending, but not in", id="pending and unknown"),
    ],
)
def test_each_way_not_to_conform_is_reported(
    asked: dict[str, str], pending: tuple[str, ...], proofs: dict[str, list[str]], problem: str
) -> None:
    problems = Conformance({"part": asked}, pending, proofs).problems()
    assert [line for line in problems if not line.startswith(problem)] == []
    assert len(problems) == 1


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(DOCS)}: {target}")
    assert broken == []


@pytest.mark.conforms("S0-24", "S0-25", "S0-30", "S1-22")
def test_every_table_of_every_pack_is_on_its_page_with_columns_indexes_and_reasons(built: dict[str, str]) -> None:
    for pack in load_catalog().packs:
        page = built[f"reference/packs/{pack.name}.md"]
        assert "```mermaid\nerDiagram\n" in page
        for table in pack.metadata.tables.values():
            if table.info == INTERNAL:
                continue
            assert f"\n### {table.name}\n" in page
            assert f"\n    {table.name} {{\n" in page
            for column in table.c:
                assert f"| `{column.name}` |" in page
                assert " ".join(str(column.comment).replace("|", "\\|").split()) in page
            for index in table.indexes:
                assert f"| `{index.name}` |" in page
                assert index.info["why"] in page


def test_every_setting_command_and_error_is_on_its_page(built: dict[str, str]) -> None:
    assert [key for key in REGISTRY if f"| `{key}` |" not in built["reference/settings.md"]] == []
    assert "\n## chainstrata sample load\n" in built["reference/commands.md"]
    waiting, codes = [ChainStrataError], set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("chainstrata."):
            codes.add(kind.code)
    assert [code for code in sorted(codes) if f"\n## {code}\n" not in built["reference/errors.md"]] == []
