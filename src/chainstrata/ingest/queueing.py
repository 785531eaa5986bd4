"""A queue that is bounded by bytes and by batches, first come, first served."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Queue:
    """Places for batches on their way in. One that is larger than the whole queue goes when nobody else is in it."""

    def __init__(self, size_bytes: int, batches: int) -> None:
        self._size = size_bytes
        self._batches = batches
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.used_bytes = 0
        self.used_batches = 0

    @asynccontextmanager
    async def place(self, size: int, within: float) -> AsyncIterator[bool]:
        """A place for the block; False if none came free in time."""
        has_place = self._fits(size) and not self._waiting
        if has_place:
            self._enter(size)
        else:
            has_place = await self._wait(size, within)
        try:
            yield has_place
        finally:
            if has_place:
                self._leave(size)

    async def _wait(self, size: int, within: float) -> bool:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (size, turn)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(turn)
        except TimeoutError:
            if turn.done():
                return True
            self._waiting.remove(waiter)
            return False
        except asyncio.CancelledError:
            if turn.done():
                self._leave(size)
            else:
                self._waiting.remove(waiter)
            raise
        return True

    def _fits(self, size: int) -> bool:
        return not self.used_batches or (self.used_bytes + size <= self._size and self.used_batches < self._batches)

    def _enter(self, size: int) -> None:
        self.used_bytes += size
        self.used_batches += 1

    def _leave(self, size: int) -> None:
        self.used_bytes -= size
        self.used_batches -= 1
        while self._waiting and self._fits(self._waiting[0][0]):
            next_size, turn = self._waiting.popleft()
            self._enter(next_size)
            turn.set_result(None)
