"""Looks that take longer than a status may: done again and again in the background, their findings kept for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from chainstrata import partitions
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.jobs import find_trouble
from chainstrata.monitor import Finding, SchemaVersion, Severity
from chainstrata.node.platform import Platform

if TYPE_CHECKING:
    from chainstrata.migrate import RevisionStatus


@dataclass(frozen=True, slots=True)
class Inspection:
    """One look, how often it is worth its cost, and how long after the start it may wait."""

    name: str
    every: timedelta
    look: Callable[[Platform], Awaitable[Sequence[Finding]]]
    first: timedelta = timedelta(0)


async def inspect_schema(platform: Platform) -> list[Finding]:
    """See how far the schema of each pack is, and find migrations that were edited, are missing or stopped half way."""
    from chainstrata import migrate

    state = await migrate.status(platform.site)
    platform.versions = tuple(SchemaVersion(one.pack, one.current or "", one.head or "", one.pending) for one in state.packs)
    hint = "`chainstrata migrate status` says more; `chainstrata migrate up` goes on with one that stopped."
    return [
        Finding(Severity.ERROR, f"migration_{_what_is_wrong(one)}", one.revision, f"{one.described}{_because(one)}", hint)
        for one in state.revisions
        if one.edited or one.interrupted or one.status in (migrate.Status.FAILED, migrate.Status.MISSING)
    ]


def _what_is_wrong(revision: "RevisionStatus") -> str:
    return "edited" if revision.edited else "stopped" if revision.interrupted else revision.status.value


def _because(revision: "RevisionStatus") -> str:
    return f": {revision.error}" if revision.error else ""


async def inspect_drift(platform: Platform) -> list[Finding]:
    """Compare the schema with the declarations, object by object."""
    from chainstrata import migrate

    verdict = await migrate.verify(platform.site)
    hint = "`chainstrata migrate verify` shows both definitions."
    return [
        Finding(Severity.WARNING, f"schema_{one.deviation}", one.name, f"{one} (compared with its declaration)", hint)
        for one in verdict.differences
    ]


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


async def inspect_jobs(platform: Platform) -> list[Finding]:
    """Find jobs that failed, and jobs whose time passed without a run."""
    return [
        Finding(
            Severity.ERROR if trouble.urgent else Severity.WARNING,
            f"job_{trouble.code}",
            trouble.job,
            trouble.message,
            f"`chainstrata jobs show {trouble.job}` has its last runs; `chainstrata jobs retry {trouble.job}` runs it again.",
        )
        for trouble in find_trouble(await platform.jobs.status(), datetime.now(UTC))
    ]


async def inspect_mirrors(platform: Platform) -> list[Finding]:
    """Find mirrors that do not go on, and log that is kept for them. Looks at PostgreSQL alone."""
    from chainstrata.node.cdc import find_trouble

    return await find_trouble(platform.database, platform.config)


INSPECTIONS: tuple[Inspection, ...] = (
    Inspection("schema", timedelta(minutes=1), inspect_schema),
    Inspection("partitions", timedelta(minutes=1), inspect_partitions),
    Inspection("jobs", timedelta(minutes=1), inspect_jobs),
    # Not part of a start: nothing follows the log yet.
    Inspection("mirrors", timedelta(minutes=1), inspect_mirrors, first=timedelta(seconds=30)),
    # It builds the declared schema in a database of its own to compare with, so it is rare, and not part of a start.
    Inspection("drift", timedelta(days=1), inspect_drift, first=timedelta(minutes=5)),
)


async def _look(inspection: Inspection, platform: Platform) -> Sequence[Finding]:
    """Look, taking a look that cannot be had for a finding: while PostgreSQL is away, for one."""
    try:
        return await inspection.look(platform)
    except ChainStrataError as error:
        return [
            Finding(Severity.WARNING, f"{inspection.name}_unknown", inspection.name, f"cannot be looked at: {error.message}", error.hint)
        ]


class Watch:
    """The service that keeps `platform.findings` and `platform.versions` fresh."""

    name = "watch"

    def __init__(self, platform: Platform, inspections: Sequence[Inspection] = INSPECTIONS) -> None:
        self._platform = platform
        self._inspections = inspections
        self._due = {inspection.name: monotonic() + inspection.first.total_seconds() for inspection in inspections}
        self._found: dict[str, Sequence[Finding]] = {}

    async def look(self) -> tuple[Finding, ...]:
        """Make the looks that are due, and return what is known to be wrong."""
        for inspection in self._inspections:
            if self._due[inspection.name] <= monotonic():
                self._found[inspection.name] = await _look(inspection, self._platform)
                self._due[inspection.name] = monotonic() + inspection.every.total_seconds()
        self._platform.findings = tuple(finding for one in self._inspections for finding in self._found.get(one.name, ()))
        return self._platform.findings

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.look()
            if await happened(stop, max(0.0, min(self._due.values()) - monotonic())):
                return
