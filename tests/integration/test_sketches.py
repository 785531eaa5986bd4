"""Sketches are as close as they say, whatever order they are folded and merged in."""

import random
from typing import Any

import pytest

from chainstrata.engines.postgres import Database

DICE = random.Random(11)
SHAPES: dict[str, list[float]] = {
    "even": [DICE.random() * 1000 for _ in range(5000)],
    "tiny and huge": [10 ** DICE.uniform(-12, 12) for _ in range(5000)],
    "around zero": [DICE.gauss(0, 5) for _ in range(5000)],
    "one value": [42.0] * 10,
    "zeros": [0.0] * 7,
}


async def fold(packs: Database, values: list[float]) -> Any:
    return await packs.fetch_value(
        "SELECT strata.sketch_counts(array_agg(strata.quantile_key(v))) FROM unnest(%s::double precision[]) AS v", (values,)
    )


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
async def test_a_percentile_is_within_one_percent(packs: Database, values: list[float]) -> None:
    ordered = sorted(values)
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        found = await packs.fetch_value(
            "SELECT strata.sketch_quantile(strata.sketch_counts(array_agg(strata.quantile_key(v))), %s) FROM unnest(%s::double precision[]) AS v",
            (share, values),
        )
        exact = ordered[max(1, -int(-share * len(ordered) // 1)) - 1]
        assert found == pytest.approx(exact, rel=0.0101, abs=1e-300)


async def test_merged_sketches_are_the_sketch_of_all_values(packs: Database) -> None:
    values = SHAPES["around zero"]
    merged = await packs.fetch_value(
        "SELECT strata.merge_counts(array_agg(part)) FROM (SELECT strata.sketch_counts(array_agg(strata.quantile_key(v))) AS part"
        " FROM unnest(%s::double precision[]) WITH ORDINALITY AS given (v, n) GROUP BY n %% 7) AS parts",
        (values,),
    )
    assert merged == await fold(packs, values)


@pytest.mark.parametrize("count", [0, 1, 10, 1000, 20_000, 200_000])
async def test_a_distinct_count_is_within_its_error(packs: Database, count: int) -> None:
    """Three standard errors of 2,048 registers are 7 %; of few values every one is counted but for rare collisions."""
    found = await packs.fetch_value(
        "SELECT strata.sketch_distinct(coalesce(strata.sketch_registers(array_agg(strata.distinct_key((v * 7919)::text))), '{}'))"
        " FROM generate_series(1, %s) AS v, generate_series(1, 2)",
        (count,),
    )
    assert found == pytest.approx(count, rel=0.07, abs=1)


async def test_merged_distinct_sketches_count_a_value_once(packs: Database) -> None:
    statement = (
        "SELECT strata.sketch_distinct(strata.merge_registers(array_agg(part))) FROM (SELECT strata.sketch_registers("
        "array_agg(strata.distinct_key(v::text))) AS part FROM generate_series(1, 6000) AS v GROUP BY v % 3"
        " UNION ALL SELECT strata.sketch_registers(array_agg(strata.distinct_key(v::text))) FROM generate_series(1, 6000) AS v) AS parts"
    )
    assert await packs.fetch_value(statement) == pytest.approx(6000, rel=0.07)
