"""The service that keeps roll-ups up to date while the node runs."""

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Final

from chainstrata.engines.postgres.waiting import happened
from chainstrata.rollups import Rollups

_LONGEST_REST: Final = 5.0


class RollupService:
    """Refreshes what is behind, again and again. What another node refreshes meanwhile is left to it.

    Where rows come all the time there is always something behind. Then it rests as long as it works, so that whoever reads or writes has
    the engine to themselves for half of the time; what is not folded meanwhile is folded in by whoever reads.
    """

    name = "rollups"

    def __init__(self, rollups: Rollups, *, every: timedelta) -> None:
        self._rollups = rollups
        self._every = every.total_seconds()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = monotonic()
            done = await self._rollups.refresh(wait=False)
            rest = min(monotonic() - began, _LONGEST_REST) if done.marks else self._every
            if await happened(stop, rest):
                return
