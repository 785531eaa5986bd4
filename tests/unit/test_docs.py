"""Generated pages are up to date, and every requirement in scope has a test."""

import re

import pytest

from tools.docs import DOCS, build_pages, find_orphans, find_stale
from tools.docs.conformance import Conformance, read_conformance


def test_no_generated_page_is_stale() -> None:
    built = build_pages()
    assert find_stale(built) == [], "run `make docs`"
    assert find_orphans(built) == [], "run `make docs`"


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
