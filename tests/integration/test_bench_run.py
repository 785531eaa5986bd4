"""`python -m bench` as it is used: every benchmark there is runs, and standard output holds one JSON object and nothing else."""

import json
import subprocess
import sys

import pytest

from bench import harness
from tools.tree import ROOT


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


# The others fill tables first, which takes them up to a minute each.
QUICKEST = ("overhead", "ingest")
NAMES = [pytest.param(name, marks=[] if name in QUICKEST else pytest.mark.long) for name in harness.list_names()]


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_gives_one_json_object(name: str) -> None:
    done = bench(name, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    benchmark = harness.load(name)
    assert (result["name"], result["unit"]) == (name, benchmark.unit)
    assert result["ratios"][benchmark.reference] == 1
    assert all(figure > 0 for case in result["cases"].values() for figure in case.values())
    assert result["machine"]["cores"] > 0
    assert f"{name}: round 1 of" in done.stderr


def test_the_list_names_every_benchmark_with_what_it_measures() -> None:
    lines = bench("--list").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == harness.list_names()


@pytest.mark.parametrize("arguments", [["nothing"], [], ["overhead", "--quick", "--record"]])
def test_a_wrong_call_says_what_would_be_right(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "overhead" in done.stderr or "--quick" in done.stderr
