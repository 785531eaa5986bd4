"""Looks that take longer than a status may: done again and again in the background, their findings kept for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from chainstrata import partitions
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.monitor import Finding, Severity
from chainstrata.node.platform import Platform


@dataclass(frozen=True, slots=True)
class Inspection:
    """One look, and how often it is worth its cost."""

    name: str
    every: timedelta
    look: Callable[[Platform], Awaitable[Sequence[Finding]]]


async def inspect_partitions(platform: Platform) -> list[Finding]:
    """Find tables whose rows have no partition, or soon will not."""
    options = partitions.Options.from_config(platform.config)
    problems = await partitions.verify(platform.database, platform.catalog, options=options)
    return [
        Finding(
            Severity.ERROR if problem.urgent else Severity.WARNING,
            f"partitions_{problem.code}",
            problem.table,
            problem.detail,
            "Run `chainstrata partitions apply`; `chainstrata partitions verify` says more.",
        )
        for problem in problems
    ]


INSPECTIONS: tuple[Inspection, ...] = (Inspection("partitions", timedelta(minutes=1), inspect_partitions),)


async def inspect(platform: Platform) -> list[Finding]:
    """Look once at everything."""
    return [finding for inspection in INSPECTIONS for finding in await _look(inspection, platform)]


async def _look(inspection: Inspection, platform: Platform) -> Sequence[Finding]:
    """Look, taking a look that cannot be had for a finding: while PostgreSQL is away, for one."""
    try:
        return await inspection.look(platform)
    except ChainStrataError as error:
        return [
            Finding(Severity.WARNING, f"{inspection.name}_unknown", inspection.name, f"cannot be looked at: {error.message}", error.hint)
        ]


class Watch:
    """The service that keeps `platform.findings` fresh."""

    name = "watch"

    def __init__(self, platform: Platform, inspections: Sequence[Inspection] = INSPECTIONS) -> None:
        self._platform = platform
        self._inspections = inspections

    async def run(self, stop: asyncio.Event) -> None:
        found: dict[str, Sequence[Finding]] = {}
        due = {inspection.name: 0.0 for inspection in self._inspections}
        while not stop.is_set():
            for inspection in self._inspections:
                if due[inspection.name] <= monotonic():
                    found[inspection.name] = await _look(inspection, self._platform)
                    due[inspection.name] = monotonic() + inspection.every.total_seconds()
            self._platform.findings = tuple(finding for one in self._inspections for finding in found[one.name])
            if await happened(stop, max(0.0, min(due.values(), default=monotonic() + 60.0) - monotonic())):
                return
