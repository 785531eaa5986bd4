"""How a benchmark is declared and measured.

Cases are interleaved: every round runs each case once, and the order rotates from round to round, so that a machine that slows down
or warms up does so for all of them. A ratio is the median over the rounds of a case's figure by the reference's figure of the
same round. One round before the first is run and thrown away.
"""

import inspect
import re
import statistics
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

Taken = float | Mapping[str, float]
"""A round's figure; or several by aspect, the benchmark's own figure under the empty name if there is one."""
Run = Callable[[], Taken | Awaitable[Taken]]
Progress = Callable[[str], None]

_ASPECT = ": "
_DECLARES = re.compile(r"^BENCHMARK\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a benchmark measures once it is set up: cases by name, why others are left out, versions of the engines used.

    What was not as it has to be for the figures to mean anything, a case adds to `faults`: then the run has failed.
    """

    cases: Mapping[str, Run]
    skipped: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`prepare(quick)` sets up, yields what to measure and tears down. A case returns one round's figure in `unit`.

    A case may return further figures by the name of their aspect; that name says their unit if it is another.
    """

    doc: str
    unit: str
    better: Literal["lower", "higher"]
    reference: str
    prepare: Callable[[bool], AbstractAsyncContextManager[Prepared]]
    rounds: int = 21
    quick_rounds: int = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """A case's figures over the rounds, in the order they were taken."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def summary(self) -> dict[str, float | int]:
        return {"median": self.median, "min": min(self.rounds), "max": max(self.rounds), "runs": len(self.rounds)}


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a benchmark gave."""

    name: str
    benchmark: Benchmark
    cases: dict[str, Figures]
    skipped: dict[str, str]
    versions: dict[str, str]
    faults: tuple[str, ...] = ()

    @property
    def ratios(self) -> dict[str, float]:
        """How many times the reference's figure each case shows; an aspect against the same of the reference, if it has it."""
        return {name: statistics.median(map(_divide, figures.rounds, self._reference(name))) for name, figures in self.cases.items()}

    def _reference(self, name: str) -> tuple[float, ...]:
        own = self.cases[self.benchmark.reference]
        return self.cases.get(_label(self.benchmark.reference, name.partition(_ASPECT)[2]), own).rounds


def list_names() -> list[str]:
    """Return the names of all benchmarks: the modules here that declare one. None is imported for it."""
    modules = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in modules if _DECLARES.search(path.read_text(encoding="utf-8")))


def load(name: str) -> Benchmark:
    """Return a benchmark by name; LookupError names those there are."""
    if name not in list_names():
        raise LookupError(f"no benchmark {name!r}; there are: {', '.join(list_names())}")
    benchmark = import_module(f"bench.{name}").BENCHMARK
    if not isinstance(benchmark, Benchmark):
        raise TypeError(f"bench/{name}.py: BENCHMARK is no Benchmark")
    return benchmark


def order(names: list[str], turn: int) -> list[str]:
    """Return the cases in the order of a round: the one that went first goes last next time."""
    start = turn % len(names)
    return names[start:] + names[:start]


async def measure(name: str, benchmark: Benchmark, *, quick: bool, progress: Progress) -> Result:
    """Run all cases of a benchmark side by side."""
    progress(f"{name}: setting up")
    async with benchmark.prepare(quick) as prepared:
        names = list(prepared.cases)
        if benchmark.reference not in names:
            raise LookupError(
                f"{name}: the reference {benchmark.reference!r} cannot run here: {prepared.skipped.get(benchmark.reference, '')}"
            )
        taken: dict[str, list[float]] = {}
        rounds = benchmark.quick_rounds if quick else benchmark.rounds
        for turn in range(rounds + 1):
            progress(f"{name}: round {turn} of {rounds}" if turn else f"{name}: warming up")
            for case in order(names, turn):
                figure = prepared.cases[case]()
                found = await figure if inspect.isawaitable(figure) else figure
                for aspect, value in (found if isinstance(found, Mapping) else {"": found}).items():
                    taken.setdefault(_label(case, aspect), []).append(float(value))
        cases = {case: Figures(tuple(figures[1:])) for case, figures in taken.items()}
        return Result(name, benchmark, cases, dict(prepared.skipped), dict(prepared.versions), tuple(prepared.faults))


def _divide(figure: float, reference: float) -> float:
    return figure / reference


def _label(case: str, aspect: str) -> str:
    return f"{case}{_ASPECT}{aspect}" if aspect else case
