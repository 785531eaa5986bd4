"""The service that keeps roll-ups up to date while the node runs."""

import asyncio
from datetime import timedelta

from chainstrata.engines.postgres.waiting import happened
from chainstrata.rollups import Rollups


class RollupService:
    """Refreshes what is behind, again and again. What another node refreshes meanwhile is left to it."""

    name = "rollups"

    def __init__(self, rollups: Rollups, *, every: timedelta) -> None:
        self._rollups = rollups
        self._every = every.total_seconds()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            done = await self._rollups.refresh(wait=False)
            # A busy source is looked at again at once, so that it never falls behind by more than one refresh.
            if not done.marks and await happened(stop, self._every):
                return
