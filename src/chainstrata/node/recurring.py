"""What each node does for itself, again and again: unlike a job, it is about this machine, and another node cannot do it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError

LOGGER: Final = logging.getLogger("chainstrata.node.recurring")


class Recurring:
    """The service that calls a function every so often. A failure is told, and the next call comes all the same."""

    def __init__(self, name: str, every: timedelta, work: Callable[[], Awaitable[str]]) -> None:
        self.name = name
        self._every = every.total_seconds()
        self._work = work

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                done = await self._work()
            except ChainStrataError as error:
                LOGGER.error("%s failed: %s; it is tried again. %s", self.name, error.message, error.hint)  # noqa: TRY400  # a known error
            else:
                LOGGER.debug("%s: %s", self.name, done)
            if await happened(stop, self._every):
                return
