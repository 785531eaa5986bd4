"""The parameters of a Core statement: those given, those written into it, those computed anew, those forgotten."""

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from chainstrata.engines.postgres import errors
from chainstrata.engines.postgres.statements import StatementCache

COIN = sa.table("coin", sa.column("id", sa.BigInteger), sa.column("name", sa.Text))


def values(cache: StatementCache, statement: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(cache.prepare(statement, params).params or {})


def test_given_and_written_values_stand_side_by_side() -> None:
    cache = StatementCache()
    for written in ("a", "b"):
        statement = sa.select(COIN).where(COIN.c.id == sa.bindparam("id"), COIN.c.name == written)
        for given in (1, 2):
            assert values(cache, statement, {"id": given}) == {"id": given, "name_1": written}
    assert len(cache) == 1


def test_a_default_holds_until_a_value_is_given() -> None:
    cache = StatementCache()
    statement = sa.select(COIN).where(COIN.c.id == sa.bindparam("id", value=7))
    assert values(cache, statement) == {"id": 7}
    assert values(cache, statement, {"id": 8}) == {"id": 8}
    assert values(cache, statement) == {"id": 7}


def test_a_computed_value_is_computed_every_time() -> None:
    cache, numbers = StatementCache(), itertools.count(1)
    statement = sa.select(COIN).where(COIN.c.id == sa.bindparam("id", callable_=lambda: next(numbers)), COIN.c.name == sa.bindparam("name"))
    assert [values(cache, statement, {"name": "x"})["id"] for _ in range(3)] == [1, 2, 3]


def test_a_forgotten_value_is_an_error_every_time() -> None:
    cache = StatementCache()
    statement = sa.select(COIN).where(COIN.c.id == sa.bindparam("id"), COIN.c.name == sa.bindparam("name"))
    assert values(cache, statement, {"id": 1, "name": "x"}) == {"id": 1, "name": "x"}
    for params in (None, {}, {"id": 1}):
        with pytest.raises(errors.StatementError, match=r"name|id"):
            cache.prepare(statement, params)


def test_a_value_nobody_asked_for_is_left_out() -> None:
    statement = sa.select(COIN).where(COIN.c.id == sa.bindparam("id"))
    assert values(StatementCache(), statement, {"id": 1, "other": 2}) == {"id": 1}
