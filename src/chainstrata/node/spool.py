"""The spool as the node sees it: batches that wait for PostgreSQL are written when it is back, and told of until they are."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from chainstrata.engines.postgres.waiting import happened
from chainstrata.monitor import Finding, Severity

if TYPE_CHECKING:
    from chainstrata.ingest import Spool
    from chainstrata.node.platform import Platform

NEARLY_FULL: Final = 0.8
LOOK_EVERY: Final = 1.0


class SpoolService:
    """The service that writes what waits in the spool of this home."""

    name = "spool"

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform

    async def run(self, stop: asyncio.Event) -> None:
        # A home that never spooled anything has no such directory, and needs nothing imported for it.
        while not (self._platform.config.home / "spool").is_dir():
            if await happened(stop, LOOK_EVERY):
                return
        await self._platform.gate.replayer.run(stop)


def judge_spool(spool: "Spool", stuck: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what waits in the spool, and what is wrong with it. `stuck` says why the batches of a dataset stay."""
    for dataset in spool.list_datasets():
        waiting = spool.list_waiting(dataset)
        if waiting:
            message = f"{len(waiting)} batches, {sum(one.size_bytes for one in waiting)} bytes wait since {waiting[0].since.isoformat()}"
            yield Finding(Severity.WARNING, "spool_waiting", dataset, message, "They are written by themselves once PostgreSQL takes them.")
    for dataset, reason in stuck.items():
        message = f"batches stay in the spool: {reason}"
        yield Finding(Severity.ERROR, "spool_stuck", dataset, message, "Remove the cause, or give them up with `chainstrata spool drop`.")
    used = spool.used_bytes()
    if used > NEARLY_FULL * spool.limit_bytes:
        message = f"{used} of {spool.limit_bytes} bytes are used; writers are turned away when it is full"
        yield Finding(Severity.ERROR, "spool_nearly_full", "spool", message, "Bring PostgreSQL back, or raise ingest.spool_bytes.")
    damaged = spool.list_damaged()
    if damaged:
        message = f"{len(damaged)} batches could not be read back and were set aside, the first is {damaged[0].name}"
        hint = f"Send their rows again; then remove them from {damaged[0].parent}. Look at the disk."
        yield Finding(Severity.ERROR, "spool_damaged", "spool", message, hint)
