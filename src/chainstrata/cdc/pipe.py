"""Between reading and applying: what has come is put together while the batch before it is written."""

import asyncio
from time import monotonic

from chainstrata.cdc.assemble import AHEAD, Assembler
from chainstrata.cdc.model import Batch
from chainstrata.cdc.stream import ReplicationStream
from chainstrata.engines.postgres.waiting import happened


class Pipe:
    """One stream being read. `read` runs beside whoever calls `take`."""

    def __init__(self, stream: ReplicationStream, *, most_bytes: int, spool_directory: str | None = None) -> None:
        self._stream = stream
        self._assembler = Assembler(most_bytes=most_bytes, spool_directory=spool_directory)
        self._came = asyncio.Event()
        self._full = asyncio.Event()
        self._drained = asyncio.Event()
        self._since = 0.0

    async def read(self) -> None:
        """Read until cancelled; raises what ends the stream."""
        try:
            await self._read()
        finally:
            self._assembler.close()

    async def _read(self) -> None:
        while True:
            if self._assembler.waiting >= AHEAD:
                # Now the server has to wait, but it goes on hearing from us.
                self._drained.clear()
                await happened(self._drained, 5.0)
                self._stream.keep_alive()
                continue
            if self._assembler.behind:
                self._assembler.go_on()
            else:
                messages = await self._stream.read(1.0)
                if not len(messages):
                    continue
                self._assembler.feed(messages)
            if not self._came.is_set() and not self._assembler.settled:
                self._since = monotonic()
                self._came.set()
            if self._assembler.waiting:
                self._full.set()
            # A server that is always ahead would never let anybody else have a turn.
            await _turn()

    async def take(self, delay: float) -> list[Batch]:
        """Return what has come, `delay` seconds after its first piece did, sooner if a batch is full; nothing if nothing comes."""
        if not await happened(self._came, delay):
            return []
        await happened(self._full, max(0.0, delay - (monotonic() - self._since)))
        self._came.clear()
        self._full.clear()
        taken = self._assembler.take()
        self._drained.set()
        return taken

    @property
    def reached(self) -> int:
        """How far the server has told everything, 0 while something of it is still here or under way."""
        return self._stream.server_end if self._assembler.settled else 0


async def _turn() -> None:
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    # It may be cancelled before its turn comes.
    loop.call_soon(_settle, turn)
    await turn


def _settle(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
