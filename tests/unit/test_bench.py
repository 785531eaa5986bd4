"""The benchmark harness: order, figures, ratios, and the shapes of its reports."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import harness, report
from bench.harness import Benchmark, Prepared, Result


def make_benchmark(log: list[str], *, reference: str = "plain") -> Benchmark:
    # Figures grow with the calls made so far, so that rounds differ and a wrong pairing shows.
    async def twice() -> float:
        log.append("twice")
        return 2.0 * len(log)

    def plain() -> float:
        log.append("plain")
        return 1.0 * len(log)

    @asynccontextmanager
    async def prepare(quick: bool) -> AsyncIterator[Prepared]:
        log.append(f"open {quick}")
        yield Prepared({"plain": plain, "twice": twice}, {"absent": "not installed"}, {"Engine": "1.2"})
        log.append("close")

    return Benchmark("Counts.", "steps", "lower", reference, prepare, rounds=4, quick_rounds=2)


async def run(log: list[str], *, quick: bool = False) -> Result:
    return await harness.measure("sample", make_benchmark(log), quick=quick, progress=lambda line: None)


async def test_cases_take_turns_and_the_first_round_is_thrown_away() -> None:
    log: list[str] = []
    result = await run(log)
    assert log[0] == "open False"
    assert log[-1] == "close"
    pairs = [tuple(log[start : start + 2]) for start in range(1, len(log) - 1, 2)]
    assert pairs == [("plain", "twice"), ("twice", "plain")] * 2 + [("plain", "twice")]
    assert {name: len(figures.rounds) for name, figures in result.cases.items()} == {"plain": 4, "twice": 4}


def test_every_case_takes_every_place() -> None:
    names = ["a", "b", "c"]
    places = Counter((case, place) for turn in range(6) for place, case in enumerate(harness.order(names, turn)))
    assert set(places.values()) == {2}


async def test_a_ratio_pairs_the_figures_of_a_round() -> None:
    result = await run([])
    paired = sorted(a / b for a, b in zip(result.cases["twice"].rounds, result.cases["plain"].rounds, strict=True))
    assert result.ratios == {"plain": 1.0, "twice": pytest.approx((paired[1] + paired[2]) / 2)}


async def test_json_holds_what_readers_rely_on() -> None:
    shown = json.loads(report.as_json(await run([], quick=True)))
    assert set(shown) >= {"name", "unit", "machine", "cases", "ratios", "skipped"}
    assert shown["skipped"] == {"absent": "not installed"}
    assert {name: set(case) for name, case in shown["cases"].items()} == {
        name: {"median", "min", "max", "runs"} for name in ("plain", "twice")
    }
    assert set(shown["machine"]) == {"cores", "memory_gib", "cpu", "kernel", "python", "Engine"}


async def test_recording_replaces_one_section_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("# Benchmarks\n\n## another\n\nkept\n\n## sample\n\nold\n", encoding="utf-8")
    result = await run([])
    report.record(result, path)
    once = path.read_text(encoding="utf-8")
    report.record(result, path)
    assert path.read_text(encoding="utf-8") == once
    assert re.findall(r"^## (.*)", once, re.MULTILINE) == ["another", "sample"]
    assert "kept" in once
    assert "old" not in once


async def test_a_benchmark_whose_reference_cannot_run_says_so() -> None:
    with pytest.raises(LookupError, match=r"absent.*not installed"):
        await harness.measure("sample", make_benchmark([], reference="absent"), quick=True, progress=lambda line: None)


async def test_aspects_are_held_against_the_same_of_the_reference() -> None:
    @asynccontextmanager
    async def prepare(quick: bool) -> AsyncIterator[Prepared]:
        yield Prepared({"plain": lambda: {"": 4.0, "stall": 2.0}, "ours": lambda: {"": 2.0, "stall": 1.0, "more": 8.0}})

    benchmark = Benchmark("Counts.", "ms", "lower", "plain", prepare, rounds=1)
    result = await harness.measure("sample", benchmark, quick=False, progress=lambda line: None)
    assert result.ratios == {"plain": 1, "plain: stall": 1, "ours": 0.5, "ours: stall": 0.5, "ours: more": 2}


async def test_a_run_that_was_not_as_it_has_to_be_says_so() -> None:
    faults: list[str] = []

    def ours() -> float:
        faults.append("ours: it rained")
        return 2.0

    @asynccontextmanager
    async def prepare(quick: bool) -> AsyncIterator[Prepared]:
        yield Prepared({"plain": lambda: 1.0, "ours": ours}, faults=faults)

    result = await harness.measure(
        "sample", Benchmark("Counts.", "ms", "lower", "plain", prepare, rounds=1), quick=False, progress=lambda line: None
    )
    assert set(json.loads(report.as_json(result))["faults"]) == {"ours: it rained"}


def test_an_unknown_benchmark_names_the_known_ones() -> None:
    with pytest.raises(LookupError, match="no benchmark 'nothing'"):
        harness.load("nothing")
