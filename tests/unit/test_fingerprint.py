"""Fingerprints: statements that differ in their values look alike, and no value is left in what is logged."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainstrata.engines.postgres.fingerprint import fingerprint, normalise

ALIKE = {
    "numbers": ("SELECT * FROM t WHERE a = 1 AND b = -2.5e10 AND c = .5", "SELECT * FROM t WHERE a = 20 AND b = 7 AND c = 0x1F"),
    "texts": ("SELECT 'a'", "SELECT 'it''s -- not a comment'"),
    "kinds of text": ("SELECT 'a', $$b$$", "SELECT E'\\'', $tag$ $$ $tag$"),
    "lists": ("SELECT * FROM t WHERE a IN (1, 2, 3)", "SELECT * FROM t WHERE a IN (4,5)"),
    "rows": ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (9, 'z')"),
    "placeholders": ("SELECT %(a)s, %(b)s::int", "SELECT $1, $2 :: int"),
    "comments and space": ("SELECT 1 /* why */ -- because\n FROM t;", "select 3\n\tfrom t"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_statements_that_differ_in_values_only(case: str) -> None:
    one, other = ALIKE[case]
    assert normalise(one).lower() == normalise(other).lower()
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("SELECT a FROM t", "SELECT b FROM t"), ("SELECT t1.x FROM t1", "SELECT t2.x FROM t2"), ('SELECT "1"', 'SELECT "2"')],
)
def test_statements_that_differ_in_names(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_backslash_does_not_hide_the_end_of_a_plain_text() -> None:
    assert "secret" not in normalise("SELECT 'a\\', 'secret', 'b\\'")
    assert "secret" not in normalise("SELECT E'a\\', secret', 1")


@given(st.text(alphabet=string.printable + "ä數", max_size=40), st.sampled_from(["plain", "escape", "dollar", "unfinished"]))
@example("x\\", "plain")
@example("'", "plain")
@example("$$", "plain")
def test_no_text_value_is_left(value: str, kind: str) -> None:
    marked = f"Zq7{value}Zq7"
    literal = {
        "plain": "'" + marked.replace("'", "''") + "'",
        "escape": "E'" + marked.replace("\\", "\\\\").replace("'", "\\'") + "'",
        "dollar": f"$wrap${marked}$wrap$",
        "unfinished": "'" + marked.replace("'", "''"),
    }[kind]
    statement = f"SELECT a, {literal}" if kind == "unfinished" else f"SELECT a, {literal} AS b FROM t WHERE c = {literal}"
    assert "Zq7" not in normalise(statement)
