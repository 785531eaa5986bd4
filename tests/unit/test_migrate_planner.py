"""Which revisions a request means, and in which order; what order objects are made in; how revisions are written."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.errors import UnknownName, UsageError
from chainstrata.migrate import queue
from chainstrata.migrate.errors import HistoryUnusable, MigrationEdited
from chainstrata.migrate.model import Direction, Record, Revision, Status
from chainstrata.migrate.online import part_name
from chainstrata.migrate.ordering import closure as need_closure
from chainstrata.migrate.ordering import in_order as objects_in_order
from chainstrata.migrate.planner import check_history, heads, in_order, plan_down, plan_goto, plan_up, steps_behind
from chainstrata.migrate.policies import policy
from chainstrata.migrate.schema import Key, Kind
from chainstrata.migrate.source import Block, RevisionText, call, quote, sql_text, write_line, write_revision
from chainstrata.migrate.text import flatten, split_list
from chainstrata.packs import load_catalog

START = datetime(2026, 1, 1, tzinfo=UTC)


def revision(name: str, down: str | None = None, *needs: str) -> Revision:
    return Revision(
        name, name.partition("_")[0], name, down, frozenset({*needs, *([down] if down else [])}), True, f"sum of {name}", Path(name)
    )


ALL = [
    revision("a_1"),
    revision("a_2", "a_1"),
    revision("b_1", None, "a_1"),
    revision("b_2", "b_1", "a_2"),
    revision("c_1"),
]
REVISIONS = {one.name: one for one in in_order({one.name: one for one in ALL}, ["a", "b", "c"])}


def applied(*names: str) -> dict[str, Record]:
    return {
        name: Record(name, name[0], f"sum of {name}", Status.APPLIED, Direction.UP, 1, 1, START + timedelta(seconds=place))
        for place, name in enumerate(names)
    }


def names(revisions: list[Revision]) -> list[str]:
    return [one.name for one in revisions]


def test_revisions_come_after_what_they_need() -> None:
    assert list(REVISIONS) == ["a_1", "a_2", "b_1", "b_2", "c_1"]
    late = {one.name: one for one in (revision("a_1", None, "b_1"), revision("b_1"))}
    assert names(in_order(late, ["a", "b"])) == ["b_1", "a_1"]


def test_what_cannot_be_ordered_is_named() -> None:
    with pytest.raises(HistoryUnusable, match="a_1 needs z_1, which is nowhere"):
        in_order({"a_1": revision("a_1", None, "z_1")}, ["a"])
    with pytest.raises(HistoryUnusable, match="in a circle: a_1 > b_1 > a_1"):
        in_order({one.name: one for one in (revision("a_1", None, "b_1"), revision("b_1", None, "a_1"))}, ["a", "b"])


@pytest.mark.parametrize(
    ("done", "target", "packs", "expected"),
    [
        ((), "heads", (), ["a_1", "a_2", "b_1", "b_2", "c_1"]),
        (("a_1",), "heads", (), ["a_2", "b_1", "b_2", "c_1"]),
        ((), "heads", ("c",), ["c_1"]),
        ((), "heads", ("b",), ["a_1", "a_2", "b_1", "b_2"]),
        ((), "b", (), ["a_1", "a_2", "b_1", "b_2"]),
        ((), "2", (), ["a_1", "a_2"]),
        (("a_1",), "1", ("b",), ["b_1"]),
        ((), "b_1", (), ["a_1", "b_1"]),
        ((), "c", (), ["c_1"]),
        (tuple(REVISIONS), "heads", (), []),
    ],
)
def test_up(done: tuple[str, ...], target: str, packs: tuple[str, ...], expected: list[str]) -> None:
    assert names(plan_up(REVISIONS, applied(*done), target, packs)) == expected


@pytest.mark.parametrize(
    ("done", "target", "packs", "expected"),
    [
        (("a_1", "a_2", "b_1", "b_2", "c_1"), "1", (), ["c_1"]),
        (("a_1", "c_1", "a_2", "b_1", "b_2"), "2", (), ["b_2", "b_1"]),
        (("a_1", "a_2", "b_1", "b_2"), "1", ("a",), ["b_2", "a_2"]),
        (("a_1", "a_2", "b_1", "b_2"), "a_1", (), ["b_2", "a_2"]),
        (("a_1", "a_2", "b_1", "b_2", "c_1"), "base", (), ["c_1", "b_2", "b_1", "a_2", "a_1"]),
        (("a_1", "a_2", "b_1", "b_2", "c_1"), "base", ("b",), ["b_2", "b_1"]),
        (("a_1",), "9", (), ["a_1"]),
        ((), "1", (), []),
    ],
)
def test_down(done: tuple[str, ...], target: str, packs: tuple[str, ...], expected: list[str]) -> None:
    assert names(plan_down(REVISIONS, applied(*done), target, packs)) == expected


def test_goto_finds_the_direction() -> None:
    assert plan_goto(REVISIONS, applied("a_1"), "b_2")[0] is Direction.UP
    direction, way = plan_goto(REVISIONS, applied("a_1", "a_2", "b_1", "b_2"), "b_1")
    assert (direction, names(way)) == (Direction.DOWN, ["b_2"])


def test_a_target_is_a_name_or_the_start_of_one() -> None:
    assert names(plan_up(REVISIONS, {}, "c_")) == ["c_1"]
    with pytest.raises(UsageError, match="'a_' may be a_1, a_2"):
        plan_up(REVISIONS, {}, "a_")
    with pytest.raises(UnknownName):
        plan_up(REVISIONS, {}, "nothing")


def test_a_history_that_is_not_what_ran_is_refused() -> None:
    check_history(REVISIONS, applied("a_1"), "abc")
    edited = {"a_1": Record("a_1", "a", "another", Status.APPLIED, Direction.UP, 1, 1, START)}
    with pytest.raises(MigrationEdited):
        check_history(REVISIONS, edited, "abc")
    with pytest.raises(HistoryUnusable):
        check_history({}, applied("a_1"), "abc")
    check_history({}, applied("a_1"), "bc")
    begun = {"a_1": Record("a_1", "a", "another", Status.FAILED, Direction.UP, 2, 3, START)}
    with pytest.raises(MigrationEdited):
        check_history(REVISIONS, begun, "abc")
    check_history(REVISIONS, {"a_1": Record("a_1", "a", "another", Status.FAILED, Direction.UP, 0, 3, START)}, "abc")


def test_only_a_run_in_the_same_direction_goes_on() -> None:
    record = Record("a_1", "a", "", Status.FAILED, Direction.UP, 2, 3, START)
    assert (steps_behind(record, Direction.UP), steps_behind(record, Direction.DOWN), steps_behind(None, Direction.UP)) == (2, 0, 0)
    assert steps_behind(applied("a_1")["a_1"], Direction.DOWN) == 0


def test_heads_are_what_no_other_needs() -> None:
    assert heads(REVISIONS, ["a_1", "a_2", "b_1"]) == ["a_2", "b_1"]
    assert heads(REVISIONS, list(REVISIONS)) == ["b_2", "c_1"]


# Objects --------------------------------------------------------------------------------------------------------------


def test_objects_are_made_after_what_they_need_and_circles_are_broken() -> None:
    table, function, view, other = (
        Key(Kind.TABLE, "t"),
        Key(Kind.FUNCTION, "f"),
        Key(Kind.VIEW, "v"),
        Key(Kind.TABLE, "a"),
    )
    needs = {table: {function}, view: {table, other}, other: {table}}
    assert objects_in_order([view, table, function, other], needs) == [function, table, other, view]
    assert set(objects_in_order([table, other], {table: {other}, other: {table}})) == {table, other}
    assert need_closure([table], {view: {table}, Key(Kind.VIEW, "w"): {view}}, Kind.VIEW) == {view, Key(Kind.VIEW, "w")}


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "parts", "rest"),
    [
        ("(a, b DESC) WHERE x", ["a", "b DESC"], "WHERE x"),
        ("(lower(a), (a || ','), 'x)')", ["lower(a)", "(a || ',')", "'x)'"], ""),
        ('("odd,name", f(a, b)) INCLUDE (c)', ['"odd,name"', "f(a, b)"], "INCLUDE (c)"),
    ],
)
def test_a_list_is_taken_apart(given_text: str, parts: list[str], rest: str) -> None:
    assert split_list(given_text) == (parts, rest)


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ("(((a >= 1) AND (a <= 2)) AND (b > 0))", "((a >= 1) AND (a <= 2) AND (b > 0))"),
        ("((a OR b) AND c)", "((a OR b) AND c)"),
        ("((a OR (b OR c)) OR d)", "(a OR b OR c OR d)"),
        ("CHECK ((x ~ ')(AND'::text))", "CHECK ((x ~ ')(AND'::text))"),
        ("f(a AND (b AND c))", "f(a AND b AND c)"),
        ("NOT (a AND b) AND c", "NOT (a AND b) AND c"),
        ("CASE WHEN ((a AND b) AND c) THEN 1 ELSE 2 END", "CASE WHEN (a AND b AND c) THEN 1 ELSE 2 END"),
        ("a", "a"),
    ],
)
def test_nested_conditions_are_flattened(nested: str, flat: str) -> None:
    assert flatten(nested) == flat
    assert flatten(flat) == flat


CONDITIONS = st.recursive(
    st.sampled_from(["a", "b", "c"]),
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=10,
)


def spell(condition: object) -> str:
    if isinstance(condition, tuple):
        word, parts = condition
        return "(" + f" {word.upper()} ".join(map(spell, parts)) + ")"
    return str(condition)


@given(CONDITIONS)
def test_flattening_keeps_the_meaning(condition: object) -> None:
    nested = spell(condition)
    for values in range(8):
        world = {name: bool(values >> place & 1) for place, name in enumerate("abc")}
        meaning = [eval(text.replace("AND", "and").replace("OR", "or"), {}, world) for text in (nested, flatten(nested))]
        assert meaning[0] == meaning[1]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_text_is_quoted_as_python_reads_it(text: str) -> None:
    assert ast.literal_eval(quote(text)) == text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_sql_keeps_its_text_in_a_revision(text: str) -> None:
    source = write_line(call("f", Block(f"SELECT\n{text}.")))
    assert ast.literal_eval(ast.parse(source.strip()).body[0].value.args[0]).strip("\n") == f"SELECT\n{text}."  # type: ignore[attr-defined]


def test_colons_that_name_nothing_are_kept_from_sqlalchemy() -> None:
    assert sql_text("a::text = 'x:y :z' AND b ~ '[[:space:]]'") == "a::text = 'x:y \\:z' AND b ~ '[[:space:]]'"


def test_long_calls_are_spread_and_short_ones_are_not() -> None:
    short = call("op.drop_table", "packets", schema="relay")
    assert write_line(short) == '    op.drop_table("packets", schema="relay")'
    long = call("op.create_table", "packets", *(call("sa.Column", f"column_{n}", call("sa.Text"), nullable=False) for n in range(4)))
    lines = write_line(long).split("\n")
    assert lines[0] == "    op.create_table("
    assert lines[2] == '        sa.Column("column_0", sa.Text(), nullable=False),'
    assert lines[-1] == "    )"


def test_a_revision_is_whole() -> None:
    text = write_revision(RevisionText("a_2", "drop it", "a", "a_1", ("b_1",), False, [call("op.drop_table", "t")], []))
    assert text == (
        '"""Drop it."""\n\nfrom chainstrata.migrate import op\n\nrevision = "a_2"\ndown_revision = "a_1"\nbranch_labels = None\n'
        'depends_on = ("b_1",)\ntransactional = False  # each operation is a step of its own, done at most once\n\n\n'
        'def upgrade() -> None:\n    op.drop_table("t")\n\n\ndef downgrade() -> None:\n    pass\n'
    )


def test_part_names_fit_and_differ() -> None:
    assert part_name("events_p1", "idx") == "events_p1_idx"
    long = [part_name("p" * 40, "i" * length) for length in (30, 31)]
    assert all(len(name) == 63 for name in long)
    assert len(set(long)) == 2


def test_policies_say_what_is_not_the_default() -> None:
    dataset = load_catalog().dataset("prices.minute")
    found = policy(dataset)
    assert found["table"] == "prices.minute_close"
    assert found["lifecycle"] == {"partition": "1 hour", "premake": 24, "keep": "60 minutes"}
    assert found["conflict"] == {"policy": "newest", "version": "source_ts"}
    assert [rollup["name"] for rollup in found["rollups"]] == ["hourly", "daily", "weekly", "monthly"]
    assert "change_only" not in found


def test_enums_have_all_their_values_in_the_statement_that_makes_them() -> None:
    made = "CREATE TYPE kind AS ENUM (\n    'a', -- first\n    'b'  -- last\n);"
    steps = [
        made,
        "ALTER TYPE kind ADD VALUE 'c';\nALTER TYPE kind ADD VALUE 'x' BEFORE 'b';",
        "ALTER TYPE kind ADD VALUE 'y' AFTER 'a';\nSELECT 1",
    ]
    whole = queue.make_whole(steps)
    assert whole == ["CREATE TYPE kind AS ENUM (\n    'a', 'y', -- first\n    'x', 'b'  -- last\n    , 'c'\n);", "SELECT 1"]
    # What was made in an earlier release gets its values by the step that adds them.
    assert queue.make_whole(steps[1:]) == steps[1:]
    assert not any("ADD VALUE" in text for text in queue.create(queue.newest()))
