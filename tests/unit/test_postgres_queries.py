"""`queries.sql`: what is read from it, and what is refused."""

import pytest

from chainstrata.engines.postgres import load_queries, parse_queries
from chainstrata.engines.postgres.errors import QueryFileError
from chainstrata.errors import UnknownName

GOOD = """
-- list_expired
-- Partitions wholly older than the cutoff;
-- oldest first.
SELECT name FROM strata.partition WHERE upper_bound <= %(cutoff)s AND kind = %(kind)s AND %(cutoff)s IS NOT NULL;

-- tricky
-- A statement with semicolons in every place that hides one.
SELECT ';', "a;b", $$ ; $$, $tag$ ; $$ ; $tag$, E'\\';' -- ; here too
     , /* ; and
     here */ 'it''s; fine', '\\' AS backslash, 100 %% 7;
"""


def test_names_descriptions_statements_and_parameters() -> None:
    queries = parse_queries(GOOD)
    expired, tricky = queries["list_expired"], queries["tricky"]
    assert expired.description == "Partitions wholly older than the cutoff; oldest first."
    assert expired.sql.startswith("SELECT name FROM")
    assert expired.sql.endswith("IS NOT NULL")
    assert expired.parameters == ("cutoff", "kind")
    assert tricky.sql.endswith("100 %% 7")
    assert tricky.parameters == ()


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("-- a\n-- d\nSELECT 1;\n-- a\n-- d\nSELECT 2;\n", 4, "named twice"),
        ("-- a\nSELECT 1;\n", 1, "no description"),
        ("-- a\n--\nSELECT 1;\n", 1, "no description"),
        ("-- a\n-- d\nSELECT 1; SELECT 2;\n", 3, "second statement"),
        ("-- a\n-- d\nSELECT 1;\nSELECT 2;\n", 4, "second statement"),
        ("-- A Name\n-- d\nSELECT 1;\n", 1, "must be the query's name"),
        ("SELECT 1;\n", 1, "second statement"),
        ("-- a\n-- d\nSELECT 1\n", 1, "does not end with `;`"),
        ("-- a\n-- d\nSELECT 1;\n\n-- b\n-- d\n", 5, "without a statement"),
        ("-- a\n-- d\n;\n", 1, "no statement"),
    ],
)
def test_what_breaks_the_format_is_named_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(QueryFileError) as caught:
        parse_queries(text, "pack/queries.sql")
    assert caught.value.message.startswith(f"pack/queries.sql:{line}: ")
    assert problem in caught.value.message


def test_a_package_without_the_file_is_an_error_of_ours() -> None:
    with pytest.raises(QueryFileError, match="cannot be read"):
        load_queries("chainstrata.engines")


def test_a_query_nobody_wrote_names_the_nearest() -> None:
    queries = load_queries("chainstrata.engines.postgres.partitioning")
    name = next(iter(queries))
    assert getattr(queries, name) is queries[name]
    with pytest.raises(UnknownName) as caught:
        queries[name + "x"]
    assert name in caught.value.hint
